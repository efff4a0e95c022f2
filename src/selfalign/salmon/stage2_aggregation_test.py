"""Laws and worked examples of SALMON's labels."""

import math
import random
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import ConstitutionError
from selfalign.core.library import open_library
from selfalign.core.records import Clause, Dropped, Instruction, JudgedPair, Margin, ResponsePair
from selfalign.core.store import Run
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.stage2_aggregation import (
    Aggregation,
    AggregationConfig,
    aggregate_over,
    counted,
    decide,
    margin_scales,
    score,
    truncated_geometric,
)

SHIPPED = open_library().constitution("salmon_preferences")
ACTIVE = counted(SHIPPED)
PHRASE = AggregationConfig().boilerplate
QUIET = AggregationConfig(noise=0, noise_after_rule=0)
nats = st.floats(-9, 9).filter(lambda x: abs(x) > 1e-6)
scored = st.lists(st.floats(-9, 9), min_size=1, max_size=8)


def pair_of(number: int = 0, first: str = "one", second: str = "two") -> ResponsePair:
    instruction = Instruction(text=f"question {number}", origin="user")
    return ResponsePair(instruction=instruction, first=first, second=second)


def judged(votes: dict[str, float], pair: ResponsePair | None = None) -> JudgedPair:
    return JudgedPair(
        pair=pair or pair_of(),
        margins=tuple(Margin(principle=n, forward=v, backward=v) for n, v in votes.items()),
    )


@cache
def many(count: int, first: str = "one", second: str = "two") -> list[JudgedPair]:
    """Pairs on which every principle has a view of its own, drawn from a bell curve."""
    rng = random.Random(5)
    return [
        judged({name: rng.gauss(0, 1) for name in SHIPPED.names}, pair_of(n, first, second))
        for n in range(count)
    ]


def labelled(stage: Aggregation, pairs: list[JudgedPair]) -> list[LabelledPair]:
    return [label for p in pairs for label in stage.labels(p) if isinstance(label, LabelledPair)]


class Spoken:
    """A language identifier that believes what a text says of itself: "[de] …"."""

    fingerprint = "spoken"

    def __call__(self, text: str) -> str:
        return text[1:3] if text.startswith("[") else "en"


# ---- scores


def test_the_worked_example_of_a_score():
    """Votes of 2 and 4 nats at a variance of 3: one, and minus one negated."""
    agreed = Margin(principle="p", forward=2, backward=4)
    assert score(agreed, Clause(principle="p"), 3) == 1.0
    assert score(agreed, Clause(principle="p", negated=True), 3) == -1.0


@pytest.mark.parametrize("negated", [False, True])
def test_orders_that_disagree_score_nothing_negated_or_not(negated):
    disagreed = Margin(principle="p", forward=2, backward=-1)
    assert score(disagreed, Clause(principle="p", negated=negated), 3) == 0


def test_scales_are_over_both_orders_of_all_pairs():
    """1, 3 and 5, 7: mean 4, squares 9 + 1 + 1 + 9, over four."""
    pairs = [
        JudgedPair(pair=pair_of(n), margins=(Margin(principle="p", forward=f, backward=b),))
        for n, (f, b) in enumerate([(1, 3), (5, 7)])
    ]
    assert margin_scales(pairs, ["p"], "variance") == {"p": 5.0}
    assert margin_scales(pairs, ["p"], "std") == {"p": math.sqrt(5)}


@given(st.floats(-9, 9), st.integers(1, 9))
def test_a_principle_that_says_the_same_of_every_pair_says_nothing(vote, count):
    pairs = [judged({"p": vote}, pair_of(n)) for n in range(count)]
    scales = margin_scales(pairs, ["p"], "variance")
    assert scales == {"p": 0.0}
    assert score(pairs[0].margins[0], Clause(principle="p"), scales["p"]) == 0


@given(st.lists(st.tuples(nats, nats), min_size=2, max_size=9), st.sampled_from([0.25, 2.0, 8.0]))
def test_with_std_the_unit_of_the_margins_does_not_matter(rows, unit):
    def scores(factor: float) -> list[float]:
        margins = [Margin(principle="p", forward=f * factor, backward=b * factor) for f, b in rows]
        pairs = [JudgedPair(pair=pair_of(n), margins=(m,)) for n, m in enumerate(margins)]
        scale = margin_scales(pairs, ["p"], "std")["p"]
        return [score(m, Clause(principle="p"), scale) for m in margins]

    assert scores(unit) == pytest.approx(scores(1.0))


