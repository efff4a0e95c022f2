"""`selfalign steer RUN`: edit the principles of a training while it runs.

--always, --weight, --remove  ->  one edit, checked against what holds and what is still unheard
                              ->  RUN/steering/edits.jsonl, heard at the next batch of rollouts
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from selfalign.cli.terminal import say, table
from selfalign.core.errors import InputError
from selfalign.engines.reading import counter_of
from selfalign.salmon.oversight import Suspected
from selfalign.salmon.principle_state import AlwaysOn, Change, Removed, Reweighed
from selfalign.salmon.rollout_rewards import suspicion_log
from selfalign.salmon.steering import STEERING, Steerable, Steering


def steer(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    always: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Reward every response under this text as well."),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=W", help="Draw a principle with this weight; 0: never."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Draw it no more, or switch it off if it is always on."),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Show what holds, what is unheard, what is suspected.")
    ] = False,
) -> None:
    """Change the principles a running training rewards by; options may be given several times."""
    steering = Steering(run / STEERING)
    changes = changes_of(always or (), weight or (), remove or ())
    if changes:
        number = steering.edit(changes, counter_of=counter_of)
        say(f"edit {number}: {', '.join(map(str, changes))}")
        say(f"it takes effect {_when(steering.steerable())}")
    elif not list_:
        raise InputError(
            "nothing to change: give --always TEXT, --weight NAME=W or --remove NAME, or --list to "
            "see what holds."
        )
    if list_:
        _show(run, steering)


def _when(now: Steerable) -> str:
    if now.stopped:
        return "where the training goes on: it has stopped, so run its command again"
    last = f"; its last is {now.steps - 1}" if now.steps else ""
    return f"at the next batch of rollouts (the training is at step {now.step}{last})"


def changes_of(
    always: Sequence[str], weights: Sequence[str], remove: Sequence[str]
) -> list[Change]:
    """Return the changes in the order in which they are made: what adds comes before what takes.

    Raises:
        InputError: a weight is not written NAME=W.
    """
    reweighed = sorted(map(_reweighed, weights), key=lambda one: one.weight <= 0)
    return [
        *(AlwaysOn(text=text) for text in always),
        *reweighed,
        *(Removed(principle=name) for name in remove),
    ]


def _reweighed(typed: str) -> Reweighed:
    name, _, number = typed.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = None
    if weight is None or not name.strip():
        raise InputError(f"--weight {typed!r}: write the principle and a number, as candor=8.")
    return Reweighed(principle=name.strip(), weight=weight)


def _show(run: Path, steering: Steering) -> None:
    now, state = steering.steerable(), steering.pending_state()
    over = " (ended)" if now.ended else ""
    say(f"{now.training}, step {now.step}{over}; {now.k} principles are drawn per request\n")
    rows = [
        (p.name, "never" if p.name in state.silent else f"{p.weight:g}", p.text)
        for p in state.pool.principles
    ]
    rows += [(p.name, "always", p.text) for p in state.always]
    say(table(("principle", "weight", "text"), rows, right=(1,)))
    for line in steering.heard():
        for edit in line.edits:
            say(f"edit {edit.number}, {edit.edit.made}: {edit.edit} (from step {line.step} on)")
    for edit in steering.pending():
        say(f"edit {edit.number}, {edit.edit.made}: {edit.edit} (not heard yet)")
    for edit in steering.late():
        say(f"edit {edit.number}, {edit.edit.made}: {edit.edit} (came too late: never heard)")
    suspicions = suspicion_log(run / now.training)
    for one in suspicions.of(suspicions.steps):
        _show_suspicion(one)


def _show_suspicion(one: Suspected) -> None:
    say(f"\nsuspected at step {one.step}: {one.suspicion.sentence}")
    for sample in one.suspicion.evidence:
        say(f"    {sample.reward:+.2f}  {sample.instruction[:60]!r} -> {sample.response[:120]!r}")
    on = " (it is on already: find other words)" if one.already_on else ""
    say(f"    against it: --always {one.suspicion.proposal!r}{on}")
