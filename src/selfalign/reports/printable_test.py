"""Nothing a model writes may act on a reader's terminal or page."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from selfalign.reports.printable import one_line, printable


def test_an_escape_sequence_is_shown_instead_of_obeyed():
    assert printable("\x1b[2Jgone") == "\\x1b[2Jgone"


def test_an_override_that_reorders_text_is_shown():
    assert printable("safe\u202eelbisivni") == "safe\\u202eelbisivni"


def test_a_lone_surrogate_is_shown():
    assert printable("\ud800") == "\\ud800"


@given(st.text())
def test_no_acting_character_survives_but_line_breaks_and_joiners(text):
    left = {c for c in printable(text) if unicodedata.category(c) in {"Cc", "Cf", "Cs"}}
    assert left <= set("\n\t\u200c\u200d")


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs", "Cn"])))
def test_plain_text_in_any_script_is_left_alone(text):
    assert printable(text) == text


@given(st.text(), st.integers(5, 50))
def test_one_line_is_one_line_and_no_longer_than_asked(text, width):
    shown = one_line(text, width)
    assert len(shown) <= width
    assert "\n" not in shown
