"""Draw the next token of every row, so that a row's text never depends on its neighbours.

    logits -> penalties and bans -> temperature -> nucleus -> inverse CDF at uniform(seed, step)

The uniform number of a step is a hash of the record's seed and the step (no generator state), and
the distribution is inverted in the order of token ids, which a tiny change of the probabilities
hardly moves: the same record gets the same text whatever batch it is in, up to rounding.

The n-gram penalty is the one the SELF-ALIGN authors used for verbose cloning (arXiv:2305.03047v2,
method.md A4): for each order n, count the n-grams already generated in this response whose first
n-1 tokens are its last n-1 tokens, and subtract penalty x count from the logit of their last
token, if that token begins a word. The prompt is not counted. Difference: the authors also spare
token ids below 1,024, which has a meaning only in their vocabulary.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfalign.core.protocols import Sampling
from selfalign.engines.untyped import from_array, ints

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NONE: Counter[int] = Counter()
_NUCLEUS_FIRST = 64
"""Candidates tried first; rows whose distribution is flatter get eight times as many, and so on."""


def uniforms(seeds: NDArray[np.uint64], steps: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Hash (seed, step) pairs to uniform numbers in [0, 1): splitmix64, applied twice."""
    with np.errstate(over="ignore"):
        mixed = _mix(_mix(seeds + _GOLDEN) + steps * _GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class NgramPenalty:
    """What one response must not repeat."""

    def __init__(self, penalties: Sequence[float]) -> None:
        self._penalties = {n: p for n, p in enumerate(penalties, start=1) if p}
        self._followers: dict[int, dict[tuple[int, ...], Counter[int]]] = {
            n: {} for n in self._penalties
        }

    def add(self, tokens: Sequence[int]) -> None:
        """Count the n-grams that end with the token just generated."""
        for n, followers in self._followers.items():
            if len(tokens) >= n:
                context = tuple(tokens[len(tokens) - n : -1])
                followers.setdefault(context, Counter())[tokens[-1]] += 1

    def deductions(self, tokens: Sequence[int]) -> dict[int, float]:
        """Return what to subtract from the logit of each token that would repeat an n-gram."""
        total: dict[int, float] = {}
        for n, penalty in self._penalties.items():
            context = tuple(tokens[len(tokens) - n + 1 :]) if n > 1 else ()
            for token, count in self._followers[n].get(context, _NONE).items():
                total[token] = total.get(token, 0.0) + penalty * count
        return total


class Draw:
    """The choices of the live rows as arrays; rebuilt only when rows come or go."""

    def __init__(
        self,
        choices: Sequence[Sampling],
        banned: Sequence[Sequence[int]],
        device: torch.device | None = None,
    ) -> None:
        self._greedy = all(c.temperature == 0 for c in choices)
        temperatures = [c.temperature if c.temperature > 0 else 1.0 for c in choices]
        self._temperatures = torch.tensor(temperatures, device=device)[:, None]
        self._top_p = torch.tensor([c.top_p for c in choices], device=device)
        self._greedy_rows = torch.tensor([c.temperature == 0 for c in choices], device=device)
        self._seeds = np.array([c.seed & (2**64 - 1) for c in choices], dtype=np.uint64)
        pairs = [(row, token) for row, tokens in enumerate(banned) for token in tokens]
        self._banned = torch.tensor(pairs, device=device).T if pairs else None

    def tokens(
        self,
        logits: Tensor,
        steps: Sequence[int],
        deductions: Sequence[tuple[int, int, float]],
    ) -> list[int]:
        """Pick one token per row of fp32 logits (B, V), which it may change.

        Each deduction is (row, token, amount).
        """
        if deductions:
            rows, ids, amounts = zip(*deductions, strict=True)
            logits[list(rows), list(ids)] -= torch.tensor(amounts, device=logits.device)
        if self._banned is not None:
            logits[self._banned[0], self._banned[1]] = float("-inf")
        if self._greedy:
            return ints(logits.argmax(-1))
        probabilities = torch.softmax(logits / self._temperatures, dim=-1)
        cumulative = nucleus(probabilities, self._top_p).double().cumsum(-1)
        draws = uniforms(self._seeds, np.array(steps, dtype=np.uint64))
        target = from_array(draws).to(logits.device)
        # Right of the target, so that a token of probability zero is never drawn.
        drawn = torch.searchsorted(cumulative, (target * cumulative[:, -1])[:, None], right=True)
        drawn = drawn[:, 0].clamp(max=logits.shape[-1] - 1)
        return ints(torch.where(self._greedy_rows, logits.argmax(-1), drawn))


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Zero every token outside each row's smallest set of total probability >= top_p.

    Shapes: (B, V), (B,). The most probable token always stays; nothing is renormalised.
    """
    kept = probabilities
    rows = torch.nonzero(top_p < 1.0)[:, 0]
    width = _NUCLEUS_FIRST
    while len(rows):
        part = probabilities[rows]
        width = min(width, part.shape[-1])
        values, ids = part.topk(width, dim=-1)
        before = values.double().cumsum(-1) - values
        # A row is settled when the candidates reach beyond its nucleus, or there are no others.
        settled = before[:, -1] + values[:, -1] >= top_p[rows]
        if width == part.shape[-1]:
            settled = torch.ones_like(settled)
        nuclei = values.masked_fill(before >= top_p[rows, None], 0.0)
        done = rows[settled]
        if len(done):
            found = torch.zeros_like(part[settled]).scatter(-1, ids[settled], nuclei[settled])
            kept = kept.index_copy(0, done, found)
        rows = rows[~settled]
        width *= 8
    return kept
