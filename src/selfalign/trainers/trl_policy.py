"""RLOO and GRPO through TRL, behind the same protocol and the same rewards as our PPO.

Paper: arXiv:2310.05910v2, reinforcement learning; the algorithms: arXiv:2402.14740 (RLOO) and
arXiv:2402.03300 (GRPO).

    prompts --policy, `group` responses each--> rollouts --RewardFunction, once per batch--> rewards
    fixed prompts --policy, greedily, before a probed batch's rewards--> ProbedRewardFunction
    rewards, KL(policy | start policy) --TRL--> updates of the adapter --> folder/weights

A step is a batch of rollouts. Differences from the paper: no value model; a response is compared
with the others to its prompt; the KL is RLOO's (k1, inside the reward) or GRPO's (k3, in the
loss), so `kl` is not known to the reward function. What each setting becomes: trl_settings.py.
The policy's adapter is continued in its own shape; TRL keeps a copy of it as the reference.

Stopping: `max_kl` stops a training behind the batch that was too far away, with a checkpoint; until
it is raised or principles are steered, the same command says so again and trains nothing. Steered,
it goes on from the last policy that was found whole, as it does after a collapse (kept.py).

Resuming: TRL does not save the rollouts at hand, so checkpoints are made only between batches,
every `save_every` of them; a killed training repeats what came after the last one, and then gives
the weights of an uninterrupted one (a test compares them, on a CPU). The reward function is asked
again for the repeated steps, and they are probed again; probes draw no random number.

The folder, when done:  weights/ (a plain PEFT adapter), training.json, steps.jsonl, tensorboard/.
"""

import functools
import importlib
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PrinterCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from selfalign.core.errors import CollapsedError, TrainingError, UnfitError
from selfalign.core.protocols import (
    ForetoldRewardFunction,
    PolicyPrompt,
    PolicyTraining,
    RewardFunction,
    WatchfulRewardFunction,
)
from selfalign.core.records import Checkpoint
from selfalign.trainers.endings import decoder
from selfalign.trainers.kept import Kept
from selfalign.trainers.lora_sft import whole_checkpoint
from selfalign.trainers.packing import micro_batch
from selfalign.trainers.policy_account import (
    Curves,
    PolicyReport,
    PolicyStep,
    keep_steps,
    policy_card,
    read_steps,
)
from selfalign.trainers.products import folded
from selfalign.trainers.prompt_fit import Window, fit
from selfalign.trainers.prompt_order import Asked, asked, steps_needed
from selfalign.trainers.scorer import open_scorer
from selfalign.trainers.shared_files import check_tokenizers, find_stand
from selfalign.trainers.start_policy import StartPolicy, hushed, start_policy
from selfalign.trainers.trl_batches import Judge, Watch, check_kl
from selfalign.trainers.trl_rollouts import CONFIGS, TRAINERS, Rollouts, greedily
from selfalign.trainers.trl_settings import check, updates_per_batch, values
from selfalign.trainers.untyped import table

_CHECKPOINTS, _WEIGHTS, _REPORT = "checkpoints", "weights", "training.json"


