"""What the training of a reward model did, for people: training.json and the adapter's card.

split, curve, accuracy on held-out pairs  ->  RewardReport  ->  training.json, README.md
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selfalign.core.protocols import RewardTraining


class RewardReport(BaseModel):
    """Facts about a finished training; `training.json` beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str
    """What the weights started from."""
    continued_from: str | None
    """Fingerprint of the reward model whose adapter and head were trained on; None: new ones."""
    recipe: RewardTraining
    examples: int
    """Pairs trained on."""
    held_out: int
    """Pairs kept back to measure the accuracy on."""
    dropped: int
    """Pairs left out because a text of theirs is longer than `max_tokens`."""
    tokens: int
    """Of both texts of the trained pairs, once."""
    steps: int
    seconds: float
    """Of the process that finished it; a resumed training took longer."""
    resumed_at: int
    """The step it was resumed at; 0: it ran in one go."""
    held_out_accuracy_before: float | None
    """Share of held-out pairs whose chosen text scores higher; None if nothing was held out.

    Pairs are held out at random: their answers may have been trained on under other principles.
    """
    held_out_accuracy_after: float | None
    held_out_loss_before: float | None
    """Mean of -log sigmoid(chosen - rejected), nats; 0.693 is a coin."""
    held_out_loss_after: float | None
    accuracy_chosen_longer: float | None
    """After; of the held-out pairs whose chosen text is the longer one. None: there are none."""
    accuracy_chosen_shorter: float | None
    """After; of those whose chosen text is the shorter one."""
    round_trip: float
    """Largest difference between scores before saving and after loading what was saved."""
    curve: list[tuple[int, float, float]]
    """(step, mean loss, share of training pairs in order) since the last entry."""

    def write(self, path: Path) -> None:
        """Write it as indented JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


def reward_card(report: RewardReport) -> str:
    """Return the README of a reward model: how to load it, and how well it orders pairs."""
    measured = (
        f"It orders {report.held_out_accuracy_after:.1%} of {report.held_out} held-out pairs "
        f"rightly ({report.held_out_accuracy_before:.1%} before training)."
        if report.held_out_accuracy_after is not None
        and report.held_out_accuracy_before is not None
        else "No pairs were held out."
    )
    settings = "\n".join(
        f"- {name}: {value}" for name, value in report.recipe.model_dump(mode="json").items()
    )
    return f"""---
library_name: peft
base_model: {report.base}
pipeline_tag: text-classification
tags: [selfalign, reward-model]
---

# Reward model on {report.base}: a LoRA adapter and its score head

It scores a response by whatever principles it is shown (SALMON, arXiv:2310.05910v2). The score is
read at the last token of the rendered text, and only differences of scores mean anything.

    selfalign score DIRECTORY --principle "Be brief." --input rows.jsonl --output scores.jsonl

Or with transformers and PEFT alone, where `base` is the base model's directory or name and `texts`
are rendered as they were in training:

    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=torch.float32
    )
    model = PeftModel.from_pretrained(model, "DIRECTORY").eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    scores = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0]

{report.examples} pairs, {report.tokens} tokens, {report.steps} steps, {report.seconds:.0f} s.
{report.dropped} pairs were left out because a text has more than {report.recipe.max_tokens} tokens.
{measured}

## Recipe

{settings}
"""
