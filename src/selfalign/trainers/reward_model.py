"""The reward model that reads principles: an adapter and a score head, trained on pairs.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model".

    RewardPair (two rendered texts) --tokens--> base + LoRA + linear head
        --score at the last token of each--> -log sigmoid(chosen - rejected) --> folder/weights

It starts from the *base* model, or from the adapter and head that pre-training on preferences left
(`salmon/preference_pretraining.py`). Training goes through TRL's RewardTrainer; rendering, tokens,
what is too long and what is held out are ours.

Differences from the authors' code: padding is on the right, where a causal model's score at the
last real token is what it is without padding (theirs: on the left); nothing is cut; the head has no
bias, which differences of scores cannot show (theirs: one that starts at 0); 4-bit weights are not
used. The scores' shape is asserted, because one score per token would train without a complaint;
and the saved files have to give the scores that were trained, or the training fails.

The folder, when done:  weights/ (a plain PEFT adapter with its head), training.json.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from peft import LoraConfig
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import RewardPair, RewardTraining
from selfalign.core.records import Checkpoint
from selfalign.core.weights import Located, locate
from selfalign.trainers.lora_sft import whole_checkpoint
from selfalign.trainers.packing import micro_batch
from selfalign.trainers.products import fast_products
from selfalign.trainers.reward_account import RewardReport
from selfalign.trainers.reward_pairs import (
    PairSplit,
    TokenPair,
    alike_in_length,
    judge,
    split_pairs,
)
from selfalign.trainers.reward_saving import (
    WEIGHTS,
    base_name,
    leave,
    load_base,
    model_of,
    pad_of,
)
from selfalign.trainers.reward_untyped import (
    HEAD,
    RewardConfig,
    RewardTrainer,
    adapter_settings,
    adapter_tensors,
    checked_scores,
    continue_from,
    silenced,
)
from selfalign.trainers.side_by_side import parts_for, side_by_side
from selfalign.trainers.steps import StepWatch, TrainingProgress
from selfalign.trainers.untyped import linear_layers, table
from selfalign.trainers.verdict_head import start_from_verdicts

_CHECKPOINTS = "checkpoints"
_CURVE_POINTS = 500
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class PairTrainer(RewardTrainer):
    """TRL's trainer, refusing a model that does not give one score per text."""

    parts = 1
    """How many passes run side by side; set before training."""

    def compute_loss(
        self,
        model: Any,  # Any: this signature is transformers' own
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return TRL's Bradley-Terry loss of a batch: chosen texts first, then the rejected."""
        loss, outputs = cast(Any, super()).compute_loss(
            RowsApart(model, self.parts),
            inputs,
            return_outputs=True,
            num_items_in_batch=num_items_in_batch,
        )
        checked_scores(outputs.logits, len(inputs["input_ids"]))
        return (loss, outputs) if return_outputs else loss


@dataclass(frozen=True)
class RowsApart:
    """A reward model that scores parts of a batch side by side; called as the model itself."""

    model: torch.nn.Module
    parts: int

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor, **same: Any) -> Any:
        """Return an object with `logits` (B, 1), for right-padded tokens (B, T)."""
        if self.parts == 1:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **same)

        def scores(rows: Tensor) -> Tensor:
            mask = attention_mask[rows]
            width = int(mask.sum(1).max())
            ids, mask = input_ids[rows, :width], mask[:, :width]
            logits = self.model(input_ids=ids, attention_mask=mask, **same).logits
            return checked_scores(logits, len(rows))[:, None]

        rows = torch.arange(len(input_ids)).tensor_split(self.parts)
        taken = [part for part in rows if len(part)]
        found = side_by_side(scores, taken, list(self.model.parameters()))
        return SimpleNamespace(logits=torch.cat(found))


