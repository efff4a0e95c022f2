"""The steps of `novelty_index`, compiled by numba: same steps, same decisions.

    elements -> rarest few -> lists (48 bits lacked, length in 16) -> positions -> LCS

Imported by `novelty_compiled` alone. Nothing here depends on a clock, a hash seed or a thread: one
text after the other, in order. The first call compiles (some seconds) and leaves the machine code
in numba's cache.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numba  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import numpy.typing as npt

from selfalign.core.novelty_bound import CHARGES

P = ParamSpec("P")
R = TypeVar("R")
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U16 = npt.NDArray[np.uint16]

TABLE = 256
"""Ours: `need` is remembered for texts of fewer words than this."""
_ROW = 64
"""Words whose places fit one machine word."""
_MANY = 255
_BITS = np.uint64(64 - CHARGES)
_WORD_BITS = (np.uint64(1) << _BITS) - np.uint64(1)
_ALL = ~np.uint64(0)
_ZERO, _ONE, _LOW = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFF)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_ODD, _PAIRS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_NIBBLES, _BYTES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


def _compile(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call; keep the machine code on disk where the machine allows it."""
    njit = cast(Any, numba).njit
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # numba found no folder it may write to
        return njit(function)


class Texts(NamedTuple):
    """Texts laid end to end; text i is [offsets[i], offsets[i + 1])."""

    tokens: I32
    elements: I32
    offsets: I64


class Lists(NamedTuple):
    """For each element a growing list of kept texts, inside two shared arrays."""

    start: I64
    filled: I32
    room: I32
    numbers: I32
    absent: U64
    """48 bits the text lacks, and its length as up to 16 set bits."""
    shape: U16
    """The text's length and, in the low byte, the element's rank in it; 255 stands for more."""
    used: I64
    """[kept texts, places given out]."""


class Rule(NamedTuple):
    """The bound, and room to work in."""

    threshold: float
    inclusive: bool
    need: I32
    prefix: I32
    charged: I32
    ranks: I64
    rare: I32
    masks: U64
    """By token, all zero between texts."""
    carries: U64
    compare: bool


@_compile
def _ones(bits: Any) -> Any:
    bits = bits - ((bits >> _ONE) & _ODD)
    bits = (bits & _PAIRS) + ((bits >> np.uint64(2)) & _PAIRS)
    bits = (bits + (bits >> np.uint64(4))) & _NIBBLES
    return np.int64((bits * _BYTES) >> np.uint64(56))


@_compile
def _count_need(m: Any, n: Any, threshold: float, inclusive: bool) -> Any:
    """Do what `Bound.need` does, by the same floating point operations."""
    most = min(m, n)
    need = max(1, min(int(threshold * (m + n) / 2) - 1, most + 1))
    while need <= most:
        precision = need / n
        recall = need / m
        score = 2 * precision * recall / (precision + recall)
        if score > threshold or (inclusive and score == threshold):
            break
        need += 1
    return need


@_compile
def _need_row(m: Any, rule: Rule) -> Any:
    """Return `need` for partners of 0, 1, ... words; 0 where a text is too long for the table."""
    row = rule.need[min(m, _MANY)]
    if 0 < m < _MANY and row[0] == 0:
        row[0] = 1
        for n in range(1, _MANY):
            row[n] = _count_need(m, n, rule.threshold, rule.inclusive)
    return row


@_compile
def _mark(tokens: I32, start: int, stop: int, masks: U64) -> None:
    """Set, for each of at most 64 words, the bits of its places."""
    for place in range(start, stop):
        masks[tokens[place]] |= _ONE << np.uint64(place - start)


@_compile
def _wipe(tokens: I32, start: int, stop: int, masks: U64) -> None:
    for place in range(start, stop):
        masks[tokens[place]] = _ZERO


@_compile
def _common_marked(m: Any, tokens: I32, begin: Any, end: Any, masks: U64) -> Any:
    """Return the LCS of the marked text of m <= 64 words and another (Hyyro's recurrence)."""
    row = _ALL
    for place in range(begin, end):
        match = row & masks[tokens[place]]
        row = (row + match) | (row - match)
    return _ones(~row & (_ALL >> np.uint64(_ROW - m)))


