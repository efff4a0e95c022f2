"""Where a PPO training stands, on disk: a killed one goes on as if nothing had happened.

    after step n:  checkpoints/step-000n/  policy/ (a plain adapter), value/ (adapter and head),
                                           optimizer.pt, state.json
                                           vouched_at_step.txt, once it was found whole (kept.py)

There is no state of random numbers and no buffer of rollouts to save: which prompts a step asks,
what is drawn and how a batch is dealt are functions of the seed and the step, so a step cut in two
is done again exactly. A folder is written beside its place and moved there when it is whole.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from selfalign.core.disk import write_whole
from selfalign.core.errors import TrainingError
from selfalign.trainers.kept import Kept
from selfalign.trainers.ppo_checks import beyond_max_kl
from selfalign.trainers.ppo_update import Updater
from selfalign.trainers.rl_untyped import read_state
from selfalign.trainers.shared_base import TRAINED, SharedBase

CHECKPOINTS = "checkpoints"
"""Of a training's folder, where its checkpoints are until it is done."""
_STATE, _OPTIMIZER = "state.json", "optimizer.pt"


class State(BaseModel):
    """What a checkpoint is of."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps_done: int
    made_of: str
    """Digest of checkpoints, recipe and prompts; another training cannot go on from here."""
    seconds: float
    """Spent so far, by all processes."""
    kl: float | None = None
    """Mean KL per response (nats) for which the training was stopped here; None: it was not."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, and the models they are of."""

    folder: Path
    made_of: str
    base: SharedBase
    updater: Updater
    base_name: str

    @property
    def kept(self) -> Kept:
        """Those that are there."""
        return Kept(self.folder, "step-")

    def save(self, steps_done: int, seconds: float, kl: float | None = None) -> Path:
        """Write a checkpoint and remove those it replaces; return its folder.

        `kl` says that the training is stopped here, being so far from where it started.
        """
        place = self.folder / f"step-{steps_done:06d}"
        state = State(steps_done=steps_done, made_of=self.made_of, seconds=round(seconds, 2), kl=kl)
        if place.exists():  # the models are as they were then: nothing of it is at risk
            write_whole(place / _STATE, state)
        else:
            self._write(place, state)
        if kl is not None:
            self.kept.doubt(place)
        self.kept.prune()
        return place

    def _write(self, place: Path, state: State) -> None:
        partial = place.with_name(f"{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for name in TRAINED:
            self.base.save(name, partial / name, self.base_name, self.base.stand.base.revision)
        torch.save(self.updater.optimizer.state_dict(), partial / _OPTIMIZER)
        (partial / _STATE).write_text(state.model_dump_json(), "utf-8")
        partial.rename(place)

    def restore(self, max_kl: float | None, *, steered: bool) -> State:
        """Go on from the newest checkpoint; without one, from the start.

        From one that the training was stopped at it goes on if `max_kl` now allows for it; if not,
        but principles were steered since, from the newest that was found whole.

        Raises:
            TrainingError: it is another training's, or it would only be stopped again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kept.sweep()
        state = self._newest()
        if state.kl is not None and max_kl is not None and state.kl > max_kl:
            if not steered:
                raise beyond_max_kl(state.steps_done, state.kl, max_kl, self.kept)
            self.kept.fall_back()
            state = self._newest()
        newest = self.kept.newest
        if newest is not None:
            for name in TRAINED:
                self.base.restore(name, newest / name)
            stored = read_state(newest / _OPTIMIZER, self.base.device)
            cast(Any, self.updater.optimizer).load_state_dict(stored)  # Any: partly typed
        return state

    def _newest(self) -> State:
        newest = self.kept.newest
        if newest is None:
            return State(steps_done=0, made_of=self.made_of, seconds=0.0)
        try:
            state = State.model_validate_json((newest / _STATE).read_bytes())
        except (OSError, ValidationError) as error:
            raise TrainingError(
                f"{newest / _STATE} cannot be read ({type(error).__name__}). Delete the folder "
                f"{newest} and run the same command again; the training then goes on from the "
                f"checkpoint before, or starts anew."
            ) from error
        if state.made_of != self.made_of:
            raise TrainingError(
                f"{newest} belongs to a training with other checkpoints, prompts or settings. Go "
                f"on with those, or delete {self.folder.parent} to train anew."
            )
        return state
