"""What the numbers of an exam of pairs count."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.evaluation.pairs import PairRow, PairsResult, favourite, rates_of, summarise_pairs


def row(margins, negated_margins, *, better="first", longer="first", **facts):
    other = "second" if better == "first" else "first"
    said = {"trait": "polite", "kind": "factual", "wording": "seen", "distractors": (), **facts}
    return PairRow(
        question="Who?",
        first="A.",
        second="B.",
        better=better,
        longer=longer,
        principle="Be polite.",
        negation="Do not be polite.",
        margins=margins,
        negated_margins=negated_margins,
        right=favourite(margins) == better,
        right_negated=favourite(negated_margins) == other,
        **said,
    )


places = st.sampled_from(["first", "second"])
margin = st.floats(-50, 50).filter(lambda x: abs(x) > 1e-6)
designs = st.lists(st.tuples(places, places, margin), min_size=1, max_size=30)


def test_a_pair_worked_by_hand():
    rows = [
        row((2.0,), (-1.0,)),  # follows both
        row((2.0,), (1.0,)),  # likes the first answer whatever it is told
        row((-1.0,), (-3.0,)),  # likes the second one
        row((-1.0,), (2.0,)),  # contrary
    ]
    rates = rates_of(rows)
    assert (rates.accuracy.rate, rates.negated.rate, rates.both.rate) == (0.5, 0.5, 0.25)
    assert (rates.flips.n, rates.flips.rate) == (2, 0.5)
    assert rates.agree is None
    assert rates.accuracy.low < 0.5 < rates.accuracy.high


@given(designs)
def test_whoever_ignores_the_principle_never_flips_and_is_right_once_per_pair(design):
    rates = rates_of([row((m,), (m,), better=b, longer=x) for b, x, m in design])
    assert rates.both.rate == 0
    assert rates.accuracy.rate + rates.negated.rate == pytest.approx(1)


@given(designs)
def test_whoever_follows_the_principle_is_right_and_flips(design):
    towards = {"first": 1, "second": -1}
    rows = [
        row((towards[b] * abs(m),), (-towards[b] * abs(m),), better=b, longer=x)
        for b, x, m in design
    ]
    rates = rates_of(rows)
    assert rates.accuracy.rate == rates.negated.rate == rates.both.rate == rates.flips.rate == 1


@given(designs)
def test_a_judge_that_likes_a_place_has_no_verdict_when_both_orders_are_read(design):
    rates = rates_of([row((m, -m), (m, -m), better=b, longer=x) for b, x, m in design])
    assert rates.accuracy.rate == rates.negated.rate == rates.agree.rate == 0
    assert rates.flips is None


def test_the_mean_of_the_orders_decides_where_they_disagree():
    (one, other) = (row((3.0, -1.0), (1.0, -3.0)), row((1.0, 2.0), (-1.0, -2.0)))
    assert [r.right for r in (one, other)] == [True, True]
    assert rates_of([one, other]).agree.rate == 0.5
    for undecided in ((1.0, 0.0), (0.0, 0.0)):
        assert rates_of([row(undecided, (-1.0, -1.0))]).agree.rate == 0


@given(st.lists(margin, min_size=1, max_size=4))
def test_turning_every_margin_turns_the_favourite(margins):
    turned = favourite([-m for m in margins])
    assert (favourite(margins), turned) in (
        ("first", "second"), ("second", "first"), (None, None),
    )  # fmt: skip


def test_groups_are_counted_apart_and_add_up():
    rows = [
        row((1.0,), (-1.0,), trait=t, wording=w, distractors=d, better=b, longer=x)
        for t, w, d, b, x in product(
            ("polite", "honest"), ("seen", "unseen"), ((), ("Be brief.",)),
            ("first", "second"), ("first", "second"),
        )
    ]  # fmt: skip
    result = summarise_pairs("calf", "reward model", 3, rows)
    table = result.rates
    assert set(table.wording) == {"seen", "unseen"}
    assert set(table.distractors) == {"with", "without"}
    assert set(table.right_answer) == {"longer", "shorter"}
    assert set(table.cells) == {f"{w}, {d}" for w in table.wording for d in table.distractors}
    for groups in (table.wording, table.distractors, table.right_answer, table.cells):
        assert sum(r.accuracy.n for r in groups.values()) == 32 == table.all.accuracy.n
        assert sum(r.accuracy.n * r.accuracy.rate for r in groups.values()) == 16
    assert {trait: t.all.accuracy.n for trait, t in result.traits.items()} == {
        "polite": 16, "honest": 16,
    }  # fmt: skip


def test_a_taste_for_length_shows_as_a_gap_between_longer_and_shorter_right_answers():
    rows = [row((1.0,), (1.0,), longer=place) for place in ("first", "first", "second")]
    rows += [row((-1.0,), (-1.0,), longer=place) for place in ("second", "second")]
    found = summarise_pairs("calf", "reward model", 3, rows).rates.right_answer
    assert found["longer"].accuracy.rate == 1
    assert found["shorter"].accuracy.rate < 1


def test_the_file_has_the_promised_keys_and_can_be_read_back():
    result = summarise_pairs("calf", "judge", 7, [row((1.0, 2.0), (-1.0, 1.0))])
    found = json.loads(result.model_dump_json())
    assert list(found) == ["task", "model", "reader", "seed", "n", "rates", "traits", "rows"]
    assert list(found["rates"]) == ["all", "wording", "distractors", "cells", "right_answer"]
    assert list(found["rates"]["all"]) == ["accuracy", "negated", "both", "flips", "agree"]
    assert set(found["rates"]["all"]["flips"]) == {"n", "rate", "low", "high"}
    assert found["rows"][0]["right"] is True
    assert PairsResult.model_validate_json(result.model_dump_json()) == result


def test_no_pairs_have_no_rate():
    with pytest.raises(ValueError, match="no rate"):
        summarise_pairs("calf", "judge", 7, [])
