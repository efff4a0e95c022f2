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
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from selfalign.core.novelty_bound import CHARGES, LONG, Bound, Spare, rouge_l_f1
from selfalign.core.novelty_tokens import Vocabulary

_FIRST_FREEZE = 256
_NEXT_FREEZE = 8
"""Ours: word rarity is counted again when the set has grown this many times; speed only."""
_FEW = 48
"""Ours: up to this many candidates Python is quicker than numpy."""
_LARGEST_CHARACTER = 0x10FFFF
_LANES = 4
_BITS = 64 - CHARGES
_WORD_BITS = (1 << _BITS) - 1
_LENGTH_BITS = (1 << 64) - 1 - _WORD_BITS
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


class _Probe(NamedTuple):
    """A text as the index sees it."""

    text: Encoded
    rare: list[int]
    """The elements it is listed and looked up under, rarest first."""
    signature: int
    """One of 4 x 48 bits per element: every bit another text lacks is an element it lacks."""


class _Postings(NamedTuple):
    """The kept texts listed under one element."""

    numbers: "array[int]"
    absent: "array[int]"
    """For each, 48 bits it lacks after folding its lanes, and its length as up to 16 set bits."""


class PythonIndex:
    """The index in Python, numpy and rapidfuzz."""

    def __init__(self, bound: Bound, vocabulary: Vocabulary) -> None:
        self._bound = bound
        self._vocabulary = vocabulary
        self._order = RarityOrder()
        self._texts: list[Encoded] = []
        self._bits: list[int] = []
        self._signatures = np.zeros((1024, _LANES), np.uint64)
        self._lengths = np.zeros(1024, np.int16)
        self._postings: dict[int, _Postings] = {}

    def __len__(self) -> int:
        """How many texts are kept."""
        return len(self._texts)

    def insert(self, texts: Sequence[list[int]]) -> None:
        """Keep these texts without comparing them with anything."""
        self._refreeze(texts)
        for tokens in texts:
            self._insert(self._probe(tokens))

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
        probe = self._probe(tokens)
        if self._holds_alike(probe):
            return False
        self._insert(probe)
        return True

    def _probe(self, tokens: list[int]) -> _Probe:
        elements = self._vocabulary.elements(tokens)
        if len(self._bits) < len(self._vocabulary):
            self._order.extend(len(self._vocabulary))
            self._bits.extend(map(_bit, range(len(self._bits), len(self._vocabulary))))
        rarest_first = sorted(elements, key=self._order.ranks.__getitem__)
        signature = self._signature(elements)
        return _Probe(_encode(tokens), rarest_first[: self._bound.prefix(len(tokens))], signature)

    def _signature(self, elements: list[int]) -> int:
        signature, bits = 0, self._bits
        for element in elements:
            signature |= bits[element]
        return signature

    def _holds_alike(self, probe: _Probe) -> bool:
        postings = self._postings
        found = [postings[element] for element in probe.rare if element in postings]
        spare = self._bound.spare(len(probe.text))
        mask = _fold(probe.signature) | _LENGTH_BITS
        if sum([len(listed.numbers) for listed in found]) <= _FEW:
            candidates = {
                number
                for listed in found
                for number, absent in zip(listed.numbers, listed.absent, strict=True)
                if (absent & mask).bit_count() <= spare.charged
            }
        else:
            candidates = set(self._plausible(found, probe, spare, mask))
        text, need = probe.text, self._bound.need
        m = len(text)
        for number in candidates:
            kept = self._texts[number]
            least = need(m, len(kept))
            if LCSseq.similarity(text, kept, score_cutoff=least) >= least:
                return True
        return False

    def _plausible(
        self, found: Sequence[_Postings], probe: _Probe, spare: Spare, mask: int
    ) -> list[int]:
        """Return the numbers whose signatures leave room for enough common words."""
        absent = np.frombuffer(b"".join([listed.absent for listed in found]), np.uint64)
        missing = np.bitwise_count(absent & np.uint64(mask))
        passed = (missing <= spare.charged).nonzero()[0]
        numbers = np.frombuffer(b"".join([listed.numbers for listed in found]), np.int32)[passed]
        if len(numbers) <= _FEW // 2:
            return numbers.tolist()
        lengths, theirs = self._lengths[numbers], self._signatures[numbers]
        mine = _lanes(probe.signature)
        passed = np.bitwise_count(mine & ~theirs).sum(axis=1) <= spare.mine[lengths]
        passed &= np.bitwise_count(theirs & ~mine).sum(axis=1) <= spare.theirs[lengths]
        return numbers[passed].tolist()

    def _insert(self, probe: _Probe) -> None:
        number = len(self._texts)
        if number == len(self._lengths):
            self._signatures = np.concatenate([self._signatures, np.zeros_like(self._signatures)])
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._signatures[number] = _lanes(probe.signature)
        self._lengths[number] = min(LONG, len(probe.text))
        self._texts.append(probe.text)
        self._list(number, probe)

    def _list(self, number: int, probe: _Probe) -> None:
        length = (1 << self._bound.charge(len(probe.text))) - 1
        absent = ~_fold(probe.signature) & _WORD_BITS | length << _BITS
        for element in probe.rare:
            listed = self._postings.get(element)
            if listed is None:
                listed = self._postings[element] = _Postings(array("i"), array("Q"))
            listed.numbers.append(number)
            listed.absent.append(absent)

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
            self._list(number, self._probe(tokens))


def _bit(element: int) -> int:
    """Return the bit of a signature that stands for an element."""
    spread = element * 0x9E3779B97F4A7C15 >> 20
    return 1 << (64 * (spread % _LANES) + (spread >> 12) % _BITS)


def _fold(signature: int) -> int:
    """Lay the lanes of a signature on top of each other."""
    return (signature | signature >> 64 | signature >> 128 | signature >> 192) & _WORD_BITS


def _lanes(signature: int) -> npt.NDArray[np.uint64]:
    return np.frombuffer(signature.to_bytes(8 * _LANES, "little"), np.uint64)


def _encode(tokens: list[int]) -> Encoded:
    """Write each number as one character, which rapidfuzz compares fastest.

    A vocabulary larger than Unicode falls back to the numbers; rapidfuzz compares the two kinds
    with each other correctly, since it reads a character as its code.
    """
    if tokens and max(tokens) > _LARGEST_CHARACTER:
        return tokens
    return "".join(map(chr, tokens))