# ---- decisions


def test_the_papers_illustration_is_decided_by_the_largest_gap_and_not_by_the_sum():
    """Scores (2, 3, 6) against (1, 5, 5): the second principle decides; the sums are equal."""
    gaps = [2 - 1, 3 - 5, 6 - 5]
    assert decide(gaps, "dominating") == (2, 1)
    assert decide(gaps, "sum") is None
    assert decide([1, -2, 1.5], "sum") == (1, 2)


def test_the_figures_example_is_decided_by_honesty():
    """Honest +3 beats negated concise -2."""
    assert decide([3, -2], "dominating") == (1, 0)


def test_no_decision_when_no_clause_has_a_view():
    assert decide([0.0, -0.0], "dominating") is None
    assert decide([0.0, -0.0], "sum") is None


@pytest.mark.parametrize("label", ["dominating", "sum"])
def test_weak_votes_give_no_label_and_change_no_other(label):
    every = aggregate_over(many(60), SHIPPED, QUIET.model_copy(update={"label": label}))
    least = QUIET.model_copy(update={"label": label, "least": 1.5})
    strong = aggregate_over(many(60), SHIPPED, least)
    kept = labelled(strong, many(60))
    deciding = {
        one.id: one.scores[[c.principle for c in one.clauses].index(one.decided_by)]
        for one in labelled(every, many(60))
    }
    assert [one.id for one in kept] == [name for name, s in deciding.items() if abs(s) >= 1.5]
    assert 0 < len(kept) < len(deciding)


@pytest.mark.parametrize("label", ["dominating", "sum"])
def test_a_clause_that_nearly_ties_with_the_deciding_one_leaves_no_label(label):
    def labels(rival):
        config = QUIET.model_copy(update={"label": label, "rival": rival})
        return labelled(aggregate_over(many(60), SHIPPED, config), many(60))

    def rivalled(one):
        decides = [c.principle for c in one.clauses].index(one.decided_by)
        strength = abs(one.scores[decides])
        return any(abs(s) > 0.5 * strength for n, s in enumerate(one.scores) if n != decides)

    every = labels(1.0)
    assert labels(0.5) == [one for one in every if not rivalled(one)]
    assert 0 < len(labels(0.5)) < len(every)


@given(scored, st.sampled_from(["dominating", "sum"]))
def test_turning_every_score_round_turns_the_decision_round(scores, label):
    there, back = decide(scores, label), decide([-s for s in scores], label)
    assert (there is None) == (back is None)
    if there and back:
        assert {there.voted, back.voted} == {1, 2}
        if label == "sum" or sorted(map(abs, scores))[-1:] != sorted(map(abs, scores))[-2:-1]:
            assert there.strongest == back.strongest


@given(scored)
def test_the_dominating_principle_is_the_strongest_by_absolute_value(scores):
    decision = decide(scores, "dominating")
    if decision:
        assert abs(scores[decision.strongest]) == max(map(abs, scores))
        assert (scores[decision.strongest] > 0) == (decision.voted == 1)


# ---- drawing clauses


def test_the_number_of_principles_is_the_papers_distribution():
    """Counted over an even grid, so exact to the spacing of the grid."""
    grid = 200_000
    counts = Counter(truncated_geometric((n + 0.5) / grid, 0.2, 8) for n in range(grid))
    shares = [counts[n] / grid for n in range(1, 9)]
    assert shares == pytest.approx(
        [0.2403, 0.1923, 0.1538, 0.1230, 0.0984, 0.0788, 0.0630, 0.0504], abs=6e-5
    )
    assert sum(n * s for n, s in enumerate(shares, 1)) == pytest.approx(3.387, abs=5e-4)


@given(st.floats(0, 1, exclude_max=True), st.floats(0.01, 0.99), st.integers(1, 20))
def test_the_number_of_principles_is_never_out_of_range(u, p_stop, most):
    assert 1 <= truncated_geometric(u, p_stop, most) <= most


