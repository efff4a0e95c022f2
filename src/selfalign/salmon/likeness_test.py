"""Likeness is shared words over all words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.salmon.likeness import likeness, words_of

WORDS = st.lists(st.sampled_from(["bake", "the", "bread", "at", "night"]), min_size=1)


def test_words_are_counted_once_and_in_lower_case():
    assert words_of("The soup, the SOUP!") == {"the", "soup"}
    assert likeness("rob a baker", "Rob a smith") == pytest.approx(2 / 4)
    assert likeness("", "...") == 0


@given(WORDS, WORDS)
def test_it_is_symmetric_and_whole_for_the_same_words(one, other):
    first, second = " ".join(one), " ".join(other)
    assert likeness(first, second) == likeness(second, first)
    assert 0 <= likeness(first, second) <= 1
    assert (likeness(first, second) == 1) == (set(one) == set(other))
