"""How the in-process engine uses the machine. Never part of what a stage or a model is called."""

import os
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch

from selfalign.core.errors import InputError

_CPU_CACHE_SHARE, _GPU_CACHE_SHARE = 8, 2
_UNKNOWN_MEMORY = 8 << 30

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class EngineSettings:
    """Speed and memory; each choice gives the same texts up to rounding."""

    device: str = "auto"
    """"auto": CUDA if there is one, else the CPU."""
    dtype: Dtype = "auto"
    """"auto": bfloat16 where the hardware multiplies it natively, else float32."""
    batch_size: int = 128
    """Ours: rows generated at once at most; memory may allow fewer. Beyond it little is gained."""
    cache_bytes: int | None = None
    """For keys and values; None: an eighth of the machine's memory, half of the free GPU memory."""
    share_prefixes: bool = True
    """Compute what prompts have in common once."""
    own_attention: bool = True
    """Off: the model's own attention and cache, as transformers' `generate` would run it."""
    pack_weights: bool = True
    """Run a small Llama on a copy of its weights that is laid out for decoding."""
    merge_adapter: bool = False
    """Add the adapter into the base's weights on loading: faster, equal up to rounding."""

    @classmethod
    def of(cls, *, device: str, dtype: str, batch_size: int | None) -> "EngineSettings":
        """Check what a person typed and fill in the rest.

        Raises:
            InputError: an unknown device or dtype, or a batch of no rows.
        """
        if dtype not in ("auto", *_DTYPES):
            raise InputError(
                f"dtype {dtype!r} is unknown. Choose one of auto, {', '.join(_DTYPES)}.",
                field="dtype",
            )
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size {batch_size} is below 1.", field="batch_size")
        if device != "auto":
            _check_device(device)
        made = cls(device=device, dtype=cast(Dtype, dtype))
        return made if batch_size is None else replace(made, batch_size=batch_size)

    def torch_device(self) -> torch.device:
        """Return the device to load the model on."""
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def torch_dtype(self) -> torch.dtype:
        """Return the type of the weights."""
        if self.dtype != "auto":
            return _DTYPES[self.dtype]
        return torch.bfloat16 if _native_bf16(self.torch_device()) else torch.float32

    def cache_budget(self) -> int:
        """Return how many bytes keys and values may take."""
        if self.cache_bytes is not None:
            return self.cache_bytes
        if self.torch_device().type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.torch_device())
            return free // _GPU_CACHE_SHARE
        return _physical_bytes() // _CPU_CACHE_SHARE


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if not kind or (kind == "cuda" and not torch.cuda.is_available()):
        reason = "there is no CUDA device here" if kind else "no such kind of device"
        raise InputError(f'device {device!r}: {reason}. Use "auto" or "cpu".', field="device")


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows, or a system that will not tell
        return _UNKNOWN_MEMORY


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    has_avx = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return any(bool(has()) for has in (has_amx, has_avx) if has is not None)
