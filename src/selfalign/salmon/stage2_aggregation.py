"""SALMON stage 2: what the principle-following reward model learns from. Pure, no model is asked.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model".

Stage 1 knows what every principle thinks of a pair. Here a few principles are drawn, each is
turned into its opposite by a coin, and the one that feels strongest decides which answer is
better *under those clauses*. Shown many such examples, a reward model cannot learn one taste: it
has to read the clauses. That is what makes them adjustable later, while the policy is in RL.

    margins of all pairs  ->  one scale per principle
    JudgedPair, four times  ->  clauses (drawn, some negated)  ->  scores  ->  the strongest decides
        ->  boilerplate rule  ->  language rule  ->  label noise  ->  order  ->  LabelledPair

The order of these steps is the authors'; rules come before noise and the order of the answers last.

Differences. Margins are divided by their standard deviation, which leaves no unit; the authors'
code divides by the variance: `scale` chooses. `label="sum"` lets all clauses decide together, what
the paper's reviewers asked for. A principle whose margins never vary scores 0 (theirs divides by
zero). With fewer principles than `max_principles`, the number drawn is truncated at their number.
Every draw belongs to a pair, a pass and a purpose: another noise level changes no clause.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pydantic import Field

from selfalign.core.constitution import Constitution
from selfalign.core.records import Clause, Dropped, JudgedPair, Kept, Margin, Settings, rng_for
from selfalign.core.stage import Stage
from selfalign.salmon.label_rules import (
    LanguageIdentifier,
    boilerplate_rule,
    language_rule,
    languages_of,
)
from selfalign.salmon.records import LabelledPair, Rule, Side, other

Scale = Literal["std", "variance"]
LabelRule = Literal["dominating", "sum"]
Skip = Literal["no_vote", "language"]
"""Why one pass gave no label: no clause has a view, or no answer is in the user's language."""


class AggregationConfig(Settings):
    """Choices of this stage; each default says whose it is."""

    passes: int = Field(default=4, ge=1)
    """The authors' code: how often every pair is labelled, each time under other clauses."""
    max_principles: int = Field(default=8, ge=1)
    """The authors' code: clauses shown at once, at most."""
    p_stop: float = Field(default=0.2, gt=0, lt=1)
    """The authors' code: the number of clauses is geometric with this rate, then truncated."""
    p_negated: float = Field(default=0.5, ge=0, le=1)
    """The authors' code: chance of each clause to be shown as its opposite."""
    scale: Scale = "std"
    """Ours (decision 0008): what margins are divided by. The authors' code: "variance"."""
    label: LabelRule = "dominating"
    """The paper: the strongest clause decides. "sum": the sign of the sum of all scores."""
    least: float = Field(default=0.0, ge=0)
    """Ours: a deciding score nearer to 0 than this is no vote; the authors take any."""
    rival: float = Field(default=1.0, ge=0, le=1)
    """Ours: no vote where another clause's score, for or against, is beyond this share of the
    deciding one's. 1: never; the authors let clauses that nearly tie decide, which is near a coin.
    """
    boilerplate: str = "As an AI language model"
    """The authors' code: one answer that says so loses, at times. Empty: the rule is off."""
    p_boilerplate: float = Field(default=0.5, ge=0, le=1)
    """The authors' code: how often the boilerplate rule is applied."""
    noise: float = Field(default=0.1, ge=0, le=1)
    """The authors' code: share of labels turned round."""
    noise_after_rule: float = Field(default=0.25, ge=0, le=1)
    """The authors' code: the same where a rule decided (2.5 times as often)."""


class Decision(NamedTuple):
    """What scores say of a pair."""

    voted: Side
    strongest: int
    """Number of the score that is strongest in that direction, from 0."""


class Label(NamedTuple):
    """A decision after the rules and the noise, before the answers are put in order."""

    preferred: Side
    rule: Rule | None
    noisy: bool


