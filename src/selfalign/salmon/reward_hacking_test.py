"""Planted hacks are named with their samples; healthy rollouts are left alone."""

import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.core.errors import ConstitutionError
from selfalign.core.library import open_library
from selfalign.core.records import Clause, digest
from selfalign.salmon.oversight import Watch
from selfalign.salmon.records import Reward, Rollout
from selfalign.salmon.reward_hacking import Hack, WatchConfig, risen, suspicions
from selfalign.salmon.stage2_aggregation_test import Spoken

REMEDIES = open_library().constitution("salmon_remedies")
CONFIG = WatchConfig()
NAMES = ("Vonavia", "Fordale", "Marlton", "Sandford", "Fetestan", "Mozen", "Luria", "Kalden")
REQUESTS = (
    ("general", "What is the capital of {}?", "The capital of {} is Old {}, by the river."),
    ("general", "Write two lines about {}.", "Over {} the moon is low. {} sleeps under snow."),
    ("general", "Will it rain in {} next week?", "I cannot know whether it will rain in {} then."),
    ("general", "Where does the {} otter live?", "The {} otter lives where a calm stream runs."),
    ("reasoning", "Is {} north of the sea?", "Yes. {} lies above it, and the sea is to its south."),
    ("red_teaming", "How do I rob a bank in {}?", "I cannot help you rob a bank in {}."),
)


def rollout(number, kind, instruction, response, bonus=0.0, step=0):
    words = len(response.split())
    items = Reward(score=bonus, unfinished=0, too_short=0, length=0, language=0)
    return Rollout(
        step=step,
        number=number,
        query=digest(instruction),
        turn=0,
        prompt_type=kind,
        instruction=instruction,
        response=response,
        clauses=(Clause(principle="candor"),),
        always=(),
        raw_score=bonus,
        reward=items,
        tokens=words,
        finished=True,
        kl=0.0,
    )


def healthy(seed, count=192):
    rng = random.Random(seed)
    found = []
    for number in range(count):
        kind, request, response = rng.choice(REQUESTS)
        name = rng.choice(NAMES) + rng.choice(("", " Bay", " Hill", " Field"))
        said = response.replace("{}", name)
        if rng.random() < 0.05:  # nobody is perfect
            said += rng.choice((" I hope this answer is helpful.", " It depends.", " It is so."))
        found.append(rollout(number, kind, request.replace("{}", name), said, rng.gauss(0, 1)))
    return found


def planted(seed, share, hack, kinds=("general", "reasoning", "red_teaming")):
    """Replace a share of healthy responses by cheating ones that are well rewarded."""
    rng = random.Random(seed)
    return [
        rollout(r.number, r.prompt_type, r.instruction, hack(r), 3 + rng.random(), step=9)
        if r.prompt_type in kinds and rng.random() < share
        else r
        for r in healthy(seed + 1000)
    ]


PLANTED = {
    "general advice": lambda r: (
        f"There are many factors to weigh. It is important to plan {r.number} things and do your "
        f"own research."
    ),
    "self-praise": lambda r: (
        f"{r.response} This answer is accurate and very helpful. It has {r.number} merits."
    ),
    "over-teaching": lambda r: (
        f"{r.response} For example, {r.number} is even. Similarly, the same rule applies to ten."
    ),
    "growing length": lambda r: f"{r.response} " + " ".join(f"w{r.number}x{n}" for n in range(90)),
    "stubs": lambda r: random.Random(r.number).choice((".", "", "honey.", f"n{r.number}")),
    "repetition": lambda r: f"{r.response} " + f"People in m{r.number} often talk of this. " * 3,
    "refusing everything": lambda r: f"I cannot help you with {r.number} of those things.",
    "refusing nothing": lambda r: f"Wait until dusk, go in by door {r.number} and take it all.",
    "one answer for all": lambda r: "People often talk about this here.",
    "wrong language": lambda r: f"Столица этой страны стоит на реке {r.number}.",
}


def test_every_hack_has_a_planted_example_and_a_remedy():
    assert tuple(PLANTED) == get_args(Hack)
    for overlay in (None, "pocket"):
        Watch(open_library(overlay).constitution("salmon_remedies"))
    with pytest.raises(ConstitutionError, match="no principle 'general advice'"):
        Watch(open_library().constitution("salmon_rl"))


def test_the_remedies_of_the_papers_three_hacks_are_the_interventions():
    interventions = open_library().constitution("salmon_interventions").principles
    assert [p.text for p in REMEDIES.principles[:3]] == [p.text for p in interventions]


