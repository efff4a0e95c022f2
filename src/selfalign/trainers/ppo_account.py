"""What a PPO training says beyond what every policy's training does (policy_account.py).

each batch of rollouts --> PpoStep --> a line of steps.jsonl, a point on every curve
the whole training --> PpoReport --> training.json, README.md
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfalign.core.errors import UnfitError
from selfalign.trainers.policy_account import (
    STEPS_FILE,
    Curves,
    PolicyReport,
    PolicyStep,
    keep_steps,
    policy_card,
    write_step,
)

__all__ = ["STEPS_FILE", "PpoReport", "PpoStep", "StepLog", "points", "ppo_card"]

_PROJECT = "selfalign"


class PpoStep(PolicyStep):
    """A step of which nothing is unknown: the KL is unbiased (k1), and there is a value model."""

    explained_variance: float | None
    """Of the returns, by the values predicted before the update; 1 is perfect, None: undefined."""
    policy_loss: float
    value_loss: float
    gradient_norm: float
    """Of the policy, before clipping; mean over the updates."""
    generation_seconds: float
    """Of `seconds`, drawing the responses."""


class PpoReport(PolicyReport):
    """A report that names the shapes of two adapters."""

    policy_rank: int
    """Of the policy's adapter: the start policy's own, or the recipe's on a bare base."""
    value_rank: int
    """Of the value model's adapter: the reward model's."""


class StepLog:
    """The steps of a training, in `steps.jsonl` and on the curves asked for."""

    def __init__(self, folder: Path, report_to: tuple[Curves, ...], first: int) -> None:
        """Go on at step `first`; what was written from there on is going to be done again.

        Raises:
            UnfitError: curves are asked for whose library is not installed.
        """
        self._folder = folder
        self.steps = keep_steps(folder, PpoStep, first)
        opened = [_open(name, folder, first) for name in report_to]
        self._curves = [draw for draw in opened if draw is not None]

    def write(self, step: PpoStep) -> None:
        """Take a step down."""
        write_step(self._folder, step)
        self.steps.append(step)
        for draw in self._curves:
            draw(step)


def _open(name: Curves, folder: Path, first: int) -> Callable[[PpoStep], None] | None:
    """Return what draws a step's points; None: TensorBoard, which is optional, is not there."""
    if importlib.util.find_spec(name) is None:
        if name == "tensorboard":
            return None
        raise UnfitError(
            f"report_to names {name!r}, and it is not installed. Install it, or leave it out.",
            field="report_to",
        )
    if name == "tensorboard":
        module: Any = importlib.import_module("torch.utils.tensorboard")  # Any: partly typed
        writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=first)

        def draw(step: PpoStep) -> None:
            for key, value in points(step).items():
                writer.add_scalar(key, value, step.step)
            writer.flush()

        return draw
    tracker: Any = importlib.import_module(name)  # Any: both have the same three functions
    tracker.init(project=_PROJECT, name=folder.name)
    return lambda step: tracker.log(points(step), step=step.step)


def points(step: PpoStep) -> dict[str, float]:
    """Return a step's figures by the names of their curves."""
    figures: dict[str, float | None] = step.model_dump(exclude={"step"})
    return {f"ppo/{name}": value for name, value in figures.items() if value is not None}


def ppo_card(report: PpoReport) -> str:
    """Return the README of the weights."""
    numerics = "the numerics of the authors' code" if report.recipe.faithful else "padding masked"
    return policy_card(
        report,
        "PPO with policy, reference, value and reward model on one shared base, "
        f"{numerics},\npolicy of rank {report.policy_rank}",
    )
