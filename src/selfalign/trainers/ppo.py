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
While it trains:        checkpoints/step-N/policy is a plain adapter as well.
"""

import math
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from selfalign.core.errors import CollapsedError, TrainingError
from selfalign.core.protocols import (
    ForetoldRewardFunction,
    PolicyPrompt,
    PolicyTraining,
    ProbedRewardFunction,
    RewardFunction,
    Sampled,
)
from selfalign.core.records import Checkpoint, digest
from selfalign.core.weights import CALF
from selfalign.trainers.policy_account import Curves
from selfalign.trainers.ppo_account import PpoReport, PpoStep, StepLog, ppo_card
from selfalign.trainers.ppo_checkpoint import State, restore, save
from selfalign.trainers.ppo_checks import check, check_kl
from selfalign.trainers.ppo_update import Updater, measure
from selfalign.trainers.prompt_fit import Fitting, Window, fit
from selfalign.trainers.prompt_order import Asked, asked, steps_needed
from selfalign.trainers.reward_untyped import silenced
from selfalign.trainers.rl_losses import (
    explained_variance,
    learning_rate_share,
    masked_mean,
    ppo_targets,
)
from selfalign.trainers.rl_untyped import floats
from selfalign.trainers.rollouts import Draws, Row, Texts, generate, row_for
from selfalign.trainers.shared_base import SharedBase
from selfalign.trainers.shared_files import find_stand
from selfalign.trainers.untyped import encode

_CHECKPOINTS, _WEIGHTS, _REPORT = "checkpoints", "weights", "training.json"
_FREE = {"max_kl", "save_every"}
"""Settings that may change between two processes of one training."""


@dataclass(frozen=True)
class PpoTrainer:
    """A `core.protocols.PolicyTrainer`. Its fields are speed and memory, never identity."""

    device: str = "auto"
    """"auto": CUDA if there is one, else the CPU."""
    bf16: bool = False
    """Hold the frozen base in bfloat16; adapters, heads and optimiser stay in float32."""
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
            TrainingError: policy and reward model do not fit each other, the recipe is no recipe
                for PPO, or the training has to stop. A checkpoint of the moment it stopped at is
                kept in the folder; where the policy has collapsed, the one before.
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
                recipe.model_dump(mode="json", exclude=_FREE),
                [p.model_dump(mode="json") for p in prompts],
            ]
        )
        run = _Run(self, base, fitting, rewards, recipe, folder, made_of, _base_name(policy, base))
        run.to_the_end()
        report = run.report()
        partial = folder / f"{_WEIGHTS}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        base.save("policy", partial, run.base_name, base.stand.base.revision)
        cast(Any, base.tokenizer).save_pretrained(partial)  # Any: partly typed
        (partial / "README.md").write_text(ppo_card(report), "utf-8")
        report.write(folder / _REPORT)
        partial.rename(folder / _WEIGHTS)
        shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)

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


class _Run:
    """One process of a training: its models, its plan, and where it stands."""

    def __init__(  # noqa: PLR0913  what __call__ was given, and what it made of it
        self,
        trainer: PpoTrainer,
        base: SharedBase,
        fitting: Fitting,
        rewards: RewardFunction,
        recipe: PolicyTraining,
        folder: Path,
        made_of: str,
        base_name: str,
    ) -> None:
        self._trainer, self._base, self._recipe, self._folder = trainer, base, recipe, folder
        self._rewards, self.base_name, self._fitting = rewards, base_name, fitting
        prompts, batch = fitting.trained, recipe.rollout_batch
        self._steps = recipe.steps or steps_needed(len(prompts), batch, recipe.epochs)
        self._plan = asked(prompts, per_step=batch, steps=self._steps, seed=recipe.seed)
        self._updater = Updater(base, recipe, trainer.tokens_per_pass)
        (folder / _CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        self._from = restore(folder / _CHECKPOINTS, made_of, base, self._updater)
        self._log = StepLog(folder, trainer.report_to, self._from.steps_done)
        self._texts = Texts(base.tokenizer, base.causal.get_output_embeddings().weight.shape[0])
        self._began = time.monotonic()

    def to_the_end(self) -> None:
        """Do the steps that are left, with checkpoints in between."""
        if isinstance(self._rewards, ForetoldRewardFunction):
            self._rewards.foretell(self._steps)
        for step in range(self._from.steps_done, self._steps):
            line = self._step(step)
            self._log.write(line)
            if (step + 1) % self._recipe.save_every == 0 and step + 1 < self._steps:
                self._save(step + 1)
            if self._trainer.on_step is not None:
                self._trainer.on_step(line, self._steps)

    def report(self) -> PpoReport:
        """Sum up a training that has come to its end."""
        configs = self._base.peft.peft_config
        return PpoReport(
            base=self.base_name,
            recipe=self._recipe,
            policy_rank=configs["policy"].r,
            value_rank=configs["value"].r,
            prompts=len(self._fitting.trained),
            dropped=self._fitting.dropped,
            probes=len(self._fitting.probes),
            probes_dropped=self._fitting.probes_dropped,
            steps=self._steps,
            rollouts=self._steps * self._recipe.rollout_batch,
            seconds=round(self._seconds, 2),
            resumed_at=self._from.steps_done,
            reward_first=self._log.steps[0].reward,
            reward_last=self._log.steps[-1].reward,
        )

    @property
    def _seconds(self) -> float:
        return self._from.seconds + time.monotonic() - self._began

    def _save(self, steps_done: int) -> Path:
        state = State(
            steps_done=steps_done, made_of=self._from.made_of, seconds=round(self._seconds, 2)
        )
        folder = self._folder / _CHECKPOINTS
        return save(folder, state, self._base, self._updater, self.base_name)

    def _step(self, step: int) -> PpoStep:
        r, began = self._recipe, time.monotonic()
        rows = self._draw(step)
        drawn = time.monotonic()
        batch = measure(
            self._base,
            [row.prompt for row in rows],
            [row.tokens for row in rows],
            r,
            self._trainer.tokens_per_pass,
        )
        kl = floats(batch.kl)
        try:
            self._probe(step)
            found = self._rewarded(step, rows, kl)
            check_kl(kl, self._recipe.max_kl, self._folder / _CHECKPOINTS)
        except CollapsedError:
            raise  # the checkpoint before is worth more than one of what has collapsed
        except TrainingError:
            self._save(step)
            raise
        scores = torch.tensor(found, device=self._base.device)
        targets = ppo_targets(scores, (batch.logp, batch.ref_logp), batch.values, batch.mask, r)
        share = learning_rate_share(step, self._steps, r)
        updated = self._updater.update(batch, targets, step, share * r.learning_rate)
        return PpoStep(
            step=step,
            reward=statistics.fmean(found),
            reward_std=statistics.pstdev(found),
            kl=statistics.fmean(kl),
            tokens=statistics.fmean(row.answer_tokens for row in rows),
            finished=statistics.fmean(row.finished for row in rows),
            entropy=float(masked_mean(batch.entropies, batch.mask)),
            explained_variance=explained_variance(batch.values, targets.returns, batch.mask),
            **vars(updated),
            learning_rate=share * r.learning_rate,
            seconds=round(time.monotonic() - began, 3),
            generation_seconds=round(drawn - began, 3),
        )

    def _asked(self, step: int) -> list[Asked]:
        size = self._recipe.rollout_batch
        return self._plan[step * size : (step + 1) * size]

    def _draw(self, step: int) -> list[Row]:
        """Let the policy answer the prompts of a step."""
        return self._answers(step, self._asked(step), self._recipe.temperature)

    def _answers(self, step: int, places: Sequence[Asked], temperature: float) -> list[Row]:
        r = self._recipe
        ids = encode(self._base.tokenizer, [place.prompt.text for place in places])
        rows = [
            row_for(one, at.prompt.stop, (r.seed, step, at.prompt.query, at.turn))
            for one, at in zip(ids, places, strict=True)
        ]
        draws = Draws(temperature, r.top_p, r.max_tokens, end_finishes=not r.faithful)
        self._base.use("policy")
        generate(self._base, rows, self._texts, draws, self._trainer.drawn_at_once)
        return rows

    def _probe(self, step: int) -> None:
        """Let the policy answer what it is never trained on, greedily, for whoever looks on."""
        looks_on = self._rewards
        if not isinstance(looks_on, ProbedRewardFunction) or not looks_on.probe_due(step):
            return
        places = [Asked(step, prompt, 0) for prompt in self._fitting.probes]
        rows = self._answers(step, places, temperature=0.0)
        nats = [None] * len(rows)
        looks_on.probe(step, _sampled(places, rows, nats), self._base.score)

    def _rewarded(self, step: int, rows: list[Row], kl: list[float]) -> list[float]:
        sampled = _sampled(self._asked(step), rows, kl)
        found = self._rewards(step, sampled, self._base.score)
        if len(found) != len(sampled) or not all(map(math.isfinite, found)):
            raise TrainingError(
                f"the reward function gave {len(found)} rewards for {len(sampled)} responses of "
                f"step {step}, not all of them numbers. The training so far is kept in "
                f"{self._folder}; see to the reward model, then run the same command again."
            )
        return found


def _sampled(
    places: Sequence[Asked], rows: Sequence[Row], kl: Sequence[float | None]
) -> list[Sampled]:
    return [
        Sampled(
            query=at.prompt.query,
            turn=at.turn,
            response=row.text,
            tokens=row.answer_tokens,
            finished=row.finished,
            kl=nats,
        )
        for at, row, nats in zip(places, rows, kl, strict=True)
    ]


def _base_name(policy: Checkpoint, base: SharedBase) -> str:
    return CALF if policy.base == CALF else base.stand.base.base