@dataclass(frozen=True)
class TrlRewardTrainer:
    """A `core.protocols.RewardTrainer`. Its fields are speed and memory, never identity."""

    device: str = "auto"
    """"auto": CUDA if there is one, else the CPU."""
    bf16: bool = False
    """Multiply in bfloat16; weights, optimiser and the score head stay in float32."""
    rounded_factors: bool = True
    """On a CPU with bfloat16 units, round the factors of products (products.py). False: exact."""
    tokens_per_pass: int = 4096
    """Ours: texts are run together up to about this many tokens; the step stays `batch_size`."""
    gradient_checkpointing: bool | None = None
    """None: on CUDA only; it trades a third more time for much less memory."""
    save_every_s: float = 120.0
    """Ours: a killed training loses at most this much work."""
    on_step: Callable[[TrainingProgress], None] | None = None
    """Told after every optimiser step."""

    def __call__(
        self,
        pairs: Sequence[RewardPair],
        *,
        base: Checkpoint,
        recipe: RewardTraining,
        folder: Path,
    ) -> None:
        """Train and leave adapter and head in `folder / "weights"`; continue what is in `folder`.

        A base with an adapter is a reward model whose adapter and head are trained on.

        Raises:
            TrainingError: nothing to train on, the recipe does not fit the model or the adapter, or
                what was saved does not give the scores that were trained.
            ModelError: the base is not a model.
        """
        if (folder / WEIGHTS).is_dir():
            return
        if not 0 <= recipe.warmup_share < 1:
            raise TrainingError(
                f"warmup_share {recipe.warmup_share} is no share of the steps: give a number from "
                f"0 up to, not including, 1.",
                field="warmup_share",
            )
        located = locate(base)
        model, tokenizer = load_base(located, recipe.seed)
        if recipe.verdicts and located.adapter is None:
            source, revision = located.base, located.revision or "main"
            start_from_verdicts(model, tokenizer, recipe.verdicts, source, revision)
        data = split_pairs(pairs, tokenizer, recipe)
        with silenced():
            trainer = self._trainer(model, tokenizer, data, recipe, folder)
            if located.adapter is not None:
                _continue(trainer, located.adapter, recipe)
            report = self._train(trainer, located, data, recipe, folder / _CHECKPOINTS)
        if located.adapter is not None:
            report = report.model_copy(update={"continued_from": base.fingerprint})
        leave(trainer, located, data, report, folder)
        shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)

    @property
    def _on_cpu(self) -> bool:
        return self.device == "cpu" or (self.device == "auto" and not torch.cuda.is_available())

    def _trainer(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        data: PairSplit,
        recipe: RewardTraining,
        folder: Path,
    ) -> PairTrainer:
        checkpointing = self.gradient_checkpointing
        at_once = micro_batch(
            recipe.batch_size, data.tokens / len(data.trained), self.tokens_per_pass
        )
        steps = len(data.trained) * recipe.epochs / recipe.batch_size
        settings = RewardConfig(
            output_dir=str(folder / _CHECKPOINTS),
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=recipe.batch_size // at_once,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=_SCHEDULES[recipe.schedule],
            warmup_steps=recipe.warmup_share,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            train_sampling_strategy="random" if recipe.order == "shuffled" else "sequential",
            seed=recipe.seed,
            data_seed=recipe.seed,
            use_cpu=self._on_cpu,
            bf16=self.bf16,
            gradient_checkpointing=not self._on_cpu if checkpointing is None else checkpointing,
            disable_dropout=False,  # TRL's default would silence the adapter's dropout as well
            max_length=None,  # what is too long is left out, and counted, by reward_pairs.py
            save_strategy="no",  # StepWatch saves by the clock
            save_total_limit=1,
            logging_steps=max(1, int(steps / _CURVE_POINTS)),
            report_to="none",
            disable_tqdm=True,
        )
        try:
            trainer = PairTrainer(
                model=model,
                args=settings,
                train_dataset=table([pair.columns() for pair in _in_order(data.trained, recipe)]),
                processing_class=tokenizer,
                peft_config=_lora(recipe),
                callbacks=[StepWatch(self.on_step, self.save_every_s)],
            )
        except ValueError as error:
            raise _unfitting(recipe, model, error) from error
        trainer.remove_callback(PrinterCallback)
        trainer.parts = parts_for(model_of(trainer))
        return trainer

    def _train(
        self,
        trainer: PairTrainer,
        located: Located,
        data: PairSplit,
        recipe: RewardTraining,
        checkpoints: Path,
    ) -> RewardReport:
        began = time.monotonic()
        model, pad = model_of(trainer), pad_of(trainer)
        before = judge(model, data.held_out, pad=pad, tokens_per_pass=self.tokens_per_pass)
        resumed = whole_checkpoint(checkpoints)
        plain, wanted = cast(Any, model).get_base_model(), self.rounded_factors and self._on_cpu
        longest = max(pair.longer for pair in data.trained)
        with fast_products(plain, wanted=wanted, longest=longest):
            cast(Any, trainer).train(resume_from_checkpoint=str(resumed) if resumed else None)
        after = judge(model, data.held_out, pad=pad, tokens_per_pass=self.tokens_per_pass)
        history = trainer.state.log_history
        return RewardReport(
            base=base_name(located),
            continued_from=None,
            recipe=recipe,
            examples=len(data.trained),
            held_out=len(data.held_out),
            dropped=data.dropped,
            tokens=data.tokens,
            steps=trainer.state.global_step,
            seconds=round(time.monotonic() - began, 2),
            resumed_at=int(resumed.name.rpartition("-")[2]) if resumed else 0,
            held_out_accuracy_before=before.accuracy,
            held_out_accuracy_after=after.accuracy,
            held_out_loss_before=before.loss,
            held_out_loss_after=after.loss,
            accuracy_chosen_longer=after.accuracy_chosen_longer,
            accuracy_chosen_shorter=after.accuracy_chosen_shorter,
            round_trip=0.0,
            curve=[(int(h["step"]), h["loss"], h["accuracy"]) for h in history if "loss" in h],
        )


