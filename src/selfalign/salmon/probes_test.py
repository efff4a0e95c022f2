"""Scores under one principle at a time, and when they have collapsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import InputError
from selfalign.core.library import open_library
from selfalign.core.protocols import Sampled
from selfalign.salmon.probes import (
    ProbeConfig,
    Probed,
    Probes,
    ProbeScores,
    collapse,
    fall,
)
from selfalign.salmon.reward_prompt import RewardPrompt

LIBRARY = open_library()
PROMPT = RewardPrompt(
    LIBRARY.prompt("salmon/reward_model"), LIBRARY.prompt("salmon/reward_model_rl")
)
TWO = Constitution(
    name="two",
    principles=(Principle(name="brief", text="Be brief."), Principle(name="kind", text="Be kind.")),
)


def scores(brief, kind, sd=1.0, source="batch"):
    return ProbeScores(
        source=source,
        responses=2,
        means={"brief": brief, "kind": kind},
        sds={"brief": sd, "kind": sd},
    )


def test_every_response_is_scored_under_every_principle_by_itself():
    asked = []

    def score(texts):
        asked.extend(texts)
        return [float(n) for n in range(len(texts))]

    got = Probes(TWO).scores([Probed("Q?", "One."), Probed("Q?", "Two.")], PROMPT, score, "batch")
    assert asked == [
        PROMPT.render("Q?", response, [text])
        for text in ("Be brief.", "Be kind.")
        for response in ("One.", "Two.")
    ]
    assert got.means == {"brief": 0.5, "kind": 2.5}
    assert got.sds == {"brief": 0.5, "kind": 0.5}
    assert got.responses == 2


def test_probes_come_every_so_many_steps_or_never():
    assert [s for s in range(12) if Probes(TWO, ProbeConfig(every=5)).due(s)] == [0, 5, 10]
    assert not any(Probes(TWO, ProbeConfig(every=0)).due(s) for s in range(12))


def test_the_same_queries_are_chosen_in_whatever_order_a_batch_comes():
    batch = [
        Sampled(query=f"{n:016x}", turn=0, response="r", tokens=1, finished=True, kl=None)
        for n in range(30)
    ]
    probes = Probes(TWO, ProbeConfig(responses=4))
    assert len(probes.chosen(batch)) == 4
    assert probes.chosen(batch[::-1]) == probes.chosen(batch)
    assert set(map(str, probes.chosen(batch[:20]))) >= {
        str(s) for s in probes.chosen(batch) if s in batch[:20]
    }


def test_steering_that_trades_one_principle_for_another_is_no_collapse():
    assert collapse(scores(0, 0), scores(-9, 9), ProbeConfig()) is None


def test_a_fall_under_all_principles_together_is_a_collapse():
    said = collapse(scores(0, 0), scores(-3.5, -3.5), ProbeConfig(max_fall=3))
    assert said == "the scores under all 2 probed principles have fallen by " + (
        "3.5 standard deviations on average"
    )
    assert collapse(scores(0, 0), scores(-2.9, -2.9), ProbeConfig(max_fall=3)) is None
    assert collapse(scores(0, 0), scores(-99, -99), ProbeConfig(max_fall=None)) is None


def test_a_guard_may_not_fall_by_itself():
    config = ProbeConfig(max_fall=3, guards=("kind",))
    assert "guarded principle 'kind'" in str(collapse(scores(0, 0), scores(9, -4), config))
    assert collapse(scores(0, 0), scores(-4, 9), config) is None


def test_probes_of_other_responses_are_not_compared():
    held_out = scores(-99, -99, source="held_out")
    assert collapse(scores(0, 0), held_out, ProbeConfig()) is None


@given(*[st.floats(-50, 50)] * 4, st.sampled_from([0.0, 0.5, 2.0]))
def test_the_unit_of_the_reward_model_does_not_matter(a, b, c, d, sd):
    there = fall(scores(a, b, sd), scores(c, d, sd))
    if sd:
        scaled = fall(scores(a * 8, b * 8, sd * 8), scores(c * 8, d * 8, sd * 8))
        assert there.overall == pytest.approx(scaled.overall)
    assert fall(scores(a, b, sd), scores(a, b, sd)).overall == 0


def test_a_guard_that_is_no_principle_is_one_sentence_with_the_way_out():
    with pytest.raises(InputError, match=r"guard 'brif'.*'two'.*did you mean 'brief'"):
        Probes(TWO, ProbeConfig(guards=("brif",)))


def test_other_principles_or_settings_are_other_probes():
    assert Probes(TWO).fingerprint != Probes(TWO, ProbeConfig(every=1)).fingerprint
    one = TWO.model_copy(update={"principles": TWO.principles[:1]})
    assert Probes(TWO).fingerprint != Probes(one).fingerprint == Probes(one).fingerprint