@dataclass(frozen=True)
class Aggregation(Stage[JudgedPair, LabelledPair]):
    """Label every judged pair under several drawings of clauses; made by `aggregate_over`."""

    name = "salmon.stage2"
    version = 1
    writes = LabelledPair

    constitution: Constitution
    scales: Mapping[str, float]
    """Per principle, what its margins are divided by; from the whole data set."""
    config: AggregationConfig = field(default_factory=AggregationConfig)
    language_of: LanguageIdentifier | None = None
    """Tells languages apart; None: the language rule is off."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a constitution that lacks a negation which may be drawn."""
        if self.config.p_negated > 0:
            check_negations(self.constitution)

    def __call__(self, batch: Sequence[JudgedPair]) -> list[Kept[LabelledPair] | Dropped]:
        """Return one outcome per pair: a record for every pass that gave a label."""
        return [self._outcome(judged) for judged in batch]

    def labels(self, judged: JudgedPair) -> list[LabelledPair | Skip]:
        """Return what became of a fully judged pair in every pass."""
        verdict = None
        if self.language_of is not None:
            verdict = language_rule(languages_of(judged.pair, self.language_of))
        return [self._label(judged, number, verdict) for number in range(self.config.passes)]

    def unjudged(self, judged: JudgedPair) -> list[str]:
        """Return the principles that count but did not judge the pair."""
        there = {margin.principle for margin in judged.margins}
        return [name for name in counted(self.constitution) if name not in there]

    def clauses(self, judged: JudgedPair, pass_number: int) -> tuple[Clause, ...]:
        """Draw the clauses of one pass: distinct principles in a random order, some negated."""
        rng = self._rng("clauses", judged, pass_number)
        names = counted(self.constitution)
        most = min(self.config.max_principles, len(names))
        drawn = rng.sample(names, truncated_geometric(rng.random(), self.config.p_stop, most))
        coins = self._rng("negated", judged, pass_number)
        return tuple(
            Clause(principle=name, negated=coins.random() < self.config.p_negated) for name in drawn
        )

    def _outcome(self, judged: JudgedPair) -> Kept[LabelledPair] | Dropped:
        missing = self.unjudged(judged)
        if missing:
            return Dropped(source=judged.id, reason="unjudged", detail=", ".join(missing))
        labels = self.labels(judged)
        records = tuple(label for label in labels if isinstance(label, LabelledPair))
        if records:
            return Kept(source=judged.id, records=records)
        reason = "language" if "language" in labels else "no_vote"
        return Dropped(source=judged.id, reason=reason, detail=judged.pair.headline)

    def _label(
        self, judged: JudgedPair, number: int, verdict: Side | Literal["neither"] | None
    ) -> LabelledPair | Skip:
        clauses = self.clauses(judged, number)
        margins = {margin.principle: margin for margin in judged.margins}
        scores = [score(margins[c.principle], c, self.scales[c.principle]) for c in clauses]
        decision = decide(scores, self.config.label)
        if decision is None or not self._plain(scores, decision.strongest):
            return "no_vote"
        if verdict == "neither":
            return "language"
        label = self._overrule(judged, number, decision.voted, verdict)
        # The order of the answers is drawn last, so it can depend on nothing that came before.
        swapped = self._rng("order", judged, number).random() < 0.5
        pair = judged.pair.swapped() if swapped else judged.pair
        return LabelledPair(
            pair=judged.pair.id,
            pass_number=number,
            instruction=pair.instruction,
            first=pair.first,
            second=pair.second,
            clauses=clauses,
            scores=tuple(-s if swapped else s for s in scores),
            decided_by=clauses[decision.strongest].principle,
            voted=other(decision.voted) if swapped else decision.voted,
            rule=label.rule,
            noisy=label.noisy,
            swapped=swapped,
            preferred=other(label.preferred) if swapped else label.preferred,
        )

    def _plain(self, scores: Sequence[float], strongest: int) -> bool:
        """Whether the deciding score is strong, and so much stronger than the others as it must."""
        strength = abs(scores[strongest])
        others = [abs(one) for number, one in enumerate(scores) if number != strongest]
        share = self.config.rival
        rivalled = share < 1 and any(one > share * strength for one in others)
        return strength >= self.config.least and not rivalled

    def _overrule(
        self, judged: JudgedPair, number: int, voted: Side, verdict: Side | None
    ) -> Label:
        preferred, rule = voted, None
        plain = boilerplate_rule(judged.pair.first, judged.pair.second, self.config.boilerplate)
        applied = self._rng("boilerplate", judged, number).random() < self.config.p_boilerplate
        if plain and applied:
            preferred, rule = plain, "boilerplate"
        if verdict:
            preferred, rule = verdict, "language"
        share = self.config.noise_after_rule if rule else self.config.noise
        noisy = self._rng("noise", judged, number).random() < share
        return Label(other(preferred) if noisy else preferred, rule, noisy)

    def _rng(self, purpose: str, judged: JudgedPair, number: int) -> random.Random:
        return rng_for(self.seed, f"{self.name}/{number}/{purpose}", judged.pair.id)


