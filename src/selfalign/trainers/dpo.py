"""DPO through TRL: a policy learns preferences without a reward model, as a baseline.

Paper: arXiv:2305.18290. SALMON (arXiv:2310.05910v2) trains by PPO; its reviewers asked what DPO
on the same synthetic preferences would give.

    (prompt, chosen, rejected) --tokens--> log-probabilities under policy and reference
                               --TRL's DPOTrainer--> folder/weights, the same adapter continued

The reference is the policy it starts from. Differences from TRL's defaults: our own tokens (prompt
and completion are one text, no end token is appended, for a turn ends with the user header), a
pair that is too long is dropped and counted, dropout is off. A killed training continues with the
same command.

The folder, when done:  weights/ (a plain PEFT adapter), training.json.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import PrinterCallback

from selfalign.core.protocols import DpoTraining, PreferredText
from selfalign.core.records import Checkpoint
from selfalign.trainers.dpo_account import DpoReport, dpo_card
from selfalign.trainers.dpo_pairs import PairSplit, split_pairs
from selfalign.trainers.lora_sft import whole_checkpoint
from selfalign.trainers.packing import micro_batch
from selfalign.trainers.start_policy import StartPolicy, hushed, start_policy
from selfalign.trainers.steps import StepWatch, TrainingProgress
from selfalign.trainers.untyped import table

if TYPE_CHECKING:  # TRL exports lazily, which hides its names from the type checker
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
else:
    from trl import DPOConfig, DPOTrainer

_CHECKPOINTS, _WEIGHTS, _REPORT = "checkpoints", "weights", "training.json"
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class PairTrainer(DPOTrainer):
    """TRL's trainer on tokens of ours."""

    def _prepare_dataset(self, dataset: Any, *_: object, **__: object) -> Any:
        """Leave the data as it is: it has its tokens."""
        return dataset


@dataclass(frozen=True)
class TrlDpoTrainer:
    """A `core.protocols.DpoTrainer`. Its fields are speed and memory, never identity."""

    device: str = "auto"
    """"auto": CUDA if there is one, else the CPU."""
    bf16: bool = False
    """Multiply in bfloat16, with weights and optimiser in float32."""
    pairs_at_once: int = 8
    """Ours: pairs per pass, at most; the step stays `batch_size`."""
    gradient_checkpointing: bool = False
    """True trades a third more time for much less memory."""
    save_every_s: float = 120.0
    """Ours: a killed training loses at most this much work."""
    on_step: Callable[[TrainingProgress], None] | None = None
    """Told after every optimiser step."""

    def __call__(
        self,
        pairs: Sequence[PreferredText],
        *,
        policy: Checkpoint,
        recipe: DpoTraining,
        folder: Path,
    ) -> None:
        """Train and leave an adapter in `folder / "weights"`; continue what is in `folder`.

        Raises:
            TrainingError: nothing to train on, or the recipe does not fit the model.
            ModelError: the policy cannot be read.
        """
        if (folder / _WEIGHTS).is_dir():
            return
        with hushed():
            start = start_policy(policy)
        data = split_pairs(pairs, start.tokenizer, recipe)
        began = time.monotonic()
        with hushed():
            trainer = self._trainer(start, data, recipe, folder)
            resumed = whole_checkpoint(folder / _CHECKPOINTS)
            trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
            measured = cast("dict[str, float]", trainer.evaluate() if data.held_out else {})
        history = trainer.state.log_history
        report = DpoReport(
            base=start.base_name,
            recipe=recipe,
            pairs=len(data.trained),
            held_out=len(data.held_out),
            dropped=data.dropped,
            steps=trainer.state.global_step,
            seconds=round(time.monotonic() - began, 2),
            resumed_at=int(resumed.name.rpartition("-")[2]) if resumed else 0,
            held_out_accuracy=measured.get("eval_rewards/accuracies"),
            held_out_margin=measured.get("eval_rewards/margins"),
            curve=[
                (int(h["step"]), h["loss"], h["rewards/margins"]) for h in history if "loss" in h
            ],
        )
        _finish(start, trainer, report, folder)

    @property
    def _on_cpu(self) -> bool:
        return self.device == "cpu" or (self.device == "auto" and not torch.cuda.is_available())

    def _trainer(
        self, start: StartPolicy, data: PairSplit, recipe: DpoTraining, folder: Path
    ) -> Any:  # Any: TRL is partly typed
        at_once = micro_batch(recipe.batch_size, 1.0, self.pairs_at_once)
        settings = DPOConfig(
            output_dir=str(folder / _CHECKPOINTS),
            beta=recipe.beta,
            loss_type=[recipe.loss],
            learning_rate=recipe.learning_rate,
            per_device_train_batch_size=at_once,
            per_device_eval_batch_size=at_once,
            gradient_accumulation_steps=recipe.batch_size // at_once,
            num_train_epochs=recipe.epochs,
            warmup_steps=recipe.warmup_steps,
            lr_scheduler_type=_SCHEDULES[recipe.schedule],
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            seed=recipe.seed,
            data_seed=recipe.seed,
            max_length=None,  # too long pairs are dropped, and counted, by dpo_pairs.py
            use_cpu=self._on_cpu,
            bf16=self.bf16,
            gradient_checkpointing=self.gradient_checkpointing,
            remove_unused_columns=False,
            save_strategy="no",  # StepWatch saves by the clock
            save_total_limit=1,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        )
        with start.explained(recipe):
            trainer = cast(Any, PairTrainer)(
                model=start.model,
                args=settings,
                train_dataset=table([pair.columns() for pair in data.trained]),
                eval_dataset=table([pair.columns() for pair in data.held_out])
                if data.held_out
                else None,
                processing_class=start.tokenizer,
                peft_config=start.fresh_adapter(recipe),
                callbacks=[StepWatch(self.on_step, self.save_every_s)],
            )
        trainer.remove_callback(PrinterCallback)
        return trainer


def _finish(start: StartPolicy, trainer: Any, report: DpoReport, folder: Path) -> None:
    """Write the weights last, so that a folder with weights is a finished one."""
    partial = folder / f"{_WEIGHTS}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    start.save(trainer.accelerator.unwrap_model(trainer.model), partial)
    (partial / "README.md").write_text(dpo_card(report), "utf-8")
    report.write(folder / _REPORT)
    partial.rename(folder / _WEIGHTS)
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
