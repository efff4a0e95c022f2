"""Which principles hold from which step on: what a plan says before the training begins. Pure.

Paper: arXiv:2310.05910v2, "Preventing Reward Hacking": interventions were added between trainings
as hacks were seen. A schedule says in advance when that happens; `steering.py` does it live.

    pool, interventions  +  entries up to a step, in order  ->  PrincipleState at that step
                         +  live edits applied up to it     ->  the same, steered

Difference: the authors have one setting per training and no schedule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from pydantic import Field

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import InputError, PlanError
from selfalign.core.library import Library
from selfalign.core.records import Settings, digest
from selfalign.salmon.principle_state import (
    NumberedChange,
    PrincipleState,
    Reweighed,
    changed,
    fold,
    named_texts,
)


class ScheduleEntry(Settings):
    """What is otherwise from a step on; what is not said stays as it is."""

    from_step: int = Field(ge=0)
    """Batches of rollouts before it takes effect."""
    pool: str | None = None
    """Name of a file in the library's constitutions/ to draw from, with that file's weights."""
    interventions: str | None = None
    """The same: what is always on; "": nothing."""
    always: tuple[str, ...] | None = None
    """Texts always on beside the interventions, in place of those before."""
    weights: Mapping[str, float] = Field(default_factory=dict)
    """Weights by name of principle; 0: never drawn."""


class Schedule(Settings):
    """Entries by step; none: the principles are the same from beginning to end."""

    entries: tuple[ScheduleEntry, ...] = ()
    """Ours: the authors have none."""


class _Phase(NamedTuple):
    from_step: int
    state: PrincipleState


@dataclass(frozen=True)
class PrinciplePlan:
    """A schedule with everything it names at hand: the principles of every step."""

    phases: tuple[_Phase, ...]
    """By step; the first begins at 0."""
    k: int
    """Principles drawn per query."""

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all principles of all steps."""
        return digest([[p.from_step, p.state.model_dump(mode="json")] for p in self.phases])

    def at(self, step: int) -> PrincipleState:
        """Return the principles the plan has in force at a step."""
        return next(p.state for p in reversed(self.phases) if p.from_step <= step)

    def steered(self, step: int, changes: Sequence[NumberedChange]) -> PrincipleState:
        """Return the principles of a step after the live changes applied at it or before, in order.

        A change that does not fit what the plan has in force at that step is skipped.
        """
        return fold(self.at(step), changes, self.k)[0]


def principle_plan(
    schedule: Schedule,
    *,
    pool: Constitution,
    interventions: Constitution | None = None,
    always: Sequence[str] = (),
    k: int,
    library: Library,
) -> PrinciplePlan:
    """Read what a schedule names and work out the principles of every phase.

    Args:
        schedule: The plan's entries.
        pool: What principles are drawn from before any entry.
        interventions: What is always on before any entry.
        always: Texts always on beside them before any entry.
        k: Principles drawn per query.
        library: Where the entries' constitutions are.

    Raises:
        PlanError: steps are not in order, a principle is unknown, or too few are left.
        LibraryError, ConstitutionError: a constitution cannot be read.
    """
    _check_order(schedule)
    state, written = PrincipleState(pool=pool), _Written(interventions, tuple(always))
    phases: list[_Phase] = []
    for number, entry in enumerate((ScheduleEntry(from_step=0), *schedule.entries)):
        try:
            written = written.then(entry, library)
            state = _entered(state, entry, written, k, library)
            _check(state, k)
        except InputError as error:
            where = f"schedule.entries.{number - 1}" if number else "principles"
            raise PlanError(f"`{where}` of the plan: {error}", field=where) from None
        phases.append(_Phase(entry.from_step, state))
    return PrinciplePlan(tuple(phases), k)


class _Written(NamedTuple):
    """What the plan has always on: a constitution and single texts."""

    interventions: Constitution | None
    texts: tuple[str, ...]

    def then(self, entry: ScheduleEntry, library: Library) -> "_Written":
        """Return it after one entry."""
        interventions = self.interventions
        if entry.interventions is not None:
            interventions = (
                library.constitution(entry.interventions) if entry.interventions else None
            )
        return _Written(interventions, self.texts if entry.always is None else entry.always)

    @property
    def principles(self) -> tuple[Principle, ...]:
        """All of it, named."""
        written = self.interventions.principles if self.interventions else ()
        return (*written, *named_texts(self.texts, "always"))


def _check_order(schedule: Schedule) -> None:
    for before, after in pairwise(schedule.entries):
        if after.from_step <= before.from_step:
            raise PlanError(
                f"the schedule has an entry from step {after.from_step} behind one from step "
                f"{before.from_step}. Write them in the order of their steps, each step once.",
                field="schedule.entries",
            )


def _entered(
    state: PrincipleState, entry: ScheduleEntry, written: _Written, k: int, library: Library
) -> PrincipleState:
    """Return the state after one entry: first its pool, then its weights."""
    if entry.pool is not None:
        state = PrincipleState(pool=library.constitution(entry.pool))
    state = state.model_copy(update={"always": written.principles})
    # Greater weights first: what is to be silent must not be refused for what is yet to come back.
    for name, weight in sorted(entry.weights.items(), key=lambda item: -item[1]):
        state = changed(state, NumberedChange(0, Reweighed(principle=name, weight=weight)), k)
    return state


def _check(state: PrincipleState, k: int) -> None:
    names = state.drawable.names
    if len(names) < k:
        raise InputError(
            f"{k} principles are to be drawn per query, but {state.pool.name!r} has {len(names)}. "
            f"Set `k` to at most that, or add principles."
        )
    if k == 0 and not state.always:
        raise InputError(
            "none is drawn per query and none is always on, so there is nothing to reward by. Set "
            "`k` to at least 1, or name `interventions`."
        )
    twice = sorted({p.name for p in state.always} & set(state.pool.names))
    if twice:
        raise InputError(
            f"{', '.join(map(repr, twice))} is both always on and in the pool {state.pool.name!r}, "
            f"and rollouts name principles by name alone. Rename one of the two."
        )
