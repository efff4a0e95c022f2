"""How fast a small model on a CPU multiplies, while it trains and while it answers.

Training: weights, gradients and optimiser stay in float32. Where the CPU has units for bfloat16
products (Intel AMX), products of float32 matrices are taken with factors rounded to bfloat16 and
sums in float32, as mixed precision does, but without copies of weights and activations. torch's
fused attention is six times slower in that mode, so attention is taken in plain products as well.

Both: the adapter is added to the weights once for all tokens of a batch, W + s B A, where PEFT
multiplies by B and A at every token. The same up to rounding, one product instead of three; while
it trains, the gradients of A and B come through the sum.
"""

import contextlib
from collections.abc import Generator
from functools import partial
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from selfalign.trainers.untyped import attention_name, set_attention

_PLAIN, _FUSED = "eager", "sdpa"
_LONGEST = 512
"""Tokens of a text; plain attention holds a square of scores for every head and layer."""
_FOLDED_AT_MOST = 1 << 24
"""Weights of all adapted layers together that are held twice while a model answers."""


@contextlib.contextmanager
def fast_products(model: PreTrainedModel, *, wanted: bool, longest: int) -> Generator[None]:
    """Within it, a model on a CPU trains with few products, and with rounded factors if it can.

    `wanted`: what the user says; and false for a model that is not on the CPU. `longest`: tokens of
    the longest text; beyond 512 no factor is rounded. Nothing that is measured or compared (a
    held-out loss, a round trip) belongs within.
    """
    if not wanted:
        yield
        return
    with folded(model, learning=True), _rounded(model, longest):
        yield


@contextlib.contextmanager
def _rounded(model: PreTrainedModel, longest: int) -> Generator[None]:
    if longest > _LONGEST or not has_units():
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


@contextlib.contextmanager
def folded(model: torch.nn.Module, *, learning: bool = False) -> Generator[None]:
    """Within it, layers answer with the adapter in use added to their weights.

    Not learning: the sums are made once, as the adapter is now, and give no gradients. Learning:
    they are made in every pass, under whichever adapter is then in use. Layers whose adapter is
    more than s B A stay as they are, and so does a large model: models share one base to save
    memory, and the sums are a second copy of its weights.
    """
    layers = [one for one in model.modules() if isinstance(one, LoraLinear)]
    if not learning:
        layers = [one for one in layers if _plain(one)]
    weights = [cast(Tensor, cast(Any, one).get_base_layer().weight) for one in layers]
    if sum(one.numel() for one in weights) > _FOLDED_AT_MOST:
        layers = []
    outer = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        if learning:
            cast(Any, layer).forward = partial(_forward, layer, cast(Any, layer).forward)
        else:
            with torch.no_grad():
                weight, bias = _sum(layer)
            cast(Any, layer).forward = partial(functional.linear, weight=weight, bias=bias)
    try:
        yield
    finally:
        for layer, before in zip(layers, outer, strict=True):
            del cast(Any, layer).forward  # the instance's; its class has its own
            if before is not None:
                cast(Any, layer).forward = before


def _forward(layer: LoraLinear, own: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Run a layer as one product if its adapter of the moment allows it, else as it was."""
    if args or kwargs or not _plain(layer) or _drops(layer) or torch.is_autocast_enabled("cpu"):
        return own(x, *args, **kwargs)
    weight, bias = _sum(layer)
    return functional.linear(x, weight, bias)


def _drops(layer: LoraLinear) -> bool:
    """Whether the adapter in use sees its input through a dropout."""
    inner = cast(Any, layer)
    drops = (inner.lora_dropout[n] for n in inner.active_adapters if n in inner.lora_A)
    return layer.training and any(getattr(one, "p", 0.0) > 0 for one in drops)


def _plain(layer: LoraLinear) -> bool:
    """Whether a layer's only active adapter adds s B A to a dense layer's weights."""
    inner = cast(Any, layer)  # Any: PEFT is partly typed
    names = [name for name in inner.active_adapters if name in inner.lora_A]
    if inner.disable_adapters or inner.merged or inner.fan_in_fan_out or len(names) != 1:
        return False
    more = names[0] in inner.lora_variant or inner.lora_bias.get(names[0], False)
    base = inner.get_base_layer()
    return not more and type(base) is torch.nn.Linear and base.weight.dtype == torch.float32


def _sum(layer: LoraLinear) -> tuple[Tensor, Tensor | None]:
    inner = cast(Any, layer)
    name = next(name for name in inner.active_adapters if name in inner.lora_A)
    base, scale = inner.get_base_layer(), inner.scaling[name]
    added = inner.lora_B[name].weight @ inner.lora_A[name].weight
    return torch.add(base.weight, added, alpha=scale), base.bias
