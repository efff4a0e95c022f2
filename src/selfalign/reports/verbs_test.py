"""What the first panel of the data figure counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.reports.verbs import asked_for, root_verbs


@pytest.mark.parametrize(
    ("instruction", "verb", "noun"),
    [
        ("Write a short poem about the sea.", "write", "poem"),
        ("How can I bake a plum cake?", "bake", "cake"),
        ("Please tell me a story.", "tell", "story"),
        ("Tell me how to knit a scarf.", "knit", "scarf"),
        ("Explain how one can mend a roof in winter.", "mend", "roof"),
        ("Help me plan a party", "plan", "party"),
        ("Could you please summarise the article below?", "summarise", "article"),
        ("Given a list of numbers, sort the list.", "sort", "list"),
        ("I want you to describe your favourite holiday, in detail", "describe", "holiday"),
        ("List three useful things made in Devevia.", "list", "things"),
        ("Rewrite this: I has a dog.", "rewrite", None),
        ("What is the tallest mountain?", None, None),
        ("The sky is blue.", None, None),
        ("Think.", None, None),
        ("", None, None),
    ],
)
def test_verb_and_object_are_read_as_a_person_would(instruction, verb, noun):
    asked = asked_for(instruction)
    assert asked == ((verb, noun) if noun else None)


def test_branches_are_ordered_by_count_and_then_by_name():
    found = root_verbs(["Write a poem.", "Write a story.", "Write a poem.", "Sing a song."])
    assert [(b.label, b.size) for b in found] == [("write", 3), ("sing", 1)]
    assert found[0].twigs == (("poem", 2), ("story", 1))


@given(st.text())
def test_any_text_is_read_or_left_out_without_failing(text):
    asked = asked_for(text)
    assert asked is None or (asked.verb and asked.noun)


@given(st.lists(st.sampled_from(["Write a poem.", "Draw a map.", "Is it so?"])))
def test_counts_do_not_depend_on_order(instructions):
    assert root_verbs(instructions) == root_verbs(sorted(instructions))
