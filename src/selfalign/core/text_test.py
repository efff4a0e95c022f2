"""The laws of the cuts, and the cases a person would draw on a board."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.text import (
    SEPARATORS,
    VERBOSE_SEPARATORS,
    cut_numbered_list,
    drop_last_word,
    exact_key,
    pieces,
    repetition_cut,
)

loops = st.text(alphabet="ab .,\n`é", max_size=60)
words = st.lists(st.sampled_from(["rain", "Sun", "é", "13.", "x1"]), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("One. Two. Three.", "One. Two. Three."),
        ("It rains, it pours, it rains, it pours, and", "It rains, it pours, it rains,"),
        ("a,b,a,c", "a,b,"),
        ("Yes!!! Yes!!! No", "Yes!!! Yes!!! No"),
        ("One\n\n\n\nTwo", "One\n\n\n\nTwo"),
        ("tea; tea; tea;", "tea; tea;"),
        ("你好。你好。", "你好。你好。"),
        ("", ""),
    ],
)
def test_a_text_ends_before_what_it_has_said_before(text, cut):
    assert repetition_cut(text) == cut


def test_the_back_tick_separates_only_in_the_verbose_set():
    assert repetition_cut("`x`x`") == "`x`x`"
    assert repetition_cut("`x`x`", VERBOSE_SEPARATORS) == "`x`"


@given(loops)
def test_the_pieces_are_the_text_and_each_holds_one_separator_at_its_end(text):
    split = pieces(text)
    assert "".join(split) == text
    for piece in split:
        assert not any(s in piece[:-1] for s in SEPARATORS)


@given(loops)
def test_what_is_left_is_a_beginning_of_the_text_without_a_repeated_piece(text):
    cut = repetition_cut(text)
    assert text.lstrip().startswith(cut)
    whole = pieces(cut)[1:-1]  # stripping may have changed the first and the last
    told = [p for p in whole if p and p not in SEPARATORS]
    assert len(told) == len(set(told))


@given(st.text(), st.sampled_from([SEPARATORS, VERBOSE_SEPARATORS]))
def test_cutting_never_raises_and_never_adds(text, separators):
    assert repetition_cut(text, separators) in text


@given(words)
def test_dropping_the_last_word_drops_exactly_one(text):
    assert drop_last_word(text).split() == text.split()[:-1]


def test_dropping_the_last_word_keeps_the_lines_before_it():
    assert drop_last_word("a  b\n\nc  d \n") == "a  b\n\nc"


def numbered(n: int) -> str:
    return "Here:\n" + "\n".join(f"{i}. item {i}" for i in range(1, n + 1))


@pytest.mark.parametrize("n", [0, 1, 11, 12])
def test_a_short_list_is_left_alone(n):
    assert cut_numbered_list(numbered(n)) == numbered(n)


@pytest.mark.parametrize("n", [13, 14, 30])
def test_a_long_list_ends_after_its_twelfth_item(n):
    assert cut_numbered_list(numbered(n) + "\n\nDone.") == numbered(12)


def test_a_line_that_begins_with_thirteen_is_no_list():
    assert cut_numbered_list("Born on\n13. March\n") == "Born on\n13. March\n"


@given(st.text(alphabet="123.)\n ab", max_size=80), st.integers(1, 3))
def test_cutting_a_list_twice_is_cutting_it_once(text, keep):
    cut = cut_numbered_list(text, keep)
    assert text.startswith(cut)
    assert cut_numbered_list(cut, keep) == cut


def test_case_spacing_and_punctuation_do_not_make_another_text():
    assert exact_key("Name  three\tcats!") == exact_key("name three cats") == "name three cats"
    assert exact_key("Straße") == exact_key("STRASSE")


def test_without_separators_a_text_is_one_piece():
    assert pieces("One. Two.", ()) == ["One. Two."]
    assert repetition_cut("One. One.", ()) == "One. One."