def test_clauses_are_drawn_evenly_and_negated_half_the_time():
    stage, pairs = Aggregation(SHIPPED, dict.fromkeys(ACTIVE, 1.0)), many(1500)
    drawn = [clauses for pair in pairs for clauses in [stage.clauses(pair, 0)]]
    assert all(len({c.principle for c in clauses}) == len(clauses) for clauses in drawn)
    shares = Counter(c.principle for clauses in drawn for c in clauses)
    assert set(shares) == set(ACTIVE)
    assert max(shares.values()) / min(shares.values()) < 1.15
    assert sum(map(len, drawn)) / len(drawn) == pytest.approx(3.387, abs=0.12)
    negated = [c.negated for clauses in drawn for c in clauses]
    assert sum(negated) / len(negated) == pytest.approx(0.5, abs=0.03)


def test_what_is_not_aggregated_is_never_drawn():
    assert len(ACTIVE) == 8
    assert not {"overall helpful", "natural and fluent", "multilingual"} & set(ACTIVE)


# ---- labels


def test_half_of_the_deciding_principles_are_negated():
    labels = labelled(aggregate_over(many(700), SHIPPED, QUIET), many(700))
    negated = [next(c.negated for c in x.clauses if c.principle == x.decided_by) for x in labels]
    assert sum(negated) / len(negated) == pytest.approx(0.5, abs=0.03)


def test_a_label_without_rule_or_noise_is_the_sign_of_the_strongest_score():
    labels = labelled(aggregate_over(many(200), SHIPPED, QUIET), many(200))
    for label in labels:
        strongest = max(label.scores, key=abs)
        assert label.preferred == label.voted == (1 if strongest > 0 else 2)
        assert label.clauses[label.scores.index(strongest)].principle == label.decided_by
    assert len(labels) == 4 * 200


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["dominating", "sum"]))
def test_reading_the_pair_the_other_way_round_changes_only_what_is_shown_first(number, label):
    """Clauses drawn for the same pass on turned margins choose the same text."""
    votes = {name: random.Random(f"{number}{name}").gauss(0, 1) for name in ACTIVE}
    config = QUIET.model_copy(update={"label": label})
    stage = Aggregation(SHIPPED, dict.fromkeys(ACTIVE, 1.0), config, seed=number)
    for one in labelled(stage, [judged(votes, pair_of(number))]):
        raw = [votes[c.principle] * (-1 if c.negated else 1) for c in one.clauses]
        assert list(one.scores) == ([-r for r in raw] if one.swapped else raw)
        better = math.fsum(raw) if label == "sum" else max(raw, key=abs)
        assert one.chosen == ("one" if better > 0 else "two")
        assert {one.first, one.second} == {one.chosen, one.rejected} == {"one", "two"}


def test_the_order_shown_is_a_fair_coin_that_the_label_cannot_be_read_from():
    labels = labelled(aggregate_over(many(700), SHIPPED, QUIET), many(700))
    assert sum(x.swapped for x in labels) / len(labels) == pytest.approx(0.5, abs=0.03)
    assert sum(x.preferred == 1 for x in labels) / len(labels) == pytest.approx(0.5, abs=0.03)


def test_a_tenth_of_the_labels_is_noise():
    labels = labelled(aggregate_over(many(700), SHIPPED), many(700))
    disagree = sum(x.preferred != x.voted for x in labels) / len(labels)
    assert disagree == pytest.approx(0.1, abs=0.015)
    assert all(x.noisy == (x.preferred != x.voted) for x in labels)


def test_where_a_rule_decided_a_quarter_of_the_labels_is_noise():
    pairs = many(700, first="[en] yes", second="[de] ja")
    labels = labelled(aggregate_over(pairs, SHIPPED, language_of=Spoken()), pairs)
    assert {x.rule for x in labels} == {"language"}
    german = sum(x.chosen == "[de] ja" for x in labels) / len(labels)
    assert german == pytest.approx(0.25, abs=0.025)


def test_noise_changes_labels_and_nothing_else():
    pairs = many(100)
    clean, noisy = (
        labelled(aggregate_over(pairs, SHIPPED, AggregationConfig(noise=share)), pairs)
        for share in (0, 1)
    )
    same = {"first", "second", "clauses", "scores", "decided_by", "swapped", "voted"}
    for a, b in zip(clean, noisy, strict=True):
        assert a.model_dump(include=same) == b.model_dump(include=same)
        assert {a.preferred, b.preferred} == {1, 2}


# ---- rules


