"""One optimiser step and what happens between two: our loss in TRL's trainer, saving, telling.

flattened batch --model--> logits of the trained tokens --cross entropy--> sum / tokens of step
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selfalign.trainers.packing import IGNORED, apart, flatten
from selfalign.trainers.side_by_side import side_by_side
from selfalign.trainers.tokenised import Tokenised
from selfalign.trainers.untyped import SFTTrainer, logits_of


def completion_loss(model: torch.nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the summed cross entropy (nats) of the trained tokens, and how many they are.

    `inputs` is a batch made by `packing.flatten`: (1, T). Logits are computed for the tokens that
    predict a trained token, and for no other.
    """
    labels = inputs["labels"][0, 1:]
    where = torch.nonzero(labels != IGNORED)[:, 0]
    rest = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    logits = logits_of(model, **rest, use_cache=False, logits_to_keep=where)
    loss = functional.cross_entropy(logits.float(), labels[where], reduction="sum")
    return loss, torch.tensor(len(where), device=labels.device)


def mean_loss(model: torch.nn.Module, examples: Sequence[Tokenised], at_once: int) -> float | None:
    """Return the mean loss per completion token (nats); None if there are no examples."""
    if not examples:
        return None
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(examples), at_once):
            batch = flatten([e.columns() for e in examples[start : start + at_once]])
            inputs = {name: tensor.to(device) for name, tensor in batch.items()}
            loss, tokens = completion_loss(model, inputs)
            total, count = total + float(loss), count + int(tokens)
    model.train(training)
    return total / count


class CompletionTrainer(SFTTrainer):
    """TRL's trainer with `completion_loss`: TRL projects every position, prompts included."""

    parts = 1
    """How many passes run side by side; set before training."""

    def compute_loss(
        self,
        model: Any,  # Any: this signature is transformers' own
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return the batch's share of the step's mean loss per trained token."""
        stretches = apart(inputs, self.parts) if self.parts > 1 else [inputs]
        losses = side_by_side(
            lambda part: completion_loss(model, part)[0], stretches, list(model.parameters())
        )
        own = (inputs["labels"][0, 1:] != IGNORED).sum()
        return sum(losses[1:], losses[0]) / (
            own if num_items_in_batch is None else num_items_in_batch
        )


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands; handed to whoever shows it."""

    step: int
    steps: int
    loss: float | None
    """Mean loss per trained token (nats) at the last logged step."""
    elapsed_s: float
    eta_s: float | None
    """None until this process has done a step."""


class StepWatch(TrainerCallback):
    """Tells after every step, and saves when the last save is long ago."""

    def __init__(
        self, on_step: Callable[[TrainingProgress], None] | None, save_every_s: float
    ) -> None:
        self._on_step = on_step
        self._save_every_s = save_every_s
        self._began = self._saved = time.monotonic()
        self._first = 0

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002  transformers' signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: object,
    ) -> None:
        """Start the clock, at the step a resumed training starts from."""
        self._began = self._saved = time.monotonic()
        self._first = state.global_step

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002  transformers' signature
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Ask for a checkpoint if it is time, and tell."""
        now = time.monotonic()
        if now - self._saved >= self._save_every_s and state.global_step < state.max_steps:
            control.should_save = True
            self._saved = now
        if self._on_step is None:
            return
        done, elapsed = state.global_step - self._first, now - self._began
        left = state.max_steps - state.global_step
        losses = [entry["loss"] for entry in state.log_history[-1:] if "loss" in entry]
        self._on_step(
            TrainingProgress(
                step=state.global_step,
                steps=state.max_steps,
                loss=losses[-1] if losses else None,
                elapsed_s=elapsed,
                eta_s=elapsed / done * left if done else None,
            )
        )
