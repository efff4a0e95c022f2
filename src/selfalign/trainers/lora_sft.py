"""Supervised fine-tuning of an adapter or of all weights, through TRL and PEFT.

    SELF-ALIGN (arXiv:2305.03047v2), principle engraving and verbose cloning
    examples --tokens, masks--> flattened batches --TRL's SFTTrainer--> folder/weights

Whoever calls this decides what is learnt; here is only how. Differences from TRL's defaults: our
own tokens and masks, batches flattened without padding and without contamination (packing.py),
logits of trained tokens only, no telemetry, nothing cut off or left out without being counted
(training.json), and a killed training continues with the same command.

The folder, when done:  weights/ (a plain PEFT adapter, or a plain model), training.json.
"""

import contextlib
import logging
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import constants as hub_constants
from peft import LoraConfig
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback

from selfalign.core.errors import ModelError, TrainingError
from selfalign.core.protocols import FineTuning
from selfalign.core.records import Checkpoint, TrainingExample
from selfalign.core.weights import CALF, Located, locate
from selfalign.trainers.account import TrainingReport, card
from selfalign.trainers.packing import flatten, isolates, micro_batch
from selfalign.trainers.products import fast_products
from selfalign.trainers.side_by_side import parts_for
from selfalign.trainers.steps import CompletionTrainer, StepWatch, TrainingProgress, mean_loss
from selfalign.trainers.tokenised import Split, split
from selfalign.trainers.untyped import SFTConfig, linear_layers, load, table

logger = logging.getLogger(__name__)

