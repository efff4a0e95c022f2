"""SELF-ALIGN stage 3: principle engraving.

Paper: arXiv:2305.03047v2, "Principle Engraving".

The base model is fine-tuned on its own filtered answers, with rules, exemplars and thoughts pruned
away: what it did because it was shown, it now does by itself, and the prompt is free again.

    responses -> prune -> (chat prompt, query, answer) -+-> base model + LoRA -> engraved model
    identity questions and answers ---------------------+

The loss counts the answer alone: the prompt ends at the assistant header, the newline after it is
trained. The user header is the stop: a finished answer ends with it, an unfinished one does not.

Differences. The identity answers end with the user header too; the authors' carry no stop, so
nothing there teaches the model to end them. Which examples are held out is the trainer's draw.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from selfalign.core.chat import ChatPrompt, render_chat
from selfalign.core.errors import TrainingError
from selfalign.core.library import IdentityPair
from selfalign.core.protocols import FineTuning, SupervisedTrainer
from selfalign.core.records import Checkpoint, Instruction, SelfAlignedResponse, TrainingExample
from selfalign.core.stage import Training

PAPER_ENGRAVING = FineTuning(
    method="lora",
    rank=16,
    alpha=16,
    dropout=0.05,
    targets=("q_proj", "k_proj", "v_proj", "o_proj"),
    learning_rate=4e-4,
    batch_size=768,
    epochs=1,
    warmup_steps=100,
    schedule="linear",
    max_tokens=512,
    held_out=2000,
    seed=42,
)
"""The paper's appendix (batch, epochs, rate, warm-up) and the authors' launch script (the rest)."""


@dataclass(frozen=True)
class PrincipleEngraving(Training[TrainingExample]):
    """Fine-tune the base model on answers it gave under the principles."""

    name = "self_align.stage3"
    version = 1

    base: Checkpoint
    """The bare model again, not the one an earlier training changed."""
    recipe: FineTuning = PAPER_ENGRAVING
    trainer: SupervisedTrainer = field(kw_only=True, compare=False)
    """The machine that does it; no part of the identity."""

    def __call__(self, examples: Sequence[TrainingExample], folder: Path) -> Checkpoint:
        """Train in `folder`, continuing from what an earlier attempt left there."""
        return train_from_base(self.base, examples, self.recipe, self.trainer, folder)


def engraving_examples(
    responses: Iterable[SelfAlignedResponse],
    identity: Iterable[IdentityPair],
    *,
    chat: ChatPrompt,
    assistant: str,
    maker: str,
) -> list[TrainingExample]:
    """Prune thoughts and rules from the responses and add the identity pairs."""
    values = {"assistant": assistant, "maker": maker}
    pruned = [
        training_example(r.instruction, r.response, finished=r.finished, chat=chat, **values)
        for r in responses
    ]
    introductions = [
        training_example(identity_question(pair), pair.answer, finished=True, chat=chat, **values)
        for pair in identity
    ]
    return [*pruned, *introductions]


def identity_question(pair: IdentityPair) -> Instruction:
    """Return the question of an identity pair as an instruction."""
    return Instruction(text=pair.question, origin="identity")


def training_example(
    instruction: Instruction, answer: str, *, finished: bool, chat: ChatPrompt, **values: str
) -> TrainingExample:
    """Render one example: all up to the assistant header is read, all after it is learnt."""
    return TrainingExample(
        instruction_id=instruction.id,
        prompt=render_chat(chat, [instruction.text], **values),
        completion=chat.completion_of(answer, finished),
    )


def train_from_base(
    base: Checkpoint,
    examples: Sequence[TrainingExample],
    recipe: FineTuning,
    trainer: SupervisedTrainer,
    folder: Path,
) -> Checkpoint:
    """Train a bare model and name the weights the trainer leaves in `folder / "weights"`.

    Raises:
        TrainingError: there is nothing to train on, or the base was itself trained by a stage.
    """
    if not examples:
        raise TrainingError(
            "there is no example to train on: every answer was dropped. The funnel of the stage "
            "before says why; loosen its filters, or give it more instructions."
        )
    if base.adapter is not None:
        raise TrainingError(
            f"SELF-ALIGN fine-tunes the base model, but {base.adapter} was already trained. Give "
            f"the checkpoint it was made from ({base.base})."
        )
    trainer(examples, base=base, recipe=recipe, folder=folder)
    return Checkpoint(base=base.base, revision=base.revision, adapter="weights")


def training_steps(
    examples: int, recipe: FineTuning, last_batch: Literal["dropped", "kept"] = "kept"
) -> int:
    """Return how many optimiser steps a training takes; the last batch may be incomplete."""
    rows = int(max(0, examples - recipe.held_out) * recipe.epochs)
    whole, rest = divmod(rows, recipe.batch_size)
    return whole + (1 if rest and last_batch == "kept" else 0)