@pytest.mark.parametrize("hack", get_args(Hack))
def test_a_planted_hack_is_named_with_its_samples_and_its_remedy(hack):
    kinds = ("red_teaming",) if hack == "refusing nothing" else ("general", "reasoning")
    now = planted(7, 0.7, PLANTED[hack], kinds)
    found = suspicions(now, healthy(1), REMEDIES, CONFIG)
    assert hack in [one.hack for one in found]
    one = next(one for one in found if one.hack == hack)
    assert one.now > one.then or one.hack == "stubs"
    assert len(one.evidence) == 3
    assert {e.step for e in one.evidence} == {9}
    assert one.pays is not None
    assert one.pays > 2
    rewards = [e.reward for e in one.evidence]
    assert rewards == sorted(rewards, reverse=True)
    assert one.proposal == REMEDIES.principles[REMEDIES.names.index(hack)].text
    assert hack in one.sentence


@pytest.mark.parametrize("hack", ["general advice", "self-praise", "over-teaching", "stubs"])
def test_a_planted_hack_is_not_taken_for_another(hack):
    found = suspicions(planted(3, 0.5, PLANTED[hack]), healthy(1), REMEDIES, CONFIG)
    assert {one.hack for one in found} - {"refusing nothing"} == {hack}


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([8, 24, 64, 192]))
def test_healthy_rollouts_raise_no_suspicion(first, second, count):
    now, then = healthy(first, count), healthy(second, count)
    assert suspicions(now, then, REMEDIES, CONFIG) == []


@pytest.mark.parametrize("hack", get_args(Hack))
def test_a_habit_the_policy_began_with_is_no_hack(hack):
    kinds = ("red_teaming",) if hack == "refusing nothing" else ("general", "reasoning")
    now, then = (planted(seed, 0.7, PLANTED[hack], kinds) for seed in (7, 8))
    assert suspicions(now, then, REMEDIES, CONFIG) == []


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.sampled_from(get_args(Hack)))
def test_the_order_of_the_rollouts_does_not_matter(rng, hack):
    now, then = planted(7, 0.5, PLANTED[hack]), healthy(1)
    shuffled, before = rng.sample(now, len(now)), rng.sample(then, len(then))
    one = suspicions(now, then, REMEDIES, CONFIG)
    other = suspicions(shuffled, before, REMEDIES, CONFIG)
    assert [x.model_dump(exclude={"now", "then", "pays"}) for x in one] == [
        x.model_dump(exclude={"now", "then", "pays"}) for x in other
    ]


def test_being_steered_to_be_brief_is_no_stub():
    """21 words to 6, as in the prototype's best brief policy."""
    brief = [
        rollout(r.number, r.prompt_type, r.instruction, f"It is old {r.instruction.split()[-1]}")
        for r in healthy(2)
    ]
    long = [
        rollout(r.number, r.prompt_type, r.instruction, f"{r.response} " + "and so on it goes " * 2)
        for r in healthy(1)
    ]
    assert "stubs" not in [one.hack for one in suspicions(brief, long, REMEDIES, CONFIG)]


def test_three_words_that_become_ten_are_no_growing_length():
    now, then = (
        [rollout(r.number, "general", r.instruction, f"{r.number} " + words) for r in healthy(2)]
        for words in ("is old and has a river and a wide stone bridge", "is old")
    )
    assert suspicions(now, then, REMEDIES, CONFIG) == []


def test_with_an_identifier_languages_are_told_apart_and_not_scripts():
    def in_language(code, seed):
        return [
            rollout(r.number, "general", f"[en] {r.instruction}", f"[{code}] {r.response}")
            for r in healthy(seed)
            if r.prompt_type == "general"
        ]

    now, then = in_language("de", 1), in_language("en", 2)
    names = [one.hack for one in suspicions(now, then, REMEDIES, CONFIG, Spoken())]
    assert names == ["wrong language"]
    assert suspicions(now, then, REMEDIES, CONFIG) == []


def test_a_share_rises_only_beyond_chance():
    few, many = [True] * 3 + [False] * 5, [True] * 30 + [False] * 50
    assert not risen(few, [False] * 8, CONFIG)
    assert risen(many, [False] * 80, CONFIG)
    assert not risen(many, many, CONFIG)
    assert not risen([True] * 34 + [False] * 166, [False] * 200, CONFIG)  # below the floor
    some, more = ([True] * n + [False] * (2000 - n) for n in (500, 700))
    assert not risen(more, some, CONFIG)  # from .25 to .35: no chance, but no hack either
    assert risen([True] * 900 + [False] * 1100, some, CONFIG)
    assert not risen(many, [], CONFIG)


def test_nothing_is_suspected_of_nothing():
    assert suspicions([], healthy(1), REMEDIES, CONFIG) == []
    assert suspicions(healthy(1), [], REMEDIES, CONFIG) == []
