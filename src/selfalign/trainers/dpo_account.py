"""What a training on preferences did, for people: training.json and the adapter's card.

margins, accuracies  ->  DpoReport  ->  training.json, README.md
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selfalign.core.protocols import DpoTraining


class DpoReport(BaseModel):
    """Facts about a finished training; `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str
    """What the adapter stands on."""
    recipe: DpoTraining
    pairs: int
    """Trained on."""
    held_out: int
    """Kept back to measure on."""
    dropped: int
    """Left out: too long, or chosen and rejected alike."""
    steps: int
    seconds: float
    """Of the process that finished it; a resumed training took longer."""
    resumed_at: int
    """The step it was resumed at; 0: it ran in one go."""
    held_out_accuracy: float | None
    """Share of held-out pairs whose margin is above zero; None if nothing was held out."""
    held_out_margin: float | None
    """Mean of beta times (log ratio of chosen - log ratio of rejected); zero at the start."""
    curve: list[tuple[int, float, float]]
    """(step, mean training loss, mean margin)."""

    def write(self, path: Path) -> None:
        """Write it as indented JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


def dpo_card(report: DpoReport) -> str:
    """Return the README of the weights: where they come from and what they prefer."""
    measured = (
        f"On {report.held_out} held-out pairs the margin is {report.held_out_margin:.3f} (zero at "
        f"the start) and above zero for {report.held_out_accuracy:.1%}."
        if report.held_out_margin is not None and report.held_out_accuracy is not None
        else "No pairs were held out."
    )
    settings = "\n".join(
        f"- {name}: {value}" for name, value in report.recipe.model_dump(mode="json").items()
    )
    return f"""---
library_name: peft
base_model: {report.base}
tags: [selfalign]
---

# Policy trained on preferences from {report.base}

DPO (arXiv:2305.18290) by selfalign, on SALMON's synthetic preferences, as a baseline for its
reinforcement learning; the reference is the policy it started from.

{report.pairs} pairs, {report.steps} steps, {report.seconds:.0f} s; {report.dropped} pairs were
left out, being longer than {report.recipe.max_tokens} tokens or without a difference. {measured}

## Recipe

{settings}
"""