_CHECKPOINTS, _WEIGHTS, _REPORT = "checkpoints", "weights", "training.json"
_CURVE_POINTS = 500
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class TrlSupervisedTrainer:
    """A `core.protocols.SupervisedTrainer`. Its fields are speed and memory, never identity."""

    device: str = "auto"
    """"auto": CUDA if there is one, else the CPU."""
    bf16: bool = False
    """Multiply in bfloat16, with weights and optimiser in float32."""
    rounded_factors: bool = True
    """On a CPU with bfloat16 units, round the factors of products (products.py). False: exact."""
    tokens_per_pass: int = 2048
    """Ours: examples are run together up to this many tokens; the step stays `batch_size`.

    Measured: 512 to 4,096 tokens train alike fast on a CPU, and fewer need less memory.
    """
    gradient_checkpointing: bool | None = None
    """None: on CUDA only; it trades a third more time for much less memory."""
    save_every_s: float = 120.0
    """Ours: a killed training loses at most this much work."""
    on_step: Callable[[TrainingProgress], None] | None = None
    """Told after every optimiser step."""

    def __call__(
        self,
        examples: Sequence[TrainingExample],
        *,
        base: Checkpoint,
        recipe: FineTuning,
        folder: Path,
    ) -> None:
        """Train and leave the weights in `folder / "weights"`; continue what is in `folder`.

        Raises:
            TrainingError: nothing to train on, or the recipe does not fit the model.
            ModelError: the base is not a model.
        """
        if (folder / _WEIGHTS).is_dir():
            return
        located = locate(base)
        model, tokenizer = self._load(located)
        data = split(examples, tokenizer, recipe)
        obstacle = isolates(model)
        if obstacle is not None:
            logger.warning("examples are trained one per pass: %s", obstacle)
        at_once = 1 if obstacle else self._at_once(data, recipe)
        with _quiet():
            with _explained(recipe, model):
                trainer = self._trainer(model, tokenizer, data, recipe, folder, at_once)
            report = self._train(trainer, data, recipe, folder / _CHECKPOINTS, at_once)
        report = report.model_copy(update={"base": _base_name(base, located)})
        partial = folder / f"{_WEIGHTS}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _save(trainer, tokenizer, located, report, partial)
        report.write(folder / _REPORT)
        partial.rename(folder / _WEIGHTS)
        shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)

    @property
    def _on_cpu(self) -> bool:
        return self.device == "cpu" or (self.device == "auto" and not torch.cuda.is_available())

    def _load(self, located: Located) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        if located.adapter is not None:
            raise TrainingError(
                f"cannot train on top of the adapter in {located.adapter}. Merge it into its base "
                "first, or start from the base, as the paper does.",
                field="base",
            )
        revision = located.revision or "main"
        try:
            return load(located.base, revision)
        except (OSError, ValueError, LookupError, ImportError, SafetensorError) as error:
            first = next(iter(str(error).strip().splitlines()), "")
            raise ModelError(
                f"cannot load the model {located.base} for training: {first} Check that its files "
                "are whole and that it is a causal language model."
            ) from error

    def _at_once(self, data: Split, recipe: FineTuning) -> int:
        mean = sum(len(e.ids) for e in data.trained) / len(data.trained)
        return micro_batch(recipe.batch_size, mean, self.tokens_per_pass)

    def _trainer(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        data: Split,
        recipe: FineTuning,
        folder: Path,
        at_once: int,
    ) -> CompletionTrainer:
        checkpointing = self.gradient_checkpointing
        steps = len(data.trained) * recipe.epochs / recipe.batch_size
        if recipe.warmup_steps > steps / 2:
            logger.warning(
                "%d of about %d steps warm up, so the learning rate hardly reaches %g; lower "
                "`warmup_steps`, or train on more examples",
                recipe.warmup_steps,
                max(1, round(steps)),
                recipe.learning_rate,
            )
        settings = SFTConfig(
            output_dir=str(folder / _CHECKPOINTS),
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=recipe.batch_size // at_once,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=_SCHEDULES[recipe.schedule],
            warmup_steps=recipe.warmup_steps,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            seed=recipe.seed,
            data_seed=recipe.seed,
            use_cpu=self._on_cpu,
            bf16=self.bf16,
            gradient_checkpointing=not self._on_cpu if checkpointing is None else checkpointing,
            max_length=None,  # examples are cut, and counted, by tokenised.py
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            save_strategy="no",  # StepWatch saves by the clock
            save_total_limit=1,
            logging_steps=max(1, int(steps / _CURVE_POINTS)),
            report_to="none",
            disable_tqdm=True,
        )
        trainer = CompletionTrainer(
            model=model,
            args=settings,
            train_dataset=table([e.columns() for e in data.trained]),
            data_collator=flatten,
            processing_class=tokenizer,
            peft_config=_lora(recipe) if recipe.method == "lora" else None,
            callbacks=[StepWatch(self.on_step, self.save_every_s)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.parts = parts_for(cast(Any, trainer).model)
        return trainer

    def _train(
        self,
        trainer: CompletionTrainer,
        data: Split,
        recipe: FineTuning,
        checkpoints: Path,
        at_once: int,
    ) -> TrainingReport:
        began = time.monotonic()
        model = cast(torch.nn.Module, cast(Any, trainer).model)  # Any: TRL is partly typed
        before = mean_loss(model, data.held_out, at_once)
        resumed = whole_checkpoint(checkpoints)
        adapted = recipe.method == "lora"
        plain = cast(PreTrainedModel, cast(Any, model).get_base_model() if adapted else model)
        longest = max(len(e.ids) for e in data.trained)
        wanted = self.rounded_factors and self._on_cpu
        with fast_products(plain, wanted=wanted, longest=longest):
            cast(Any, trainer).train(resume_from_checkpoint=str(resumed) if resumed else None)
        history = trainer.state.log_history
        return TrainingReport(
            base="",
            recipe=recipe,
            examples=len(data.trained),
            held_out=len(data.held_out),
            truncated=data.truncated,
            dropped=data.dropped,
            tokens=sum(len(e.ids) for e in data.trained),
            trained_tokens=sum(len(e.ids) - e.prompt_tokens for e in data.trained),
            packed=at_once > 1,
            steps=trainer.state.global_step,
            seconds=round(time.monotonic() - began, 2),
            resumed_at=int(resumed.name.rpartition("-")[2]) if resumed else 0,
            held_out_loss_before=before,
            held_out_loss_after=mean_loss(model, data.held_out, at_once),
            curve=[(int(h["step"]), h["loss"]) for h in history if "loss" in h],
        )


def whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, removing torn ones."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    whole: Path | None = None
    for path in found:
        if (path / "trainer_state.json").is_file():  # transformers writes it last
            whole = path
        else:
            shutil.rmtree(path)
    return whole


def _lora(recipe: FineTuning) -> LoraConfig:
    targets = recipe.targets
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def _base_name(base: Checkpoint, located: Located) -> str:
    return CALF if base.base == CALF and base.adapter is None else located.base


def _save(
    trainer: CompletionTrainer,
    tokenizer: PreTrainedTokenizerBase,
    located: Located,
    report: TrainingReport,
    folder: Path,
) -> None:
    """Write plain weights that PEFT or transformers load by themselves, with a card."""
    running = cast(Any, trainer)  # Any: TRL, accelerate and PEFT are partly typed
    model = running.accelerator.unwrap_model(running.model)
    if report.recipe.method == "lora":
        adapter = model.peft_config["default"]
        adapter.base_model_name_or_path = report.base
        adapter.revision = located.revision
    # Asked to find out whether the vocabulary has grown, PEFT looks for the base on the Hub.
    silent = {"save_embedding_layers": False} if report.recipe.method == "lora" else {}
    model.save_pretrained(folder, **silent)
    cast(Any, tokenizer).save_pretrained(folder)
    (folder / "README.md").write_text(card(report), "utf-8")


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep TRL from reporting to the Hub, and its use of an old option's name from the reader."""
    before = hub_constants.HF_HUB_DISABLE_TELEMETRY
    hub_constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
            yield
    finally:
        hub_constants.HF_HUB_DISABLE_TELEMETRY = before


@contextlib.contextmanager
def _explained(recipe: FineTuning, model: PreTrainedModel) -> Generator[None]:
    """Turn PEFT's complaint about unknown targets into a sentence of ours."""
    try:
        yield
    except ValueError as error:
        wanted = recipe.targets if isinstance(recipe.targets, str) else ", ".join(recipe.targets)
        raise TrainingError(
            f"the training cannot be set up for targets {wanted}: {error} This model's linear "
            f"layers are {', '.join(linear_layers(model))}; name some of them in `targets`, or "
            '"all-linear".',
            field="targets",
        ) from error
