"""What a PPO training did, for people: steps.jsonl, curves, training.json and the adapter's card.

each batch of rollouts --> PpoStep --> a line of steps.jsonl, a point on every curve
the whole training --> PpoReport --> training.json, README.md
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import PolicyTraining

STEPS_FILE = "steps.jsonl"
Curves = Literal["tensorboard", "wandb", "trackio"]
_PROJECT = "selfalign"


class PpoStep(BaseModel):
    """One batch of rollouts and the updates on it; a line of `steps.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    step: int
    """Batches of rollouts, from 0."""
    reward: float
    """Mean over the batch, before scaling and KL."""
    reward_std: float
    kl: float
    """Mean KL(policy | reference) per response, nats, unbiased (k1); the policy is the one that
    drew the batch."""
    tokens: float
    """Mean length of the responses, the stop text not counted."""
    finished: float
    """Share of the responses that ended by themselves."""
    entropy: float
    """Mean per token, nats."""
    clip_fraction: float
    """Share of probability ratios outside the clip, over all updates."""
    explained_variance: float | None
    """Of the returns, by the values predicted before the update; 1 is perfect, None: undefined."""
    policy_loss: float
    value_loss: float
    gradient_norm: float
    """Of the policy, before clipping; mean over the updates."""
    learning_rate: float
    seconds: float
    generation_seconds: float
    """Of them, drawing the responses."""


class PpoReport(BaseModel):
    """Facts about a finished training; `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str
    """What the adapter stands on."""
    recipe: PolicyTraining
    policy_rank: int
    """Of the policy's adapter: the start policy's own, or the recipe's on a bare base."""
    value_rank: int
    """Of the value model's adapter: the reward model's."""
    prompts: int
    """Trained on."""
    dropped: int
    """Left out because they are longer than `max_prompt_tokens`."""
    probes: int = 0
    """Kept out of the training, and answered for whoever looks on."""
    probes_dropped: int = 0
    """Kept out for that as well, but too long to be answered or scored."""
    steps: int
    """Batches of rollouts."""
    rollouts: int
    seconds: float
    """Of all processes together, up to their last checkpoints."""
    resumed_at: int
    """The batch it was resumed at; 0: it ran in one go."""
    reward_first: float
    """Mean of the first batch."""
    reward_last: float
    """Mean of the last batch."""

    def write(self, path: Path) -> None:
        """Write it as indented JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


class StepLog:
    """The steps of a training, in `steps.jsonl` and on the curves asked for."""

    def __init__(self, folder: Path, report_to: tuple[Curves, ...], first: int) -> None:
        """Go on at step `first`; what was written from there on is going to be done again.

        Raises:
            TrainingError: curves are asked for whose library is not installed.
        """
        self._path = folder / STEPS_FILE
        kept = [step for step in read_steps(folder) if step.step < first]
        text = "".join(step.model_dump_json() + "\n" for step in kept)
        self._path.write_text(text, "utf-8")
        self.steps = kept
        opened = [_open(name, folder, first) for name in report_to]
        self._curves = [draw for draw in opened if draw is not None]

    def write(self, step: PpoStep) -> None:
        """Take a step down."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(step.model_dump_json() + "\n")
        self.steps.append(step)
        for draw in self._curves:
            draw(step)


def read_steps(folder: Path) -> list[PpoStep]:
    """Return the steps written so far; a line torn by a crash is left out."""
    path = folder / STEPS_FILE
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").split("\n")
    return [PpoStep.model_validate_json(line) for line in lines[:-1] if line]


def _open(name: Curves, folder: Path, first: int) -> Callable[[PpoStep], None] | None:
    """Return what draws a step's points; None: TensorBoard, which is optional, is not there."""
    if importlib.util.find_spec(name) is None:
        if name == "tensorboard":
            return None
        raise TrainingError(
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
    """Return the README of the weights: where they come from and what they were rewarded by."""
    settings = "\n".join(
        f"- {name}: {value}" for name, value in report.recipe.model_dump(mode="json").items()
    )
    numerics = "the numerics of the authors' code" if report.recipe.faithful else "padding masked"
    return f"""---
library_name: peft
base_model: {report.base}
tags: [selfalign]
---

# Policy trained from {report.base}

Reinforcement learning by selfalign (SALMON, arXiv:2310.05910v2): PPO with policy, reference, value
and reward model on one shared base, {numerics}.

{report.steps} batches, {report.rollouts} responses to {report.prompts} prompts
({report.dropped} prompts were left out, being longer than {report.recipe.max_prompt_tokens}
tokens), {report.seconds:.0f} s. Mean reward {report.reward_first:.3f} in the first batch,
{report.reward_last:.3f} in the last. Rank {report.policy_rank}.

## Recipe

{settings}
"""
