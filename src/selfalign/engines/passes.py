"""What one forward pass does: prefill new stretches of tokens, or decode one token per row.

    Prefill   stretches of several rows, flattened without padding; causal inside each stretch
    Decode    one token for each live row, over the keys and values in its RowCache

Both then attend to the shared nodes the rows lie below (`attention.add_shared`).

Shapes: T tokens of a pass, H query heads, K key heads, D head size, B rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfalign.engines.attention import PrefixNode, Sharing, add_shared, attend_with_lse


class RowCache:
    """Keys and values that belong to one row each; rows 0..n-1 are the live ones."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        """Per layer (rows, capacity, K, D), so one token of one row is one contiguous write."""
        self.values: list[Tensor] = []
        self.rows: int = 0
        self.capacity: int = 0

    def reserve(self, rows: int, capacity: int) -> None:
        """Make room for so many rows of so many tokens, keeping what is there."""
        if rows <= self.rows and capacity <= self.capacity:
            return
        rows, capacity = max(rows, self.rows), max(capacity, self.capacity)
        # Zeros, not garbage: masked positions are still read, and 0 * NaN would poison a row.
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = old.new_empty((rows, capacity, *old.shape[2:]))
                new[: self.rows, : self.capacity] = old
                new[self.rows :].zero_()
                new[: self.rows, self.capacity :].zero_()
                tensors[layer] = new
        self.rows, self.capacity = rows, capacity

    def keeper(
        self, lengths: Sequence[int], first_row: int
    ) -> Callable[[int, Tensor, Tensor], None]:
        """Return what writes flattened stretches of these lengths into rows from `first_row` on."""
        flat = [
            (first_row + row) * self.capacity + t for row, n in enumerate(lengths) for t in range(n)
        ]
        index: list[Tensor] = []  # made on the device of the first layer's keys

        def keep(layer: int, key: Tensor, value: Tensor) -> None:
            if not index:
                index.append(torch.tensor(flat, device=key.device))
            self.write(layer, index[0], key, value)

        return keep

    def write(self, layer: int, index: Tensor, key: Tensor, value: Tensor) -> None:
        """Store (K, T, D) at flat positions (row * capacity + token); `index` is (T,)."""
        if layer == len(self.keys):
            shape = (self.rows, self.capacity, key.shape[0], key.shape[2])
            self.keys.append(key.new_zeros(shape))
            self.values.append(value.new_zeros(shape))
        for store, new in ((self.keys[layer], key), (self.values[layer], value)):
            store.view(-1, *store.shape[2:]).index_copy_(0, index, new.transpose(0, 1))

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one row's first tokens over another row: the last live row fills a hole."""
        for store in (*self.keys, *self.values):
            store[target, :length] = store[source, :length]


@dataclass(frozen=True)
class Prefill:
    """Several new stretches of tokens, flattened one after another without padding."""

    lengths: Sequence[int]
    shared: Sequence[Sharing]
    keep: Callable[[int, Tensor, Tensor], None] | None
    """Receives (layer, key, value), (K, T, D) each: into a node, into the rows, or nowhere."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attend causally inside each stretch, then to what it shares; see `AttentionPass`."""
        if self.keep is not None:
            self.keep(layer, key, value)
        groups = query.shape[0] // key.shape[0]
        if groups > 1:
            key, value = (t.repeat_interleave(groups, dim=0) for t in (key, value))
        parts: list[tuple[Tensor, Tensor]] = []
        start = 0
        for length in self.lengths:
            span = slice(start, start + length)
            parts.append(
                attend_with_lse(
                    query[None, :, span],
                    key[None, :, span],
                    value[None, :, span],
                    scale,
                    causal=True,
                )
            )
            start += length
        out = torch.cat([out[0].transpose(0, 1) for out, _ in parts])
        lse = torch.cat([lse[0].t() for _, lse in parts])
        return add_shared(query, out, lse, layer, self.shared, scale)


@dataclass(frozen=True)
class Decode:
    """One new token for each live row."""

    cache: RowCache
    index: Tensor
    """(B,) flat position of each row's new token."""
    longest: int
    """Tokens of the longest row, the new one included."""
    mask: Tensor
    """(B, 1, 1, longest) additive: -inf beyond a row's own length."""
    shared: Sequence[Sharing]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attend to the row's own tokens, then to what it shares; see `AttentionPass`."""
        self.cache.write(layer, self.index, key, value)
        heads, rows, size = query.shape
        keys = self.cache.keys[layer][:rows, : self.longest].transpose(1, 2)
        values = self.cache.values[layer][:rows, : self.longest].transpose(1, 2)
        apart = query.transpose(0, 1).reshape(rows, key.shape[0], heads // key.shape[0], size)
        out, lse = attend_with_lse(apart, keys, values, scale, mask=self.mask)
        out, lse = out.reshape(rows, heads, size), lse.reshape(rows, heads)
        return add_shared(query, out, lse, layer, self.shared, scale)


def decode_pass(cache: RowCache, lengths: Sequence[int], shared: Sequence[Sharing]) -> Decode:
    """Describe one decode step of rows that already hold `lengths` own tokens."""
    device = cache.keys[0].device
    own = torch.tensor(lengths, device=device)
    index = torch.arange(len(lengths), device=device) * cache.capacity + own
    longest = max(lengths) + 1
    beyond = torch.arange(longest, device=device)[None] > own[:, None]
    mask = torch.zeros(beyond.shape, dtype=cache.keys[0].dtype, device=device)
    mask.masked_fill_(beyond, float("-inf"))
    return Decode(cache, index, longest, mask[:, None, None], shared)


def sharings(nodes: Sequence[PrefixNode | None], widths: Sequence[int]) -> list[Sharing]:
    """Group flattened queries by the nodes they lie below; row r has `widths[r]` queries."""
    members: dict[int, tuple[PrefixNode, list[int]]] = {}
    start = 0
    for deepest, width in zip(nodes, widths, strict=True):
        for node in deepest.path if deepest else ():
            members.setdefault(id(node), (node, []))[1].extend(range(start, start + width))
        start += width
    return [
        Sharing(
            node,
            None if len(queries) == start else torch.tensor(queries, device=node.keys[0].device),
        )
        for node, queries in members.values()
    ]
