"""What a reader wants to know about the labels: which principles are consistent, and which decide.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model" and the reviews of the paper,
which asked how often the judge is consistent and what another label rule would change.

    JudgedPair, Aggregation  ->  AggregationReport      (pure; every label is worked out once more)
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from selfalign.core.records import JudgedPair, Margin
from selfalign.salmon.records import LabelledPair, other
from selfalign.salmon.stage2_aggregation import Aggregation, counted


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Consistency(_Frozen):
    """What the judge did under one principle, over all pairs."""

    principle: str
    counted: bool
    """Whether it takes part in labels."""
    judged: int
    """Pairs it was asked about."""
    consistent: int
    """Pairs on which the two orders agree."""
    first_shown: int
    """Pairs on which it preferred whatever it read first, in both orders."""
    mean_strength_nats: float
    """Mean size of its votes, over the pairs on which the orders agree; 0 where there are none."""

    @property
    def rate(self) -> float | None:
        """Share of pairs on which the two orders agree; None: it was asked about none."""
        return self.consistent / self.judged if self.judged else None


class Share(_Frozen):
    """A principle and how many labels it decided."""

    principle: str
    labels: int


class AggregationReport(_Frozen):
    """How the labels came about; `labels` + all skips = pairs x passes."""

    pairs: int
    labels: int
    consistency: tuple[Consistency, ...]
    """Every principle that judged, in the order of the constitution."""
    decided_by: tuple[Share, ...]
    """Principles by the labels they decided, the most frequent first; no rule was in play."""
    negated: float | None
    """Share of those labels whose deciding principle was shown negated; None: there are none."""
    mean_clauses: float | None
    """Clauses per label; None: there are none."""
    boilerplate: int
    """Labels that the boilerplate rule decided."""
    language: int
    """Labels that the language rule decided."""
    overruled: int
    """Of those of both rules: labels that would have been the other way by the scores."""
    noisy: int
    """Labels turned round by noise."""
    skipped_unjudged: int
    """Passes without a label since a principle that counts had not judged the pair."""
    skipped_no_vote: int
    """Passes without a label since no clause had a view."""
    skipped_language: int
    """Passes without a label since no answer was in the language of the request."""


@dataclass
class _Seen:
    pairs: int = 0
    skips: Counter[str] = field(default_factory=Counter[str])
    labels: list[LabelledPair] = field(default_factory=list[LabelledPair])
    margins: dict[str, list[Margin]] = field(default_factory=dict[str, list[Margin]])


def report(aggregation: Aggregation, judged: Iterable[JudgedPair]) -> AggregationReport:
    """Count what became of every pair in every pass."""
    seen = _Seen()
    for one in judged:
        seen.pairs += 1
        for margin in one.margins:
            seen.margins.setdefault(margin.principle, []).append(margin)
        if aggregation.unjudged(one):
            seen.skips["unjudged"] += aggregation.config.passes
            continue
        for label in aggregation.labels(one):
            if isinstance(label, LabelledPair):
                seen.labels.append(label)
            else:
                seen.skips[label] += 1
    return _report(aggregation, seen)


def labels_changed(ones: Iterable[LabelledPair], others: Iterable[LabelledPair]) -> int:
    """Count pairs and passes that two settings label differently, or that only one of them labels.

    The two must be of one seed: then both saw the same clauses.
    """
    chosen = [{(x.pair, x.pass_number): x.chosen for x in labels} for labels in (ones, others)]
    places = chosen[0].keys() | chosen[1].keys()
    return sum(chosen[0].get(place) != chosen[1].get(place) for place in places)


def consistency(principle: str, margins: Sequence[Margin], *, counts: bool) -> Consistency:
    """Count how often a principle agrees with itself when the answers change places."""
    votes = [m.vote for m in margins if m.vote != 0]
    return Consistency(
        principle=principle,
        counted=counts,
        judged=len(margins),
        consistent=len(votes),
        first_shown=sum(m.forward > 0 > m.backward for m in margins),
        mean_strength_nats=math.fsum(map(abs, votes)) / len(votes) if votes else 0.0,
    )


def _report(aggregation: Aggregation, seen: _Seen) -> AggregationReport:
    ruled = [label for label in seen.labels if label.rule]
    voted = [label for label in seen.labels if not label.rule]
    reasons = Counter(label.decided_by for label in voted)
    active = counted(aggregation.constitution)
    return AggregationReport(
        pairs=seen.pairs,
        labels=len(seen.labels),
        consistency=tuple(
            consistency(name, seen.margins[name], counts=name in active)
            for name in aggregation.constitution.names
            if name in seen.margins
        ),
        decided_by=tuple(
            Share(principle=name, labels=reasons[name])
            for name in sorted(active, key=lambda name: -reasons[name])
        ),
        negated=_mean([_decided_by_a_negation(label) for label in voted]),
        mean_clauses=_mean([len(label.clauses) for label in seen.labels]),
        boilerplate=sum(label.rule == "boilerplate" for label in ruled),
        language=sum(label.rule == "language" for label in ruled),
        overruled=sum(_before_noise(label) != label.voted for label in ruled),
        noisy=sum(label.noisy for label in seen.labels),
        skipped_unjudged=seen.skips["unjudged"],
        skipped_no_vote=seen.skips["no_vote"],
        skipped_language=seen.skips["language"],
    )


def _before_noise(label: LabelledPair) -> int:
    return other(label.preferred) if label.noisy else label.preferred


def _decided_by_a_negation(label: LabelledPair) -> bool:
    return next(c.negated for c in label.clauses if c.principle == label.decided_by)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
