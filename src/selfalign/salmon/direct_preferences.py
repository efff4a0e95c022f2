"""The same synthetic preferences without a reward model: the baseline the reviews asked for.

Paper: arXiv:2310.05910v2, reviews; DPO is arXiv:2305.18290. Ours; the paper has no such baseline.

    JudgedPair  ->  the sum of all scaled votes, none negated
                ->  (prompt, chosen, rejected)  ->  DPO

DPO reads no principles, so they have to be settled before it trains: every principle votes as it is
written, scaled as for the reward model, and the sum decides. A pair the sum has no view on is left
out. What cannot be done afterwards is what SALMON is for: change a principle, and begin again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfalign.core.chat import ChatPrompt, render_chat
from selfalign.core.errors import TrainingError
from selfalign.core.protocols import DpoTrainer, DpoTraining, PreferredText
from selfalign.core.records import Checkpoint, Clause, JudgedPair
from selfalign.core.stage import Training
from selfalign.salmon.stage2_aggregation import decide, score


@dataclass(frozen=True)
class DirectPreferences(Training[JudgedPair]):
    """Train the policy on its own preferences directly."""

    name = "salmon.direct_preferences"
    version = 1

    policy: Checkpoint
    """What is trained on, and the reference."""
    chat: ChatPrompt
    assistant: str
    maker: str
    scales: Mapping[str, float]
    """Per principle that counts, what its margins are divided by, as for the reward model."""
    recipe: DpoTraining
    trainer: DpoTrainer = field(kw_only=True, compare=False)

    def __call__(self, examples: Sequence[JudgedPair], folder: Path) -> Checkpoint:
        """Train and name the weights left in `folder / "weights"`.

        Raises:
            TrainingError: no pair has a preferred answer.
        """
        pairs = [pair for judged in examples if (pair := self.preferred(judged)) is not None]
        if not pairs:
            raise TrainingError(
                f"of {len(examples)} judged pairs none has a preferred answer, so there is nothing "
                f"to train on directly. The report says how often the judge's two orders agree; "
                f"give more pairs, or a judge that reads them."
            )
        self.trainer(pairs, policy=self.policy, recipe=self.recipe, folder=folder)
        return Checkpoint(base=self.policy.base, revision=self.policy.revision, adapter="weights")

    def preferred(self, judged: JudgedPair) -> PreferredText | None:
        """Return which answer all principles together prefer; None: they have no view."""
        votes = [
            score(margin, Clause(principle=margin.principle), self.scales[margin.principle])
            for margin in judged.margins
            if margin.principle in self.scales
        ]
        decision = decide(votes, "sum") if votes else None
        if decision is None:
            return None
        pair = judged.pair if decision.voted == 1 else judged.pair.swapped()
        return PreferredText(
            prompt=render_chat(
                self.chat, [pair.instruction.text], assistant=self.assistant, maker=self.maker
            ),
            chosen=self.chat.completion_of(pair.first, True),
            rejected=self.chat.completion_of(pair.second, True),
        )
