"""Attention in pieces is attention: shared nodes, own tokens and all, against one softmax."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.engines.attention import PrefixNode, Sharing, _math_attend, attend_with_lse
from selfalign.engines.passes import Prefill, RowCache, decode_pass, sharings

SIZE, LAYER = 8, 0


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention of the last T of S tokens: (H, T, D), (K, S, D) twice -> (T, H, D)."""
    groups = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
    scores = q @ k.transpose(1, 2) * scale
    first = k.shape[1] - q.shape[1]
    future = torch.arange(k.shape[1]) > torch.arange(q.shape[1])[:, None] + first
    return (scores.masked_fill(future, float("-inf")).softmax(-1) @ v).transpose(0, 1)


def node(parent: PrefixNode | None, k: torch.Tensor, v: torch.Tensor) -> PrefixNode:
    start = parent.end if parent else 0
    return PrefixNode(parent, start, tuple(range(k.shape[1])), [k], [v])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    heads=st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    root=st.integers(0, 9),
    branches=st.lists(
        st.tuples(st.integers(0, 7), st.lists(st.integers(1, 6), min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    ),
)
def test_prefill_and_decode_below_a_tree_are_plain_causal_attention(
    seed: int,
    heads: tuple[int, int],
    root: int,
    branches: list[tuple[int, list[int]]],
) -> None:
    """`branches`: tokens of a second shared stretch, and the own tokens of each row below it."""
    torch.manual_seed(seed)
    query_heads, key_heads = heads
    scale = SIZE**-0.5

    def draw(n: int, h: int = key_heads) -> torch.Tensor:
        return torch.randn(h, n, SIZE)

    shared_k, shared_v = draw(root), draw(root)
    top = node(None, shared_k, shared_v) if root else None
    nodes: list[PrefixNode | None] = []
    rows: list[tuple[torch.Tensor, ...]] = []  # query, whole key, whole value, own tokens
    for length, owns in branches:
        branch_k, branch_v = draw(length), draw(length)
        below = node(top, branch_k, branch_v) if length else top
        for own in owns:
            k = torch.cat([shared_k, branch_k, draw(own + 1)], 1)
            v = torch.cat([shared_v, branch_v, draw(own + 1)], 1)
            rows.append((draw(own + 1, query_heads), k, v, torch.tensor(own)))
            nodes.append(below)

    own = [int(row[3]) for row in rows]
    cache = RowCache()
    cache.reserve(len(rows), max(own) + 2)
    parts = [[], [], []]
    for (q, k, v, _), n in zip(rows, own, strict=True):
        for part, t in zip(parts, (q[:, :n], k[:, -n - 1 : -1], v[:, -n - 1 : -1]), strict=True):
            part.append(t)
    prefill = Prefill(own, sharings(nodes, own), cache.keeper(own, 0))
    got = prefill.attend(LAYER, *(torch.cat(part, 1) for part in parts), scale).split(own)
    for (q, k, v, _), n, found in zip(rows, own, got, strict=True):
        torch.testing.assert_close(found, reference(q[:, :n], k[:, :-1], v[:, :-1], scale))

    last = [torch.cat([row[i][:, -1:] for row in rows], 1) for i in range(3)]
    decode = decode_pass(cache, own, sharings(nodes, [1] * len(rows)))
    found = decode.attend(LAYER, *last, scale)
    for number, (q, k, v, _) in enumerate(rows):
        torch.testing.assert_close(found[number], reference(q[:, -1:], k, v, scale)[0])


@pytest.mark.parametrize("causal", [False, True])
def test_the_portable_kernel_agrees_with_the_cpu_kernel(
    monkeypatch: pytest.MonkeyPatch, causal: bool
) -> None:
    monkeypatch.setattr("selfalign.engines.attention.MATH_SCORES", 50)  # several chunks
    q, k, v = (torch.randn(2, 3, 7, SIZE) for _ in range(3))
    mask = None if causal else torch.randn(2, 1, 1, 7)
    fast = attend_with_lse(q, k, v, 0.3, causal=causal, mask=mask)
    plain = _math_attend(q, k, v, 0.3, causal=causal, mask=mask)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_a_row_that_moves_keeps_its_tokens_and_room_grows_around_them() -> None:
    cache = RowCache()
    cache.reserve(3, 4)
    keys, values = torch.randn(2, 7, SIZE), torch.randn(2, 7, SIZE)
    cache.keeper([2, 4, 1], 0)(0, keys, values)
    cache.move(1, 0, 4)
    cache.reserve(2, 9)
    assert (cache.rows, cache.capacity) == (3, 9)
    torch.testing.assert_close(cache.keys[0][0, :4].transpose(0, 1), keys[:, 2:6])
    torch.testing.assert_close(cache.values[0][2, :1].transpose(0, 1), values[:, 6:])
    assert float(cache.keys[0][:, 4:].abs().sum()) == 0


def test_queries_are_grouped_by_every_node_above_them() -> None:
    k = torch.randn(1, 3, SIZE)
    top = node(None, k, k)
    left, right = node(top, k, k), node(top, k, k)
    found = sharings([left, None, right, left], [1, 2, 1, 2])
    rows = {id(s.node): s.rows.tolist() for s in found if s.rows is not None}
    assert rows == {id(top): [0, 3, 4, 5], id(left): [0, 4, 5], id(right): [3]}
    assert sharings([top, top], [2, 3]) == [Sharing(top, None)]