@_compile
def _common_long(tokens: I32, span: Any, texts: Texts, number: int, rule: Rule) -> int:
    """Return the LCS of a text of any length and a kept one, 64 rows at a time."""
    begin, end = texts.offsets[number], texts.offsets[number + 1]
    carries = rule.carries
    for place in range(end - begin):
        carries[place] = _ZERO
    common = 0
    for start in range(span[0], span[1], _ROW):
        stop = min(start + _ROW, span[1])
        _mark(tokens, start, stop, rule.masks)
        row = _ALL
        for place in range(begin, end):
            match = row & rule.masks[texts.tokens[place]]
            total = row + match
            carried = total + carries[place - begin]
            carries[place - begin] = np.uint64((total < row) | (carried < total))
            row = carried | (row & ~match)
        _wipe(tokens, start, stop, rule.masks)
        common += _ones(~row & (_ALL >> np.uint64(64 - (stop - start))))
    return common


@_compile
def _rarest(batch: Texts, number: int, rule: Rule) -> Any:
    """Write the elements to look up and list under into `rule.rare`; return how many."""
    start, stop = batch.offsets[number], batch.offsets[number + 1]
    rare, ranks = rule.rare, rule.ranks
    gap = 1
    while 3 * gap < stop - start:
        gap = 3 * gap + 1
    for place in range(start, stop):
        rare[place - start] = batch.elements[place]
    while gap > 0:  # Shell's sort: short for the compiler, and fast enough for long texts
        for place in range(gap, stop - start):
            element = rare[place]
            while place >= gap and ranks[rare[place - gap]] > ranks[element]:
                rare[place] = rare[place - gap]
                place -= gap
            rare[place] = element
        gap //= 3
    return rule.prefix[stop - start]


@_compile
def _signature(texts: Texts, position: Any) -> Any:
    """Return 48 bits of the text's elements."""
    bits = _ZERO
    for place in range(texts.offsets[position], texts.offsets[position + 1]):
        spread = np.uint64(texts.elements[place]) * _SPREAD
        bits |= _ONE << (((spread >> np.uint64(16)) & _LOW) % _BITS)
    return bits


@_compile
def _length_bits(n: int, rule: Rule) -> Any:
    charge = min(CHARGES, int(rule.threshold * n / 2))
    return ((_ONE << np.uint64(charge)) - _ONE) << _BITS


@_compile
def _plausible(shape: Any, absent: Any, probe: Any, m: Any, left: Any, need: Any) -> Any:
    """Say whether a listed text may share enough words, from what the list itself holds.

    `left` counts the elements from the shared one on: words before it are known to differ, or the
    pair has been judged under one of them.
    """
    if need == 0:
        return True
    n = np.int64(shape >> np.uint16(8))
    if left < need or n - np.int64(shape & np.uint16(_MANY)) < need:
        return False
    extra = _ones(~(absent | probe) & _WORD_BITS)
    return _ones(absent & probe & _WORD_BITS) <= m - need and extra <= n - need


@_compile
def _is_alike(batch: Texts, position: Any, kept: Texts, other: Any, rule: Rule) -> bool:
    """Compare two texts exactly; one of at most 64 words has been marked."""
    start, stop = batch.offsets[position], batch.offsets[position + 1]
    begin, end = kept.offsets[other], kept.offsets[other + 1]
    need = _count_need(stop - start, end - begin, rule.threshold, rule.inclusive)
    if stop - start <= _ROW:
        return _common_marked(stop - start, kept.tokens, begin, end, rule.masks) >= need
    return _common_long(batch.tokens, (start, stop), kept, other, rule) >= need


@_compile
def _holds_alike(
    batch: Texts, position: Any, count: Any, kept: Texts, lists: Lists, rule: Rule
) -> bool:
    m = batch.offsets[position + 1] - batch.offsets[position]
    probe = _signature(batch, position) | ~_WORD_BITS
    charged, needs = rule.charged[m], _need_row(m, rule)
    absent, shape = lists.absent, lists.shape
    for rank in range(count):
        begin = lists.start[rule.rare[rank]]
        for place in range(begin, begin + lists.filled[rule.rare[rank]]):
            lacks = absent[place]
            if _ones(lacks & probe) > charged:
                continue
            need = needs[shape[place] >> 8]
            if not _plausible(shape[place], lacks, probe, m, m - rank, need):
                continue
            if _is_alike(batch, position, kept, lists.numbers[place], rule):
                return True
    return False


