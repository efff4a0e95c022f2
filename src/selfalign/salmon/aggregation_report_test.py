"""What the report says of the labels, on cases small enough to count by hand."""

import pytest

from selfalign.core.library import open_library
from selfalign.core.records import Instruction, JudgedPair, Margin, ResponsePair
from selfalign.salmon.aggregation_report import consistency, labels_changed, report
from selfalign.salmon.stage2_aggregation import Aggregation, AggregationConfig, aggregate_over
from selfalign.salmon.stage2_aggregation_test import ACTIVE, QUIET, SHIPPED, Spoken, labelled, many


def judged(number: int, both: dict[str, tuple[float, float]], second: str = "two") -> JudgedPair:
    pair = ResponsePair(
        instruction=Instruction(text=f"question {number}", origin="user"),
        first="one",
        second=second,
    )
    margins = (Margin(principle=p, forward=f, backward=b) for p, (f, b) in both.items())
    return JudgedPair(pair=pair, margins=tuple(margins))


def test_consistency_is_the_share_of_pairs_on_which_the_orders_agree():
    rows = [(1, 3), (-2, -4), (1, -1), (-1, 1)]
    counts = consistency(
        "p", [Margin(principle="p", forward=f, backward=b) for f, b in rows], counts=True
    )
    assert (counts.judged, counts.consistent, counts.first_shown) == (4, 2, 1)
    assert counts.rate == 0.5
    assert counts.mean_strength_nats == 2.5
    assert consistency("p", [], counts=False).rate is None


def test_every_pair_and_pass_is_a_label_or_a_skip():
    loud = dict.fromkeys(ACTIVE, (1.0, 1.0))
    torn = dict.fromkeys(ACTIVE, (1.0, -1.0))
    pairs = [
        judged(0, loud),
        judged(1, dict.fromkeys(ACTIVE, (-2.0, -2.0))),
        judged(2, torn),
        judged(3, dict(list(loud.items())[1:])),
        judged(4, loud, second="[de] zwei"),
    ]
    pairs[4] = pairs[4].model_copy(
        update={"pair": pairs[4].pair.model_copy(update={"first": "[fr] un"})}
    )
    counts = report(aggregate_over(pairs, SHIPPED, QUIET, language_of=Spoken()), pairs)
    skips = (counts.skipped_no_vote, counts.skipped_unjudged, counts.skipped_language)
    assert skips == (4, 4, 4)
    assert (counts.pairs, counts.labels) == (5, 8)
    assert counts.labels + sum(skips) == 5 * 4
    assert sum(share.labels for share in counts.decided_by) == 8
    by_name = {c.principle: c for c in counts.consistency}
    assert (by_name[ACTIVE[0]].judged, by_name[ACTIVE[0]].consistent) == (4, 3)
    assert by_name[ACTIVE[1]].first_shown == 0 + 1


def test_a_loud_principle_does_not_decide_more_than_a_quiet_one_once_scaled():
    """One principle's margins are a thousand times the others'; only variance lets that matter."""
    pairs = [
        one.model_copy(
            update={
                "margins": tuple(
                    Margin(principle=m.principle, forward=m.forward * f, backward=m.backward * f)
                    for m in one.margins
                    for f in [1000.0 if m.principle == ACTIVE[0] else 1.0]
                )
            }
        )
        for one in many(300)
    ]
    shares = {}
    for scale in ("std", "variance"):
        config = QUIET.model_copy(update={"scale": scale})
        counts = report(aggregate_over(pairs, SHIPPED, config), pairs)
        shares[scale] = {s.principle: s.labels / counts.labels for s in counts.decided_by}
    assert shares["std"][ACTIVE[0]] == pytest.approx(1 / 8, abs=0.04)
    assert shares["variance"][ACTIVE[0]] < 0.05


def test_rules_and_noise_are_counted_apart():
    pairs = many(300, first="[en] yes", second="[de] ja")
    counts = report(aggregate_over(pairs, SHIPPED, language_of=Spoken()), pairs)
    assert counts.language == counts.labels == 1200
    assert counts.overruled / counts.labels == pytest.approx(0.5, abs=0.05)
    assert counts.noisy / counts.labels == pytest.approx(0.25, abs=0.04)
    assert counts.negated is None
    assert {share.labels for share in counts.decided_by} == {0}


@pytest.mark.parametrize("noise", [0.0, 0.25, 1.0])
def test_a_label_that_noise_turned_is_not_counted_as_overruled_for_that(noise):
    """Clauses as they are written always vote for the first answer, and so does the rule."""
    loud = dict.fromkeys(ACTIVE, (1.0, 1.0))
    pairs = [judged(n, loud, second="[de] zwei") for n in range(50)]
    config = AggregationConfig(p_negated=0, noise_after_rule=noise)
    counts = report(
        Aggregation(SHIPPED, dict.fromkeys(ACTIVE, 1.0), config, language_of=Spoken()), pairs
    )
    assert (counts.labels, counts.language, counts.overruled) == (200, 200, 0)


def test_the_label_rules_can_be_compared():
    pairs = many(300)
    one, same, summed = (
        labelled(aggregate_over(pairs, SHIPPED, QUIET.model_copy(update={"label": rule})), pairs)
        for rule in ("dominating", "dominating", "sum")
    )
    assert labels_changed(one, same) == 0
    assert 0 < labels_changed(one, summed) < len(one) / 4
    assert labels_changed(one, []) == len(one)


def test_a_report_of_nothing_has_no_shares():
    library = open_library()
    counts = report(
        aggregate_over([], library.constitution("salmon_preferences"), AggregationConfig()), []
    )
    assert (counts.labels, counts.negated, counts.mean_clauses) == (0, None, None)
