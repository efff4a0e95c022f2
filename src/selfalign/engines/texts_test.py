"""Stop strings are seen as soon as they are complete, and only then."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from selfalign.engines.texts import TextReader, first_stop, trim_dangling_stop

USER = "\n\n### User"


@pytest.fixture(scope="module")
def reader(tiny_model: Path) -> TextReader:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return TextReader(tokenizer, len(tokenizer))


STOPS = st.lists(st.text("ab\n# é", min_size=1, max_size=4), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(text=st.text("ab\n# é", max_size=30), stops=STOPS)
def test_no_token_that_completes_a_stop_string_is_overlooked(
    reader: TextReader, text: str, stops: list[str]
) -> None:
    """Only tokens that may end a stop string are looked at; that must not miss any."""
    stop = tuple(stops)
    tokens = reader._tokenizer(text)["input_ids"]
    for n in range(1, len(tokens) + 1):
        found = first_stop(reader.text([], tokens[:n]), stop)
        if found is not None:
            assert reader.may_end_stop(tokens[n - 1], stop)
            break


def test_most_tokens_need_no_look(reader: TextReader) -> None:
    looked_at = sum(reader.may_end_stop(t, (USER, "### User")) for t in range(reader._vocabulary))
    # The 128 bytes of unfinished characters always, and few others.
    assert looked_at < 160


def test_a_text_keeps_the_space_it_begins_with(reader: TextReader) -> None:
    prompt = reader._tokenizer("The king")["input_ids"]
    assert reader.text(prompt, reader._tokenizer(" of bread")["input_ids"]) == " of bread"


def test_a_character_begun_in_the_prompt_is_finished_in_the_text(reader: TextReader) -> None:
    tokens = reader._tokenizer("aé")["input_ids"]
    assert reader.text(tokens[:1], tokens[1:]) == "é"


def test_word_starts_are_the_tokens_with_a_leading_space(reader: TextReader) -> None:
    tokens = reader._tokenizer("The king of bread")["input_ids"]
    starts = reader.word_starts()
    spelled = [(reader._tokenizer.decode([t]), bool(starts[t])) for t in tokens]
    assert all(text.startswith(" ") == start for text, start in spelled)
    assert sum(start for _, start in spelled) == 3


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("Yes.\n\n###", "Yes."),
        ("Yes.\n\n### Us", "Yes."),
        ("Yes.\n\n#", "Yes."),
        ("Yes.\n\n", "Yes.\n\n"),
        ("Written in C#", "Written in C#"),
        ("Call the U", "Call the U"),
        ("###", ""),
        ("", ""),
        ("Yes.\n### ", "Yes.\n"),
    ],
)
def test_only_a_dangling_piece_of_a_header_is_trimmed(text: str, trimmed: str) -> None:
    assert trim_dangling_stop(text, (USER, "### User")) == trimmed


@given(st.text("ab#\n", max_size=20), STOPS)
def test_trimming_never_invents_and_is_settled_after_once(text: str, stops: list[str]) -> None:
    once = trim_dangling_stop(text, tuple(stops))
    assert text.startswith(once)


def test_the_first_of_several_stop_strings_counts() -> None:
    assert first_stop("one two three", ("three", "two")) == 4
    assert first_stop("one", ("two",)) is None
    assert first_stop("one", ()) is None
