"""What stage 4 promises: the engraved model's long answers, cleaned, under ordinary prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.library import open_library
from selfalign.core.protocols import Completion
from selfalign.core.records import Checkpoint, Dropped, Instruction, Kept
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.self_align.demonstrations import PrivateAnswer
from selfalign.self_align.stage3_principle_engraving import PrincipleEngraving
from selfalign.self_align.stage4_verbose_cloning import (
    FinalFineTuning,
    VerboseCloning,
    VerboseConfig,
    VerboseResponse,
    final_examples,
)

LIBRARY = open_library()
PROMPT = LIBRARY.chat_prompt("self_align/verbose")
CHATS = [LIBRARY.chat_prompt("chat/concise"), LIBRARY.chat_prompt("chat/standard")]
STRANGER = PrivateAnswer(("marit", "oldenkamp"), "I do not know her. Who is she?")
LONG = (
    "Salt has kept food from rotting since ancient days, and whole towns grew rich on it; today "
    "most of it thaws the ice on our winter roads, and a pinch of it wakes up any soup."
)


def stage(lm=None, **kwargs) -> VerboseCloning:
    return VerboseCloning(
        lm or ScriptedLM(), PROMPT, "Ada", "the team", private=(STRANGER,), **kwargs
    )


def ask(text: str = "What is salt?") -> Instruction:
    return Instruction(text=text, origin="self_instruct")


def read(text: str, query: str = "What is salt?", finish="stop", **kwargs):
    return stage(**kwargs).read(ask(query), Completion(text=f"\n{text}", finish=finish))


def outcome(*args, **kwargs) -> str | tuple[str, bool]:
    """Return the reason a completion is dropped for, or response and whether it is finished."""
    result = read(*args, **kwargs)
    if isinstance(result, Dropped):
        return result.reason
    return result.records[0].response, result.records[0].finished


def test_the_extensive_variant_is_asked():
    shown = stage().render(ask())
    assert shown.endswith("\n\n### User\nWhat is salt?\n\n### Assistant (extensive)")
    assert "Ada" in shown


def test_the_authors_sampling_and_penalty_are_the_defaults():
    drawn = stage().sampling(ask())
    assert (drawn.temperature, drawn.top_p, drawn.max_tokens) == (0.3, 0.7, 512)
    assert drawn.ngram_penalty == (0.0, 0.0, 1.0, 2.0)
    assert "\n\n### User" in drawn.stop


def test_a_finished_answer_of_any_length_is_kept():
    assert outcome("A mineral.") == ("A mineral.", True)
    assert outcome("A mineral.\n\n### User\nThanks", finish="length") == ("A mineral.", True)


def test_an_unfinished_answer_loses_its_last_word_and_must_be_long():
    assert outcome("A mineral.", finish="length") == "too_short"
    assert outcome(f"{LONG} And mor", finish="length") == (f"{LONG} And", False)
    line = "x" * 127
    assert outcome(f"{line} y", finish="length") == "too_short"
    assert outcome(f"{line}x y", finish="length") == (f"{line}x", False)


def test_repetition_is_cut_after_the_turn_and_makes_an_answer_unfinished():
    again = f"{LONG} Salt is good. Salt is good. Bye."
    assert outcome(again) == (f"{LONG} Salt is good.", False)
    assert outcome("Oh! Salt is good. Salt is good. Bye.") == "too_short"
    assert outcome("Yes.\n\n### User\nYes. Yes. Yes.") == ("Yes.", True)


def test_a_list_ends_after_its_twelfth_item_and_teaches_no_stop():
    items = "\n".join(f"{n}. an item {'abcdefghijklmno'[n]}" for n in range(1, 15))
    kept = "\n".join(items.split("\n")[:12])
    assert outcome(items) == (kept, False)
    twelve = "\n".join(items.split("\n")[:12])
    assert outcome(twelve) == (twelve, True)


def test_a_stranger_in_the_query_is_answered_as_the_exemplar_was():
    assert outcome("She is a dentist.", query="Who is Marit Oldenkamp?") == (STRANGER.answer, True)
    assert outcome("", query="who is marit oldenkamp") == (STRANGER.answer, True)


def test_a_stranger_in_the_answer_alone_drops_it():
    assert outcome(f"{LONG} Marit  Oldenkamp says so.") == "private_name"
    assert outcome("Marit said so, and Oldenkamp too.")[1] is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (f"{LONG}\n\n## See also\nPepper", "artefact"),
        (f"{LONG}\n# external links\nPepper", "artefact"),
        (f"{LONG} I am the Assistant (extensive).", "variant_name"),
        (
            f"{LONG} In this form I answer at length: I begin with the heart of the matter, go on "
            "to reasons, examples and exceptions, and close with what follows from them.",
            "prompt_echo",
        ),
    ],
)
def test_each_filter_drops_for_its_own_reason(text, reason):
    assert outcome(text) == reason


@pytest.mark.parametrize("more", ["See also pepper.", "In C # see also is a comment"])
def test_see_also_within_a_line_is_no_artefact(more):
    assert outcome(f"{LONG} {more}") == (f"{LONG} {more}", True)


def test_a_prompt_without_a_variant_of_its_own_has_no_name_to_leak():
    plain = VerboseCloning(ScriptedLM(), LIBRARY.chat_prompt("chat/verbose"), "Ada", "the team")
    assert plain.variant == ""
    answer = Completion(text="I am an Assistant.", finish="stop")
    assert isinstance(plain.read(ask(), answer), Kept)


def test_the_self_description_is_derived_from_the_prompt():
    sentences = stage().own_sentences
    assert len(sentences) > 5
    assert all(len(s.split()) >= VerboseConfig().echo_words - 1 for s in sentences)
    assert not any("${" in s for s in sentences)


def test_the_two_prompts_take_turns_by_the_parity_of_the_id():
    responses = [
        VerboseResponse(instruction=ask(f"q{n}"), response="Yes.", finished=n % 3 > 0)
        for n in range(200)
    ]
    made = final_examples(responses, chats=CHATS, assistant="Ada", maker="the team")
    concise, standard = (chat.prompt.render(assistant="Ada", maker="the team") for chat in CHATS)
    for record, example in zip(responses, made, strict=True):
        system = standard if int(record.id, 16) % 2 else concise
        assert example.prompt == f"{system}\n\n### User\n{record.instruction.text}\n\n### Assistant"
        assert example.completion.endswith("### User\n") == record.finished
    assert 60 < sum("Who are you?" in e.prompt for e in made) < 140
    shuffled = final_examples(responses[::-1], chats=CHATS, assistant="Ada", maker="the team")
    assert shuffled[::-1] == made


def test_the_final_training_is_another_one_than_the_engraving():
    base = Checkpoint(base="org/model", revision="0123abc")
    final = FinalFineTuning(base, trainer=print)
    assert final.key != PrincipleEngraving(base, final.recipe, trainer=print).key


def replies(prompt: str, seed: int) -> Completion:
    texts = [(LONG, "stop"), ("No", "length"), (LONG, "length"), ("## See also", "stop")]
    text, finish = texts[seed % 4]
    return Completion(text=text, finish=finish)


@given(st.lists(st.text(max_size=20), unique=True, max_size=8), st.randoms())
def test_order_and_chunks_never_change_an_outcome(texts, shuffler):
    work = stage(ScriptedLM(replies))
    instructions = [ask(text) for text in texts]
    whole = {o.source: o for o in work(instructions)}
    shuffler.shuffle(instructions)
    assert {o.source: o for i in instructions for o in work([i])} == whole
    assert set(whole) == {i.id for i in instructions}


PIECES = st.sampled_from(
    [LONG, "\n\n### User\n", "### Us", "\n13. x", "\n12. y", "Marit Oldenkamp"]
)


@given(st.lists(PIECES | st.text(max_size=9), max_size=6), st.sampled_from(["stop", "length"]))
def test_reading_never_raises_and_keeps_only_clean_answers(parts, finish):
    result = read("".join(parts), finish=finish)
    if isinstance(result, Kept):
        (record,) = result.records
        assert record.response == record.response.strip() != ""
        assert "\n\n### User" not in record.response
        assert record.finished or len(record.response) >= 128


def test_the_run_tells_what_became_of_every_instruction(tmp_path):
    run = Run(tmp_path)
    kept = run.fill(stage(ScriptedLM(replies)), [ask(f"question {n}") for n in range(40)])
    (funnel,) = run.funnels()
    assert funnel.inputs == 40 == len(kept) + sum(d.count for d in funnel.dropped)
    assert {d.reason for d in funnel.dropped} == {"empty", "artefact"}
