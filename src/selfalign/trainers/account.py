"""What a training did, for people: training.json and the adapter's card.

split, loss curve, losses on held-out examples  ->  TrainingReport  ->  training.json, README.md
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selfalign.core.protocols import FineTuning


class TrainingReport(BaseModel):
    """Facts about a finished training; `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str
    """What the weights started from."""
    recipe: FineTuning
    examples: int
    """Trained on."""
    held_out: int
    """Kept back to measure the loss on."""
    truncated: int
    """Whose completion was cut off at `max_tokens`."""
    dropped: int
    """Left out because the prompt alone reaches `max_tokens`."""
    tokens: int
    """Of the trained examples, once."""
    trained_tokens: int
    """Of them in completions: those the loss counts."""
    packed: bool
    """Several examples per pass, kept apart; False where the architecture does not allow it."""
    steps: int
    seconds: float
    """Of the process that finished it; a resumed training took longer."""
    resumed_at: int
    """The step it was resumed at; 0: it ran in one go."""
    held_out_loss_before: float | None
    """Mean per completion token, nats; None if nothing was held out."""
    held_out_loss_after: float | None
    curve: list[tuple[int, float]]
    """(step, mean training loss per completion token since the last entry)."""

    def write(self, path: Path) -> None:
        """Write it as indented JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


def card(report: TrainingReport) -> str:
    """Return the README of the weights: where they come from and how well they fit."""
    adapter = report.recipe.method == "lora"
    header = ["library_name: peft" if adapter else "library_name: transformers"]
    header += [f"base_model: {report.base}", "tags: [selfalign]"]
    losses = (
        f"Loss per completion token on {report.held_out} held-out examples: "
        f"{report.held_out_loss_before:.4f} before, {report.held_out_loss_after:.4f} after."
        if report.held_out_loss_before is not None and report.held_out_loss_after is not None
        else "No examples were held out."
    )
    settings = "\n".join(
        f"- {name}: {value}" for name, value in report.recipe.model_dump(mode="json").items()
    )
    return f"""---
{chr(10).join(header)}
---

# {"LoRA adapter" if adapter else "Weights"} trained from {report.base}

Supervised fine-tuning by selfalign (SELF-ALIGN, arXiv:2305.03047v2): the loss counts on the
completions alone.

{report.examples} examples, {report.tokens} tokens of which {report.trained_tokens} in completions,
{report.steps} steps, {report.seconds:.0f} s. {report.truncated} completions were cut off at
{report.recipe.max_tokens} tokens; {report.dropped} examples were left out because their prompt
alone is that long. {losses}

## Recipe

{settings}
"""
