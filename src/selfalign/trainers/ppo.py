"""PPO: the policy answers, is rewarded under principles, and is moved a little towards reward.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model".

    prompts of a step --policy--> responses --reward function (reward model at hand)--> rewards
    responses --policy, reference, value--> KL, values --GAE--> advantages, returns
    --two epochs of clipped updates--> the policy of the next step

All four models stand on one base (shared_base.py). Random numbers have no state (rollouts.py), so
a killed training goes on to the same weights, bit for bit on a CPU.

Differences from the authors' code: responses are trained on as drawn, where theirs are decoded,
cut and tokenised again; the end token ends a turn as the stop text does; padding counts nowhere,
the learning rate of the first batch is not 0, and policy and value gradients are clipped each by
itself (`faithful` takes these four back). Both have the policy and the value loss in two backward
passes, which is the same gradient as one.

The folder, when done:  weights/ (a plain PEFT adapter), training.json, steps.jsonl, tensorboard/.
While it trains:        checkpoints/step-N/policy is a plain adapter as well (ppo_run.py).
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from selfalign.core.protocols import PolicyPrompt, PolicyTraining, RewardFunction
from selfalign.core.records import Checkpoint, digest
from selfalign.core.weights import CALF
from selfalign.trainers.policy_account import Curves
from selfalign.trainers.ppo_account import PpoStep, ppo_card
from selfalign.trainers.ppo_checkpoint import CHECKPOINTS
from selfalign.trainers.ppo_checks import check
from selfalign.trainers.ppo_run import PpoRun
from selfalign.trainers.prompt_fit import Window, fit
from selfalign.trainers.reward_untyped import silenced
from selfalign.trainers.shared_base import SharedBase
from selfalign.trainers.shared_files import find_stand

_WEIGHTS, _REPORT = "weights", "training.json"


@dataclass(frozen=True)
class PpoTrainer:
    """A `core.protocols.PolicyTrainer`. Its fields are speed and memory, never identity."""

    device: str = "auto"
    """"auto": CUDA if there is one, else the CPU."""
    bf16: bool = False
    """Hold the frozen base in bfloat16; adapters, heads and optimiser stay in float32."""
    rounded_factors: bool = True
    """On a CPU with bfloat16 units, round the factors of products (products.py). False: exact."""
    drawn_at_once: int = 64
    """Ours: responses drawn together."""
    tokens_per_pass: int = 4096
    """Ours: padded tokens per pass, scoring and training; the update stays `update_batch`."""
    gradient_checkpointing: bool = False
    """True trades a third more time of the updates for much less memory."""
    report_to: tuple[Curves, ...] = ("tensorboard",)
    """Where curves are drawn besides `steps.jsonl`; TensorBoard only if it is installed."""
    on_step: Callable[[PpoStep, int], None] | None = None
    """Told after every batch of rollouts: what it was like, and how many there will be."""

    def __call__(
        self,
        prompts: Sequence[PolicyPrompt],
        *,
        policy: Checkpoint,
        reward_model: Checkpoint,
        rewards: RewardFunction,
        recipe: PolicyTraining,
        folder: Path,
    ) -> None:
        """Train from `policy` and leave an adapter in `folder / "weights"`; continue what is there.

        Raises:
            UnfitError: policy, reward model and recipe do not fit each other, or not PPO.
            TrainingError: the training has to stop. A checkpoint of the moment it stopped at is
                kept in the folder; where the policy has collapsed, the last that was found whole.
            ModelError: one of the checkpoints cannot be read.
        """
        if (folder / _WEIGHTS).is_dir():
            return
        check(recipe)
        base = self._open(policy, reward_model, recipe)
        window = Window(base.tokenizer, base.context_length)
        fitting = fit(prompts, rewards, recipe, policy=window, reward=window)
        made_of = digest(
            [
                policy.fingerprint,
                reward_model.fingerprint,
                recipe.model_dump(mode="json", exclude={*recipe.FREE}),
                [p.model_dump(mode="json") for p in prompts],
            ]
        )
        run = PpoRun(
            self, base, fitting, rewards, recipe, folder, made_of, _base_name(policy, base)
        )
        run.to_the_end()
        report = run.report()
        partial = folder / f"{_WEIGHTS}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        base.save("policy", partial, run.base_name, base.stand.base.revision)
        cast(Any, base.tokenizer).save_pretrained(partial)  # Any: partly typed
        (partial / "README.md").write_text(ppo_card(report), "utf-8")
        report.write(folder / _REPORT)
        partial.rename(folder / _WEIGHTS)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)

    def _open(
        self, policy: Checkpoint, reward_model: Checkpoint, recipe: PolicyTraining
    ) -> SharedBase:
        chosen = self.device
        if chosen == "auto":
            chosen = "cuda" if torch.cuda.is_available() else "cpu"
        stand = find_stand(policy, reward_model)
        with silenced():
            return SharedBase(
                stand,
                recipe,
                device=torch.device(chosen),
                dtype=torch.bfloat16 if self.bf16 else torch.float32,
                tokens_per_pass=self.tokens_per_pass,
                gradient_checkpointing=self.gradient_checkpointing,
            )


def _base_name(policy: Checkpoint, base: SharedBase) -> str:
    return CALF if policy.base == CALF else base.stand.base.base
