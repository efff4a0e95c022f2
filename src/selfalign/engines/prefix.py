"""Find what prompts have in common, compute it once, and keep it between batches.

    token lists --plan_sharing--> tree of Stretch --PrefixStore.nodes--> PrefixNode path per row

The tree is cut at token level (a text boundary need not be a token boundary). A stretch that
several prompts share becomes a node when it is long enough and saves enough to be worth it.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selfalign.engines.attention import PrefixNode

MIN_LENGTH = 32
"""Ours: a shorter node costs more calls in every step than its tokens cost in each row."""
MIN_SAVED = 256
"""Ours: a node must save this many tokens of prefill to be worth the pass that computes it."""


@dataclass(frozen=True)
class Stretch:
    """Tokens [start, end) that all of `members` share, below `parent`."""

    parent: "Stretch | None"
    start: int
    end: int


@dataclass
class Sharings:
    """The deepest shared stretch of every prompt; None where a prompt shares nothing."""

    order: list[int]
    """Prompts sorted so that those who share most are neighbours."""
    deepest: list[Stretch | None]
    """By prompt."""

    def shared(self, number: int) -> int:
        """Return how many tokens of a prompt lie in shared stretches."""
        stretch = self.deepest[number]
        return stretch.end if stretch else 0


def share_nothing(prompts: Sequence[Sequence[int]]) -> Sharings:
    """Plan without sharing, neighbours of like length."""
    return Sharings(
        sorted(range(len(prompts)), key=lambda i: len(prompts[i])), [None] * len(prompts)
    )


def common_prefix_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the tokens two lists begin with alike."""
    limit = min(len(first), len(second))
    if first[:limit] == second[:limit]:
        return limit
    low, high = 0, limit  # first[:low] agrees, first[:high] does not
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


def plan_sharing(
    prompts: Sequence[list[int]], min_length: int = MIN_LENGTH, min_saved: int = MIN_SAVED
) -> Sharings:
    """Lay prompts into a tree of shared stretches; every prompt keeps at least one own token.

    A lone long prompt is shared with the next call, which often continues it: a conversation.
    """
    if len(prompts) == 1 and len(prompts[0]) > min_saved:
        return Sharings([0], [Stretch(None, 0, len(prompts[0]) - 1)])
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    common = [
        min(common_prefix_length(prompts[a], prompts[b]), len(prompts[a]) - 1, len(prompts[b]) - 1)
        for a, b in itertools.pairwise(order)
    ]
    plan = Sharings(order, [None] * len(prompts))
    # Each task: prompts order[low:high], known to share `parent` up to its end.
    tasks: list[tuple[int, int, Stretch | None]] = [(0, len(order), None)]
    while tasks:
        low, high, parent = tasks.pop()
        start = parent.end if parent else 0
        if high - low < 2:
            continue
        length = min(common[low : high - 1])
        node = parent
        if length - start >= min_length and (length - start) * (high - low - 1) >= min_saved:
            node = Stretch(parent, start, length)
            for position in range(low, high):
                plan.deepest[order[position]] = node
        # Where neighbours share no more than the whole group does, the group falls apart.
        edges = [k + 1 for k in range(low, high - 1) if common[k] <= length]
        bounds = [low, *edges, high]
        tasks += [(a, b, node) for a, b in itertools.pairwise(bounds) if b - a > 1]
    return plan


class PrefixStore:
    """Computed nodes by their tokens, the least recently used forgotten first.

    A node may be asked for with a little less or a little more than an earlier batch shared: the
    first is cut from what is there, the second computes only the difference.
    """

    def __init__(self, compute: Callable[[PrefixNode], None], max_bytes: int) -> None:
        self._compute = compute
        self._max_bytes = max_bytes
        self._nodes: OrderedDict[tuple[int, ...], PrefixNode] = OrderedDict()
        self._held_bytes = 0
        self.computed_tokens = 0
        """Tokens run through the model so far to fill nodes."""

    def node(self, stretch: Stretch | None, tokens: Sequence[int]) -> PrefixNode | None:
        """Return the node of a stretch of a prompt, computing what is not there yet."""
        if stretch is None:
            return None
        key = tuple(tokens[: stretch.end])
        if key in self._nodes:
            self._nodes.move_to_end(key)
            return self._nodes[key]
        parent = self.node(stretch.parent, tokens)
        made = self._from_known(key, parent) or self._computed(key, parent)
        self._nodes[key] = made
        self._held_bytes += made.size_bytes
        while self._held_bytes > self._max_bytes and len(self._nodes) > 1:
            _, forgotten = self._nodes.popitem(last=False)
            self._held_bytes -= forgotten.size_bytes
        return made

    def _computed(self, key: tuple[int, ...], parent: PrefixNode | None) -> PrefixNode:
        start = parent.end if parent else 0
        node = PrefixNode(parent, start, key[start:])
        self._compute(node)
        self.computed_tokens += len(node.tokens)
        return node

    def _from_known(self, key: tuple[int, ...], parent: PrefixNode | None) -> PrefixNode | None:
        """Cut the node from a longer one, or continue the longest one that it extends."""
        best: tuple[int, PrefixNode] | None = None
        start = parent.end if parent else 0
        for known in self._nodes.values():
            if known.parent is not parent or known.tokens[0] != key[start]:
                continue
            common = common_prefix_length(known.tokens, key[start:])
            if best is None or common > best[0]:
                best = (common, known)
        if best is None or best[0] < MIN_LENGTH:
            return None
        common, known = best
        base = known if common == len(known.tokens) else _cut(known, common)
        if base.end == len(key):
            return base
        return self._from_known(key, base) or self._computed(key, base)


def _cut(node: PrefixNode, length: int) -> PrefixNode:
    """View the first tokens of a node; no memory is copied."""
    keys, values = ([t[:, :length] for t in side] for side in (node.keys, node.values))
    return PrefixNode(node.parent, node.start, node.tokens[:length], keys, values)
