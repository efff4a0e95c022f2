"""What a policy's training did, for people: steps.jsonl, training.json and the adapter's card.

each batch of rollouts --> PolicyStep, a line        the whole training --> PolicyReport, README.md

Every trainer of policies says this much; PPO says more in the same files (ppo_account.py).
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from selfalign.core.protocols import PolicyTraining

STEPS_FILE = "steps.jsonl"
Curves = Literal["tensorboard", "wandb", "trackio"]
"""Where a step's figures can be drawn besides."""


class PolicyStep(BaseModel):
    """One batch of rollouts and the updates on it; a line of `steps.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    step: int
    """Batches of rollouts, from 0."""
    reward: float
    """Mean over the batch, before scaling and KL."""
    reward_std: float
    kl: float | None
    """Mean KL(policy | reference) per response, nats; the policy is the one that drew the batch.
    None: there is no reference."""
    tokens: float
    """Mean length of the responses, the stop text not counted."""
    finished: float
    """Share of the responses that ended by themselves."""
    entropy: float | None
    """Mean per token, nats; None: not measured."""
    clip_fraction: float | None
    """Share of probability ratios outside the clip, over all updates; None: not measured."""
    learning_rate: float
    seconds: float


class PolicyReport(BaseModel):
    """Facts about a finished training; `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str
    """What the adapter stands on."""
    recipe: PolicyTraining
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
    """PPO: of all processes together, up to their last checkpoints; through TRL: of the last."""
    resumed_at: int
    """The batch it was resumed at; 0: it ran in one go."""
    reward_first: float
    """Mean of the first batch."""
    reward_last: float
    """Mean of the last batch."""

    def write(self, path: Path) -> None:
        """Write it as indented JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


Step = TypeVar("Step", bound=PolicyStep)


def read_steps(folder: Path, kind: type[Step]) -> list[Step]:
    """Return the steps written so far; a line torn by a crash is left out."""
    path = folder / STEPS_FILE
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").split("\n")
    return [kind.model_validate_json(line) for line in lines[:-1] if line]


def keep_steps(folder: Path, kind: type[Step], before: int) -> list[Step]:
    """Forget the steps that a resumed training is going to do again; return the others."""
    kept = [step for step in read_steps(folder, kind) if step.step < before]
    text = "".join(step.model_dump_json() + "\n" for step in kept)
    (folder / STEPS_FILE).write_text(text, "utf-8")
    return kept


def write_step(folder: Path, step: PolicyStep) -> None:
    """Take a step down behind the others."""
    with (folder / STEPS_FILE).open("a", encoding="utf-8") as file:
        file.write(step.model_dump_json() + "\n")


def policy_card(report: PolicyReport, by: str) -> str:
    """Return the README of the weights: where they come from and what they were rewarded by.

    `by` says in a clause how they were optimised.
    """
    settings = "\n".join(
        f"- {name}: {value}" for name, value in report.recipe.model_dump(mode="json").items()
    )
    return f"""---
library_name: peft
base_model: {report.base}
tags: [selfalign]
---

# Policy trained from {report.base}

Reinforcement learning by selfalign (SALMON, arXiv:2310.05910v2):
{by}.

{report.steps} batches, {report.rollouts} responses to {report.prompts} prompts
({report.dropped} prompts were left out, being longer than {report.recipe.max_prompt_tokens}
tokens), {report.seconds:.0f} s. Mean reward {report.reward_first:.3f} in the first batch,
{report.reward_last:.3f} in the last.

## Recipe

{settings}
"""
