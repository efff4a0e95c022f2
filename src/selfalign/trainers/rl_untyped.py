"""What PEFT, safetensors and torch leave partly untyped and RL needs, given types once."""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import peft
import torch
from peft import LoraConfig
from safetensors import torch as safetensors
from torch import Tensor


def adapter_weights(model: Any, name: str) -> dict[str, Tensor]:
    """Return an adapter's weights under the names PEFT saves them by; not a copy."""
    read = cast(Any, peft).get_peft_model_state_dict
    return read(model, adapter_name=name, save_embedding_layers=False)


def fill_adapter(model: Any, name: str, weights: dict[str, Tensor]) -> None:
    """Copy weights into an adapter that is in the model already."""
    cast(Any, peft).set_peft_model_state_dict(model, weights, adapter_name=name)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU."""
    return cast(Any, safetensors).load_file(path)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file, marked as torch's."""
    whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    cast(Any, safetensors).save_file(whole, path, metadata={"format": "pt"})


def write_config(config: LoraConfig, folder: Path) -> None:
    """Write adapter_config.json."""
    cast(Any, config).save_pretrained(str(folder))


@contextlib.contextmanager
def seeded(seed: int) -> Generator[None]:
    """Draw from torch's CPU generator as if it had this seed, and leave it as it was."""
    with cast(Any, torch.random).fork_rng(devices=[]):
        cast(Any, torch).manual_seed(seed)
        yield


def floats(tensor: Tensor) -> list[float]:
    """Return a (N,) tensor as a list."""
    return cast(Any, tensor).tolist()


def backward(loss: Tensor) -> None:
    """Add a loss' gradients to those that are there."""
    cast(Any, loss).backward()


def norm_of(parameters: list[torch.nn.Parameter]) -> Tensor:
    """Return the norm of all gradients together, ()."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return cast(Any, torch.nn.utils).get_total_norm(gradients)


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `torch.save` wrote of an optimiser; tensors and plain values only."""
    return cast(Any, torch).load(path, map_location=device, weights_only=True)
