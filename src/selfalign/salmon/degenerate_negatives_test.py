"""Stubs lose under every clause; answers to another request under all that are not negated."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.records import Clause, Instruction
from selfalign.salmon.degenerate_negatives import degenerate_negatives, likest, stubs_of
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.stage2_aggregation import aggregate_over
from selfalign.salmon.stage2_aggregation_test import SHIPPED, labelled, many

PAIRS = many(300, first="Boil the water, then wait.", second="Wait.")
LABELS = labelled(aggregate_over(PAIRS, SHIPPED), PAIRS)


def test_the_better_answer_beats_a_stub_under_the_same_clauses():
    sources = {(x.pair, x.pass_number): x for x in LABELS}
    made = degenerate_negatives(LABELS, stubs=1)
    assert len(made) == len(LABELS)
    for one in made:
        source = sources[one.pair, one.pass_number]
        assert (one.clauses, one.chosen) == (source.clauses, source.chosen)
        assert one.rejected in stubs_of(one.chosen)
        assert one.example.rejected == one.rejected
        assert one.id != source.id
    assert sum(x.preferred == 1 for x in made) / len(made) == pytest.approx(0.5, abs=0.05)
    negated = Counter(c.negated for x in made for c in x.clauses)
    assert negated[True] / negated.total() == pytest.approx(0.5, abs=0.05)


def test_a_share_is_drawn_label_by_label():
    made = degenerate_negatives(LABELS, stubs=0.2)
    assert len(made) / len(LABELS) == pytest.approx(0.2, abs=0.04)
    assert (
        degenerate_negatives(LABELS[:600], stubs=0.2)
        == made[: len(degenerate_negatives(LABELS[:600], stubs=0.2))]
    )
    assert degenerate_negatives(LABELS, stubs=0) == []


@given(st.text())
def test_a_stub_is_never_the_answer_and_there_always_is_one(answer):
    assert stubs_of(answer)
    assert answer not in stubs_of(answer)


def test_the_stubs_of_a_sentence():
    assert stubs_of("Boil, then wait.") == ("", ".", "Boil.")


def test_an_answer_to_another_request_loses_where_no_clause_is_negated():
    made = degenerate_negatives(LABELS, stubs=0, strays=1)
    plain = [x for x in LABELS if not any(c.negated for c in x.clauses)]
    given = {x.chosen: {y.instruction.id for y in LABELS if y.chosen == x.chosen} for x in LABELS}
    assert 0 < len(made) == len(plain) < len(LABELS)
    for one, source in zip(made, plain, strict=True):
        assert (one.clauses, one.chosen, one.rule) == (source.clauses, source.chosen, "stray")
        assert one.rejected != one.chosen
        assert given[one.rejected] - {one.instruction.id}
    assert sum(x.preferred == 1 for x in made) / len(made) == pytest.approx(0.5, abs=0.08)
    half = degenerate_negatives(LABELS, stubs=0, strays=0.5)
    assert len(half) / len(made) == pytest.approx(0.5, abs=0.1)
    assert degenerate_negatives(LABELS, stubs=0.3, strays=0.5)[-len(half) :] == half


def test_one_request_has_no_answers_to_another():
    alone = [x for x in LABELS if x.instruction.id == LABELS[0].instruction.id]
    assert alone
    assert degenerate_negatives(alone, stubs=0, strays=1) == []


BAKER, SMITH = "I will not help you rob a baker.", "I will not help you rob a smith."


def test_the_likest_answer_lacks_a_word_taken_from_the_request():
    others = ["Boil the water.", SMITH, "No, I will not help you rob any baker, or a smith."]
    assert likest(BAKER, "How to rob a baker?", others) == SMITH
    assert likest(BAKER, "How to rob a baker?", reversed(others)) == SMITH
    assert likest(BAKER, "How to rob a baker?", ["You should not rob a baker."]) is None
    assert likest("No.", "How to rob a baker?", others) is None


def test_every_other_stray_is_near():
    """Half of the answers refuse something else, half are about something else."""

    def label(request: str, answer: str) -> LabelledPair:
        return LabelledPair(
            pair=request,
            pass_number=0,
            instruction=Instruction(text=request, origin="user"),
            first=answer,
            second="Wait.",
            clauses=(Clause(principle="candor"),),
            scores=(1.0,),
            decided_by="candor",
            voted=1,
            rule=None,
            noisy=False,
            swapped=False,
            preferred=1,
        )

    trades = [f"{first}{last}" for first in "bdfghk" for last in ("aker", "iner", "ooper")]
    refusals = [label(f"How to rob a {t}?", f"I will not help you rob a {t}.") for t in trades]
    soups = [label(f"What is {t} soup?", f"{t.title()} soup is eaten hot.") for t in trades]
    made = degenerate_negatives(refusals + soups, stubs=0, strays=1)
    assert len(made) == len(refusals + soups)
    near = [x for x in made if ("soup" in x.rejected) == ("soup" in x.chosen)]
    assert len(near) / len(made) == pytest.approx(0.75, abs=0.15)
