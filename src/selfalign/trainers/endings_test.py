"""Where a response ends."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from selfalign.trainers.endings import Decode, StopTexts, decoder, end_of

STOP = ("\n\n### User", "### User")


def letters(ids: list[int]) -> str:
    return "".join(map(chr, ids))


def test_a_response_ends_before_the_stop_and_trains_it() -> None:
    ids = list(map(ord, "Yes.\n\n### User\nAnd"))
    ended = end_of(ids, STOP, (), letters)
    assert ended.response == "Yes."
    assert ended.tokens == 4
    assert ended.finished
    assert letters(ended.ids) == "Yes.\n\n### User"


def test_an_end_token_ends_a_response_too_and_is_trained() -> None:
    ended = end_of([*map(ord, "Yes."), 7, 7, 65], STOP, {7}, letters)
    assert (ended.response, ended.tokens, ended.finished) == ("Yes.", 4, True)
    assert ended.ids == [*map(ord, "Yes."), 7]


def test_what_follows_an_end_token_does_not_count_even_if_it_is_a_stop() -> None:
    ended = end_of([*map(ord, "No"), 7, *map(ord, "### User")], STOP, {7}, letters)
    assert (ended.response, len(ended.ids)) == ("No", 3)


def test_a_stop_before_an_end_token_wins() -> None:
    ended = end_of([*map(ord, "No### User"), 7], STOP, {7}, letters)
    assert (ended.response, letters(ended.ids)) == ("No", "No### User")


def test_a_response_that_comes_to_no_end_is_unfinished_and_whole() -> None:
    ids = list(map(ord, "Yes, and ### Us"))
    ended = end_of(ids, STOP, {7}, letters)
    assert (ended.ids, ended.response, ended.finished) == (ids, letters(ids), False)


def test_an_empty_response_that_ends_at_once_has_no_tokens() -> None:
    ended = end_of(list(map(ord, "### User")), STOP, (), letters)
    assert (ended.response, ended.tokens, ended.finished) == ("", 0, True)
    assert len(ended.ids) == 8


def test_a_token_that_reaches_into_the_stop_is_trained_but_not_counted() -> None:
    pieces = {1: "Yes", 2: ".\n\n##", 3: "# User\nAnd"}
    ended = end_of([1, 2, 3, 1], STOP, (), lambda ids: "".join(pieces[i] for i in ids))
    assert (ended.response, ended.tokens, ended.ids) == ("Yes.", 1, [1, 2, 3])


@given(st.lists(st.sampled_from("ab# \nUser7"), max_size=60))
def test_the_cut_is_at_the_first_end_and_nowhere_else(drawn: list[str]) -> None:
    ids = list(map(ord, drawn))
    ended = end_of(ids, ("##", "U"), {ord("7")}, letters)
    text = letters(ended.ids)
    assert ids[: len(ended.ids)] == ended.ids
    assert "##" not in ended.response and "U" not in ended.response
    assert ended.finished == any(end in letters(ids) for end in ("##", "U", "7"))
    assert ended.finished or ended.ids == ids
    assert not any(end in text[:-1] for end in ("##", "U", "7"))
    assert ended.tokens == len(ended.response)


@pytest.fixture(scope="module")
def decode(tiny_model: Path) -> Decode:
    return decoder(AutoTokenizer.from_pretrained(tiny_model))


def test_generation_stops_each_row_when_its_stop_is_complete(
    tiny_model: Path, decode: Decode
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    text = "### User\nWhy?\n\n### Assistant\nI do not know ü.\n\n### User\nAnd"
    whole = tokenizer(text)["input_ids"]
    prompt = len(tokenizer("### User\nWhy?\n\n### Assistant")["input_ids"])
    criterion = StopTexts(decode, STOP, prompt)
    for length in range(prompt, len(whole) + 1):
        rows = torch.tensor([whole[:length], whole[:prompt] + [5] * (length - prompt)])
        ended = criterion(rows, None).tolist()
        assert ended == ["### User" in decode(whole[prompt:length]), False]


def test_a_prompt_that_holds_the_stop_does_not_end_its_response(
    tiny_model: Path, decode: Decode
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    prompt = tokenizer("### User\nWhy?")["input_ids"]
    ids = torch.tensor([[*prompt, *tokenizer("No")["input_ids"]]])
    assert StopTexts(decode, STOP, prompt_tokens=len(prompt))(ids, None).tolist() == [False]
    assert StopTexts(decode, STOP, prompt_tokens=0)(ids, None).tolist() == [True]
