"""How fast a CPU multiplies while a model trains.

Weights, gradients and optimiser stay in float32. Where the CPU has units for bfloat16 products
(Intel AMX), products of float32 matrices are taken with factors rounded to bfloat16 and sums in
float32, as mixed precision does, but without copies of weights and activations. torch's fused
attention is six times slower in that mode, so attention is taken in plain products as well.
"""

import contextlib
from collections.abc import Generator

import torch
from transformers import PreTrainedModel

from selfalign.trainers.untyped import attention_name, set_attention

_PLAIN, _FUSED = "eager", "sdpa"


@contextlib.contextmanager
def fast_products(model: PreTrainedModel, *, wanted: bool) -> Generator[None]:
    """Within it, products on a CPU with bfloat16 units take rounded factors; else nothing changes.

    `wanted`: what the user says; and false for a model that is not on the CPU. Nothing that is
    measured or compared (a held-out loss, a round trip) belongs within.
    """
    if not (wanted and has_units()):
        yield
        return
    own, before = attention_name(model), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    if own == _FUSED:
        set_attention(model, _PLAIN)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        set_attention(model, own)


def has_units() -> bool:
    """Say whether this CPU multiplies bfloat16 tiles by itself, and torch knows how to ask it."""
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return asked is not None and bool(asked())
