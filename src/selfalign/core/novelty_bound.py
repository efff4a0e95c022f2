"""When are two texts too alike? The reference's float comparison, turned into whole numbers.

    (words m, words n) -> need: the smallest common subsequence whose F1 reaches the threshold

The reference computes F1 in floating point, so at a rational boundary such as 7/10 the result is
0.7, 0.7000000000000001 or 0.6999999999999998 depending on (l, m, n). No rational shortcut agrees
with it to the last bit; here the same expression is evaluated, and only the search is ours.
F1 grows by a factor of about 1 + 1/l per common word, far above rounding, so one number per (m, n)
says it all.
"""

from typing import Literal

DropAt = Literal["ge", "gt"]

_REMEMBERED = 1 << 16
"""Ours: at most this many (m, n) are remembered, some 10 MB; the rest is computed again."""


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
