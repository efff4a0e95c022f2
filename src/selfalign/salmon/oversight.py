"""How people see into a training and reach into it, put together as one value.

    steering (live edits in), probes and watch (what goes wrong, out), note (at once)

Paper: arXiv:2310.05910v2, "Preventing Reward Hacking". None of it changes a reward; only the
requests that are kept for probes change what is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from pydantic import BaseModel, ConfigDict

from selfalign.core.constitution import Constitution
from selfalign.salmon.probes import Probes
from selfalign.salmon.reading_room import Reading
from selfalign.salmon.reward_hacking import Hack, Suspicion, WatchConfig
from selfalign.salmon.steering import Steering


def _say_nothing(_: str) -> None:
    """Be the note of a training nobody looks at."""


@dataclass(frozen=True)
class Watch:
    """What looks for hacks; it changes no reward."""

    remedies: Constitution
    """A principle per hack, under its name."""
    config: WatchConfig = field(default_factory=WatchConfig)

    def __post_init__(self) -> None:
        """Refuse remedies that leave a hack out."""
        for hack in get_args(Hack):
            self.remedies.number_of(hack)


class Suspected(BaseModel):
    """A suspicion and when it arose."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    step: int
    suspicion: Suspicion
    already_on: bool
    """Whether the proposed principle was always on already: then other words are needed."""


@dataclass(frozen=True)
class Oversight:
    """How people see into a training and reach into it."""

    steering: Steering | None = None
    """Where live edits come from; None: nowhere. One training of a run listens."""
    probes: Probes | None = None
    """What the policy is probed with; None: nothing."""
    watch: Watch | None = None
    """What looks for hacks; None: nothing does."""
    note: Callable[[str], None] = _say_nothing
    """Is told in a sentence what a reader should know at once."""
    reading: Reading | None = None
    """How the reward model reads, so that edits are told how much room there is; None: unknown."""

    @property
    def fingerprint(self) -> str:
        """Digest of the probes alone: they keep requests from being trained on."""
        return self.probes.fingerprint if self.probes else ""
