"""Attention over a shared prefix that is never copied per row.

Rows that begin with the same tokens share the keys and values of those tokens. A prompt's tokens
form a path in a tree: each node holds a stretch of tokens that several rows have in common, the
last stretch (and what is generated) belongs to one row. A query attends to each stretch on its
path separately and the partial results are joined by their log-sum-exps, which is exact:

    queries of all rows under a node --one GEMM--> (out, lse) --\
    each row's query -- its own keys and values --> (out, lse) ---> merged out

Differences from Hydragen (arXiv:2402.05099) and cascade attention: a tree of any depth, ragged
suffixes without padding in prefill, and the head size and number of layers are whatever arrives.

Shapes: T queries of a pass, H query heads, K key heads, D head size, S keys, B rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import Tensor

ATTENTION_NAME = "selfalign_shared_prefix"
"""The name under which transformers' AttentionInterface knows `shared_prefix_attention`."""

MATH_SCORES = 1 << 26
"""Scores the portable kernel holds at once (256 MiB in fp32); longer queries go in chunks."""


class AttentionPass(Protocol):
    """What one forward pass does with the queries, keys and values of a layer."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Take (H, T, D), (K, T, D), (K, T, D); return (T, H, D)."""
        ...


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  transformers passes it by position; always None
    **options: object,
) -> tuple[Tensor, None]:
    """Hand (1, heads, T, D) tensors of one layer to the pass that travels in the options."""
    current = cast(AttentionPass, options["attention_pass"])
    seen = options.get("attention_options")
    if seen is not None:
        known = cast(dict[str, object], seen)
        # Layers may differ (a window in every other one): what any of them wants is wanted.
        known.update({k: v for k, v in options.items() if v is not None or k not in known})
    scale = options.get("scaling")
    scale = float(cast(float, scale)) if scale is not None else query.shape[-1] ** -0.5
    layer = cast(int, module.layer_idx)
    return current.attend(layer, query[0], key[0], value[0], scale).unsqueeze(0), None


def attend_with_lse(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    *,
    causal: bool = False,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return softmax(q k^T scale + mask) v and the log-sum-exp of the scores.

    Shapes: (B, H, T, D), (B, H, S, D) twice, additive mask broadcastable to (B, H, T, S); the
    results are (B, H, T, D) and (B, H, T). `causal` requires T == S.
    """
    if query.device.type == "cpu":
        return cast(
            tuple[Tensor, Tensor],
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # type: ignore[reportPrivateUsage]
                query, key, value, 0.0, causal, attn_mask=mask, scale=scale
            ),
        )
    return _math_attend(query, key, value, scale, causal=causal, mask=mask)


def _math_attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    *,
    causal: bool = False,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same in plain tensor operations, for devices without a kernel that returns the lse."""
    length, keys = query.shape[-2], key.shape[-2]
    step = max(1, MATH_SCORES // max(1, query.shape[0] * query.shape[1] * keys))
    outs: list[Tensor] = []
    lses: list[Tensor] = []
    for start in range(0, length, step):
        scores = torch.matmul(query[:, :, start : start + step] * scale, key.transpose(-1, -2))
        scores = scores.float()
        if mask is not None:
            part = mask if mask.shape[-2] == 1 else mask[:, :, start : start + step]
            scores = scores + part
        if causal:
            rows = torch.arange(start, start + scores.shape[-2], device=query.device)
            future = torch.arange(keys, device=query.device)[None] > rows[:, None]
            scores = scores.masked_fill(future, float("-inf"))
        lse = torch.logsumexp(scores, dim=-1)
        outs.append(torch.matmul((scores - lse[..., None]).exp().to(value.dtype), value))
        lses.append(lse)
    return torch.cat(outs, dim=2), torch.cat(lses, dim=2)


def grouped(query: Tensor, key_heads: int) -> Tensor:
    """Stack the G query heads of one key head along T: (H, T, D) -> (K, G*T, D)."""
    heads, length, size = query.shape
    if heads == key_heads:
        return query
    return query.reshape(key_heads, heads // key_heads * length, size)


@dataclass(eq=False)
class PrefixNode:
    """Keys and values of a stretch of tokens that several rows share, and what precedes it."""

    parent: "PrefixNode | None"
    start: int
    """Position of its first token."""
    tokens: tuple[int, ...]
    keys: list[Tensor] = field(default_factory=list[Tensor])
    """Per layer (K, S, D), rotated by absolute position."""
    values: list[Tensor] = field(default_factory=list[Tensor])

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.start + len(self.tokens)

    @property
    def path(self) -> tuple["PrefixNode", ...]:
        """From the first token to this node, itself included."""
        return (*self.parent.path, self) if self.parent is not None else (self,)

    @property
    def size_bytes(self) -> int:
        """Memory of its keys and values."""
        return sum(t.nbytes for t in (*self.keys, *self.values))


@dataclass(frozen=True)
class Sharing:
    """A node and the queries of this pass that lie below it."""

    node: PrefixNode
    rows: Tensor | None
    """Indices into T; None: all of them."""


def add_shared(
    query: Tensor, out: Tensor, lse: Tensor, layer: int, shared: Sequence[Sharing], scale: float
) -> Tensor:
    """Merge attention over every shared node into what rows saw of their own; exact.

    Shapes: query (H, T, D), out (T, H, D), lse (T, H); returns (T, H, D).
    """
    for number, sharing in enumerate(shared):
        keys, values, rows = sharing.node.keys[layer], sharing.node.values[layer], sharing.rows
        part = query if rows is None else query.index_select(1, rows)
        heads, length, size = part.shape
        seen, seen_lse = attend_with_lse(
            grouped(part, keys.shape[0])[None], keys[None], values[None], scale
        )
        seen = seen.reshape(heads, length, size).transpose(0, 1)
        seen_lse = seen_lse.reshape(heads, length).t()
        own, own_lse = (out, lse) if rows is None else (out[rows], lse[rows])
        share = torch.sigmoid(seen_lse - own_lse).unsqueeze(-1).to(out.dtype)
        merged = torch.lerp(own, seen, share)
        out = merged if rows is None else out.index_copy(0, rows, merged)
        if number + 1 < len(shared):
            merged_lse = torch.logaddexp(seen_lse, own_lse)
            lse = merged_lse if rows is None else lse.index_copy(0, rows, merged_lse)
    return out
