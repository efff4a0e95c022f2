"""A small Llama with its weights laid out for decoding: a fifth of the operations per layer.

    ids --embed--> [ norm, qkv, rotate, attend, project+add, norm, gate|up, silu*, down+add ] x L
        --norm, head--> logits of the positions asked for

For a model of a few million parameters on a CPU, calling an operation costs as much as running it.
So q, k and v are one product, gate and up are one product, residuals are added by the product
itself, and each head's two halves are interleaved, which turns the rotary embedding into one
complex multiplication (q and k are permuted alike, so their products stay what they are).
An adapter's product is added into the copied weights; the model itself is left as it is.

Differences from transformers' Llama, all rounding: rotation and head always in float32.

Shapes: T tokens, H query heads, K key heads, D head size, W hidden size.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, MistralForCausalLM, PreTrainedModel

from selfalign.engines.attention import AttentionPass

MAX_BYTES = 1 << 30
"""Ours: a larger model gains nothing from it, and its weights would lie in memory twice."""


@dataclass(frozen=True)
class _Layer:
    attention_norm: Tensor
    qkv: Tensor
    """((H + 2 K) D, W)"""
    out: Tensor
    """(H D, W): transposed, as addmm wants it."""
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor
    """Transposed."""


class PackedLlama:
    """The forward pass of a Llama-like model on flattened tokens."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = cast(Any, model.config)  # Any: a Llama's fields, checked by `packable`
        inner = cast(Any, model).model
        self._heads = cast(int, config.num_attention_heads)
        self._key_heads = cast(int, config.num_key_value_heads)
        self._size = cast(int, inner.layers[0].self_attn.head_dim)
        self._scale = cast(float, inner.layers[0].self_attn.scaling)
        self._epsilon = cast(float, config.rms_norm_eps)
        self._embedding = cast(Tensor, inner.embed_tokens.weight)
        self._norm = cast(Tensor, inner.norm.weight)
        self._head = _weight(cast(Any, model).lm_head).float()
        self._layers = [self._pack(layer) for layer in inner.layers]
        self._frequencies = cast(Tensor, inner.rotary_emb.inv_freq).float()
        self._rotation_scale = cast(float, inner.rotary_emb.attention_scaling)
        self._rotations = torch.empty(0)

    def logits(
        self, ids: Tensor, positions: Tensor, attention: AttentionPass, keep: Tensor
    ) -> Tensor:
        """Run (T,) tokens at (T,) positions; return fp32 logits (len(keep), V)."""
        rotation = self._rotation(positions)
        x = functional.embedding(ids, self._embedding)
        for number, layer in enumerate(self._layers):
            y = functional.rms_norm(x, x.shape[-1:], layer.attention_norm, self._epsilon)
            query, key, value = self._rotated(functional.linear(y, layer.qkv), rotation)
            y = attention.attend(number, query, key, value, self._scale)
            x = torch.addmm(x, y.flatten(1), layer.out)
            y = functional.rms_norm(x, x.shape[-1:], layer.mlp_norm, self._epsilon)
            gate, up = functional.linear(y, layer.gate_up).chunk(2, dim=-1)
            x = torch.addmm(x, functional.silu(gate).mul_(up), layer.down)
        x = functional.rms_norm(x[keep], x.shape[-1:], self._norm, self._epsilon)
        return functional.linear(x.float(), self._head)

    def _rotated(self, qkv: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split (T, (H + 2K) D) into q (H, T, D), k, v (K, T, D); rotate q and k."""
        turned = (self._heads + self._key_heads) * self._size
        qk, value = qkv[:, :turned], qkv[:, turned:]
        if qkv.dtype == torch.float32:
            _turn(qk, rotation)
        else:
            exact = qk.float()
            _turn(exact, rotation)
            qk = exact.to(qkv.dtype)
        heads = qk.view(len(qk), -1, self._size).transpose(0, 1)
        values = value.view(len(qk), -1, self._size).transpose(0, 1)
        return heads[: self._heads], heads[self._heads :], values

    def _rotation(self, positions: Tensor) -> Tensor:
        """Return e^(i position frequency), (T, 1, D/2) complex."""
        last = int(positions.max())
        if last >= len(self._rotations):
            steps = torch.arange(max(2 * last, 1024), device=positions.device)
            angles = steps[:, None].float() * self._frequencies
            length = torch.full_like(angles, self._rotation_scale)
            self._rotations = torch.polar(length, angles)
        return self._rotations[positions][:, None]

    def _pack(self, layer: Any) -> _Layer:  # Any: a decoder layer's modules
        attention, mlp = layer.self_attn, layer.mlp
        turned = [self._interleaved(_weight(p)) for p in (attention.q_proj, attention.k_proj)]
        return _Layer(
            attention_norm=layer.input_layernorm.weight,
            qkv=torch.cat([*turned, _weight(attention.v_proj)]),
            out=_weight(attention.o_proj).t().contiguous(),
            mlp_norm=layer.post_attention_layernorm.weight,
            gate_up=torch.cat([_weight(mlp.gate_proj), _weight(mlp.up_proj)]),
            down=_weight(mlp.down_proj).t().contiguous(),
        )

    def _interleaved(self, weight: Tensor) -> Tensor:
        """Move rows i and i + D/2 of each head next to each other."""
        heads = weight.view(-1, 2, self._size // 2, weight.shape[1])
        return heads.transpose(1, 2).reshape(weight.shape)


def packable(model: PreTrainedModel) -> bool:
    """Tell whether `PackedLlama` knows the architecture and its size makes it worth it."""
    if not isinstance(model, LlamaForCausalLM | MistralForCausalLM):
        return False
    config = cast(Any, model.config)  # Any: Mistral's config lacks some of Llama's fields
    biased = getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)
    size = sum(parameter.nbytes for parameter in model.parameters())
    return not biased and config.hidden_act == "silu" and size <= MAX_BYTES


def _turn(x: Tensor, rotation: Tensor) -> None:
    """Multiply interleaved pairs of (T, N) by (T, 1, D/2) rotations, in place."""
    pairs = x.view(len(x), -1, rotation.shape[-1], 2)
    torch.view_as_complex(pairs).mul_(rotation)


def _weight(module: Any) -> Tensor:  # Any: torch's Linear or PEFT's
    """Return a linear layer's weight with its adapters added in."""
    if not hasattr(module, "base_layer"):
        return module.weight.detach()
    weight = module.base_layer.weight.detach()
    for name in module.active_adapters:
        weight = weight + module.get_delta_weight(name).to(weight.dtype)
    return weight
