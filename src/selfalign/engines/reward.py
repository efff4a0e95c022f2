"""From a reward model's name to a running one.

    adapter directory | directory | Hub name | Checkpoint  ->  RewardModel

Importing this file imports no GPU library; opening a reward model does.
"""

import json
from pathlib import Path
from typing import cast

from selfalign.core.errors import ModelError
from selfalign.core.protocols import RewardModel
from selfalign.core.records import Checkpoint
from selfalign.core.weights import ADAPTER_CONFIG, Located, identify, locate

SCORED_TASK = "SEQ_CLS"
"""What PEFT calls an adapter with a head that gives a score."""
SCORED_ARCHITECTURE = "ForSequenceClassification"
"""How transformers' names of models with such a head end."""


def open_reward_model(
    model: str | Checkpoint,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
) -> RewardModel:
    """Load a reward model and return it ready to score.

    `device`, `dtype` and `batch_size` concern speed and memory, never what the model is called.
    "auto" is float32 on a CPU, since scores of near-equal responses differ by little.

    Raises:
        ModelError: there is no such model, its files cannot be used, or it gives no score.
        InputError: a device, dtype or batch size that cannot be had.
    """
    located = locate(model)
    refuse_other_models(located)
    from selfalign.engines.loading import pinned_revision  # torch and transformers take seconds
    from selfalign.engines.reward_hf import TransformersRewardModel, load_reward_model
    from selfalign.engines.settings import EngineSettings

    settings = EngineSettings.of(device=device, dtype=dtype, batch_size=batch_size)
    loaded, tokenizer = load_reward_model(located, settings)
    named = model if isinstance(model, Checkpoint) else identify(model)
    if not named.revision:
        named = named.model_copy(update={"revision": pinned_revision(loaded)})
    return TransformersRewardModel(
        loaded, tokenizer, fingerprint=named.fingerprint, settings=settings
    )


def refuse_other_models(located: Located) -> None:
    """Look at the files, without loading them, for whether they are of a reward model.

    Raises:
        ModelError: they are an adapter of a language model, or a language model.
    """
    if located.adapter is not None:
        task = _field(located.adapter / ADAPTER_CONFIG, "task_type")
        if task != SCORED_TASK:
            raise not_a_reward_model(located.adapter, f"its adapter is made for {task}")
    elif located.directory is not None:
        names = _field(located.directory / "config.json", "architectures")
        refuse_other_architectures(located.directory, names)


def refuse_other_architectures(place: Path | str, architectures: object) -> None:
    """Refuse a whole model whose config names no architecture with a score head.

    Raises:
        ModelError: it does not.
    """
    names = cast(list[object], architectures) if isinstance(architectures, list) else []
    if not any(str(name).endswith(SCORED_ARCHITECTURE) for name in names):
        shown = ", ".join(map(str, names)) or "of an unknown kind"
        raise not_a_reward_model(place, f"it is {shown}")


def not_a_reward_model(place: Path | str, reason: str) -> ModelError:
    """Say what is at a place instead of a reward model."""
    return ModelError(
        f"{place} is no reward model: {reason}, and a reward model has a head that gives one score "
        f"per text. Name the folder a reward model's training left (RUN:reward), or a model with "
        f"one label for sequence classification."
    )


def _field(path: Path, name: str) -> object:
    try:
        value = cast(object, json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}). Copy the model's files again."
        ) from None
    return cast(dict[str, object], value).get(name) if isinstance(value, dict) else None
