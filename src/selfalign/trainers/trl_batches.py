"""A batch of rollouts between TRL and the reward function, and what is written down about it.

greedy answers to fixed prompts --end_of--> Sampled --ProbedRewardFunction--> looked at, if due
completion ids --end_of--> Sampled --RewardFunction--> rewards --> TRL
rewards, TRL's log of each update --> PolicyStep, a line of steps.jsonl; `max_kl` stops here
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import (
    PolicyPrompt,
    PolicyTraining,
    ProbedRewardFunction,
    RewardFunction,
    Sampled,
    Scorer,
    WatchfulRewardFunction,
)
from selfalign.trainers.endings import Decode, end_of
from selfalign.trainers.kept import Kept
from selfalign.trainers.no_number import broken_update, check_rewards
from selfalign.trainers.policy_account import PolicyStep, write_step
from selfalign.trainers.prompt_order import Asked
from selfalign.trainers.trl_settings import updates_per_batch


@dataclass
class Watch(TrainerCallback):
    """Gathers what a batch of rollouts was like, writes it down, and stops at `max_kl`.

    Whether a policy is whole is known when its batch is done: then its checkpoint is vouched for.
    """

    recipe: PolicyTraining
    folder: Path
    steps: int
    on_step: Callable[[PolicyStep, int], None] | None
    kept: Kept
    _whole: bool = False
    """Whether the policy of the batch at hand was looked at and is whole."""
    _sampled: Sequence[Sampled] = ()
    _rewards: Sequence[float] = ()
    _logs: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    _began: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the training was set up."""
        return time.monotonic() - self._began

    def rewarded(
        self, sampled: Sequence[Sampled], rewards: Sequence[float], *, whole: bool
    ) -> None:
        """Take note of a batch's responses and rewards, and whether its policy was found whole."""
        self._sampled, self._rewards, self._whole = sampled, rewards, whole

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,  # noqa: ARG002  transformers' signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        model: torch.nn.Module | None = None,
        **_: object,
    ) -> None:
        """Make sure that no gradient is NaN or infinite; the update would break the weights.

        Raises:
            TrainingError: one is.
        """
        gradients = [p.grad for p in model.parameters() if p.grad is not None] if model else []
        if not all(bool(torch.isfinite(one.sum())) for one in gradients):
            step = state.global_step // updates_per_batch(self.recipe)
            raise broken_update(step, "a gradient of the policy", None, self.folder)

    def on_save(self, *_: object, **__: object) -> None:
        """Remove the checkpoints that the one just written replaces."""
        self.kept.prune()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002  transformers' signature
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Take note of an update; at the last one of a batch, write the batch down.

        Beyond `max_kl`, TRL saves and stops there: between batches, where it can go on.
        """
        if logs is None or "step_time" not in logs:
            return
        self._logs.append(logs)
        if state.global_step % updates_per_batch(self.recipe) == 0:
            line = self._write(state.global_step // updates_per_batch(self.recipe) - 1)
            if beyond(line, self.recipe):
                control.should_save = control.should_training_stop = True
            elif self._whole:
                self.kept.vouch(line.step)

    def _write(self, step: int) -> PolicyStep:
        now = time.monotonic()
        line = PolicyStep(
            step=step,
            reward=statistics.fmean(self._rewards),
            reward_std=statistics.pstdev(self._rewards),
            kl=self._kl(),
            tokens=statistics.fmean(one.tokens for one in self._sampled),
            finished=statistics.fmean(one.finished for one in self._sampled),
            entropy=self._mean("entropy"),
            clip_fraction=self._mean("clip_ratio/region_mean"),
            learning_rate=self._logs[-1]["learning_rate"],
            seconds=round(now - self._last, 3),
        )
        write_step(self.folder, line)
        self._last, self._logs = now, []
        if self.on_step is not None:
            self.on_step(line, self.steps)
        return line

    def _mean(self, name: str) -> float | None:
        known = [logs[name] for logs in self._logs if logs.get(name) is not None]
        return statistics.fmean(known) if known else None

    def _kl(self) -> float | None:
        """TRL logs a mean per token; times the mean length it is the mean per response."""
        per_token, length = self._mean("kl"), self._mean("completions/mean_length")
        return None if per_token is None or length is None else per_token * length


def beyond(step: PolicyStep, recipe: PolicyTraining) -> bool:
    """Say whether a batch was drawn by a policy that is too far from where it started."""
    return step.kl is not None and recipe.max_kl is not None and step.kl > recipe.max_kl


def check_kl(steps: Sequence[PolicyStep], recipe: PolicyTraining, kept: Kept) -> None:
    """Make sure that the last of some steps was not too far from where the policy started.

    Raises:
        TrainingError: it was.
    """
    if steps and beyond(steps[-1], recipe):
        raise TrainingError(
            f"step {steps[-1].step}: the policy is {steps[-1].kl:.2f} nats per response away from "
            f"where it started, and max_kl is {recipe.max_kl}, so the training stops. It is kept "
            f"as it is in {kept.newest}. {kept.left} They are plain adapters. To go on from here, "
            "raise `max_kl` and run the same command again; to go on otherwise from the last one "
            "found whole, edit principles with `selfalign steer RUN`. A higher `kl_weight` or a "
            "lower `learning_rate` trains anew.",
            field="max_kl",
        )


@dataclass
class Judge:
    """Takes a batch of responses from TRL to the reward function and back."""

    plan: list[Asked]
    probes: Sequence[PolicyPrompt]
    """Answered when a probe is due."""
    rewards: RewardFunction
    score: Scorer
    decode: Decode
    watch: Watch
    ends: frozenset[int] = frozenset()
    """The policy's end tokens, which its trainer knows."""
    answer: Callable[[Sequence[PolicyPrompt]], list[list[int]]] = field(init=False)
    """What the policy answers now, greedily, in tokens; its trainer knows."""

    @property
    def stop(self) -> tuple[str, ...]:
        """What ends a response to any prompt."""
        return self.plan[0].prompt.stop

    def rewards_of(
        self, completion_ids: list[list[int]], place: list[int], **_: object
    ) -> list[float]:
        """Return a reward per response; TRL calls this once per batch of rollouts.

        The weights are still those that drew the batch.
        """
        step = self.plan[place[0]].step
        self._probe(step)
        sampled = self._sampled([self.plan[at] for at in place], completion_ids)
        found = self.rewards(step, sampled, self.score)
        prompts = [self.plan[at].prompt for at in place]
        check_rewards(step, found, list(zip(prompts, sampled, strict=True)), self.watch.folder)
        looks_on = self.rewards
        watchful = isinstance(looks_on, WatchfulRewardFunction)
        self.watch.rewarded(sampled, found, whole=not watchful or looks_on.vouches_for(step))
        return found

    def _probe(self, step: int) -> None:
        """Let the policy answer what it is never trained on, for whoever looks on."""
        looks_on = self.rewards
        if not isinstance(looks_on, ProbedRewardFunction) or not looks_on.probe_due(step):
            return
        places = [Asked(step, prompt, turn=0) for prompt in self.probes]
        drawn = self.answer([at.prompt for at in places])
        looks_on.probe(step, self._sampled(places, drawn), self.score)

    def _sampled(self, places: Sequence[Asked], drawn: Sequence[list[int]]) -> list[Sampled]:
        ended = [end_of(ids, self.stop, self.ends, self.decode) for ids in drawn]
        return [
            Sampled(
                query=at.prompt.query,
                turn=at.turn,
                response=one.response.strip(),  # the newline behind the header is no content
                tokens=one.tokens,
                finished=one.finished,
                kl=None,
            )
            for at, one in zip(places, ended, strict=True)
        ]
