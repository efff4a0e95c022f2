"""What torch, transformers, TRL and datasets leave untyped, given types once.

Everything else in this folder is checked strictly; a cast in another file says its reason there.
"""

from typing import TYPE_CHECKING, Any, cast

import datasets  # type: ignore[import-untyped]  it ships no types
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import logging as hf_logging

if TYPE_CHECKING:  # TRL exports lazily, which hides its names from the type checker
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
else:
    from trl import SFTConfig, SFTTrainer

__all__ = [
    "SFTConfig",
    "SFTTrainer",
    "attention_name",
    "encode",
    "ints",
    "linear_layers",
    "load",
    "logits_of",
    "set_attention",
    "split",
    "table",
]


def load(source: str, revision: str) -> tuple[PreTrainedModel, Tokenizer]:
    """Read a model in float32, and its tokenizer, without a progress bar."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(source, revision=revision)
        model = cast(Any, AutoModelForCausalLM).from_pretrained(
            source, revision=revision, dtype=torch.float32
        )
    finally:
        if shown:
            hf_logging.enable_progress_bar()
    return model, tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Return each text's token ids, with what the tokenizer adds around it."""
    return cast(Any, tokenizer)(texts, verbose=False)["input_ids"]


def table(rows: list[dict[str, list[int]]]) -> Any:
    """Return a data set of rows, as TRL wants it."""
    return cast(Any, datasets).Dataset.from_list(rows)


def ints(tensor: Tensor) -> list[int]:
    """Return a (N,) integer tensor as a list."""
    return cast(Any, tensor).tolist()


def split(tensor: Tensor, lengths: list[int], dim: int) -> tuple[Tensor, ...]:
    """Return stretches of so many entries each, in order."""
    return cast(Any, tensor).split(lengths, dim=dim)


def attention_name(model: PreTrainedModel) -> str:
    """Return the name of the attention function a model uses."""
    return cast(Any, model.config)._attn_implementation


def set_attention(model: PreTrainedModel, name: str) -> None:
    """Make every layer of a model use the attention function of this name."""
    cast(Any, model).set_attn_implementation(name)


def logits_of(model: torch.nn.Module, **inputs: Tensor | bool) -> Tensor:
    """Run a causal language model and return the logits of its only row, (T, V)."""
    return cast(Any, model)(**inputs).logits[0]


def linear_layers(model: torch.nn.Module) -> list[str]:
    """Return the distinct last names of a model's linear layers."""
    modules: list[tuple[str, torch.nn.Module]] = list(cast(Any, model).named_modules())
    return sorted({n.rpartition(".")[2] for n, m in modules if isinstance(m, torch.nn.Linear)})
