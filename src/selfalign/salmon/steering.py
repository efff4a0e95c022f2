"""Edits to the principles while the training runs: typed in one process, heard in another.

Paper: arXiv:2310.05910v2, "Preventing Reward Hacking". There, the training was stopped for it.

    selfalign steer  ->  RUN/steering/edits.jsonl      one validated edit per line, any process
    next rollouts    ->  RUN/steering/applied.jsonl    per step: which edits were heard, written
                                                       before they are used; which came too late
    a changed state  ->  RUN/steering/principles.json  what an edit is checked against

An edit belongs to the one training that first hears it. A step that was begun before a crash is
done again under exactly the edits it had, whatever was typed in since; but after a hard stop (the
KL budget, a collapsed probe) new edits are heard where the training goes on, or it could only run
into the same stop again. Once the last step is begun, an edit is refused; one that came too late
all the same, since nobody knew which step was the last, is said to have, and is heard by no other.
"""

import fcntl
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from selfalign.core.disk import unwritable, write_whole
from selfalign.core.errors import InputError, StoreError
from selfalign.salmon.principle_state import (
    Change,
    NumberedChange,
    PrincipleState,
    changed,
    fold,
)
from selfalign.salmon.reading_room import Counter, Room, check_room
from selfalign.salmon.step_log import append_lines, read_lines

STEERING = "steering"
"""The folder of a run that edits go through."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Edit(_Frozen):
    """What one command asked for."""

    made: str
    """When, in ISO 8601."""
    changes: tuple[Change, ...]
    """In the order in which they are made."""

    def __str__(self) -> str:
        """Say it in one line."""
        return ", ".join(map(str, self.changes))


class NumberedEdit(_Frozen):
    """An edit and its line in the file of edits, from 1."""

    number: int
    edit: Edit

    @property
    def changes(self) -> list[NumberedChange]:
        """Its changes; they carry the number, since it names what they add."""
        return [NumberedChange(self.number, change) for change in self.edit.changes]


class Heard(_Frozen):
    """What a training heard at the beginning of one step; later lines of the same step win."""

    training: str
    """Name of the training's folder."""
    step: int
    edits: tuple[NumberedEdit, ...]
    """New at this step; none: the step was begun without a new one."""
    anew: bool = False
    """True: lines of this training from this step on, written before, no longer count."""
    late: bool = False
    """True: the edits came when this step, the last one, had begun, and were never heard."""


class Steerable(_Frozen):
    """What an edit is checked against."""

    training: str
    """Name of the training's folder."""
    step: int
    """The last one begun."""
    steps: int | None = None
    """How many there will be; None: that is not known, or none has begun."""
    k: int
    """Principles drawn per query."""
    state: PrincipleState
    room: Room | None = None
    """What the reward model can read beside it; None: that is not known."""
    stopped: bool = False
    """Whether the training stopped by itself, so that edits are heard where it goes on."""
    ended: bool = False
    """Whether the training is over, and nobody listens any more."""

    def check_listening(self) -> None:
        """Make sure that an edit can still be heard.

        Raises:
            InputError: the training is over, or at its last step.
        """
        last = self.steps is not None and self.step + 1 >= self.steps
        if self.ended or (last and not self.stopped):
            over = "has ended" if self.ended else f"is at its last step, {self.step}"
            raise InputError(
                f"the training {self.training} {over}, and an edit would never be heard: it is "
                f"too late. Write it into the plan's schedule, and run that."
            )


def _no_counter(_: str) -> None:
    """Know no tokenizer."""