def test_boilerplate_loses_in_half_of_the_cases_whatever_the_principles_say():
    pairs = many(500, first=f"{PHRASE}, I cannot.", second="Boil it.")
    labels = labelled(aggregate_over(pairs, SHIPPED, QUIET), pairs)
    ruled = [x for x in labels if x.rule == "boilerplate"]
    assert len(ruled) / len(labels) == pytest.approx(0.5, abs=0.03)
    assert {x.chosen for x in ruled} == {"Boil it."}
    assert {x.chosen for x in labels if not x.rule} == {f"{PHRASE}, I cannot.", "Boil it."}
    off = QUIET.model_copy(update={"boilerplate": ""})
    assert not any(x.rule for x in labelled(aggregate_over(pairs, SHIPPED, off), pairs))


def test_the_language_rule_overrules_the_boilerplate_rule():
    always = QUIET.model_copy(update={"p_boilerplate": 1})
    pairs = many(50, first=f"[en] {PHRASE}, no.", second="[de] Koch es.")
    labels = labelled(aggregate_over(pairs, SHIPPED, always, language_of=Spoken()), pairs)
    assert {(x.rule, x.chosen) for x in labels} == {("language", f"[en] {PHRASE}, no.")}
    labels = labelled(aggregate_over(pairs, SHIPPED, always), pairs)
    assert {(x.rule, x.chosen) for x in labels} == {("boilerplate", "[de] Koch es.")}


def test_a_pair_without_an_answer_in_the_users_language_is_dropped():
    (pair,) = many(1, first="[de] ja", second="[fr] oui")
    (outcome,) = aggregate_over(many(9), SHIPPED, language_of=Spoken())([pair])
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "language"


def test_a_pair_no_principle_has_a_view_of_is_dropped():
    inconsistent = JudgedPair(
        pair=pair_of(),
        margins=tuple(Margin(principle=n, forward=1, backward=-1) for n in SHIPPED.names),
    )
    (outcome,) = aggregate_over(many(9), SHIPPED)([inconsistent])
    assert (outcome.source, outcome.reason) == (inconsistent.id, "no_vote")


def test_a_pair_some_principle_has_not_judged_is_dropped_and_the_principle_named():
    stage = aggregate_over(many(9), SHIPPED)
    (outcome,) = stage([judged(dict.fromkeys(ACTIVE[1:], 1.0))])
    assert (outcome.reason, outcome.detail) == ("unjudged", ACTIVE[0])


# ---- randomness and identity


def test_the_labels_of_a_pair_depend_on_no_other_pair():
    stage, pairs = aggregate_over(many(30), SHIPPED), many(30)
    assert stage(pairs)[7:9] == stage(pairs[7:9])


def test_passes_and_seeds_draw_apart():
    (pair,), scales = many(1), dict.fromkeys(ACTIVE, 1.0)
    stages = [Aggregation(SHIPPED, scales, seed=seed) for seed in (0, 1)]
    drawn = {stage.clauses(pair, n) for stage in stages for n in range(4)}
    assert len(drawn) >= 6


def test_another_identifier_or_scale_is_another_stage():
    keys = [
        aggregate_over(many(9), SHIPPED).key,
        aggregate_over(many(8), SHIPPED).key,
        aggregate_over(many(9), SHIPPED, AggregationConfig(scale="variance")).key,
        aggregate_over(many(9), SHIPPED, language_of=Spoken()).key,
    ]
    assert len(set(keys)) == 4
    assert keys[0] == aggregate_over(many(9), SHIPPED).key


def test_labels_are_a_stage_of_a_run_and_become_examples(tmp_path):
    pairs = many(5)
    labels = Run(tmp_path / "run").fill(aggregate_over(pairs, SHIPPED), pairs)
    assert len(labels) == 20
    example = labels[0].example
    assert (example.chosen, example.rejected) == (labels[0].chosen, labels[0].rejected)
    assert example.clauses == labels[0].clauses


def test_a_principle_without_a_negation_is_one_sentence_with_the_way_out():
    wit = Constitution(name="mine", principles=(Principle(name="witty", text="It is funny."),))
    with pytest.raises(ConstitutionError, match=r"'witty'.*'mine'.*Add a `negation:` line"):
        aggregate_over([], wit)
    aggregate_over([], wit, AggregationConfig(p_negated=0))
    silent = wit.principles[0].model_copy(update={"aggregated": False})
    aggregate_over([], wit.model_copy(update={"principles": (silent, *SHIPPED.principles)}))
