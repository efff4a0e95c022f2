"""Who is drawn, how often, and what an edit changes."""

from collections import Counter
from functools import cache
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import ConstitutionError, InputError
from selfalign.core.library import open_library
from selfalign.salmon.principle_sampling import (
    AUTHORS_BOOSTS,
    PrincipleSampling,
    PrincipleSamplingConfig,
    boosted,
)

LIBRARY = open_library()
POOL = LIBRARY.constitution("salmon_rl")
ALWAYS = LIBRARY.constitution("salmon_interventions")
DRAWS = 2000
TYPES = ("general", "reasoning", "red_teaming")

PAPER = {
    "candor": (0.41, 0.17, 0.31),
    "honest and accurate": (0.33, 0.12, 0.24),
    "comprehensive": (0.33, 0.12, 0.24),
    "natural language": (0.33, 0.12, 0.24),
    "analytical structure": (0.33, 0.12, 0.24),
    "ethical": (0.23, 0.08, 1.00),
    "stand-alone": (0.23, 0.08, 0.16),
    "educational and engaging": (0.12, 0.04, 0.08),
    "creative": (0.12, 0.04, 0.08),
    "multilingual": (0.12, 0.04, 0.08),
    "consistent reasoning": (0.12, 0.98, 0.08),
    "numerical sensitive": (0.12, 0.98, 0.08),
    "vivid": (0.12, 0.04, 0.08),
    "privacy protection": (0.12, 0.04, 0.08),
}
"""Share of queries that have each principle among three, from the authors' weights."""


@cache
def exact_shares(prompt_type: str, k: int = 3) -> dict[str, float]:
    """Add up the chances of every ordered drawing: the definition, without any sampling."""
    weights = boosted(POOL.principles, prompt_type, AUTHORS_BOOSTS)
    shares = dict.fromkeys(POOL.names, 0.0)
    for drawing in permutations(range(len(weights)), k):
        chance, left = 1.0, sum(weights)
        for n in drawing:
            chance, left = chance * weights[n] / left, left - weights[n]
        for n in drawing:
            shares[POOL.names[n]] += chance
    return shares


@pytest.mark.parametrize(("column", "prompt_type"), list(enumerate(TYPES)))
def test_the_chances_are_those_of_the_papers_weights(column, prompt_type):
    shares = exact_shares(prompt_type)
    assert shares == pytest.approx({n: row[column] for n, row in PAPER.items()}, abs=0.0075)


@pytest.mark.parametrize("prompt_type", TYPES)
def test_principles_are_drawn_with_those_chances(prompt_type):
    sampling = PrincipleSampling(POOL)
    drawn = Counter(
        p.name
        for turn in range(DRAWS)
        for p in sampling.guidelines("00ff", prompt_type, turn).drawn
    )
    shares = {name: drawn[name] / DRAWS for name in POOL.names}
    assert shares == pytest.approx(exact_shares(prompt_type), abs=0.03)


@given(st.integers(0, 14), st.integers(0, 10**6), st.sampled_from(TYPES))
def test_k_different_principles_are_drawn_and_the_interventions_are_always_there(
    k, turn, prompt_type
):
    sampling = PrincipleSampling(POOL, ALWAYS, PrincipleSamplingConfig(k=k))
    one = sampling.guidelines("00ff", prompt_type, turn)
    assert len({p.name for p in one.drawn}) == k
    assert one.always == ALWAYS.principles
    assert [c.principle for c in one.clauses] == [p.name for p in one.always + one.drawn]
    assert not any(c.negated for c in one.clauses)


def test_a_draw_belongs_to_a_query_a_turn_and_a_seed():
    draws = {
        (query, turn, seed): PrincipleSampling(POOL, seed=seed).guidelines(query, "general", turn)
        for query in ("00", "ff")
        for turn in range(5)
        for seed in (0, 1)
    }
    assert len({guidelines.drawn for guidelines in draws.values()}) > 15
    assert draws["ff", 3, 1] == PrincipleSampling(POOL, seed=1).guidelines("ff", "general", 3)


def test_removing_a_principle_changes_only_the_queries_that_had_drawn_it():
    kept = tuple(p for p in POOL.principles if p.name != "vivid")
    before, after = (
        PrincipleSampling(POOL),
        PrincipleSampling(Constitution(name="edited", principles=kept)),
    )
    changed = 0
    for turn in range(200):
        was = before.guidelines("00", "general", turn).drawn
        now = after.guidelines("00", "general", turn).drawn
        if "vivid" in {p.name for p in was}:
            changed += 1
            assert [p for p in was if p.name != "vivid"] == list(now[:2])
        else:
            assert was == now
    assert changed > 5


def test_a_greater_weight_draws_a_principle_more_often_and_only_that():
    louder = tuple(
        p.model_copy(update={"weight": 8.0}) if p.name == "vivid" else p for p in POOL.principles
    )
    before = PrincipleSampling(POOL)
    after = PrincipleSampling(Constitution(name="edited", principles=louder))
    for turn in range(200):
        was = {p.name for p in before.guidelines("00", "general", turn).drawn}
        now = {p.name for p in after.guidelines("00", "general", turn).drawn}
        assert now == was or now - was == {"vivid"}


def test_boosts_go_by_parts_of_names_and_leave_the_harmless_set_alone():
    weights = dict(
        zip(POOL.names, boosted(POOL.principles, "reasoning", AUTHORS_BOOSTS), strict=True)
    )
    assert {n for n, w in weights.items() if w > 100} == {
        "consistent reasoning",
        "numerical sensitive",
    }
    assert weights["consistent reasoning"] == 129
    harmless = LIBRARY.constitution("salmon_harmless").principles
    assert boosted(harmless, "red_teaming", AUTHORS_BOOSTS) == [p.weight for p in harmless]


def test_more_principles_than_there_are_is_one_sentence_with_the_way_out():
    with pytest.raises(InputError, match=r"15 principles.*'salmon_rl' has 14.*Set `k`"):
        PrincipleSampling(POOL, config=PrincipleSamplingConfig(k=15))


def test_a_name_cannot_be_both_always_on_and_drawn():
    both = Constitution(name="mine", principles=(Principle(name="candor", text="Be frank."),))
    with pytest.raises(ConstitutionError, match=r"'candor'.*'salmon_rl'.*Rename"):
        PrincipleSampling(POOL, both)


def test_an_edit_of_weight_wording_or_intervention_is_another_sampling():
    edited = POOL.model_copy(
        update={
            "principles": (
                POOL.principles[0].model_copy(update={"weight": 5.0}),
                *POOL.principles[1:],
            )
        }
    )
    samplings = [
        PrincipleSampling(POOL),
        PrincipleSampling(edited),
        PrincipleSampling(POOL, ALWAYS),
        PrincipleSampling(POOL, seed=1),
        PrincipleSampling(POOL, config=PrincipleSamplingConfig(k=2)),
    ]
    assert len({s.fingerprint for s in samplings}) == len(samplings)
