"""Answers to another request lose, whatever is asked for: what RL must not be paid for.

Ours. A judge compares two answers to one request, so a reward model never sees what "candid" is
worth where nobody asked for candour, and pays "I have no live information" as an answer to
everything (docs/lab-log.md). SELF-ALIGN has left the right answer to many requests:

    SelfAlignedResponse      -+->  right answer against stray one,
    preferred of LabelledPair |    under the stray one's clauses  ->  LabelledPair

So what an answer was praised for at its own request is no praise at another. Clauses of which one
is negated are not used: what misses the point may be right under them.

A stray answer misses the point: it lacks a subject word that the right one took from its request,
or, where the right one took none ("I do not know, for this has not happened yet"), it is itself
about something else. To an answer that took some, one stray in four is the likest of those drawn,
the others are such as fit any request of their kind.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from selfalign.core.records import Instruction, SelfAlignedResponse, rng_for
from selfalign.salmon.likeness import likeness, words_of
from selfalign.salmon.records import LabelledPair, Side

_PURPOSE = "salmon.stage2/stray_answers"
_DRAWN = 100
_COMMON = 0.02
_SEVERAL = 5
_LIKEST = 0.25


@dataclass(frozen=True)
class StrayAnswers:
    """Makes pairs of right and stray answers from what SELF-ALIGN and the judge have left."""

    aligned: Sequence[SelfAlignedResponse]
    labels: Sequence[LabelledPair]
    seed: int = 0

    def pairs(self, share: float) -> list[LabelledPair]:
        """Return a pair for this share (0 to 1) of the answers; for one that nothing fits, none.

        Whether an answer is used depends on the seed and the answer alone, and against what on all.
        """
        used = [a for a in self.aligned if rng_for(self.seed, _PURPOSE, a.id).random() < share]
        return [made for answer in used if (made := self._pair(answer)) is not None]

    def _pair(self, right: SelfAlignedResponse) -> LabelledPair | None:
        rng = rng_for(self.seed, f"{_PURPOSE}/which", right.id)
        stray = self._stray(right, rng)
        if stray is None:
            return None
        better: Side = 1 if rng.random() < 0.5 else 2
        return LabelledPair(
            pair=right.id,
            pass_number=0,
            instruction=right.instruction,
            first=right.response if better == 1 else stray.chosen,
            second=stray.chosen if better == 1 else right.response,
            clauses=stray.clauses,
            scores=(0.0,) * len(stray.clauses),
            decided_by=stray.decided_by,
            voted=better,
            rule="stray",
            noisy=False,
            swapped=False,
            preferred=better,
        )

    def _stray(self, right: SelfAlignedResponse, rng: random.Random) -> LabelledPair | None:
        if not self._praised:
            return None
        drawn = [rng.choice(self._praised) for _ in range(_DRAWN)]
        fitting = [one for one in drawn if self._strays(one, right)]
        if rng.random() < _LIKEST:
            fitting.sort(key=lambda one: likeness(right.response, one.chosen), reverse=True)
        else:
            fitting.sort(key=lambda one: bool(self._taken(one.instruction, one.chosen)))
        return fitting[0] if fitting else None

    def _strays(self, one: LabelledPair, right: SelfAlignedResponse) -> bool:
        if one.chosen == right.response or one.instruction.id == right.instruction.id:
            return False
        if taken := self._taken(right.instruction, right.response):
            return not taken <= words_of(one.chosen)
        return bool(self._taken(one.instruction, one.chosen))

    def _taken(self, instruction: Instruction, answer: str) -> frozenset[str]:
        """Return the subject words that an answer took from its request."""
        return (words_of(answer) & words_of(instruction.text)) - self._common

    @cached_property
    def _praised(self) -> list[LabelledPair]:
        """What was preferred under clauses of which none is negated."""
        return [one for one in self.labels if not any(c.negated for c in one.clauses)]

    @cached_property
    def _common(self) -> frozenset[str]:
        """Words that name nothing: those of more than a fiftieth of all requests, and five."""
        counted: Counter[str] = Counter()
        for one in self.aligned:
            counted.update(words_of(one.instruction.text))
        often = max(_SEVERAL, _COMMON * len(self.aligned))
        return frozenset(word for word, times in counted.items() if times > often)
