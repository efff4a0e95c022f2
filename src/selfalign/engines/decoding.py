"""Generate for many prompts at once, with rows that come and go.

    waiting rows --prefill (flattened, below their shared nodes)--> live rows
    live rows --one decode step--> one token each --finished rows leave, waiting rows enter-->

A row that has finished costs nothing from the next step on: the last live row takes its place in
the cache, and as soon as enough places are free, waiting rows are let in.
"""

from collections import deque
from collections.abc import Iterable
from itertools import accumulate

from selfalign.engines.attention import Sharing
from selfalign.engines.backbone import Backbone
from selfalign.engines.passes import Prefill, RowCache, decode_pass, sharings
from selfalign.engines.prefix import PrefixStore
from selfalign.engines.rows import Row, Writer, draw_for
from selfalign.engines.sampling import Draw

_PREFILL_TOKENS = 4096
"""Tokens of new rows run at once; a larger product of matrices is not faster."""
_REFILL_SHARE = 8
"""Let waiting rows in when a batch has lost one row in so many; each prefill costs one pass."""
_CAPACITY_STEP = 64


class Decoder:
    """Runs rows through the model; one instance per call of `generate`."""

    def __init__(self, backbone: Backbone, store: PrefixStore, writer: Writer) -> None:
        self._backbone = backbone
        self._store = store
        self._writer = writer
        self._cache = RowCache()
        self._live: list[Row] = []
        self._draw: Draw | None = None
        self._sharings: list[Sharing] = []

    def run(self, rows: Iterable[Row], places: int) -> None:
        """Fill in `text` and `stopped` of every row, at most `places` rows at a time."""
        waiting = deque(rows)
        while waiting or self._live:
            free = places - len(self._live)
            if waiting and (not self._live or free >= max(1, places // _REFILL_SHARE)):
                self._admit(waiting, free, places)
            else:
                self._step()
            self._retire()

    def _admit(self, waiting: deque[Row], free: int, places: int) -> None:
        fresh: list[Row] = []
        total = 0
        while waiting and len(fresh) < free:
            own = len(waiting[0].prompt) - waiting[0].shared
            if fresh and total + own > _PREFILL_TOKENS:
                break
            total += own
            fresh.append(waiting.popleft())
        for row in fresh:
            row.node = self._store.node(row.stretch, row.prompt)
        own = [len(row.prompt) - row.shared for row in fresh]
        self._reserve(places, max(own))
        shared = sharings([row.node for row in fresh], own)
        logits = self._backbone.logits(
            [token for row in fresh for token in row.prompt[row.shared :]],
            [p for row in fresh for p in range(row.shared, len(row.prompt))],
            Prefill(own, shared, self._cache.keeper(own, len(self._live))),
            [end - 1 for end in accumulate(own)],
        )
        self._writer.advance(fresh, draw_for(fresh, self._backbone.device), logits)
        self._live += fresh
        self._draw = None

    def _step(self) -> None:
        live = self._live
        if self._draw is None:
            self._draw = draw_for(live, self._backbone.device)
            self._sharings = sharings([row.node for row in live], [1] * len(live))
        lengths = [row.cached for row in live]
        self._reserve(len(live), max(lengths) + 1)
        logits = self._backbone.logits(
            [row.tokens[-1] for row in live],
            [row.shared + length for row, length in zip(live, lengths, strict=True)],
            decode_pass(self._cache, lengths, self._sharings),
            range(len(live)),
        )
        self._writer.advance(live, self._draw, logits)

    def _reserve(self, rows: int, tokens: int) -> None:
        if tokens > self._cache.capacity or rows > self._cache.rows:
            grown = max(tokens, self._cache.capacity * 5 // 4)
            self._cache.reserve(rows, -(-grown // _CAPACITY_STEP) * _CAPACITY_STEP)

    def _retire(self) -> None:
        """Take finished rows out; the last live row moves into each hole."""
        live = self._live
        for place in range(len(live) - 1, -1, -1):
            if live[place].text is None:
                continue
            self._draw = None
            live[place].node = None
            last = live.pop()
            if place < len(live):
                self._cache.move(len(live), place, last.cached)
                live[place] = last
