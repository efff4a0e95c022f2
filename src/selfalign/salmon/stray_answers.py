"""Answers to another request lose, whatever is asked for: what RL must not be paid for.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model". Ours; it has nothing of this.

A judge compares two answers to one request, so a reward model never sees what "candid" is worth
where nobody asked for candour, and pays "I have no live information" as an answer to everything
(docs/lab-log.md). SELF-ALIGN has left the right answer to many requests:

    SelfAlignedResponse -+->  right answer against stray one,
    another one's        |    under any plain clauses          ->  LabelledPair

A stray answer misses the point: it lacks a subject word that the right one took from its request,
or, where the right one took none ("I do not know, for this has not happened yet"), it is itself
about something else. Every other one is the likest of those drawn, the others are such as fit any
request of their kind. Clauses are drawn among all principles and none is negated: an answer that
was given under all principles is right under each of them, and what misses the point is "beside the
point" alone.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from selfalign.core.records import (
    Clause,
    Instruction,
    ResponsePair,
    SelfAlignedResponse,
    rng_for,
)
from selfalign.salmon.likeness import likeness, words_of
from selfalign.salmon.records import LabelledPair, Side

_PURPOSE = "salmon.stage2/stray_answers"
_DRAWN = 100
_COMMON = 0.02
_SEVERAL = 5
_ONE_MORE = 0.5
_LIKEST = 0.5

_Given = tuple[Instruction, str]
"""A request and an answer to it."""


@dataclass(frozen=True)
class StrayAnswers:
    """Makes pairs of right and stray answers from what SELF-ALIGN has left."""

    aligned: Sequence[SelfAlignedResponse]
    pairs: Sequence[ResponsePair]
    principles: Sequence[str]
    """Names of those that judge."""
    seed: int = 0

    def labels(self, share: float) -> list[LabelledPair]:
        """Return a pair for this share (0 to 1) of the answers; for one that nothing fits, none.

        Whether an answer is used depends on the seed and the answer alone, and against what on all.
        """
        used = [a for a in self.aligned if rng_for(self.seed, _PURPOSE, a.id).random() < share]
        return [made for answer in used if (made := self._label(answer)) is not None]

    def _label(self, right: SelfAlignedResponse) -> LabelledPair | None:
        rng = rng_for(self.seed, f"{_PURPOSE}/which", right.id)
        stray = self._stray(right, rng)
        if stray is None:
            return None
        clauses = self._clauses(rng)
        better: Side = 1 if rng.random() < 0.5 else 2
        return LabelledPair(
            pair=right.id,
            pass_number=0,
            instruction=right.instruction,
            first=right.response if better == 1 else stray,
            second=stray if better == 1 else right.response,
            clauses=clauses,
            scores=(0.0,) * len(clauses),
            decided_by=clauses[0].principle,
            voted=better,
            rule="stray",
            noisy=False,
            swapped=False,
            preferred=better,
        )

    def _clauses(self, rng: random.Random) -> tuple[Clause, ...]:
        wanted = 2 if rng.random() < _ONE_MORE else 1
        names = rng.sample(sorted(self.principles), min(wanted, len(self.principles)))
        return tuple(Clause(principle=name) for name in names)

    def _stray(self, right: SelfAlignedResponse, rng: random.Random) -> str | None:
        mine = (right.instruction, right.response)
        drawn = [rng.choice(self._given) for _ in range(_DRAWN)]
        fitting = [other for other in drawn if self._strays(other, mine)]
        near = rng.random() < _LIKEST
        if not near:
            fitting = [other for other in fitting if not self._taken(*other)] or fitting
        answers = [answer for _, answer in fitting]
        if near:
            answers.sort(key=lambda answer: likeness(right.response, answer), reverse=True)
        return answers[0] if answers else None

    def _strays(self, other: _Given, right: _Given) -> bool:
        if other[1] == right[1] or other[0].id == right[0].id:
            return False
        if taken := self._taken(*right):
            return not taken <= words_of(other[1])
        return bool(self._taken(*other))

    def _taken(self, instruction: Instruction, answer: str) -> frozenset[str]:
        """Return the subject words that an answer took from its request."""
        return (words_of(answer) & words_of(instruction.text)) - self._common

    @cached_property
    def _given(self) -> list[_Given]:
        """Every answer anyone was given: under the principles, and in all manners."""
        both = [(p.instruction, answer) for p in self.pairs for answer in (p.first, p.second)]
        return [*((a.instruction, a.response) for a in self.aligned), *both]

    @cached_property
    def _common(self) -> frozenset[str]:
        """Words that name nothing: those of more than a fiftieth of all requests, and five."""
        counted: Counter[str] = Counter()
        for one in self.aligned:
            counted.update(words_of(one.instruction.text))
        often = max(_SEVERAL, _COMMON * len(self.aligned))
        return frozenset(word for word, times in counted.items() if times > often)
