"""Which prompts are answered at which step: a function of the seed, known before the first step.

prompts --a new order per round, rounds laid end to end--> steps of `per_step` prompts each

Decided in advance, the order survives any interruption, and a rollout has the same query and turn
however often its step is repeated.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfalign.core.protocols import PolicyPrompt


@dataclass(frozen=True)
class Asked:
    """A prompt at its place in a training."""

    step: int
    prompt: PolicyPrompt
    turn: int
    """How often the query was asked before; the responses of one group share it."""
    copy: int = 0
    """Which response of its group this is."""


def steps_needed(prompts: int, per_step: int, epochs: float) -> int:
    """Return the batches it takes to ask every prompt `epochs` times; the last may ask more."""
    return max(1, math.ceil(round(epochs * prompts / per_step, 9)))


def in_groups(places: Sequence[Asked], group: int) -> list[Asked]:
    """Ask every prompt `group` times over, one behind the other."""
    return [replace(place, copy=copy) for place in places for copy in range(group)]


def asked(prompts: Sequence[PolicyPrompt], *, per_step: int, steps: int, seed: int) -> list[Asked]:
    """Lay out a training: `per_step` prompts for each step, in order.

    Every prompt is asked once before any is asked again. Prompts of the same query count as
    different turns of it.
    """
    copies = max(Counter(p.query for p in prompts).values())
    earlier: Counter[str] = Counter()
    copy: list[int] = []
    for prompt in prompts:
        copy.append(earlier[prompt.query])
        earlier[prompt.query] += 1
    plan: list[Asked] = []
    for place in range(0, steps * per_step, len(prompts)):
        turn = place // len(prompts)
        order = list(range(len(prompts)))
        random.Random(f"{seed}/prompts/{turn}").shuffle(order)
        for at, number in enumerate(order[: steps * per_step - place], start=place):
            plan.append(Asked(at // per_step, prompts[number], turn * copies + copy[number]))
    return plan
