"""What transformers, PEFT and TRL leave untyped about reward models, given types once.

base -> AutoModelForSequenceClassification with one score -> (B, 1) scores; adapter files -> tensors
"""

import contextlib
import json
import warnings
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub import constants as hub_constants
from peft import PeftModel
from peft.utils import save_and_load
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    set_seed,
)
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import logging as hf_logging

from selfalign.core.errors import ModelError, TrainingError

if TYPE_CHECKING:  # TRL exports lazily, which hides its names from the type checker
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer
else:
    from trl import RewardConfig, RewardTrainer

__all__ = [
    "HEAD",
    "RewardConfig",
    "RewardTrainer",
    "adapter_settings",
    "adapter_tensors",
    "checked_scores",
    "continue_from",
    "load_scorer",
    "reward_tokens",
    "scores_of",
    "silenced",
    "with_adapter",
]

HEAD = "score"
"""What transformers calls the linear layer from the last hidden state to the score."""


class PreciseHead(torch.nn.Linear):
    """A score head that stays in float32 where everything else is multiplied in bfloat16.

    With eight bits of mantissa, scores around 4 come in steps of 1/32, and close pairs tie.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (…, 1) scores of (…, hidden) states, in float32."""
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()  # pyright: ignore
            return functional.linear(input.float(), self.weight.float(), bias)


def load_scorer(source: str, revision: str, seed: int) -> tuple[PreTrainedModel, Tokenizer]:
    """Read a base model in float32 with a score head, drawn by the seed where it has none.

    Raises:
        ModelError: the architecture has no score head.
    """
    with silenced():
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(source, revision=revision)
        set_seed(seed)
        model = cast(Any, AutoModelForSequenceClassification).from_pretrained(
            source, revision=revision, dtype=torch.float32, num_labels=1
        )
    head = getattr(model, HEAD, None)
    if not isinstance(head, torch.nn.Linear):
        raise ModelError(
            f"{source} cannot become a reward model: a {type(model).__name__} has no linear layer "
            f"{HEAD!r} that reads the last token. Start from a decoder such as Llama or Qwen."
        )
    precise = PreciseHead(head.in_features, 1, bias=False)
    precise.weight = head.weight
    precise.bias = head.bias  # pyright: ignore[reportAttributeAccessIssue]  None: there is none
    setattr(model, HEAD, precise)
    return model, tokenizer


def reward_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return what is scored of each text: its tokens, and nothing behind the last one.

    What looks like a special token inside a text is text. An end token that the tokenizer appends
    is taken off again: the score is read at the end of the unfinished sentence about quality.
    """
    if not texts:
        return []
    found = cast(Any, tokenizer)(list(texts), split_special_tokens=True, verbose=False)
    rows = cast(list[list[int]], found["input_ids"])
    special = set(cast(list[int], cast(Any, tokenizer).all_special_ids))
    for row in rows:
        while row and row[-1] in special:
            row.pop()
    return rows


def scores_of(model: torch.nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the scores (B,) of right-padded (B, T) tokens, each read at its last real token.

    Raises:
        TrainingError: the model gives another shape than one score per text.
    """
    return checked_scores(cast(Any, model)(input_ids=ids, attention_mask=mask).logits, len(ids))


def checked_scores(logits: Tensor, texts: int) -> Tensor:
    """Return (B, 1) logits as (B,) scores.

    Raises:
        TrainingError: they have another shape, for example one score per token.
    """
    if tuple(logits.shape) != (texts, 1):
        raise TrainingError(
            f"the reward model gave scores of shape {tuple(logits.shape)} for {texts} texts, and "
            f"({texts}, 1) is one per text. Its architecture does not read the last token alone; "
            f"choose another base model."
        )
    return logits[:, 0]


def with_adapter(model: PreTrainedModel, adapter: Path) -> torch.nn.Module:
    """Put a saved adapter and its head onto a base, as anybody with PEFT would."""
    return cast(Any, PeftModel).from_pretrained(model, str(adapter))


def adapter_settings(adapter: Path) -> dict[str, object]:
    """Return what `adapter_config.json` says."""
    return cast(dict[str, object], json.loads((adapter / "adapter_config.json").read_text("utf-8")))


def adapter_tensors(adapter: Path) -> dict[str, Tensor]:
    """Return the tensors of a saved adapter."""
    return cast(Any, save_and_load).load_peft_weights(str(adapter), device="cpu")


def continue_from(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Give an adapter in training the values of a saved one; return the names that do not fit.

    Nothing is changed unless every name and shape fits.
    """
    files = cast(Any, save_and_load)
    state = files.get_peft_model_state_dict(model, save_embedding_layers=False)
    ours = cast(dict[str, Tensor], state)
    shapes = {name: tuple(tensor.shape) for name, tensor in ours.items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    misfits = sorted(n for n in shapes.keys() | theirs.keys() if shapes.get(n) != theirs.get(n))
    if not misfits:
        files.set_peft_model_state_dict(model, dict(tensors))
    return misfits


@contextlib.contextmanager
def silenced() -> Generator[None]:
    """Load and set up without bars, reports to the Hub, or remarks on a head that is new."""
    bars, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    telemetry = hub_constants.HF_HUB_DISABLE_TELEMETRY
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    hub_constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
            yield
    finally:
        hub_constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
