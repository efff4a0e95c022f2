"""SALMON stage 3, before it begins: a start whose answers differ.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model". Ours; it needs none.

Rewards can only choose among answers that the policy gives. One that was engraved with short
answers of few forms gives nearly the same answer twice, and nothing says which of two is better.

    engraved examples ----------------------------------+
    both answers of every preference pair, as examples -+-> base model + LoRA -> varied start

Nothing is added that the run has not written itself, and no preference is used: the better and the
worse answer of a pair are learnt alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfalign.core.chat import ChatPrompt, render_chat
from selfalign.core.errors import TrainingError
from selfalign.core.protocols import FineTuning, SupervisedTrainer
from selfalign.core.records import Checkpoint, ResponsePair, TrainingExample
from selfalign.core.stage import Training


@dataclass(frozen=True)
class VariedStart(Training[TrainingExample]):
    """Fine-tune the base model on what it answers in all its manners."""

    name = "salmon.stage3.start"
    version = 1

    base: Checkpoint
    recipe: FineTuning
    trainer: SupervisedTrainer = field(kw_only=True, compare=False)
    """The machine that does it; no part of the identity."""

    def __call__(self, examples: Sequence[TrainingExample], folder: Path) -> Checkpoint:
        """Train in `folder`, continuing from what an earlier attempt left there.

        Raises:
            TrainingError: there is nothing to train on.
        """
        if not examples:
            raise TrainingError(
                "there is no answer a varied start could be trained on: nothing was engraved and "
                "every pair was dropped. The funnels of self_align.stage2 and salmon.stage1.pairs "
                "say why; or set salmon.policy.start=engraved."
            )
        self.trainer(examples, base=self.base, recipe=self.recipe, folder=folder)
        return Checkpoint(base=self.base.base, revision=self.base.revision, adapter="weights")


def varied_examples(
    pairs: Iterable[ResponsePair], *, chat: ChatPrompt, assistant: str, maker: str
) -> list[TrainingExample]:
    """Render both answers of every pair as finished answers to the plain request."""
    return [
        TrainingExample(
            instruction_id=pair.instruction.id,
            prompt=render_chat(chat, [pair.instruction.text], assistant=assistant, maker=maker),
            completion=chat.completion_of(answer, True),
        )
        for pair in pairs
        for answer in (pair.first, pair.second)
    ]
