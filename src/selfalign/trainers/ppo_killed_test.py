"""PPO killed with kill -9, at any moment of a step, ends where an uninterrupted training does.

Run as a program it is a training in a process of its own, which kills itself at a moment:

    python -m selfalign.trainers.ppo_killed_test FOLDER MODEL POLICY REWARD MOMENT
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfalign.core.records import Checkpoint
from selfalign.trainers import kept, rollouts
from selfalign.trainers.ppo_test import RECIPE as THREE_STEPS
from selfalign.trainers.ppo_test import facts, train
from selfalign.trainers.ppo_update import Updater
from selfalign.trainers.trl_kit_test import Worth, adapter

RECIPE = THREE_STEPS.model_copy(update={"steps": 4})
UPDATES = RECIPE.update_epochs * RECIPE.rollout_batch // RECIPE.update_batch


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(call: int, right: Callable[..., object]) -> Callable[..., object]:
    """Return a function that does what another does, but dies at its n-th call."""
    calls = 0

    def counted(*given: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            kill()
        return right(*given, **more)

    return counted


def half_removed(path: Path, **_: object) -> None:
    """Remove a part of a checkpoint, and die."""
    if path.is_dir():
        shutil.rmtree(path / "policy")
        kill()


def die_at(moment: str) -> None:
    """Arrange for this process to end at a moment in the middle of a training."""
    if moment == "rollout":  # in step 1 or 2, after some tokens: a response has twelve at most
        rollouts._Batch._take = before(18, rollouts._Batch._take)
    elif moment == "update":  # after the first of the optimiser steps of step 2
        Updater._step = before(2 * UPDATES + 2, Updater._step)
    elif moment == "checkpoint":  # adapters are written, the optimiser is not; nothing has its name
        torch.save = before(2, torch.save)
    elif moment == "before the name":
        right = Path.rename
        Path.rename = lambda at, to: kill() if at.name == "step-000002.partial" else right(at, to)
    elif moment == "removal":  # of a checkpoint that a newer one has replaced
        kept.shutil = type("Shutil", (), {"rmtree": staticmethod(half_removed)})


@pytest.fixture(scope="module")
def whole(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An uninterrupted training, to compare others with."""
    return train(checkpoints, tmp_path_factory.mktemp("whole"), RECIPE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "resumed_at"),
    [
        ("rollout", {1, 2}),
        ("update", {2}),
        ("checkpoint", {1}),
        ("before the name", {1}),
        ("removal", {1, 2, 3}),
    ],
)
def test_a_training_ended_by_kill_9_ends_where_an_uninterrupted_one_does(
    whole: Path,
    checkpoints: tuple[Checkpoint, Checkpoint],
    tmp_path: Path,
    moment: str,
    resumed_at: set[int],
) -> None:
    policy, reward = checkpoints
    run = tmp_path / "run"
    words = [str(run), policy.base, str(policy.adapter), str(reward.adapter), moment]
    ended = subprocess.run([sys.executable, "-m", __name__, *words], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (run / "weights").exists()
    worth = Worth()
    train(checkpoints, run, RECIPE, rewards=worth)
    assert worth.batches[0][0] in resumed_at
    assert facts(run) == facts(whole)
    first, second = adapter(whole), adapter(run)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (run / "checkpoints").exists()


if __name__ == "__main__":
    folder, model, policy_folder, reward_folder, when = sys.argv[1:]
    die_at(when)
    stand = [
        Checkpoint(base=model, revision="", adapter=name) for name in (policy_folder, reward_folder)
    ]
    train((stand[0], stand[1]), Path(folder), RECIPE)
