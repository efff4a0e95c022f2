"""The few torch and transformers calls whose types pyright cannot see, each given one here.

Everything else in this folder is checked strictly; a cast in another file says its reason there.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def ints(tensor: Tensor) -> list[int]:
    """Return a (N,) integer tensor as a list."""
    return cast(Any, tensor).tolist()


def floats(tensor: Tensor) -> list[float]:
    """Return a (N,) tensor as a list of floats."""
    return cast(Any, tensor).tolist()


def from_array(array: NDArray[np.float64]) -> Tensor:
    """Return an array as a tensor on the CPU, sharing its memory."""
    return cast(Any, torch).from_numpy(array)


def set_attention(model: PreTrainedModel, name: str) -> None:
    """Make every layer of a model use the attention function of this name."""
    if attention_name(model) != name:
        cast(Any, model).set_attn_implementation(name)


def attention_name(model: PreTrainedModel) -> str:
    """Return the name of the attention function a model uses."""
    return cast(Any, model.config)._attn_implementation


def text_config(model: PreTrainedModel) -> object:
    """Return the config of the language model inside a model."""
    return cast(Any, model.config).get_text_config()


def decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    """Return the tokens' text as it is: no special tokens, no tidied spaces."""
    return cast(Any, tokenizer).decode(
        tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], *, special: bool
) -> list[list[int]]:
    """Return each text's token ids, with or without what the tokenizer adds around it."""
    return cast(Any, tokenizer)(texts, add_special_tokens=special, verbose=False)["input_ids"]


def stated(config: object, name: str, default: object = None) -> Any:
    """Return a config's field; architectures differ in which ones they have."""
    return getattr(config, name, default)
