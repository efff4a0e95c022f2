"""Which principles a rollout is rewarded by: a few drawn by weight, and some that are always on.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model" and "Preventing Reward
Hacking"; the weights stand in the constitution file.

    pool (weighted), prompt type  ->  boosted weights  ->  k principles without replacement
                                                        +  interventions, in every query

Drawing k times without replacement, each time in proportion to the weights that are left, is the
same as giving every principle an exponential waiting time with its weight as the rate and taking
the k that come first. Waiting times are drawn per principle, so a live edit (another weight, a
principle removed) changes the draws of a query only where that principle is involved.

Difference from the authors' code: none in the distribution. Theirs also shuffles the pool first,
which weighted drawing does not need; the order shown is the order drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from pydantic import Field

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import ConstitutionError, InputError
from selfalign.core.records import Clause, RecordId, Settings, digest, rng_for
from selfalign.salmon.records import PromptType

_PURPOSE = "salmon.stage3/principles"


class Boost(Settings):
    """More weight for some principles when the request is of one type."""

    prompt_type: PromptType
    name_contains: tuple[str, ...]
    """Lower-case parts of names: a principle is boosted if its name has one of them."""
    weight: float = Field(default=128.0, ge=0)
    """The authors' code: added to the principle's own weight."""


AUTHORS_BOOSTS = (
    Boost(prompt_type="reasoning", name_contains=("reason", "numerical")),
    Boost(prompt_type="red_teaming", name_contains=("ethical", "harmless")),
)
"""The authors' code. Names of the harmless set have neither "ethical" nor "harmless" in them."""


class PrincipleSamplingConfig(Settings):
    """How principles are drawn for a query; each default says whose it is."""

    k: int = Field(default=3, ge=0)
    """The paper: principles drawn per query; 0 leaves those that are always on."""
    boosts: tuple[Boost, ...] = AUTHORS_BOOSTS


class Guidelines(NamedTuple):
    """The principles one rollout is rewarded by."""

    always: tuple[Principle, ...]
    """Interventions, in the order they were written."""
    drawn: tuple[Principle, ...]
    """From the pool, in the order they were drawn."""

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """What a rollout stores: the names, in the order the reward model is shown them."""
        return tuple(Clause(principle=p.name) for p in (*self.always, *self.drawn))


@dataclass(frozen=True)
class PrincipleSampling:
    """Draws the principles of every query; an ingredient of SALMON stage 3."""

    pool: Constitution
    interventions: Constitution | None = None
    """Principles that are always on; None: there are none."""
    config: PrincipleSamplingConfig = field(default_factory=PrincipleSamplingConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn, and names that could mean two texts."""
        if self.config.k > len(self.pool.names):
            raise InputError(
                f"{self.config.k} principles are to be drawn per query, but constitution "
                f"{self.pool.name!r} has {len(self.pool.names)}. Set `k` to at most that, or add "
                f"principles."
            )
        twice = sorted({p.name for p in self.always} & set(self.pool.names))
        if twice:
            raise ConstitutionError(
                f"{', '.join(map(repr, twice))} is both always on and in the pool "
                f"{self.pool.name!r}, and rollouts name principles by name alone. Rename one of "
                f"the two, or remove it from the pool."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all it is made of."""
        always = self.interventions.fingerprint if self.interventions else ""
        return digest([self.pool.fingerprint, always, self.config.fingerprint, self.seed])

    @property
    def always(self) -> tuple[Principle, ...]:
        """The principles that are always on."""
        return self.interventions.principles if self.interventions else ()

    def guidelines(self, query: RecordId, prompt_type: PromptType, turn: int) -> Guidelines:
        """Draw for one rollout of a query.

        Args:
            query: Id of the instruction.
            prompt_type: What kind of request it is.
            turn: Tells apart the rollouts of one query; rollouts that are to be compared with each
                other (RLOO, GRPO) share a turn, and so their principles.
        """
        weights = boosted(self.pool.principles, prompt_type, self.config.boosts)
        waits = [
            rng_for(self.seed, f"{_PURPOSE}/{turn}/{p.name}", query).expovariate(weight)
            for p, weight in zip(self.pool.principles, weights, strict=True)
        ]
        order = sorted(range(len(waits)), key=waits.__getitem__)
        return Guidelines(
            always=self.always,
            drawn=tuple(self.pool.principles[n] for n in order[: self.config.k]),
        )


def boosted(
    principles: Sequence[Principle], prompt_type: PromptType, boosts: Sequence[Boost]
) -> list[float]:
    """Return each principle's weight for requests of one type."""
    active = [boost for boost in boosts if boost.prompt_type == prompt_type]
    return [p.weight + sum(b.weight for b in active if _names(b, p)) for p in principles]


def _names(boost: Boost, principle: Principle) -> bool:
    return any(part in principle.name.casefold() for part in boost.name_contains)
