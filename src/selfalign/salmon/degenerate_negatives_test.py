"""Stubs lose under every principle."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.salmon.degenerate_negatives import degenerate_negatives, stubs
from selfalign.salmon.stage2_aggregation import aggregate_over
from selfalign.salmon.stage2_aggregation_test import SHIPPED, labelled, many

PAIRS = many(300, first="Boil the water, then wait.", second="Wait.")
LABELS = labelled(aggregate_over(PAIRS, SHIPPED), PAIRS)


def test_the_better_answer_beats_a_stub_under_the_same_clauses():
    sources = {(x.pair, x.pass_number): x for x in LABELS}
    made = degenerate_negatives(LABELS, share=1)
    assert len(made) == len(LABELS)
    for one in made:
        source = sources[one.pair, one.pass_number]
        assert (one.clauses, one.chosen) == (source.clauses, source.chosen)
        assert one.rejected in stubs(one.chosen)
        assert one.example.rejected == one.rejected
        assert one.id != source.id
    assert sum(x.preferred == 1 for x in made) / len(made) == pytest.approx(0.5, abs=0.05)
    negated = Counter(c.negated for x in made for c in x.clauses)
    assert negated[True] / negated.total() == pytest.approx(0.5, abs=0.05)


def test_a_share_is_drawn_label_by_label():
    made = degenerate_negatives(LABELS, share=0.2)
    assert len(made) / len(LABELS) == pytest.approx(0.2, abs=0.04)
    assert (
        degenerate_negatives(LABELS[:600], share=0.2)
        == made[: len(degenerate_negatives(LABELS[:600], share=0.2))]
    )
    assert degenerate_negatives(LABELS, share=0) == []


@given(st.text())
def test_a_stub_is_never_the_answer_and_there_always_is_one(answer):
    assert stubs(answer)
    assert answer not in stubs(answer)


def test_the_stubs_of_a_sentence():
    assert stubs("Boil, then wait.") == ("", ".", "Boil.")
