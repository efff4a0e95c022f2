"""What the reward model thinks of the policy under single principles, step by step.

Paper: arXiv:2310.05910v2, "Preventing Reward Hacking". A reward under a mixture of principles that
changes with every query, and with every edit, cannot be compared across steps. A few responses
scored under one fixed principle at a time can.

    responses (to held-out requests, or of the batch)  x  fixed principles  ->  mean score each
    the first of them, the latest  ->  how far all have fallen  ->  stop, if too far

Steering moves some principles down on purpose; a policy that falls under *all* of them together has
collapsed. Guards are principles that may not fall whatever is steered.

Difference: all of it; the authors look at samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, pstdev
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from selfalign.core.constitution import Constitution
from selfalign.core.errors import InputError
from selfalign.core.protocols import Sampled, Scorer
from selfalign.core.records import Settings, digest
from selfalign.salmon.principle_state import nearest
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.rewards import broken_score

Source = Literal["held_out", "batch"]
"""Whose responses were scored: those to requests never trained on, or some of the step's own."""


class ProbeConfig(Settings):
    """When and how the policy is probed; each default says whose it is."""

    every: int = Field(default=5, ge=0)
    """Ours: steps from one probe to the next; 0: never."""
    responses: int = Field(default=16, ge=2)
    """Ours: scored per probe under every principle."""
    held_out: int = Field(default=0, ge=0)
    """Ours: requests kept out of the training for probes; 0: some of each batch are probed."""
    max_fall: float | None = Field(default=3.0, gt=0)
    """Ours: standard deviations of the first probe's scores by which the mean over all principles,
    or a guard's own mean, may fall; beyond it the training stops. None: it never does."""
    guards: tuple[str, ...] = ()
    """Ours: names of principles each of which may not fall that far by itself."""


class ProbeScores(BaseModel):
    """What one probe came to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: Source
    responses: int
    means: Mapping[str, float]
    """Mean score by principle."""
    sds: Mapping[str, float]
    """Standard deviation of the scores by principle."""


class Probed(NamedTuple):
    """A request and a response to it."""

    instruction: str
    response: str


@dataclass(frozen=True)
class Probes:
    """The fixed principles and how they are asked about."""

    principles: Constitution
    config: ProbeConfig = field(default_factory=ProbeConfig)

    def __post_init__(self) -> None:
        """Refuse a guard that is no principle."""
        for name in self.config.guards:
            if name not in self.principles.names:
                raise InputError(
                    f"the probes are to guard {name!r}, which {self.principles.name!r} does not "
                    f"have: {nearest(name, self.principles.names)}it has "
                    f"{', '.join(self.principles.names)}. Correct `guards`."
                )

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the principles and the settings."""
        return digest([self.principles.fingerprint, self.config.fingerprint])

    def due(self, step: int) -> bool:
        """Say whether a step is probed."""
        return self.config.every > 0 and step % self.config.every == 0

    def chosen(self, sampled: Sequence[Sampled]) -> list[Sampled]:
        """Return the responses to probe: the same queries whenever they come again."""
        order = sorted(sampled, key=lambda s: (digest(["probe", s.query]), s.turn))
        return order[: self.config.responses]

    def texts(self, probed: Sequence[Probed], prompt: RewardPrompt) -> list[str]:
        """Return what is scored: by principle, then by response."""
        return [
            prompt.render(one.instruction, one.response, [principle.text])
            for principle in self.principles.principles
            for one in probed
        ]

    def scores(
        self, probed: Sequence[Probed], prompt: RewardPrompt, score: Scorer, source: Source
    ) -> ProbeScores:
        """Score every response under every principle by itself; at least one response.

        Raises:
            TrainingError: a score is not a finite number.
        """
        scores, n = score(self.texts(probed, prompt)), len(probed)
        for at, found in enumerate(scores):
            if not math.isfinite(found):
                raise broken_score(found, probed[at % n].instruction, probed[at % n].response)
        rows = {
            name: scores[at * n : (at + 1) * n] for at, name in enumerate(self.principles.names)
        }
        return ProbeScores(
            source=source,
            responses=n,
            means={name: fmean(row) for name, row in rows.items()},
            sds={name: pstdev(row) for name, row in rows.items()},
        )


class Fall(NamedTuple):
    """How far scores have fallen since the first probe, in its standard deviations."""

    overall: float
    """Mean over the principles."""
    by_principle: Mapping[str, float]


def fall(first: ProbeScores, now: ProbeScores) -> Fall:
    """Return how far the scores have fallen; what has risen has fallen by less than nothing."""
    spread = fmean(first.sds.values()) or 1.0
    each = {
        name: (first.means[name] - now.means[name]) / (first.sds[name] or spread)
        for name in first.means
    }
    return Fall(fmean(each.values()), each)


def collapse(first: ProbeScores, now: ProbeScores, config: ProbeConfig) -> str | None:
    """Say in a clause what has collapsed since the first probe; None: nothing has."""
    if config.max_fall is None or first.source != now.source:
        return None
    fallen = fall(first, now)
    if fallen.overall > config.max_fall:
        return f"the scores under all {len(now.means)} probed principles have fallen by " + (
            f"{fallen.overall:.1f} standard deviations on average"
        )
    for name in config.guards:
        if fallen.by_principle[name] > config.max_fall:
            return f"the score under the guarded principle {name!r} has fallen by " + (
                f"{fallen.by_principle[name]:.1f} standard deviations"
            )
    return None
