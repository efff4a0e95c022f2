"""The loss falls on completions, and nothing is cut off or left out in silence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selfalign.core.protocols import FineTuning
from selfalign.core.records import TrainingExample
from selfalign.trainers.packing import IGNORED
from selfalign.trainers.tokenised import split, tokenise


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


def example(prompt: str, completion: str) -> TrainingExample:
    return TrainingExample(instruction_id="x", prompt=prompt, completion=completion)


def test_only_the_completion_is_trained_its_leading_newline_included(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    found = tokenise([example("### Assistant", "\nI do not know.")], tokenizer, 100)[0]
    assert found is not None
    trained = [t for t, label in zip(found.ids, found.labels, strict=True) if label != IGNORED]
    assert tokenizer.decode(trained) == "\nI do not know."
    assert tokenizer.decode(found.ids[: found.prompt_tokens]) == "### Assistant"


TEXTS = st.text(st.sampled_from("ab \n#?!é漢"), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=8), limit=st.integers(2, 30))
def test_every_example_is_trained_held_out_or_counted_as_dropped(
    tokenizer: PreTrainedTokenizerBase, pairs: list[tuple[str, str]], limit: int
) -> None:
    examples = [example(p, c) for p, c in pairs]
    found = tokenise(examples, tokenizer, limit)
    fitting = [t for t in found if t is not None]
    for t in fitting:
        assert len(t.ids) == len(t.labels) <= limit
        assert t.labels[: t.prompt_tokens] == [IGNORED] * t.prompt_tokens
        assert t.labels[t.prompt_tokens :] == t.ids[t.prompt_tokens :] != []
    if len(fitting) > 1:
        parts = split(examples, tokenizer, FineTuning(max_tokens=limit, held_out=1))
        assert len(parts.trained) + len(parts.held_out) + parts.dropped == len(examples)
        assert parts.truncated == sum(t.truncated for t in fitting)


def test_who_is_held_out_is_decided_by_the_seed(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = [example(f"{n} ", "x" * (n + 1)) for n in range(40)]

    def held_out(seed: int) -> list[list[int]]:
        recipe = FineTuning(held_out=5, seed=seed)
        return [t.ids for t in split(examples, tokenizer, recipe).held_out]

    assert held_out(1) == held_out(1) != held_out(2)
