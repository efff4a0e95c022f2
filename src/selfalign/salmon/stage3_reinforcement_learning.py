"""SALMON stage 3: reinforcement learning under principles that can be edited while it runs.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model" and "Preventing Reward
Hacking".

    instructions -> chat prompts -> policy trainer -> responses -> RolloutRewards -> rewards
                                          ^                             |
    a few kept out, for the probes        +-----------------------------+   -> policy

The trainer knows nothing of principles, and this room nothing of weights: between them stands
`core.protocols.RewardFunction`.

Differences. The authors edit principles between trainings and look for hacks by eye. Instructions
are the run's own; theirs come from public data sets. What rewards each response is written down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfalign.core.chat import ChatPrompt, render_chat
from selfalign.core.errors import TrainingError, UnfitError
from selfalign.core.protocols import PolicyPrompt, PolicyTrainer, PolicyTraining
from selfalign.core.records import Checkpoint, Instruction, digest
from selfalign.core.stage import Training
from selfalign.salmon.oversight import Oversight
from selfalign.salmon.reading_room import ReadingRoom, longest_request
from selfalign.salmon.rewarding import Rewarding
from selfalign.salmon.rollout_rewards import RolloutRewards

__all__ = ["ReinforcementLearning", "RolloutRewards"]


@dataclass(frozen=True)
class ReinforcementLearning(Training[Instruction]):
    """Train the policy against the reward model, under a plan of principles."""

    name = "salmon.stage3"
    version = 1

    policy: Checkpoint
    """What is trained on."""
    reward_model: Checkpoint
    """On the same base."""
    chat: ChatPrompt
    assistant: str
    maker: str
    rewarding: Rewarding
    recipe: PolicyTraining
    oversight: Oversight = field(default_factory=Oversight)
    """Who looks on and who may edit; of it, the requests kept for probes change what is trained."""
    trainer: PolicyTrainer = field(kw_only=True, compare=False)
    """The machine that does it; no part of the identity."""

    def __call__(self, examples: Sequence[Instruction], folder: Path) -> Checkpoint:
        """Train and name the weights left in `folder / "weights"`.

        Raises:
            UnfitError: policy, reward model and settings do not fit each other; nothing was done.
            TrainingError: there is nothing to train on, or the training had to stop; then it can
                be steered and goes on from its last checkpoint.
            CollapsedError: it had to stop because the policy collapsed, now or in an earlier
                process; until a principle is edited, nothing is trained again.
        """
        held_out, trained_on = self._split(examples)
        prompts = [self._prompt(instruction) for instruction in trained_on]
        rewards = RolloutRewards(
            self.rewarding,
            examples,
            folder,
            self.oversight,
            held_out=[self._prompt(instruction) for instruction in held_out],
            room=self._room(examples),
        )
        rewards.check_going_on()
        try:
            self.trainer(
                prompts,
                policy=self.policy,
                reward_model=self.reward_model,
                rewards=rewards,
                recipe=self.recipe,
                folder=folder,
            )
        except UnfitError:
            raise  # nothing was begun, so nothing has stopped
        except TrainingError as stop:
            rewards.stop(str(stop))
            raise
        rewards.end()
        return Checkpoint(base=self.policy.base, revision=self.policy.revision, adapter="weights")

    def _room(self, examples: Sequence[Instruction]) -> ReadingRoom | None:
        """Return what the reward model has room for; None: nobody steers, or knows how it reads."""
        reading, recipe = self.oversight.reading, self.recipe
        if reading is None or self.oversight.steering is None:
            return None
        asked = [(one.text, self._prompt(one).text) for one in examples]
        longest = longest_request(asked, reading, recipe.max_prompt_tokens)
        return ReadingRoom(
            reading, self.rewarding.prompt, longest, recipe.max_tokens, self.rewarding.sampling.k
        )

    def _split(
        self, examples: Sequence[Instruction]
    ) -> tuple[list[Instruction], list[Instruction]]:
        """Return what is kept for the probes and what is trained on."""
        probes = self.oversight.probes
        kept = probes.config.held_out if probes else 0
        order = sorted(examples, key=lambda one: digest(["probe", one.id]))
        chosen = {one.id for one in order[:kept]}
        if len(chosen) >= len(examples):
            raise UnfitError(
                f"there are {len(examples)} instructions and {kept} of them are kept for probes, "
                f"so nothing is left to train on. Give more instructions, or lower `held_out`."
            )
        return order[:kept], [one for one in examples if one.id not in chosen]

    def _prompt(self, instruction: Instruction) -> PolicyPrompt:
        text = render_chat(
            self.chat, [instruction.text], assistant=self.assistant, maker=self.maker
        )
        return PolicyPrompt(query=instruction.id, text=text, stop=self.chat.stop)
