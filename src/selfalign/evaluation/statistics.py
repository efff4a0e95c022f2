"""How sure a measured rate is: Wilson's score interval.

Both papers report rates on a few dozen to a few hundred questions without saying how far chance
alone could move them. Every rate this project prints carries an interval.

    successes, n  ->  rate, low, high

Differences from the papers: they give point estimates; we give 95% intervals.
"""

from math import sqrt
from statistics import NormalDist

from selfalign.core.records import Record


class Interval(Record):
    """A rate and the range that would be unsurprising if the same experiment were repeated."""

    n: int
    """How many independent questions the rate rests on."""
    rate: float
    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the rate of successes with Wilson's score interval (Wilson 1927).

    Unlike rate ± 1.96 standard errors it stays inside [0, 1] and is honest at 0 of n and n of n.

    Raises:
        ValueError: nothing was counted, or more succeeded than were tried; a rate of nothing is
            not 0, it is no rate.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"no rate in {successes} successes of {n} trials")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # Rounding can push a bound past the estimate by one unit in the last place at 0 of n, n of n.
    return Interval(
        n=n,
        rate=rate,
        low=max(0.0, min(rate, centre - half)),
        high=min(1.0, max(rate, centre + half)),
    )
