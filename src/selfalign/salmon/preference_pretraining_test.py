"""Preferences of any usual shape become pairs under fixed questions."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import InputError, TrainingError
from selfalign.core.library import open_library
from selfalign.core.protocols import RewardPair, RewardTraining
from selfalign.core.records import Checkpoint
from selfalign.core.store import Run
from selfalign.salmon.preference_pretraining import (
    PRETRAINING,
    Preference,
    PreferencePretraining,
    Preferences,
    preference_of,
    pretraining_pairs,
    read_preferences,
)

LIBRARY = open_library()
PROMPT = LIBRARY.prompt("salmon/reward_model_pretraining")
WANTED = Preference(instruction="What is bread?", chosen="Food.", rejected="No.")


def says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


SHAPES = {
    "texts": {"prompt": "What is bread?", "chosen": " Food.", "rejected": "No.\n"},
    "messages": {
        "prompt": [says("user", "What is bread?")],
        "chosen": [says("assistant", "Food.")],
        "rejected": [says("assistant", "No.")],
    },
    "whole conversations": {
        "chosen": [says("user", "What is bread?"), says("assistant", "Food.")],
        "rejected": [says("user", "What is bread?"), says("assistant", "No.")],
    },
    "a text before messages": {
        "prompt": "What is bread?",
        "chosen": [says("assistant", "Food.")],
        "rejected": [says("assistant", "No.")],
    },
    "dialogues in one text": {
        "chosen": "\n\nHuman: What is bread?\n\nAssistant: Food.",
        "rejected": "\n\nHuman: What is bread?\n\nAssistant: No.",
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_usual_shape_is_the_same_preference(shape: str) -> None:
    assert preference_of(SHAPES[shape], "here") == WANTED


def test_of_a_longer_conversation_all_that_is_shared_is_the_instruction() -> None:
    shared = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: What is bread?\n\nAssistant:"
    text = preference_of(
        {"chosen": f"{shared} Foul food.", "rejected": f"{shared} Foul stone."}, "here"
    )
    assert text == Preference(
        instruction="Human: Hi.\n\nAssistant: Hello.\n\nHuman: What is bread?",
        chosen="Foul food.",
        rejected="Foul stone.",
    )
    before = [says("user", "Hi."), says("assistant", "Hello."), says("user", "What is bread?")]
    messages = preference_of(
        {
            "chosen": [*before, says("assistant", "Food.")],
            "rejected": [*before, says("assistant", "No.")],
        },
        "here",
    )
    assert isinstance(messages, Preference)
    assert messages.instruction == "User: Hi.\n\nAssistant: Hello.\n\nUser: What is bread?"


LOST = [
    ({"prompt": "Q", "chosen": "same", "rejected": "same "}, "equal"),
    ({"prompt": "Q", "chosen": " ", "rejected": "words"}, "blank"),
    ({"chosen": "one", "rejected": "two"}, "no_prompt"),
    ({"chosen": [says("assistant", "a")], "rejected": [says("assistant", "b")]}, "no_prompt"),
    (
        {
            "chosen": [says("user", "x"), says("assistant", "a")],
            "rejected": [says("user", "y"), says("assistant", "b")],
        },
        "no_prompt",
    ),
    ({"prompt": "Q", "chosen": [], "rejected": []}, "no_prompt"),
]


def test_rows_that_are_no_preference_are_counted_by_reason(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [row for row, _ in LOST] + [SHAPES["texts"]]
    file.write_text("\n\n".join(json.dumps(row) for row in rows))
    for row, reason in LOST:
        assert preference_of(row, "here") == reason
    assert read_preferences(file) == Preferences([WANTED], {"equal": 1, "blank": 1, "no_prompt": 4})


BAD = [
    ([], "not an object"),
    ({"prompt": "Q", "rejected": "a"}, "`chosen` is missing"),
    ({"prompt": "Q", "chosen": 3, "rejected": "a"}, "`chosen` is neither"),
    ({"prompt": "Q", "chosen": "a", "rejected": [says("assistant", "b")]}, "`rejected` is of anot"),
    ({"prompt": 3, "chosen": "a", "rejected": "b"}, "`prompt` is no text"),
    ({"prompt": "Q", "chosen": [{"role": "x"}], "rejected": []}, "`chosen` is no list of"),
]


@pytest.mark.parametrize(("row", "said"), BAD, ids=range(len(BAD)))
def test_a_row_of_another_shape_is_named_by_line_and_field(tmp_path, row, said) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(SHAPES["texts"]) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=said) as caught:
        read_preferences(file)
    assert f"{file}, line 2" in str(caught.value)


def test_the_better_answer_is_the_chosen_one_under_the_fixed_questions() -> None:
    (pair,) = pretraining_pairs([WANTED], PROMPT)
    assert pair.chosen == PROMPT.render(instruction="What is bread?", response="Food.")
    assert pair.rejected == PROMPT.render(instruction="What is bread?", response="No.")
    places = [pair.chosen.index(text) for text in ("Food.", "What is bread?", "- Does")]
    assert places == sorted(places)


def test_it_ends_like_the_prompt_it_prepares_for() -> None:
    """The score is read at the last token, so the two lessons must leave off alike."""
    after = LIBRARY.prompt("salmon/reward_model").text
    assert PROMPT.text.rpartition(", ")[2] == after.rpartition(", ")[2]
    assert "### Response" in PROMPT.text.partition("### Instruction")[0]


FORGED = ("### Questions", "### Reviewer", "- Does it praise?", "\n", "\r", "\u2028", " ", "x")
hostile = st.lists(st.sampled_from(FORGED)).map("".join)


@given(hostile, hostile, hostile)
def test_nothing_inside_can_forge_a_section(instruction: str, chosen: str, rejected: str) -> None:
    found = Preference(instruction=instruction, chosen=chosen, rejected=rejected)
    pair = pretraining_pairs([found], PROMPT)[0]
    for text in (pair.chosen, pair.rejected):
        lines = text.replace("\r", "\n").replace("\u2028", "\n").split("\n")
        headers = [line.strip() for line in lines if line.lstrip().startswith("###")]
        assert headers == ["### Response", "### Instruction", "### Questions", "### Reviewer"]


def test_the_settings_are_those_of_the_authors_launch_script() -> None:
    """method.md B4.4: a higher rate, a shorter warm-up and shorter texts than the fine-tuning."""
    assert (PRETRAINING.learning_rate, PRETRAINING.warmup_share) == (5e-5, 0.01)
    assert PRETRAINING.max_tokens == 1024
    changed = {"learning_rate": 3e-5, "warmup_share": 0.03, "max_tokens": 1280}
    assert PRETRAINING.model_copy(update=changed) == RewardTraining()


class Noting:
    """A reward trainer that writes down what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[list[RewardPair], Checkpoint, RewardTraining]] = []

    def __call__(self, pairs, *, base, recipe, folder) -> None:
        self.given.append((list(pairs), base, recipe))
        (folder / "weights").mkdir()


def test_the_training_hands_rendered_pairs_to_the_trainer_once(tmp_path: Path) -> None:
    base, trainer = Checkpoint(base="calf", revision="sha256:1"), Noting()
    training = PreferencePretraining(base, PRETRAINING, PROMPT, trainer)
    checkpoint = Run(tmp_path).train(training, [WANTED])
    assert trainer.given == [(pretraining_pairs([WANTED], PROMPT), base, PRETRAINING)]
    assert checkpoint == Run(tmp_path).train(training, [WANTED])
    assert len(trainer.given) == 1
    assert (checkpoint.base, Path(checkpoint.adapter or "").name) == ("calf", "weights")
    with pytest.raises(TrainingError, match="every row was dropped"):
        training([], tmp_path)
