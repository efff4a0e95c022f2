"""PPO, step by step: one process of a training, from the checkpoint it finds to the end.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model".

    a step:  draw, measure  ->  probe, reward  ->  whole, and near enough?  ->  update
                 |                                       |
              broken: fall back                       vouched for, or stopped

What the policy is like is known a step after it was made, when it answers: then the checkpoint of
it is vouched for (kept.py). Of a policy that has collapsed none is kept.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import torch

from selfalign.core.errors import CollapsedError, TrainingError
from selfalign.core.protocols import (
    ForetoldRewardFunction,
    PolicyTraining,
    ProbedRewardFunction,
    RewardFunction,
    Sampled,
    WatchfulRewardFunction,
)
from selfalign.trainers.no_number import (
    NoNumber,
    broken_policy,
    broken_update,
    check_rewards,
    request,
)
from selfalign.trainers.policy_account import Curves
from selfalign.trainers.ppo_account import PpoReport, PpoStep, StepLog
from selfalign.trainers.ppo_checkpoint import CHECKPOINTS, Checkpoints
from selfalign.trainers.ppo_checks import beyond_max_kl
from selfalign.trainers.ppo_update import Batch, Updater, measure
from selfalign.trainers.products import fast_products, folded
from selfalign.trainers.prompt_fit import Fitting
from selfalign.trainers.prompt_order import Asked, asked, in_groups, steps_needed
from selfalign.trainers.rl_losses import (
    explained_variance,
    learning_rate_share,
    leave_one_out,
    masked_mean,
    ppo_targets,
)
from selfalign.trainers.rl_untyped import floats
from selfalign.trainers.rollouts import Draws, Row, Texts, generate, row_for
from selfalign.trainers.shared_base import SharedBase
from selfalign.trainers.untyped import encode


class Machine(Protocol):
    """What a run takes of its trainer; speed and memory, and who is told."""

    @property
    def rounded_factors(self) -> bool: ...  # noqa: D102
    @property
    def drawn_at_once(self) -> int: ...  # noqa: D102
    @property
    def tokens_per_pass(self) -> int: ...  # noqa: D102
    @property
    def report_to(self) -> tuple[Curves, ...]: ...  # noqa: D102
    @property
    def on_step(self) -> Callable[[PpoStep, int], None] | None: ...  # noqa: D102


class PpoRun:
    """One process of a training: its models, its plan, and where it stands."""

    def __init__(  # noqa: PLR0913  what __call__ was given, and what it made of it
        self,
        machine: Machine,
        base: SharedBase,
        fitting: Fitting,
        rewards: RewardFunction,
        recipe: PolicyTraining,
        folder: Path,
        made_of: str,
        base_name: str,
    ) -> None:
        self._machine, self._base, self._recipe, self._folder = machine, base, recipe, folder
        self._rewards, self.base_name, self._fitting = rewards, base_name, fitting
        self._group = recipe.group if recipe.baseline == "group" else 1
        prompts, batch = fitting.trained, recipe.rollout_batch // self._group
        self._steps = recipe.steps or steps_needed(len(prompts), batch, recipe.epochs)
        self._plan = asked(prompts, per_step=batch, steps=self._steps, seed=recipe.seed)
        self._updater = Updater(base, recipe, machine.tokens_per_pass)
        self._checkpoints = Checkpoints(
            folder / CHECKPOINTS, made_of, base, self._updater, base_name
        )
        steered = isinstance(rewards, WatchfulRewardFunction) and rewards.rewards_otherwise()
        self._from = self._checkpoints.restore(recipe.max_kl, steered=steered)
        self._log = StepLog(folder, machine.report_to, self._from.steps_done)
        self._texts = Texts(base.tokenizer, base.causal.get_output_embeddings().weight.shape[0])
        self._began = time.monotonic()

    def to_the_end(self) -> None:
        """Do the steps that are left, with checkpoints in between."""
        if isinstance(self._rewards, ForetoldRewardFunction):
            self._rewards.foretell(self._steps)
        for step in range(self._from.steps_done, self._steps):
            line = self._told(step)
            self._log.write(line)
            if (step + 1) % self._recipe.save_every == 0 and step + 1 < self._steps:
                self._checkpoints.save(step + 1, self._seconds)
            if self._machine.on_step is not None:
                self._machine.on_step(line, self._steps)

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

    def _told(self, step: int) -> PpoStep:
        """Do a step; say of what went wrong which checkpoint is left to go on from."""
        try:
            return self._step(step)
        except CollapsedError as error:
            raise CollapsedError(
                f"{error} {self._checkpoints.kept.fall_back()}", field=error.field
            ) from error
        except NoNumber as error:
            raise broken_update(step, error.what, self._about(step, error), self._folder) from None

    def _step(self, step: int) -> PpoStep:
        r, began = self._recipe, time.monotonic()
        rows, batch = self._drawn(step)
        drawn = time.monotonic()
        kl = floats(batch.kl)
        found = self._rewarded(step, rows, kl)
        self._check(step, statistics.fmean(kl))
        scores = torch.tensor(found, device=self._base.device)
        if self._group > 1:
            scores = leave_one_out(scores, self._group)
        targets = ppo_targets(scores, (batch.logp, batch.ref_logp), batch.values, batch.mask, r)
        share = learning_rate_share(step, self._steps, r)
        with self._products(
            batch.prompts, batch.responses
        ):  # the same as the old log-probabilities were taken in
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

    def _drawn(self, step: int) -> tuple[list[Row], Batch]:
        """Let the policy answer the prompts of a step, and measure what it answered.

        Raises:
            CollapsedError: it is broken, and gives numbers that are none.
        """
        try:
            rows = self._answers(step, self._asked(step), self._recipe.temperature)
            prompts, responses = [row.prompt for row in rows], [row.tokens for row in rows]
            with self._products(prompts, responses):
                batch = measure(
                    self._base, prompts, responses, self._recipe, self._machine.tokens_per_pass
                )
            batch.check()
        except NoNumber as error:
            raise broken_policy(step, error.what, self._about(step, error)) from None
        return rows, batch

    def _products(
        self, prompts: list[list[int]], responses: list[list[int]]
    ) -> AbstractContextManager[None]:
        wanted = self._machine.rounded_factors and self._base.device.type == "cpu"
        longest = max(len(p) + len(r) for p, r in zip(prompts, responses, strict=True))
        return fast_products(self._base.causal, wanted=wanted, longest=longest)

    def _check(self, step: int, kl: float) -> None:
        """Stop where the policy is too far away; else vouch for it, if it was looked at at all.

        Raises:
            TrainingError: its KL (nats per response, mean) is beyond `max_kl`.
        """
        most, kept = self._recipe.max_kl, self._checkpoints.kept
        if most is not None and kl > most:
            self._checkpoints.save(step, self._seconds, kl)
            raise beyond_max_kl(step, kl, most, kept)
        rewards = self._rewards
        if not isinstance(rewards, WatchfulRewardFunction) or rewards.vouches_for(step):
            kept.vouch(step)

    def _about(self, step: int, error: NoNumber) -> str | None:
        return None if error.place is None else request(self._asked(step)[error.place].prompt)

    def _asked(self, step: int) -> list[Asked]:
        size = self._recipe.rollout_batch // self._group
        return in_groups(self._plan[step * size : (step + 1) * size], self._group)

    def _answers(self, step: int, places: Sequence[Asked], temperature: float) -> list[Row]:
        r = self._recipe
        ids = encode(self._base.tokenizer, [place.prompt.text for place in places])
        rows = [
            row_for(one, at.prompt.stop, (r.seed, step, at.prompt.query, at.turn), at.copy)
            for one, at in zip(ids, places, strict=True)
        ]
        draws = Draws(temperature, r.top_p, r.max_tokens, end_finishes=not r.faithful)
        self._base.use("policy")
        with folded(self._base.causal):
            generate(self._base, rows, self._texts, draws, self._machine.drawn_at_once)
        return rows

    def _probe(self, step: int) -> None:
        """Let the policy answer what it is never trained on, greedily, for whoever looks on."""
        looks_on = self._rewards
        if not isinstance(looks_on, ProbedRewardFunction) or not looks_on.probe_due(step):
            return
        places = [Asked(step, prompt, 0) for prompt in self._fitting.probes]
        try:
            rows = self._answers(step, places, temperature=0.0)
        except NoNumber as error:
            about = None if error.place is None else request(places[error.place].prompt)
            raise broken_policy(step, error.what, about) from None
        nats = [None] * len(rows)
        looks_on.probe(step, _sampled(places, rows, nats), self._base.score)

    def _rewarded(self, step: int, rows: list[Row], kl: list[float]) -> list[float]:
        """Return a reward per response; what stops here, but a collapse, can go on from here."""
        sampled = _sampled(self._asked(step), rows, kl)
        try:
            self._probe(step)
            found = self._rewards(step, sampled, self._base.score)
            prompts = [at.prompt for at in self._asked(step)]
            check_rewards(step, found, list(zip(prompts, sampled, strict=True)), self._folder)
        except CollapsedError:
            raise  # the checkpoint before is worth more than one of what has collapsed
        except TrainingError:
            self._checkpoints.save(step, self._seconds)
            raise
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
