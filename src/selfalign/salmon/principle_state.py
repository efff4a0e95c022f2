"""Which principles reward the policy at a step, and what a change makes of them. Pure.

Paper: arXiv:2310.05910v2, "Preventing Reward Hacking": what goes wrong in RL is put right by
editing principles. There the training was stopped, edited and begun again; here it goes on.

    PrincipleState (pool, weights, always on)  +  Change  ->  PrincipleState, or a refusal

A change that no longer fits (its principle left the pool with a later entry of the schedule) is
skipped and says why; nothing here can stop a training.
"""

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import InputError
from selfalign.core.text import collapse_spaces


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AlwaysOn(_Frozen):
    """From now on every rollout is rewarded under this text as well."""

    change: Literal["always"] = "always"
    text: str

    def __str__(self) -> str:
        """Say it as the command line does."""
        return f'always "{self.text}"'


class Reweighed(_Frozen):
    """From now on a principle of the pool is drawn with another weight; 0: never."""

    change: Literal["weight"] = "weight"
    principle: str
    weight: float

    def __str__(self) -> str:
        """Say it as the command line does."""
        return f"weight {self.principle}={self.weight:g}"


class Removed(_Frozen):
    """From now on a principle is no longer drawn, or no longer always on."""

    change: Literal["remove"] = "remove"
    principle: str

    def __str__(self) -> str:
        """Say it as the command line does."""
        return f"remove {self.principle}"


Change = Annotated[AlwaysOn | Reweighed | Removed, Field(discriminator="change")]
"""One thing about the principles that is to be otherwise."""


class NumberedChange(NamedTuple):
    """A change and the number of the edit it belongs to, which names what it adds."""

    edit: int
    change: Change


class Unfit(NamedTuple):
    """A change that could not be made, and why."""

    change: Change
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.change}: {self.reason}"


class PrincipleState(_Frozen):
    """The principles in force."""

    pool: Constitution
    """What principles are drawn from, with their weights."""
    silent: tuple[str, ...] = ()
    """Of the pool: those never drawn (removed, or of weight 0); a new weight brings them back."""
    always: tuple[Principle, ...] = ()
    """Always on, in the order shown."""

    @property
    def drawable(self) -> Constitution:
        """The pool without those that are never drawn."""
        kept = tuple(p for p in self.pool.principles if p.name not in self.silent)
        return self.pool.model_copy(update={"principles": kept})

    @property
    def interventions(self) -> Constitution | None:
        """What is always on, as a constitution; None: nothing is."""
        return Constitution(name="always on", principles=self.always) if self.always else None


def changed(state: PrincipleState, one: NumberedChange, k: int) -> PrincipleState:
    """Return the state after one change.

    Args:
        state: The principles before it.
        one: The change.
        k: Principles drawn per query: so many must be left.

    Raises:
        InputError: it does not fit the state; the message names the nearest thing that would.
    """
    if isinstance(one.change, AlwaysOn):
        return _always_on(state, one.change.text, f"live {one.edit}")
    if isinstance(one.change, Reweighed):
        return _reweighed(state, one.change, k)
    if name := _find(one.change.principle, [p.name for p in state.always]):
        kept = tuple(p for p in state.always if p.name != name)
        if not kept and k == 0:
            raise InputError(
                f"without {name!r} nothing would be left to reward by: none is drawn per query. "
                f"First add another text with --always."
            )
        return state.model_copy(update={"always": kept})
    return _silenced(state, _in_pool(state, one.change.principle), k)


def fold(
    state: PrincipleState, changes: Sequence[NumberedChange], k: int
) -> tuple[PrincipleState, list[Unfit]]:
    """Make the changes in order; those that do not fit are skipped and handed back."""
    unfit: list[Unfit] = []
    for one in changes:
        try:
            state = changed(state, one, k)
        except InputError as refusal:
            unfit.append(Unfit(one.change, str(refusal)))
    return state, unfit


def named_texts(texts: Sequence[str], prefix: str) -> tuple[Principle, ...]:
    """Name texts that somebody wants always on: "always 1", "always 2".

    Raises:
        InputError: a text is blank.
    """
    return tuple(
        Principle(name=f"{prefix} {number}", text=_said(text))
        for number, text in enumerate(texts, start=1)
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """Return "did you mean 'candor'? " for the nearest known name, or nothing if none is near."""
    found = get_close_matches(name.casefold(), [k.casefold() for k in known], n=1, cutoff=0.5)
    return f"did you mean {_find(found[0], known)!r}? " if found else ""


def _always_on(state: PrincipleState, text: str, name: str) -> PrincipleState:
    said = _said(text)
    twice = next((p.name for p in state.always if p.text.split() == said.split()), None)
    if twice:
        raise InputError(f"{said[:60]!r} is always on already, as {twice!r}. Leave it out.")
    taken = {*state.pool.names, *(p.name for p in state.always)}
    while name in taken:  # one edit may switch on several texts
        name += "'"
    return state.model_copy(update={"always": (*state.always, Principle(name=name, text=said))})


def _reweighed(state: PrincipleState, change: Reweighed, k: int) -> PrincipleState:
    if not math.isfinite(change.weight) or change.weight < 0:
        raise InputError(
            f"{change.principle}={change.weight:g}: a weight is a number of at least 0, such as "
            f"{change.principle}=8."
        )
    name = _in_pool(state, change.principle)
    if change.weight == 0:
        return _silenced(state, name, k)
    pool = tuple(
        p.model_copy(update={"weight": change.weight}) if p.name == name else p
        for p in state.pool.principles
    )
    return state.model_copy(
        update={
            "pool": state.pool.model_copy(update={"principles": pool}),
            "silent": tuple(n for n in state.silent if n != name),
        }
    )


def _silenced(state: PrincipleState, name: str, k: int) -> PrincipleState:
    if name in state.silent:
        return state
    left = len(state.drawable.principles) - 1
    if left < k:
        raise InputError(
            f"without {name!r} there would be {left} principles to draw from, and {k} are drawn "
            f"per query. Keep it, or first give another one a weight: --weight NAME=1."
        )
    return state.model_copy(update={"silent": (*state.silent, name)})


def _in_pool(state: PrincipleState, typed: str) -> str:
    name = _find(typed, state.pool.names)
    if name is None:
        known = [*state.pool.names, *(p.name for p in state.always)]
        raise InputError(
            f"there is no principle {typed!r}: {nearest(typed, known)}the pool has "
            f"{', '.join(state.pool.names)}. Correct the name, or add a text with --always."
        )
    return name


def _find(typed: str, known: Sequence[str]) -> str | None:
    """Return the name meant, whatever its capitals and spaces."""
    wanted = collapse_spaces(typed).casefold()
    return next((name for name in known if collapse_spaces(name).casefold() == wanted), None)


def _said(text: str) -> str:
    said = collapse_spaces(text)
    if not said:
        raise InputError("a principle that is always on says nothing; write it, or leave it out.")
    return said