def _in_order(pairs: Sequence[TokenPair], recipe: RewardTraining) -> Sequence[TokenPair]:
    """Put pairs of like length together if the recipe lets them change places."""
    if recipe.order != "near":
        return pairs
    return alike_in_length(pairs, recipe.batch_size, recipe.seed)


def _lora(recipe: RewardTraining) -> LoraConfig:
    targets = recipe.targets
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="SEQ_CLS",  # PEFT then trains and saves the head, whole, beside the adapter
    )


def _continue(trainer: PairTrainer, adapter: Path, recipe: RewardTraining) -> None:
    """Start from the adapter and head of another reward model.

    Raises:
        TrainingError: it was made with another rank, alpha or targets, or has no head.
    """
    alpha = adapter_settings(adapter).get("lora_alpha")
    misfits = continue_from(model_of(trainer), adapter_tensors(adapter))
    if misfits or alpha != recipe.alpha:
        what = f"it differs in {', '.join(misfits[:3])}" if misfits else f"its alpha is {alpha}"
        raise TrainingError(
            f"the training cannot go on from {adapter}: {what}. Only a reward model with a head "
            f"and the recipe's own rank ({recipe.rank}), alpha ({recipe.alpha}) and targets "
            f"({recipe.targets}) can be trained on; correct the recipe, or start from the base.",
            field="base",
        )


def _unfitting(recipe: RewardTraining, model: PreTrainedModel, error: ValueError) -> TrainingError:
    wanted = recipe.targets if isinstance(recipe.targets, str) else ", ".join(recipe.targets)
    known = [name for name in linear_layers(model) if name != HEAD]
    return TrainingError(
        f"the training cannot be set up for targets {wanted}: {error} This model's linear layers "
        f'are {", ".join(known)}; name some of them in `targets`, or "all-linear".',
        field="targets",
    )