@_compile
def _has_room(count: int, lists: Lists, rule: Rule) -> bool:
    wanted = lists.used[1]
    for rank in range(count):
        element = rule.rare[rank]
        if lists.filled[element] == lists.room[element]:
            wanted += max(2, 2 * lists.room[element])
    return wanted <= len(lists.numbers)


@_compile
def _list(number: int, texts: Texts, position: int, count: int, lists: Lists, rule: Rule) -> None:
    """Put text `number`, found at `position` of `texts`, into the lists of its rarest elements."""
    length = texts.offsets[position + 1] - texts.offsets[position]
    absent = (~_signature(texts, position) & _WORD_BITS) | _length_bits(length, rule)
    for rank in range(count):
        element = rule.rare[rank]
        size = lists.filled[element]
        if size == lists.room[element]:
            old, new = lists.start[element], lists.used[1]
            lists.room[element] = max(2, 2 * size)
            for shift in range(size):
                lists.numbers[new + shift] = lists.numbers[old + shift]
                lists.absent[new + shift] = lists.absent[old + shift]
                lists.shape[new + shift] = lists.shape[old + shift]
            lists.start[element] = new
            lists.used[1] = new + lists.room[element]
        place = lists.start[element] + size
        lists.numbers[place] = number
        lists.absent[place] = absent
        lists.shape[place] = np.uint16(min(length, _MANY) << 8 | min(rank, _MANY))
        lists.filled[element] = size + 1


@_compile
def _keep(batch: Texts, position: int, kept: Texts, lists: Lists) -> int:
    """Copy a text of the batch behind the kept ones and return its number."""
    number = lists.used[0]
    begin, end = batch.offsets[position], batch.offsets[position + 1]
    start = kept.offsets[number]
    kept.offsets[number + 1] = start + end - begin
    for place in range(end - begin):
        kept.tokens[start + place] = batch.tokens[begin + place]
        kept.elements[start + place] = batch.elements[begin + place]
    lists.used[0] = number + 1
    return number


@_compile
def admit(batch: Texts, first: int, admitted: Any, kept: Texts, lists: Lists, rule: Rule) -> int:
    """Judge the batch from `first` on; return where room ran out, or the batch's size."""
    for position in range(first, len(admitted)):
        count = _rarest(batch, position, rule)
        if not _has_room(count, lists, rule):
            return position
        alike = False
        if rule.compare:
            start, stop = batch.offsets[position], batch.offsets[position + 1]
            marked = stop if stop - start <= _ROW else start
            _mark(batch.tokens, start, marked, rule.masks)
            alike = _holds_alike(batch, position, count, kept, lists, rule)
            _wipe(batch.tokens, start, marked, rule.masks)
        admitted[position] = not alike
        if not alike:
            _list(_keep(batch, position, kept, lists), batch, position, count, lists, rule)
    return len(admitted)


@_compile
def relist(first: int, kept: Texts, lists: Lists, rule: Rule) -> int:
    """List the kept texts again from `first` on; return where room ran out, or their number."""
    for number in range(first, lists.used[0]):
        count = _rarest(kept, number, rule)
        if not _has_room(count, lists, rule):
            return number
        _list(number, kept, number, count, lists, rule)
    return lists.used[0]


@_compile
def nearest(batch: Texts, kept: Texts, size: int, rule: Rule) -> tuple[int, float]:
    """Return the kept text most alike to the only one of the batch, and the score."""
    m = batch.offsets[1]
    best, top = -1, 0.0
    for number in range(size):
        common = _common_long(batch.tokens, (0, m), kept, number, rule)
        if common > 0:
            precision = common / (kept.offsets[number + 1] - kept.offsets[number])
            recall = common / m
            score = 2 * precision * recall / (precision + recall)
            if score > top:
                best, top = number, score
    return best, top
