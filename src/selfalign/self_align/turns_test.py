"""Where a turn ends: by the next header, by itself, or by the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.library import open_library
from selfalign.self_align.turns import before_next_turn, closed_length, cut_off

CHAT = open_library().chat_prompt("chat/standard")
USER = CHAT.user


def test_what_follows_the_first_user_header_is_another_turn():
    text = "Yes.\n\n### User\nThanks\n\n### Assistant\nBye\n\n### User\n"
    assert before_next_turn(text, USER) == ("Yes.", True)


def test_a_user_header_without_a_blank_line_ends_nothing():
    assert before_next_turn("Yes.\n### User\nNo", USER) == ("Yes.\n### User\nNo", False)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("One two thr", "One two"),
        ("One two three.\n\n### Us", "One two"),
        ("One two three.\n\n#", "One two"),
        ("One two three.\n\n### Colours I li", "One two three.\n\n### Colours I"),
        ("One", ""),
        ("", ""),
        ("### Us", ""),
    ],
)
def test_an_unfinished_answer_loses_its_last_word_and_a_header_begun(text, answer):
    assert cut_off(text, USER) == (answer, False)


def test_the_closing_header_counts_eleven_characters():
    assert closed_length("", CHAT) == 11
    assert closed_length("\nYes", CHAT) == 15


@given(st.text())
def test_cutting_never_raises_and_never_adds(text):
    answer, _ = cut_off(text, USER)
    assert text.startswith(answer)
    assert before_next_turn(text, USER)[0] in text