class Steering:
    """The steering folder of a run, for those who edit and for the one who listens."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is written, and it need not exist."""
        self.folder = folder
        self._edits, self._applied = folder / "edits.jsonl", folder / "applied.jsonl"
        self._principles = folder / "principles.json"

    # ---- for those who edit

    def edit(
        self,
        changes: Sequence[Change],
        clock: Callable[[], datetime] | None = None,
        counter_of: Callable[[str], Counter | None] = _no_counter,
    ) -> int:
        """Append an edit if all its changes fit; return its number.

        Several processes may do so at once: each is checked against the edits before it.
        `counter_of` opens the reward model's tokenizer, if it can be opened here.

        Raises:
            InputError: a change does not fit, or no training listens; nothing was written.
            UnwritableError: the folder cannot be written.
        """
        now = (clock or _utc)().isoformat(timespec="seconds")
        with self.alone():
            steerable = self.steerable()
            steerable.check_listening()
            state, number = self.pending_state(), len(self.edits()) + 1
            for change in changes:
                state = changed(state, NumberedChange(number, change), steerable.k)
            room = steerable.room
            check_room(steerable.state, state, room, counter_of(room.tokenizer) if room else None)
            append_lines(self._edits, [Edit(made=now, changes=tuple(changes))])
        return number

    def steerable(self) -> Steerable:
        """Return what edits are checked against.

        Raises:
            InputError: no training of this run can be steered yet.
            StoreError: the file was damaged.
        """
        try:
            return Steerable.model_validate_json(self._principles.read_bytes())
        except FileNotFoundError:
            raise InputError(
                f"{self.folder.parent} has no reinforcement learning to steer: it has not begun "
                f"yet, or this is no run. Name the folder given as --out to `selfalign run`; what "
                f"holds from the first step on belongs into the plan."
            ) from None
        except ValidationError:
            raise StoreError(
                f"{self._principles} cannot be read; it was changed or damaged. Delete it: the "
                f"training writes it again when it goes on."
            ) from None

    def edits(self) -> list[NumberedEdit]:
        """Return every edit so far, by number."""
        lines = read_lines(self._edits, Edit)
        return [NumberedEdit(number=n, edit=edit) for n, edit in enumerate(lines, start=1)]

    def heard(self, training: str | None = None) -> list[Heard]:
        """Return what was heard, step by step; None: by whatever training."""
        lines = [line for line in self._lines() if not line.late]
        return [line for line in lines if training in (None, line.training)]

    def late(self) -> list[NumberedEdit]:
        """Return the edits that came too late."""
        return [edit for line in self._lines() if line.late for edit in line.edits]

    def _lines(self) -> list[Heard]:
        """Return what was heard or came too late, by whatever training."""
        lines: list[Heard] = []
        for line in read_lines(self._applied, Heard):
            if line.anew:
                lines = [x for x in lines if x.training != line.training or x.step < line.step]
            lines.append(line)
        return lines

    def pending(self) -> list[NumberedEdit]:
        """Return the edits nobody has heard yet, and somebody may."""
        heard = {edit.number for line in self._lines() for edit in line.edits}
        return [edit for edit in self.edits() if edit.number not in heard]

    def pending_state(self) -> PrincipleState:
        """Return the principles as they will be when all edits are heard."""
        steerable = self.steerable()
        changes = [change for edit in self.pending() for change in edit.changes]
        return fold(steerable.state, changes, steerable.k)[0]

    # ---- for the one who listens

    def hear(self, training: str, step: int, *, anew: bool = False) -> tuple[NumberedEdit, ...]:
        """Take the edits nobody has heard, at a step that is begun for the first time.

        Returns what is new; it is on disk by then. A step begun before keeps what it had, unless
        `anew`: then what was heard at it and later is heard here, together with what is new.

        Raises:
            UnwritableError: the folder cannot be written.
        """
        begun = {line.step for line in self.heard(training)}
        if step in begun and not anew:
            return ()
        before = {
            edit.number
            for line in self._lines()
            if line.training != training or line.step < step or line.late
            for edit in line.edits
        }
        new = tuple(edit for edit in self.edits() if edit.number not in before)
        later = any(other >= step for other in begun)
        append_lines(self._applied, [Heard(training=training, step=step, edits=new, anew=later)])
        return new

    def announce(self, steerable: Steerable) -> None:
        """Say what edits are to be checked against; nothing is written if that was said already."""
        try:
            said = self.steerable()
        except (InputError, StoreError):
            said = None
        if said != steerable:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(self.folder, error) from error
            write_whole(self._principles, steerable)

    def close(self) -> list[NumberedEdit]:
        """Say that the training is over; return the edits that came too late for it.

        Raises:
            UnwritableError: the folder cannot be written.
        """
        with self.alone():
            last, late = self.steerable(), self.pending()
            if late:
                line = Heard(training=last.training, step=last.step, edits=tuple(late), late=True)
                append_lines(self._applied, [line])
            self.announce(last.model_copy(update={"ended": True, "stopped": False}))
        return late

    @contextmanager
    def alone(self) -> Generator[None]:
        """Keep other editors waiting; where a disk knows no locks, do without.

        Between hearing and announcing a step, so that an edit accepted is an edit heard.
        """
        if not self.folder.is_dir():
            yield
            return
        try:
            file = (self.folder / ".lock").open("ab")
        except OSError as error:
            raise unwritable(self.folder, error) from error
        with file:
            with suppress(OSError):  # without locks, two edits at once are checked apart: they are
                fcntl.flock(file, fcntl.LOCK_EX)  # whole lines, and what does not fit is skipped
            yield


def _utc() -> datetime:
    return datetime.now(UTC)
