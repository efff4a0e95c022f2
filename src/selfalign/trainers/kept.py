"""Which checkpoints of a policy's training are kept: the newest, and the newest known to be whole.

    after some steps   ->  newest              a policy that nothing has looked at yet
    a step later       ->  newest, vouched for  what drew that step was measured, and is whole
    a collapse         ->  the newest of those vouched for; what came after it is removed

A policy is measured while it draws the next batch, so the newest checkpoint may already be one of a
policy that has collapsed: the one before it stays until somebody has vouched for the newer one.
A folder is renamed before it is removed, so what bears a checkpoint's name is whole.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

_VOUCHED = "vouched_at_step.txt"
_REMOVED = "removed-"


@dataclass(frozen=True)
class Kept:
    """The checkpoints in a folder, as `step-000012` or `checkpoint-24`."""

    folder: Path
    prefix: str
    """Of their names, before a number."""
    per_step: int = 1
    """What the number grows by from one batch of rollouts to the next."""

    @property
    def all(self) -> list[Path]:
        """All that are whole, ascending."""
        found = self.folder.glob(f"{self.prefix}*")
        return sorted((path for path in found if not path.suffix), key=self._number)

    @property
    def newest(self) -> Path | None:
        """The newest, whole or not known to be."""
        return next(reversed(self.all), None)

    @property
    def whole(self) -> Path | None:
        """The newest that was vouched for."""
        return next((path for path in reversed(self.all) if (path / _VOUCHED).exists()), None)

    def steps_done(self, path: Path | None) -> int:
        """Return how many batches of rollouts a checkpoint is behind; None: the start."""
        return self._number(path) // self.per_step if path else 0

    def vouch(self, step: int) -> None:
        """Take down that the policy that drew a step, or a step before it, is whole."""
        for path in self.all:
            if self.steps_done(path) <= step and not (path / _VOUCHED).exists():
                (path / _VOUCHED).write_text(f"{step}\n", "utf-8")
        self.prune()

    def doubt(self, path: Path) -> None:
        """Take back that a checkpoint is whole: it was stopped at."""
        (path / _VOUCHED).unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove all but the newest, and the newest that was vouched for."""
        for path in self.all:
            if path not in (self.newest, self.whole):
                _remove(path)

    def fall_back(self) -> str:
        """Remove what came after the newest vouched for; say in a sentence what is left."""
        whole = self.whole
        for path in self.all:
            if whole is None or self._number(path) > self._number(whole):
                _remove(path)
        return self.left

    def sweep(self) -> None:
        """Remove what a killed process left of checkpoints it was removing."""
        for path in self.folder.glob(f"{_REMOVED}*"):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def left(self) -> str:
        """Say in a sentence which policy is whole, and where it is."""
        where = f"kept in {self.whole}" if self.whole else "the start"
        step = self.steps_done(self.whole)
        return f"The last policy that was found whole is that of step {step}, {where}."

    def _number(self, path: Path) -> int:
        return int(path.name.removeprefix(self.prefix))


def _remove(path: Path) -> None:
    gone = path.with_name(_REMOVED + path.name)
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
