"""From files to a base with a score head, and from a trained one to files that are believed.

    Located --load--> base + head
    trained --save--> weights.partial --load again, score again--> equal? --> weights, training.json

Weights that do not give back the scores that were trained never get their final name.
"""

import shutil
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfalign.core.errors import ModelError, TrainingError
from selfalign.core.weights import CALF, Located, calf_directory
from selfalign.trainers.reward_account import RewardReport, reward_card
from selfalign.trainers.reward_pairs import PairSplit, score_texts
from selfalign.trainers.reward_untyped import RewardTrainer, load_scorer, silenced, with_adapter

WEIGHTS, REPORT = "weights", "training.json"
_ROUND_TRIP_PAIRS = 8
_TOLERANCE = 1e-6
"""Of a score, or of 1 where the score is smaller."""
_TOKENS_PER_PASS = 4096
_UNREADABLE = (OSError, ValueError, LookupError, ImportError, SafetensorError)


def load_base(located: Located, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the base in float32 with a score head drawn by the seed; an adapter is not looked at.

    Raises:
        ModelError: the files cannot be read, or the architecture has no score head.
    """
    try:
        return load_scorer(located.base, located.revision or "main", seed)
    except ModelError:
        raise
    except _UNREADABLE as error:
        raise ModelError(
            f"cannot load {located.base} as a reward model: {_first_line(error)} Check that its "
            f"files are whole and that transformers knows its architecture with a score head."
        ) from error


def leave(
    trainer: RewardTrainer, located: Located, data: PairSplit, report: RewardReport, folder: Path
) -> None:
    """Save, load what was saved, compare, and only then call it finished.

    Raises:
        TrainingError: what was saved does not give the scores that were trained.
    """
    partial = folder / f"{WEIGHTS}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _save(trainer, located, report, partial)
    pairs = (data.held_out or data.trained)[:_ROUND_TRIP_PAIRS]
    texts = [text for pair in pairs for text in (pair.chosen, pair.rejected)]
    difference = _round_trip(trainer, located, texts, partial)
    report.model_copy(update={"round_trip": difference}).write(folder / REPORT)
    partial.rename(folder / WEIGHTS)


def model_of(trainer: RewardTrainer) -> torch.nn.Module:
    """Return the model in float32, without the wrapper that multiplies in bfloat16."""
    running = cast(Any, trainer)  # Any: TRL and accelerate are partly typed
    return running.accelerator.unwrap_model(running.model, keep_fp32_wrapper=False)


def pad_of(trainer: RewardTrainer) -> int:
    """Return the token that texts are padded with."""
    return cast(Any, trainer).processing_class.pad_token_id


def base_name(located: Located) -> str:
    """Return what an adapter names as its base: "calf", a directory or a Hub name."""
    return CALF if located.directory == calf_directory() else located.base


def _save(trainer: RewardTrainer, located: Located, report: RewardReport, folder: Path) -> None:
    """Write a plain adapter that PEFT loads by itself, with a card; nothing of the machine."""
    model = cast(Any, model_of(trainer))
    adapter = model.peft_config["default"]
    adapter.base_model_name_or_path = report.base
    adapter.revision = located.revision
    model.save_pretrained(folder, save_embedding_layers=False)  # else PEFT asks the Hub about them
    cast(Any, trainer).processing_class.save_pretrained(folder)
    (folder / "README.md").write_text(reward_card(report), "utf-8")


def _round_trip(
    trainer: RewardTrainer, located: Located, texts: list[list[int]], saved: Path
) -> float:
    """Return by how much scores of the saved files differ from those in memory.

    Raises:
        TrainingError: by more than rounding, or the files cannot be loaded.
    """
    model, pad = model_of(trainer), pad_of(trainer)
    # Another seed: a head that was not saved would come back as another one.
    bare, _ = load_base(located, cast(Any, trainer).args.seed + 1)
    cast(Any, bare.config).get_text_config().pad_token_id = pad
    try:
        with silenced():
            loaded = with_adapter(bare, saved).to(next(model.parameters()).device)
    except (*_UNREADABLE, RuntimeError) as error:
        raise _not_believed(saved, f"it cannot be loaded ({_first_line(error)})") from error
    ours, theirs = (
        score_texts(one, texts, pad=pad, tokens_per_pass=_TOKENS_PER_PASS)
        for one in (model, loaded)
    )
    differences = (ours - theirs).abs()
    if bool((differences > _TOLERANCE * ours.abs().clip(1)).any()):
        raise _not_believed(saved, f"its scores differ by up to {float(differences.max()):.2g}")
    return float(differences.max())


def _not_believed(saved: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"the reward model saved in {saved} is not the one that was trained: {reason}. Run the "
        f"same command to save again; if that does not help, the base's files or PEFT have changed."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
