"""Where a PPO training stands, on disk: a killed one goes on as if nothing had happened.

    after step n:  checkpoints/step-000n/  policy/ (a plain adapter), value/ (adapter and head),
                                           optimizer.pt, state.json

There is no state of random numbers and no buffer of rollouts to save: which prompts a step asks,
what is drawn and how a batch is dealt are functions of the seed and the step, so a step cut in two
is done again exactly. A folder is written beside its place and moved there when it is whole.
"""

import shutil
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from selfalign.core.errors import TrainingError
from selfalign.trainers.ppo_update import Updater
from selfalign.trainers.rl_untyped import read_state
from selfalign.trainers.shared_base import TRAINED, SharedBase

_STATE, _OPTIMIZER = "state.json", "optimizer.pt"


class State(BaseModel):
    """What a checkpoint is of."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps_done: int
    made_of: str
    """Digest of checkpoints, recipe and prompts; another training cannot go on from here."""
    seconds: float
    """Spent so far, by all processes."""


def save(folder: Path, state: State, base: SharedBase, updater: Updater, base_name: str) -> Path:
    """Write a checkpoint and remove the older ones; return its folder."""
    place = folder / f"step-{state.steps_done:06d}"
    partial = folder / f"{place.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for name in TRAINED:
        base.save(name, partial / name, base_name, base.stand.base.revision)
    torch.save(updater.optimizer.state_dict(), partial / _OPTIMIZER)
    (partial / _STATE).write_text(state.model_dump_json(), "utf-8")
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    for other in folder.glob("step-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
    return place


def restore(folder: Path, made_of: str, base: SharedBase, updater: Updater) -> State:
    """Go on from the newest checkpoint; without one, from the start.

    Raises:
        TrainingError: it is another training's.
    """
    whole = sorted(path for path in folder.glob("step-*") if path.suffix != ".partial")
    if not whole:
        return State(steps_done=0, made_of=made_of, seconds=0.0)
    newest = whole[-1]
    try:
        state = State.model_validate_json((newest / _STATE).read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(
            f"{newest / _STATE} cannot be read ({type(error).__name__}). Delete the folder "
            f"{newest} and run the same command again; the training then starts anew."
        ) from error
    if state.made_of != made_of:
        raise TrainingError(
            f"{newest} belongs to a training with other checkpoints, prompts or settings. Go on "
            f"with those, or delete {folder.parent} to train anew."
        )
    for name in TRAINED:
        base.restore(name, newest / name)
    stored = read_state(newest / _OPTIMIZER, base.device)
    cast(Any, updater.optimizer).load_state_dict(stored)  # Any: partly typed
    return state
