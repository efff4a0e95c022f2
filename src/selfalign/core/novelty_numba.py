"""The steps of `novelty_index`, compiled by numba: same steps, same decisions.

    elements -> rarest few -> lists (48 bits lacked, length in 16) -> 64-bit signature -> LCS

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

TABLE = 256
"""Ours: `need` is remembered for texts of fewer words than this."""
_BITS = np.uint64(64 - CHARGES)
_WORD_BITS = (np.uint64(1) << _BITS) - np.uint64(1)
_ALL = ~np.uint64(0)
_ZERO, _ONE, _LANE, _HALF = np.uint64(0), np.uint64(1), np.uint64(63), np.uint64(32)
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
    signatures: U64
    """64 bits of each text's elements; unused in a batch."""


class Lists(NamedTuple):
    """For each element a growing list of kept texts, inside two shared arrays."""

    start: I64
    filled: I32
    room: I32
    numbers: I32
    absent: U64
    """48 bits the text lacks, and its length as up to 16 set bits."""
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
def _need(m: Any, n: Any, rule: Rule) -> Any:
    """Do what `Bound.need` does, by the same floating point operations."""
    small = m < TABLE and n < TABLE
    if small and rule.need[m, n] > 0:
        return rule.need[m, n]
    most = min(m, n)
    need = max(1, min(int(rule.threshold * (m + n) / 2) - 1, most + 1))
    while need <= most:
        precision = need / n
        recall = need / m
        score = 2 * precision * recall / (precision + recall)
        if score > rule.threshold or (rule.inclusive and score == rule.threshold):
            break
        need += 1
    if small:
        rule.need[m, n] = need
    return need


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
def _common_marked(m: int, texts: Texts, number: int, masks: U64) -> int:
    """Return the LCS of the marked text of m <= 64 words and a kept one (Hyyro's recurrence)."""
    row = _ALL
    for place in range(texts.offsets[number], texts.offsets[number + 1]):
        match = row & masks[texts.tokens[place]]
        row = (row + match) | (row - match)
    return _ones(~row & (_ALL >> np.uint64(64 - m)))


@_compile
def _common_long(tokens: I32, span: tuple[int, int], texts: Texts, number: int, rule: Rule) -> int:
    """Return the LCS of a text of any length and a kept one, 64 rows at a time."""
    begin, end = texts.offsets[number], texts.offsets[number + 1]
    carries = rule.carries
    for place in range(end - begin):
        carries[place] = _ZERO
    common = 0
    for start in range(span[0], span[1], 64):
        stop = min(start + 64, span[1])
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
def _signatures(batch: Texts, number: int) -> tuple[Any, Any]:
    """Return 64 bits and 48 bits of the text's elements."""
    wide, narrow = _ZERO, _ZERO
    for place in range(batch.offsets[number], batch.offsets[number + 1]):
        spread = np.uint64(batch.elements[place]) * _SPREAD
        wide |= _ONE << (spread >> np.uint64(58))
        narrow |= _ONE << (((spread >> np.uint64(16)) & np.uint64(0xFFFFFFFF)) % _BITS)
    return wide, narrow


@_compile
def _length_bits(n: int, rule: Rule) -> Any:
    charge = min(CHARGES, int(rule.threshold * n / 2))
    return ((_ONE << np.uint64(charge)) - _ONE) << _BITS


@_compile
def _holds_alike(
    batch: Texts, number: int, count: int, kept: Texts, lists: Lists, rule: Rule
) -> bool:
    start, stop = batch.offsets[number], batch.offsets[number + 1]
    m = stop - start
    wide, narrow = _signatures(batch, number)
    probe = narrow | ~_WORD_BITS
    charged = rule.charged[m]
    marked = alike = False
    for rank in range(count):
        element = rule.rare[rank]
        begin = lists.start[element]
        for place in range(begin, begin + lists.filled[element]):
            if _ones(lists.absent[place] & probe) > charged:
                continue
            other = lists.numbers[place]
            n = kept.offsets[other + 1] - kept.offsets[other]
            need = _need(m, n, rule)
            theirs = kept.signatures[other]
            if _ones(wide & ~theirs) > m - need or _ones(theirs & ~wide) > n - need:
                continue
            if m > 64:
                alike = _common_long(batch.tokens, (start, stop), kept, other, rule) >= need
            else:
                if not marked:
                    _mark(batch.tokens, start, stop, rule.masks)
                    marked = True
                alike = _common_marked(m, kept, other, rule.masks) >= need
            if alike:
                break
        if alike:
            break
    if marked:
        _wipe(batch.tokens, start, stop, rule.masks)
    return alike


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
    _, narrow = _signatures(texts, position)
    length = texts.offsets[position + 1] - texts.offsets[position]
    absent = (~narrow & _WORD_BITS) | _length_bits(length, rule)
    for rank in range(count):
        element = rule.rare[rank]
        size = lists.filled[element]
        if size == lists.room[element]:
            old, new = lists.start[element], lists.used[1]
            lists.room[element] = max(2, 2 * size)
            for shift in range(size):
                lists.numbers[new + shift] = lists.numbers[old + shift]
                lists.absent[new + shift] = lists.absent[old + shift]
            lists.start[element] = new
            lists.used[1] = new + lists.room[element]
        place = lists.start[element] + size
        lists.numbers[place] = number
        lists.absent[place] = absent
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
    kept.signatures[number] = _signatures(batch, position)[0]
    lists.used[0] = number + 1
    return number


@_compile
def admit(batch: Texts, first: int, admitted: Any, kept: Texts, lists: Lists, rule: Rule) -> int:
    """Judge the batch from `first` on; return where room ran out, or the batch's size."""
    for position in range(first, len(admitted)):
        count = _rarest(batch, position, rule)
        if not _has_room(count, lists, rule):
            return position
        if rule.compare and _holds_alike(batch, position, count, kept, lists, rule):
            admitted[position] = False
            continue
        admitted[position] = True
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
