"""The funnel of a stage: how many came in, how many were kept, and why the others were not.

outcomes  ->  tally  ->  Funnel  ->  funnel.json, the command line, the report
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from selfalign.core.records import Dropped, Kept, Record, RecordId
from selfalign.core.stage import Out

EXAMPLES = 3
"""Ours: shown per reason; enough to see what it means, few enough to be read."""


class DropExample(BaseModel):
    """One input that was dropped, for a reader."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: RecordId
    input: str
    """The input's headline."""
    detail: str
    """What the stage saw."""


class Drops(BaseModel):
    """All inputs dropped for one reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    reason: str
    count: int
    examples: tuple[DropExample, ...]
    """The first few, in the order of the inputs."""


class Funnel(BaseModel):
    """What became of the inputs of one stage; `inputs` = `kept` + all drops."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    """Name of the stage, such as "self_align.stage2"."""
    key: str
    """Name and digest: the stage's folder in the run."""
    inputs: int
    """Distinct inputs asked for when the stage was last filled."""
    kept: int
    """Inputs that produced records."""
    records: int
    """Records they produced; more than `kept` where an input gives several."""
    dropped: tuple[Drops, ...] = ()
    """By reason, the most frequent first."""
    seconds: float = 0.0
    """Time spent working on the stage, over all runs."""


class Tally:
    """Counts outcomes one by one, so that none has to be held."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._kept = self._records = 0
        self._drops: dict[str, int] = {}
        self._examples: dict[str, list[DropExample]] = {}

    def add(self, record: Record, outcome: Kept[Out] | Dropped) -> None:
        """Count the outcome of one input."""
        if isinstance(outcome, Kept):
            self._kept += 1
            self._records += len(outcome.records)
            return
        self._drops[outcome.reason] = self._drops.get(outcome.reason, 0) + 1
        examples = self._examples.setdefault(outcome.reason, [])
        if len(examples) < EXAMPLES:
            examples.append(
                DropExample(source=record.id, input=record.headline, detail=outcome.detail)
            )

    def funnel(self, stage: str, key: str, seconds: float) -> Funnel:
        """Return the counts so far."""
        reasons = sorted(self._drops, key=lambda reason: (-self._drops[reason], reason))
        return Funnel(
            stage=stage,
            key=key,
            inputs=self._kept + sum(self._drops.values()),
            kept=self._kept,
            records=self._records,
            dropped=tuple(
                Drops(reason=r, count=self._drops[r], examples=tuple(self._examples[r]))
                for r in reasons
            ),
            seconds=seconds,
        )


def merged(funnels: Iterable[Funnel], stage: str) -> Funnel:
    """Add up the funnels of several fills of one kind, such as the rounds of stage 1."""
    every = list(funnels)
    counts: dict[str, int] = {}
    examples: dict[str, tuple[DropExample, ...]] = {}
    for drops in (d for funnel in every for d in funnel.dropped):
        counts[drops.reason] = counts.get(drops.reason, 0) + drops.count
        examples[drops.reason] = (examples.get(drops.reason, ()) + drops.examples)[:EXAMPLES]
    reasons = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return Funnel(
        stage=stage,
        key=", ".join(f.key for f in every),
        inputs=sum(f.inputs for f in every),
        kept=sum(f.kept for f in every),
        records=sum(f.records for f in every),
        dropped=tuple(Drops(reason=r, count=counts[r], examples=examples[r]) for r in reasons),
        seconds=sum(f.seconds for f in every),
    )
