"""Records of this room that nobody else writes or reads.

JudgedPair  ->  LabelledPair (clauses, scores, a label and how it came about)
            ->  PreferenceExample (chosen, rejected), what a reward model is trained on
Instruction ->  Rollout (a response in RL, the clauses that rewarded it, its Reward item by item)
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from selfalign.core.records import (
    Clause,
    Instruction,
    PreferenceExample,
    Record,
    RecordId,
)

Side = Literal[1, 2]
"""Of two answers, the first or the second, in the order shown."""

Rule = Literal["boilerplate", "language", "degenerate", "stray"]
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


class Reward(BaseModel):
    """What a rollout is worth, item by item."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    score: float
    """The reward model's, under the clauses of the rollout."""
    unfinished: float
    """Penalty: the answer did not end its turn."""
    too_short: float
    """Penalty: the answer says nothing."""
    length: float
    """Bonus or malus for length, by type of request."""
    language: float
    """Bonus: the answer is in the language of the request."""

    @property
    def total(self) -> float:
        """The sum, which the policy is trained on."""
        return self.score + self.unfinished + self.too_short + self.length + self.language


class Rollout(Record):
    """A response of the policy in training and why it was worth what it was worth; SALMON 3."""

    step: int
    """Batches of rollouts before its own."""
    number: int
    """Its place in the batch."""
    query: RecordId
    """Id of the instruction."""
    turn: int
    """Tells apart the rollouts of one query."""
    prompt_type: PromptType
    instruction: str
    """The request in full, so that the line can be read alone."""
    response: str
    """Without the stop string."""
    clauses: tuple[Clause, ...]
    """What it was rewarded under, in the order shown: always-on ones first, then those drawn."""
    always: tuple[str, ...]
    """Texts of the always-on clauses, which can be typed in while the training runs."""
    raw_score: float
    """The reward model's own; `reward.score` may have been standardised."""
    reward: Reward
    tokens: int
    """Of the response, the stop string not counted."""
    finished: bool
    """Whether the policy ended its turn."""
    kl: float | None
    """Estimate of KL(policy | reference) over the response, in nats; None: the trainer has none."""

    @property
    def headline(self) -> str:
        """The reward, the request and the response, shortened."""
        return f"{self.reward.total:.2f} | {self.instruction[:80]} | {self.response[:90]}"[:200]
