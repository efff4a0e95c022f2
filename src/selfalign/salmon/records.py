"""Records of this room that nobody else writes or reads.

JudgedPair  ->  LabelledPair (clauses, scores, a label and how it came about)
            ->  PreferenceExample (chosen, rejected), what a reward model is trained on
"""

from typing import Literal

from selfalign.core.records import (
    Clause,
    Instruction,
    PreferenceExample,
    Record,
    RecordId,
)

Side = Literal[1, 2]
"""Of two answers, the first or the second, in the order shown."""

Rule = Literal["boilerplate", "language", "degenerate"]
"""What can decide a label in place of the principles."""

PromptType = Literal["general", "reasoning", "red_teaming"]
"""What kind of request it is; principles, their weights and the length bonus depend on it."""


def other(side: Side) -> Side:
    """Return the other side."""
    return 2 if side == 1 else 1


class LabelledPair(Record):
    """A pair under some clauses and which answer is better; written by SALMON stage 2."""

    pair: RecordId
    """The pair it was made from."""
    pass_number: int
    """Which of the passes over the pairs, from 0."""
    instruction: Instruction
    first: str
    second: str
    clauses: tuple[Clause, ...]
    """In the order in which the reward model is shown them."""
    scores: tuple[float, ...]
    """Per clause, scaled and with its sign turned where negated; > 0 favours `first`."""
    decided_by: str
    """Name of the principle whose score is strongest in the direction of `voted`."""
    voted: Side
    """What the scores alone say."""
    rule: Rule | None
    """What decided in place of the scores; None: they did."""
    noisy: bool
    """Whether the label was turned round on purpose, by label noise."""
    swapped: bool
    """Whether `first` was the pair's second answer."""
    preferred: Side
    """The label."""

    @property
    def chosen(self) -> str:
        """The answer the label prefers."""
        return self.first if self.preferred == 1 else self.second

    @property
    def rejected(self) -> str:
        """The other answer."""
        return self.second if self.preferred == 1 else self.first

    @property
    def example(self) -> PreferenceExample:
        """What the reward model is trained on."""
        return PreferenceExample(
            instruction=self.instruction,
            clauses=self.clauses,
            chosen=self.chosen,
            rejected=self.rejected,
            decided_by=self.decided_by,
        )

    @property
    def headline(self) -> str:
        """The clauses and the answers, shortened."""
        shown = ", ".join(("not " if c.negated else "") + c.principle for c in self.clauses)
        return f"[{shown}] {self.chosen[:60]} > {self.rejected[:60]}"[:200]
