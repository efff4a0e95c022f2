"""Which prompts are answered when."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.protocols import PolicyPrompt
from selfalign.trainers.prompt_order import asked, in_groups, steps_needed


def prompts(count: int, queries: int | None = None) -> list[PolicyPrompt]:
    return [
        PolicyPrompt(query=f"q{n % (queries or count)}", text=f"{n}", stop=()) for n in range(count)
    ]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 9), st.integers(0, 3))
def test_every_prompt_is_asked_before_any_is_asked_again(
    count: int, per_step: int, steps: int, seed: int
) -> None:
    plan = asked(prompts(count), per_step=per_step, steps=steps, seed=seed)
    assert [one.step for one in plan] == [at // per_step for at in range(steps * per_step)]
    times = Counter(one.prompt.text for one in plan)
    assert max(times.values()) - min(times[str(n)] for n in range(count)) <= 1


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 40))
def test_a_query_has_each_turn_once(count: int, queries: int, places: int) -> None:
    plan = asked(prompts(count, queries), per_step=1, steps=places, seed=0)
    turns = Counter((one.prompt.query, one.turn) for one in plan)
    assert max(turns.values()) == 1


def test_a_unique_query_counts_its_turns_from_zero() -> None:
    plan = asked(prompts(3), per_step=3, steps=3, seed=0)
    assert [one.turn for one in plan] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_more_steps_leave_the_earlier_ones_as_they_were() -> None:
    few = asked(prompts(5), per_step=2, steps=3, seed=4)
    assert asked(prompts(5), per_step=2, steps=9, seed=4)[: len(few)] == few


def test_another_seed_asks_in_another_order() -> None:
    first, other = (asked(prompts(20), per_step=4, steps=5, seed=s) for s in (0, 1))
    assert [one.prompt for one in first] != [one.prompt for one in other]


@pytest.mark.parametrize(
    ("count", "per_step", "epochs", "steps"),
    [(10, 5, 2.0, 4), (10, 4, 1.0, 3), (3, 8, 0.1, 1), (10, 1, 0.3, 3), (7, 7, 1.0, 1)],
)
def test_epochs_become_batches(count: int, per_step: int, epochs: float, steps: int) -> None:
    assert steps_needed(count, per_step, epochs) == steps


def test_groups_are_copies_that_lie_side_by_side() -> None:
    plan = asked(prompts(4), per_step=2, steps=1, seed=0)
    grouped = in_groups(plan, 3)
    assert [place.copy for place in grouped] == [0, 1, 2] * 2
    assert [(p.prompt, p.turn) for p in grouped] == [
        (p.prompt, p.turn) for p in plan for _ in range(3)
    ]
