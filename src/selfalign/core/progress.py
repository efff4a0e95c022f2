"""How a run tells what it is doing. The command line draws it; core is silent by default.

start(stage, total, done)  ->  advance(n), note(text) …  ->  finish(funnel)
"""

from typing import Protocol

from selfalign.core.funnel import Funnel


class Progress(Protocol):
    """Something that shows a person how far a run is. It never changes an outcome."""

    def start(self, stage: str, total: int, done: int) -> None:
        """Begin a stage of `total` inputs, of which `done` were finished by an earlier run."""
        ...

    def advance(self, n: int) -> None:
        """Count `n` more inputs as finished."""
        ...

    def note(self, text: str) -> None:
        """Tell the reader one sentence."""
        ...

    def finish(self, funnel: Funnel) -> None:
        """End the stage that was begun last, with what became of its inputs."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, stage: str, total: int, done: int) -> None:
        """Ignore the beginning of a stage."""

    def advance(self, n: int) -> None:
        """Ignore finished inputs."""

    def note(self, text: str) -> None:
        """Ignore a sentence."""

    def finish(self, funnel: Funnel) -> None:
        """Ignore the end of a stage."""
