"""Where a training hears edits: which principles hold at a step, and who is told how far it is.

    steering folder  --in_force(step)-->  PrincipleState of the step, what is new in it
    steps begun, stopped, over            --announce-->  what the next edit is checked against

What was heard is read from the folder, never remembered (steering.py says when an edit is heard).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from selfalign.core.disk import write_whole
from selfalign.salmon.principle_state import PrincipleState, fold
from selfalign.salmon.reading_room import ReadingRoom, Room
from selfalign.salmon.schedule import PrinciplePlan
from selfalign.salmon.steering import Heard, NumberedEdit, Steerable, Steering

STOPPED = "stopped.txt"
"""Why a training stopped by itself, until it has gone on under edited principles."""


class InForce(NamedTuple):
    """The principles of one step, and what was steered at it."""

    state: PrincipleState
    new: tuple[str, ...]
    unfit: tuple[str, ...]


class Listener:
    """The one training that hears the edits of a run; without a steering folder, it hears none."""

    def __init__(
        self,
        folder: Path,
        plan: PrinciplePlan,
        steering: Steering | None,
        note: Callable[[str], None],
        room: ReadingRoom | None = None,
    ) -> None:
        """Announce the training; its folder's name is its name, `room` what edits have room in."""
        self._room = room
        self._folder, self._plan, self._steering, self._note = folder, plan, steering, note
        self._begun = False
        self._steps: int | None = None
        self._announce()

    def in_force(self, step: int) -> InForce:
        """Hear what is new, and return what holds at a step."""
        if self._steering is None:
            return InForce(self._plan.at(step), (), ())
        with self._steering.alone():
            new = self._hear(self._steering, step)
            self._announce()
        for edit in new:
            self._note(f"from step {step} on: {edit.edit}")
        return self._held(step)

    def foretell(self, steps: int) -> None:
        """Refuse edits from the last of so many steps on."""
        self._steps = steps
        self._announce()

    def stop(self, why: str) -> None:
        """Take down why the training stopped by itself; edits are heard where it goes on."""
        write_whole(self._folder / STOPPED, f"{why}\n")
        self._begun = False
        self._announce()

    def end(self) -> None:
        """Say that the training is over, and which edits came too late for it."""
        (self._folder / STOPPED).unlink(missing_ok=True)
        for edit in self._steering.close() if self._steering else ():
            self._note(
                f"edit {edit.number} was never applied, since it came in the last batch of "
                f"rollouts: {edit.edit}. Write it into the plan's schedule, and run that."
            )

    @property
    def stopped_for_good(self) -> bool:
        """Whether the training stopped by itself, and nobody has edited anything since."""
        pending = self._steering is not None and self._steering.pending()
        return (self._folder / STOPPED).exists() and not pending

    @property
    def steered_since_stop(self) -> bool:
        """Whether the training stopped by itself, and somebody has edited something since."""
        return (self._folder / STOPPED).exists() and not self.stopped_for_good

    @property
    def why_stopped(self) -> str:
        """Why the training stopped by itself; empty: it did not."""
        path = self._folder / STOPPED
        return path.read_text("utf-8").strip() if path.exists() else ""

    @property
    def last_begun(self) -> int | None:
        """The last step ever begun; None: there is none, or nobody listens."""
        return max((line.step for line in self._heard()), default=None)

    def steered_out_at(self, step: int) -> int:
        """Return where, at a step or before, the training last went on after a stop; else 0."""
        return max((x.step for x in self._heard() if x.anew and x.step <= step), default=0)

    def _heard(self) -> list[Heard]:
        return self._steering.heard(self._folder.name) if self._steering else []

    def _hear(self, steering: Steering, step: int) -> tuple[NumberedEdit, ...]:
        stopped = self._folder / STOPPED
        anew = not self._begun and stopped.exists() and bool(steering.pending())
        self._begun = True
        new = steering.hear(self._folder.name, step, anew=anew)
        if anew:
            stopped.unlink()
        return new

    def _announce(self) -> None:
        """Tell those who edit where the training is: at the last step it has ever begun."""
        if self._steering is None:
            return
        begun = self.last_begun
        self._steering.announce(
            Steerable(
                training=self._folder.name,
                step=begun or 0,
                steps=None if begun is None else self._steps,
                k=self._plan.k,
                state=self._held(begun or 0).state,
                room=self._room_from(begun or 0),
                stopped=not self._begun and (self._folder / STOPPED).exists(),
            )
        )

    def _room_from(self, step: int) -> Room | None:
        """Return the room there is at a step, and whatever the plan brings later."""
        if self._room is None:
            return None
        later = [phase.from_step for phase in self._plan.phases if phase.from_step > step]
        return self._room.of(self._held(at).state for at in (step, *later))

    def _held(self, step: int) -> InForce:
        """Work out what holds at a step by what was heard."""
        heard = [line for line in self._heard() if line.step <= step]
        edits = sorted((line.step, edit.number, edit) for line in heard for edit in line.edits)
        changes = [change for *_, edit in edits for change in edit.changes]
        state, unfit = fold(self._plan.at(step), changes, self._plan.k)
        new = [change for at, _, edit in edits if at == step for change in edit.edit.changes]
        return InForce(state, tuple(map(str, new)), tuple(map(str, unfit)))