def aggregate_over(
    judged: Iterable[JudgedPair],
    constitution: Constitution,
    config: AggregationConfig | None = None,
    *,
    language_of: LanguageIdentifier | None = None,
    seed: int = 0,
) -> Aggregation:
    """Make the stage for a data set: it has to see all margins before it can label one pair.

    Raises:
        ConstitutionError: a principle that counts has no negation.
    """
    config = config or AggregationConfig()
    scales = margin_scales(judged, counted(constitution), config.scale)
    return Aggregation(constitution, scales, config, language_of, seed)


def counted(constitution: Constitution) -> tuple[str, ...]:
    """Return the principles that take part in labels; the others are judged and reported only."""
    return tuple(p.name for p in constitution.principles if p.aggregated)


def check_negations(constitution: Constitution) -> None:
    """Make sure that every principle which takes part in labels has an opposite.

    Raises:
        ConstitutionError: one has none; the message names the line to add.
    """
    for name in counted(constitution):
        constitution.negated(name)


def margin_scales(
    judged: Iterable[JudgedPair], names: Sequence[str], scale: Scale
) -> dict[str, float]:
    """Return the population variance of each principle's margins (nats²), or its root (nats).

    The margins of both orders count, one by one. 0 where there is none, or none differs.
    """
    nats: dict[str, list[float]] = {name: [] for name in names}
    for margin in (m for one in judged for m in one.margins if m.principle in nats):
        nats[margin.principle] += (margin.forward, margin.backward)
    return {
        name: math.sqrt(_variance(values)) if scale == "std" else _variance(values)
        for name, values in nats.items()
    }


def score(margin: Margin, clause: Clause, scale: float) -> float:
    """Return how strongly a clause prefers the first answer; 0 if the orders disagree."""
    if scale == 0:
        return 0.0
    return (-1 if clause.negated else 1) * margin.vote / scale


def decide(scores: Sequence[float], label: LabelRule) -> Decision | None:
    """Say which answer the scores prefer; None when they have no view. The first of ties counts."""
    total = math.fsum(scores) if label == "sum" else max(scores, key=abs)
    if total == 0:
        return None
    towards = [s if total > 0 else -s for s in scores]
    return Decision(1 if total > 0 else 2, towards.index(max(towards)))


def truncated_geometric(u: float, p_stop: float, most: int) -> int:
    """Turn a uniform number in [0, 1) into 1 to `most`, geometric with rate `p_stop`.

    The same distribution as drawing geometrically until the number is not above `most`.
    """
    mass = 1 - (1 - p_stop) ** most
    return min(most, 1 + int(math.log1p(-u * mass) / math.log1p(-p_stop)))


def _variance(values: Sequence[float]) -> float:
    if not values or min(values) == max(values):  # equal values: exactly 0, whatever rounding says
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / len(values)