@dataclass(frozen=True)
class TrlPolicyTrainer:
    """A `core.protocols.PolicyTrainer`. Its fields are speed and memory, never identity."""

    device: str = "auto"
    """"auto": CUDA if there is one, else the CPU."""
    bf16: bool = False
    """Multiply in bfloat16, with weights and optimiser in float32."""
    drawn_at_once: int = 64
    """Ours: responses drawn together."""
    trained_at_once: int = 16
    """Ours: responses per pass of an update, at most; the update stays `update_batch`."""
    scored_at_once: int = 32
    """Ours: texts per pass of the reward model."""
    gradient_checkpointing: bool = False
    """True trades a third more time for much less memory."""
    report_to: tuple[Curves, ...] = ("tensorboard",)
    """Where TRL draws curves besides `steps.jsonl`; TensorBoard only if it is installed."""
    on_step: Callable[[PolicyStep, int], None] | None = None
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
            UnfitError: policy, reward model and recipe do not fit each other or TRL's algorithm.
            TrainingError: the training has to stop.
            ModelError: one of the checkpoints cannot be read.
        """
        if (folder / _WEIGHTS).is_dir():
            return
        check(recipe)
        kept = _kept(folder, recipe)
        _check_stop(folder, recipe, kept, rewards)
        check_tokenizers(find_stand(policy, reward_model))
        with hushed():
            start = start_policy(policy)
            scorer = open_scorer(reward_model, self._device, self.scored_at_once)
        fitting = fit(
            prompts,
            rewards,
            recipe,
            policy=Window(start.tokenizer, start.context_length),
            reward=Window(scorer.tokenizer, scorer.limit),
        )
        _check_stops([*fitting.trained, *fitting.probes])
        per_step = recipe.rollout_batch // recipe.group
        steps = recipe.steps or steps_needed(len(fitting.trained), per_step, recipe.epochs)
        plan = asked(fitting.trained, per_step=per_step, steps=steps, seed=recipe.seed)
        folder.mkdir(parents=True, exist_ok=True)
        watch = Watch(recipe, folder, steps, self.on_step, kept)
        judge = Judge(plan, fitting.probes, rewards, scorer.score, decoder(start.tokenizer), watch)
        if isinstance(rewards, ForetoldRewardFunction):
            rewards.foretell(steps)
        with hushed():
            trainer = self._trainer(start, judge, plan, recipe, folder, watch)
            resumed = self._train(trainer, folder, kept)
        _check_kl(folder, recipe, kept)
        lines = read_steps(folder, PolicyStep)
        report = PolicyReport(
            base=start.base_name,
            recipe=recipe,
            prompts=len(fitting.trained),
            dropped=fitting.dropped,
            probes=len(fitting.probes),
            probes_dropped=fitting.probes_dropped,
            steps=steps,
            rollouts=steps * recipe.rollout_batch,
            seconds=round(watch.elapsed, 2),
            resumed_at=resumed,
            reward_first=lines[0].reward,
            reward_last=lines[-1].reward,
        )
        _finish(start, trainer, report, folder)

    @property
    def _device(self) -> str:
        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    def _trainer(
        self,
        start: StartPolicy,
        judge: Judge,
        plan: list[Asked],
        recipe: PolicyTraining,
        folder: Path,
        watch: Watch,
    ) -> Any:  # Any: TRL is partly typed
        at_once = micro_batch(recipe.update_batch, 1.0, self.trained_at_once)
        settings = values(recipe, steps=watch.steps, at_once=at_once)
        config = cast(Any, CONFIGS[recipe.algorithm])(
            **settings,
            output_dir=str(folder / _CHECKPOINTS),
            logging_steps=1,
            report_to=[name for name in self.report_to if name != "tensorboard"] or "none",
            disable_tqdm=True,
            use_cpu=self._device == "cpu",
            bf16=self.bf16,
            gradient_checkpointing=self.gradient_checkpointing,
        )
        rollouts = Rollouts(start.tokenizer, judge.stop, self.drawn_at_once, recipe)
        rows = [{"prompt": one.prompt.text, "place": at} for at, one in enumerate(plan)]
        with start.explained(recipe):
            trainer = cast(Any, TRAINERS[recipe.algorithm])(
                rollouts=rollouts,
                model=start.model,
                reward_funcs=judge.rewards_of,
                args=config,
                train_dataset=table(cast(Any, rows)),
                processing_class=start.tokenizer,
                peft_config=start.fresh_adapter(recipe),
                callbacks=[watch, *_tensorboard(folder, self.report_to)],
            )
        trainer.remove_callback(PrinterCallback)
        judge.ends = frozenset(one for one in trainer.eos_token_ids if one is not None)
        trainer.generation_config.eos_token_id = sorted(judge.ends) or None
        judge.answer = functools.partial(greedily, trainer, rollouts)
        if trainer.accelerator.num_processes > 1:
            raise TrainingError(
                f"{trainer.accelerator.num_processes} processes would each reward a part of a "
                "batch. Run one process; several machines are not supported here."
            )
        return trainer

    def _train(self, trainer: Any, folder: Path, kept: Kept) -> int:
        """Run to the end, from the newest checkpoint if there is one; return that one's step.

        Raises:
            CollapsedError: the policy has collapsed; what was found whole is left.
        """
        resumed = kept.newest
        first = kept.steps_done(resumed)
        keep_steps(folder, PolicyStep, first)
        try:
            with folded(trainer.model, learning=True):
                trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        except CollapsedError as error:
            raise CollapsedError(f"{error} {kept.fall_back()}", field=error.field) from error
        return first


def _kept(folder: Path, recipe: PolicyTraining) -> Kept:
    """Return the whole checkpoints, after removing what a killed process left of others."""
    whole_checkpoint(folder / _CHECKPOINTS)
    kept = Kept(folder / _CHECKPOINTS, "checkpoint-", updates_per_batch(recipe))
    kept.sweep()
    return kept


def _check_stop(folder: Path, recipe: PolicyTraining, kept: Kept, rewards: RewardFunction) -> None:
    """Stop again where a training was stopped; if it was steered since, go back to before that."""
    try:
        _check_kl(folder, recipe, kept)
    except TrainingError:
        if not isinstance(rewards, WatchfulRewardFunction) or not rewards.rewards_otherwise():
            raise
        kept.fall_back()


def _check_kl(folder: Path, recipe: PolicyTraining, kept: Kept) -> None:
    """Stop where the newest checkpoint is one of a policy too far away, this time or before."""
    done = kept.steps_done(kept.newest)
    check_kl([s for s in read_steps(folder, PolicyStep) if s.step < done], recipe, kept)


def _check_stops(prompts: Sequence[PolicyPrompt]) -> None:
    """Refuse prompts whose responses would have to be drawn differently."""
    if len({p.stop for p in prompts}) > 1:
        raise UnfitError(
            "the prompts end in different stop texts, and one training draws all responses alike. "
            "Render them with one chat prompt, those for probes as well."
        )


def _tensorboard(folder: Path, report_to: Sequence[Curves]) -> list[TensorBoardCallback]:
    """Return what draws TRL's figures for TensorBoard, if they are wanted and it is installed."""
    if "tensorboard" not in report_to or importlib.util.find_spec("tensorboard") is None:
        return []
    module: Any = importlib.import_module("torch.utils.tensorboard")  # Any: partly typed
    return [TensorBoardCallback(module.SummaryWriter(str(folder / "tensorboard")))]


def _finish(start: StartPolicy, trainer: Any, report: PolicyReport, folder: Path) -> None:
    """Write the weights last, so that a folder with weights is a finished one."""
    partial = folder / f"{_WEIGHTS}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    start.save(trainer.accelerator.unwrap_model(trainer.model), partial)
    by = f"through TRL's {report.recipe.algorithm.upper()} instead of the paper's PPO"
    (partial / "README.md").write_text(policy_card(report, by), "utf-8")
    report.write(folder / _REPORT)
    partial.rename(folder / _WEIGHTS)
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
