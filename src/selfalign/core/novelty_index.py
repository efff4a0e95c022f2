"""The texts kept so far, arranged so that a look-alike is found without reading them all.

    elements, rarest first -> the first few -> inverted index -> signatures -> bit-parallel LCS

Two texts whose ROUGE-L reaches the threshold share many words, hence share one of the few rarest
words of each; only texts listed under those words are candidates. A candidate's 64-bit signature
then bounds how many words are missing, and the rest are decided by rapidfuzz's exact LCS. Each
step only removes pairs that cannot reach the threshold: the decisions are those of brute force.

Memory per kept text of ten words: about 0.4 kB here (texts as strings of one character per word,
8 bytes of signature, 4 bytes per posting), and about 0.1 kB per different word.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from selfalign.core.novelty_bound import Bound, rouge_l_f1
from selfalign.core.novelty_tokens import Vocabulary

_FIRST_FREEZE = 256
_NEXT_FREEZE = 8
"""Ours: word rarity is counted again when the set has grown this many times; speed only."""
_FEW = 24
"""Ours: this many candidates are compared one by one, more go through signatures first."""
_LARGEST_CHARACTER = 0x10FFFF
_BLOCK = 16_384
"""Ours: kept texts compared per call when the nearest one is asked for; bounds its memory."""

Encoded = str | list[int]
Nearest = tuple[int, float]


class Index(Protocol):
    """What the filter needs from an arrangement of kept texts (here, or compiled)."""

    def __len__(self) -> int:
        """How many texts are kept."""
        ...

    def insert(self, texts: Sequence[list[int]]) -> None:
        """Keep these texts without comparing them with anything."""
        ...

    def admit(self, texts: Sequence[list[int]]) -> list[bool]:
        """Keep each text that no kept text is too alike to, in order; say which."""
        ...

    def nearest(self, tokens: list[int]) -> Nearest | None:
        """Return the number and score of the kept text most alike; None if no word is shared."""
        ...

    def kept(self) -> Iterator[list[int]]:
        """Yield the kept texts in order."""
        ...


class RarityOrder:
    """One fixed total order of all elements, rarest first; unseen elements are the rarest.

    Any fixed order gives the same decisions; rarest first gives the shortest lists. The order is
    counted anew when the set has grown eightfold, and the index is then rebuilt.
    """

    def __init__(self) -> None:
        self.ranks: list[int] = []
        self._frozen_at = 0

    def due(self, texts: int) -> bool:
        """Say whether the order should be counted again for a set of this size."""
        return texts >= max(_FIRST_FREEZE, _NEXT_FREEZE * self._frozen_at)

    def freeze(self, counts: npt.NDArray[np.int64], texts: int) -> None:
        """Fix the order by how many texts hold each element; ties go to the newer element."""
        rarest_first = np.lexsort((-np.arange(len(counts)), counts))
        ranks = np.empty(len(counts), np.int64)
        ranks[rarest_first] = np.arange(len(counts))
        self.ranks = ranks.tolist()
        self._frozen_at = texts

    def extend(self, size: int) -> None:
        """Give every element up to `size` a rank; new ones come before all others."""
        if size > len(self.ranks):
            self.ranks.extend(range(-len(self.ranks) - 1, -size - 1, -1))


class PythonIndex:
    """The index in Python, numpy and rapidfuzz."""

    def __init__(self, bound: Bound, vocabulary: Vocabulary) -> None:
        self._bound = bound
        self._vocabulary = vocabulary
        self._order = RarityOrder()
        self._texts: list[Encoded] = []
        self._absent = np.zeros(1024, np.uint64)
        self._postings: dict[int, array[int]] = {}

    def __len__(self) -> int:
        """How many texts are kept."""
        return len(self._texts)

    def insert(self, texts: Sequence[list[int]]) -> None:
        """Keep these texts without comparing them with anything."""
        self._refreeze(texts)
        for tokens in texts:
            self._insert(tokens, self._elements(tokens))

    def admit(self, texts: Sequence[list[int]]) -> list[bool]:
        """Keep each text that no kept text is too alike to, in order; say which."""
        self._refreeze(texts)
        return [self._admit(tokens) for tokens in texts]

    def nearest(self, tokens: list[int]) -> Nearest | None:
        """Return the number and score of the kept text most alike; None if no word is shared."""
        text, m = _encode(tokens), len(tokens)
        best: Nearest | None = None
        for start in range(0, len(self._texts), _BLOCK):
            block = self._texts[start : start + _BLOCK]
            common = process.cdist([text], block, scorer=LCSseq.similarity, dtype=np.int32)[0]
            for position in np.flatnonzero(common):
                score = rouge_l_f1(int(common[position]), m, len(block[position]))
                if best is None or score > best[1]:
                    best = (start + int(position), score)
        return best

    def kept(self) -> Iterator[list[int]]:
        """Yield the kept texts in order."""
        return (list(map(ord, t)) if isinstance(t, str) else t for t in self._texts)

    def _admit(self, tokens: list[int]) -> bool:
        elements = self._elements(tokens)
        if self._holds_alike(tokens, elements):
            return False
        self._insert(tokens, elements)
        return True

    def _elements(self, tokens: list[int]) -> list[int]:
        elements = self._vocabulary.elements(tokens)
        self._order.extend(len(self._vocabulary))
        return elements

    def _lookup(self, elements: list[int]) -> list[int]:
        """Return the elements this text is listed and looked up under, rarest first."""
        rarest_first = sorted(elements, key=self._order.ranks.__getitem__)
        return rarest_first[: self._bound.prefix(len(elements))]

    def _holds_alike(self, tokens: list[int], elements: list[int]) -> bool:
        postings = self._postings
        found = [postings[element] for element in self._lookup(elements) if element in postings]
        if sum(map(len, found)) <= _FEW:
            candidates = set[int]().union(*found)
        else:
            numbers = np.frombuffer(b"".join(found), np.int32)
            missing = np.bitwise_count(self._absent[numbers] & np.uint64(_signature(elements)))
            most = self._bound.prefix(len(elements)) - 1
            candidates = set(numbers[missing <= most].tolist())
        if not candidates:
            return False
        text, m, need = _encode(tokens), len(tokens), self._bound.need
        for number in candidates:
            kept = self._texts[number]
            least = need(m, len(kept))
            if LCSseq.similarity(text, kept, score_cutoff=least) >= least:
                return True
        return False

    def _insert(self, tokens: list[int], elements: list[int]) -> None:
        number = len(self._texts)
        if number == len(self._absent):
            self._absent = np.concatenate([self._absent, np.zeros_like(self._absent)])
        self._absent[number] = ~np.uint64(_signature(elements))
        self._texts.append(_encode(tokens))
        for element in self._lookup(elements):
            self._postings.setdefault(element, array("i")).append(number)

    def _refreeze(self, coming: Sequence[list[int]]) -> None:
        size = len(self) + len(coming)
        if not self._order.due(size):
            return
        texts = chain(self.kept(), coming)
        elements = chain.from_iterable(map(self._vocabulary.elements, texts))
        counts = np.bincount(np.fromiter(elements, np.int64), minlength=len(self._vocabulary))
        self._order.freeze(counts, size)
        self._postings.clear()
        for number, tokens in enumerate(self.kept()):
            for element in self._lookup(self._elements(tokens)):
                self._postings.setdefault(element, array("i")).append(number)


def _signature(elements: list[int]) -> int:
    """Fold a set of elements into 64 bits; every bit a text lacks is an element it lacks."""
    signature = 0
    for element in elements:
        signature |= 1 << ((element * 0x9E3779B1 >> 16) & 63)
    return signature


def _encode(tokens: list[int]) -> Encoded:
    """Write each number as one character, which rapidfuzz compares fastest.

    A vocabulary larger than Unicode falls back to the numbers; rapidfuzz compares the two kinds
    with each other correctly, since it reads a character as its code.
    """
    if tokens and max(tokens) > _LARGEST_CHARACTER:
        return tokens
    return "".join(map(chr, tokens))
