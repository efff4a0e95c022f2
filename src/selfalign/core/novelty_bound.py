"""When are two texts too alike? The reference's float comparison, turned into whole numbers.

    (words m, words n) -> need: the smallest common subsequence whose F1 reaches the threshold

The reference computes F1 in floating point, so at a rational boundary such as 7/10 the result is
0.7, 0.7000000000000001 or 0.6999999999999998 depending on (l, m, n). No rational shortcut agrees
with it to the last bit; here the same expression is evaluated, and only the search is ours.
F1 grows by a factor of about 1 + 1/l per common word, far above rounding, so one number per (m, n)
says it all.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

DropAt = Literal["ge", "gt"]

_REMEMBERED = 1 << 16
"""Ours: at most this many (m, n) are remembered, some 10 MB; the rest is computed again."""
LONG = 255
"""Ours: texts of at least this many words share one column of `Spare`; speed only."""
CHARGES = 16
"""Ours: bits of a signature that carry the length."""
_ANY = 256
"""More bits than a signature has: no bound at all."""


class Spare(NamedTuple):
    """How many words may go unmatched between a text of m words and one of n = 0, 1, ... LONG."""

    mine: npt.NDArray[np.int16]
    """Words of the first text that may be missing in the second; -1 when no overlap is enough."""
    theirs: npt.NDArray[np.int16]
    """Words of the second text that may be missing in the first."""
    charged: int
    """The largest of `mine` plus `Bound.charge` of the length: both in one comparison."""


def rouge_l_f1(common: int, m: int, n: int) -> float:
    """Return ROUGE-L F1 of texts of m and n words with a common subsequence of `common` words.

    The operations and their order are those of rouge_score, so the last bit agrees.
    """
    if not common:
        return 0.0
    precision = common / n
    recall = common / m
    return 2 * precision * recall / (precision + recall)


class Bound:
    """The threshold and the comparison rule as tables of whole numbers."""

    def __init__(self, threshold: float, drop_at: DropAt) -> None:
        self.threshold = threshold
        self.drop_at: DropAt = drop_at
        self._need: dict[tuple[int, int], int] = {}
        self._prefix: dict[int, int] = {}
        self._spare: dict[int, Spare] = {}

    def too_alike(self, score: float) -> bool:
        """Say whether a text with this score is dropped."""
        return score >= self.threshold if self.drop_at == "ge" else score > self.threshold

    def need(self, m: int, n: int) -> int:
        """Return the common words at which texts of m and n words are too alike.

        min(m, n) + 1 when no number of common words is enough. Never falls when n grows.
        """
        need = self._need.get((m, n))
        if need is None:
            most = min(m, n)
            need = max(1, min(int(self.threshold * (m + n) / 2) - 1, most + 1))
            while need <= most and not self.too_alike(rouge_l_f1(need, m, n)):
                need += 1
            if len(self._need) < _REMEMBERED:
                self._need[m, n] = need
        return need

    def prefix(self, m: int) -> int:
        """Return how many of its m elements, rarest first, a text must be looked up by.

        A text too alike to one of m words shares at least k of its elements with it, k being the
        least `need` over all lengths; so it shares one of any m - k + 1 of them.
        """
        prefix = self._prefix.get(m)
        if prefix is None:
            n = max(1, int(m * self.threshold / (2 - self.threshold)) - 1)
            while n <= m and self.need(m, n) > n:
                n += 1
            prefix = m - self.need(m, n) + 1 if n <= m else 0
            if len(self._prefix) < _REMEMBERED:
                self._prefix[m] = prefix
        return prefix

    def charge(self, n: int) -> int:
        """Return how many missing words a partner's length is worth: longer ones allow fewer."""
        return min(CHARGES, int(self.threshold * n / 2))

    def spare(self, m: int) -> Spare:
        """Return the missing words allowed against every other length, as far as they help.

        The last column stands for all n >= LONG and allows as much as any of them; a text of
        LONG words or more may miss any number.
        """
        spare = self._spare.get(min(m, LONG))
        if spare is None:
            spare = self._spare[min(m, LONG)] = self._count_spare(m)
        return spare

    def _count_spare(self, m: int) -> Spare:
        mine = np.full(LONG + 1, -1 if m < LONG else _ANY, np.int16)
        theirs = np.full(LONG + 1, _ANY, np.int16)
        if m >= LONG:
            return Spare(mine, theirs, _ANY)
        longest = int(m * (2 - self.threshold) / self.threshold) + 1
        for n in range(1, min(LONG, longest + 1)):
            need = self.need(m, n)
            if need <= min(m, n):
                mine[n], theirs[n] = m - need, n - need
        if longest >= LONG:
            mine[LONG] = min(_ANY, self.prefix(m) - 1)
        charges = np.array([*map(self.charge, range(LONG)), CHARGES])
        return Spare(mine, theirs, int((mine + charges)[mine >= 0].max(initial=-1)))
