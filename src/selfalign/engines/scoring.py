"""Score given tokens: what requests share is computed once, the rest runs without padding.

    tokens and what is wanted of them --tree of shared stretches--> flattened prefill passes
    --> log p (nats) of the wanted tokens

Exact: each request's numbers are those of its own full prompt, up to rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from selfalign.engines.backbone import Backbone
from selfalign.engines.passes import Prefill, sharings
from selfalign.engines.prefix import PrefixStore, Sharings, plan_sharing, share_nothing
from selfalign.engines.untyped import floats

_PASS_TOKENS = 4096
"""New tokens per pass; a larger product of matrices is not faster."""
_PASS_LOGITS = 1 << 26
"""Logits held at once (256 MiB in fp32)."""


@dataclass(frozen=True)
class Wanted:
    """Tokens to run, and which next tokens to score after which of them."""

    tokens: list[int]
    scored: Sequence[tuple[int, int]]
    """(position, token): log p of `token` as the successor of `tokens[position]`; ascending."""

    @property
    def first(self) -> int:
        """The first position whose logits are needed."""
        return self.scored[0][0]


def score(
    backbone: Backbone, store: PrefixStore, requests: Sequence[Wanted], *, share: bool = True
) -> list[list[float]]:
    """Return the log-probabilities of each request's `scored` tokens, in their order."""
    prefixes = [request.tokens[: request.first + 1] for request in requests]
    plan = plan_sharing(prefixes) if share else share_nothing(prefixes)
    scores: list[list[float]] = [[] for _ in requests]
    for group in _passes(requests, plan, backbone.vocabulary):
        for number, row in zip(group, _run(backbone, store, requests, plan, group), strict=True):
            scores[number] = row
    return scores


def _passes(requests: Sequence[Wanted], plan: Sharings, vocabulary: int) -> Iterator[list[int]]:
    """Cut the requests, in the plan's order, into passes of bounded tokens and logits."""
    group: list[int] = []
    tokens = positions = 0
    for number in plan.order:
        own = len(requests[number].tokens) - plan.shared(number)
        kept = len({position for position, _ in requests[number].scored})
        full = tokens + own > _PASS_TOKENS or (positions + kept) * vocabulary > _PASS_LOGITS
        if group and full:
            yield group
            group, tokens, positions = [], 0, 0
        group.append(number)
        tokens, positions = tokens + own, positions + kept
    if group:
        yield group


def _run(
    backbone: Backbone,
    store: PrefixStore,
    requests: Sequence[Wanted],
    plan: Sharings,
    group: Sequence[int],
) -> list[list[float]]:
    starts = [plan.shared(number) for number in group]
    nodes = [store.node(plan.deepest[number], requests[number].tokens) for number in group]
    rows = [requests[number] for number in group]
    own = [len(row.tokens) - start for row, start in zip(rows, starts, strict=True)]
    keep: dict[tuple[int, int], int] = {}  # (row, position) -> line of the logits
    flat: list[int] = []
    offset = 0
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        for position, _ in row.scored:
            if (number, position) not in keep:
                keep[number, position] = len(flat)
                flat.append(offset + position - start)
        offset += own[number]
    logits = backbone.logits(
        [t for row, start in zip(rows, starts, strict=True) for t in row.tokens[start:]],
        [p for row, start in zip(rows, starts, strict=True) for p in range(start, len(row.tokens))],
        Prefill(own, sharings(nodes, own), None),
        flat,
    )
    lines = [
        keep[number, position] for number, row in enumerate(rows) for position, _ in row.scored
    ]
    wanted = [token for row in rows for _, token in row.scored]
    normaliser = torch.logsumexp(logits, dim=-1)
    found = iter(floats(logits[lines, wanted] - normaliser[lines]))
    return [[next(found) for _ in row.scored] for row in rows]
