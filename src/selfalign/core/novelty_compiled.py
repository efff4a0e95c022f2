"""The index of `novelty_index` in flat arrays and machine code: the same decisions, sooner.

Needs the extra `fast` (numba); `novelty` imports this module only when numba is installed and the
work is worth it. Memory per kept text of ten words: 8 bytes per word, 8 of bookkeeping and 14 per
place in a list, of which at most four are reserved for each in use: under 0.4 kB.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from selfalign.core.novelty_bound import Bound
from selfalign.core.novelty_index import Nearest, RarityOrder
from selfalign.core.novelty_numba import TABLE, Lists, Rule, Texts, admit, nearest, relist
from selfalign.core.novelty_tokens import Vocabulary


class CompiledIndex:
    """An `Index` whose `admit` runs as machine code, one call per batch."""

    def __init__(self, bound: Bound, vocabulary: Vocabulary) -> None:
        self._bound = bound
        self._vocabulary = vocabulary
        self._order = RarityOrder()
        self._kept = _texts(0, 0)
        self._lists = _lists(1024)
        self._rule = Rule(
            threshold=float(bound.threshold),
            inclusive=bound.drop_at == "ge",
            need=np.zeros((TABLE, TABLE), np.int32),
            prefix=np.zeros(0, np.int32),
            charged=np.zeros(0, np.int32),
            ranks=np.zeros(0, np.int64),
            rare=np.zeros(0, np.int32),
            masks=np.zeros(0, np.uint64),
            carries=np.zeros(0, np.uint64),
            compare=True,
        )
        self._ranked = 0
        self._lengths: set[int] = set()

    def __len__(self) -> int:
        """How many texts are kept."""
        return int(self._lists.used[0])

    def insert(self, texts: Sequence[list[int]]) -> None:
        """Keep these texts without comparing them with anything."""
        self._run(texts, compare=False)

    def admit(self, texts: Sequence[list[int]]) -> list[bool]:
        """Keep each text that no kept text is too alike to, in order; say which."""
        return self._run(texts, compare=True)

    def nearest(self, tokens: list[int]) -> Nearest | None:
        """Return the number and score of the kept text most alike; None if no word is shared."""
        batch = self._pack([tokens])
        self._fit(batch)
        number, score = nearest(batch, self._kept, len(self), self._rule)
        return None if number < 0 else (int(number), float(score))

    def kept(self) -> Iterator[list[int]]:
        """Yield the kept texts in order."""
        offsets = self._kept.offsets
        for number in range(len(self)):
            yield self._kept.tokens[offsets[number] : offsets[number + 1]].tolist()

    def _run(self, texts: Sequence[list[int]], *, compare: bool) -> list[bool]:
        batch = self._pack(texts)
        self._fit(batch)
        if self._order.due(len(self) + len(texts)):
            self._refreeze(batch, len(self) + len(texts))
        admitted = np.zeros(len(texts), np.bool_)
        rule = self._rule._replace(compare=compare)
        done = 0
        while (done := admit(batch, done, admitted, self._kept, self._lists, rule)) < len(texts):
            self._widen_lists()
        return admitted.tolist()

    def _pack(self, texts: Sequence[list[int]]) -> Texts:
        """Lay the texts end to end, and give every element in them a rank."""
        elements = [self._vocabulary.elements(tokens) for tokens in texts]
        batch = _texts(len(texts), sum(map(len, texts)))
        batch.tokens[:] = np.fromiter(chain.from_iterable(texts), np.int32)
        batch.elements[:] = np.fromiter(chain.from_iterable(elements), np.int32)
        batch.offsets[1:] = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        return batch

    def _fit(self, batch: Texts) -> None:
        """Give every array the room this batch may need, except the lists."""
        kept, rule, size = self._kept, self._rule, len(self._vocabulary)
        texts, words = len(self) + len(batch.offsets) - 1, len(batch.tokens)
        words += int(kept.offsets[len(self)])
        self._kept = Texts(
            tokens=_grown(kept.tokens, words),
            elements=_grown(kept.elements, words),
            offsets=_grown(kept.offsets, texts + 1),
        )
        self._lists = self._lists._replace(
            start=_grown(self._lists.start, size),
            filled=_grown(self._lists.filled, size),
            room=_grown(self._lists.room, size),
        )
        lengths = np.unique(np.diff(batch.offsets)).tolist()
        longest = 1 + max(lengths, default=0)
        self._rule = rule._replace(
            prefix=_grown(rule.prefix, longest),
            charged=_grown(rule.charged, longest),
            rare=_grown(rule.rare, longest),
            carries=_grown(rule.carries, longest),
            masks=_grown(rule.masks, size),
            ranks=self._ranks(size),
        )
        for m in set(lengths) - self._lengths - {0}:
            self._rule.prefix[m] = self._bound.prefix(m)
            self._rule.charged[m] = self._bound.spare(m).charged
            self._lengths.add(m)

    def _ranks(self, size: int) -> npt.NDArray[np.int64]:
        self._order.extend(size)
        ranks = _grown(self._rule.ranks, size)
        ranks[self._ranked : size] = self._order.ranks[self._ranked : size]
        self._ranked = size
        return ranks

    def _refreeze(self, batch: Texts, texts: int) -> None:
        words = self._kept.offsets[len(self)]
        elements = np.concatenate([self._kept.elements[:words], batch.elements])
        counts = np.bincount(elements, minlength=len(self._vocabulary))
        self._order.freeze(counts, texts)
        self._rule = self._rule._replace(ranks=np.array(self._order.ranks, np.int64))
        self._lists.filled[:] = 0
        self._lists.room[:] = 0
        self._lists.used[1] = 0
        done = 0
        while (done := relist(done, self._kept, self._lists, self._rule)) < len(self):
            self._widen_lists()

    def _widen_lists(self) -> None:
        places = len(self._lists.numbers) + 1
        self._lists = self._lists._replace(
            numbers=_grown(self._lists.numbers, places),
            absent=_grown(self._lists.absent, places),
            shape=_grown(self._lists.shape, places),
        )


def _texts(texts: int, words: int) -> Texts:
    return Texts(
        tokens=np.zeros(words, np.int32),
        elements=np.zeros(words, np.int32),
        offsets=np.zeros(texts + 1, np.int64),
    )


def _lists(places: int) -> Lists:
    return Lists(
        start=np.zeros(0, np.int64),
        filled=np.zeros(0, np.int32),
        room=np.zeros(0, np.int32),
        numbers=np.zeros(places, np.int32),
        absent=np.zeros(places, np.uint64),
        shape=np.zeros(places, np.uint16),
        used=np.zeros(2, np.int64),
    )


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return the array with room for `size` entries, half as much again if it has to be copied."""
    if size <= len(array):
        return array
    wider = np.zeros(max(size, len(array) * 3 // 2), array.dtype)
    wider[: len(array)] = array
    return wider
