"""How much room the reward model has for one more principle that is always on. Pure.

    longest request, longest response, longest principles, what is always on already
        --counted in the reward model's tokens-->  Room (tokens that are free)
    an edit  --counted likewise-->  nothing, or a refusal that says how many are free

A text that leaves no room would stop the training at the first long response; nothing is ever cut
to fit. Who edits is another process: it is told where the tokenizer lies, and counts for itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from selfalign.core.errors import InputError
from selfalign.core.text import collapse_spaces
from selfalign.salmon.principle_state import PrincipleState
from selfalign.salmon.reward_prompt import RewardPrompt, bullets

MOST_CHARACTERS = 2000
"""Ours: of an always-on text, where nobody knows how many tokens are free."""
_CANDIDATES = 64
"""Ours: longest requests in characters among which the one of most tokens is looked for."""

Counter = Callable[[str], int]
"""A text's tokens, without any that only mark its beginning or end."""


class Reading(Protocol):
    """How the reward model reads: what it counts with, and how much it takes in."""

    @property
    def tokenizer(self) -> str:
        """Where its tokenizer lies, so that another process can count alike."""
        ...

    @property
    def context(self) -> int:
        """Tokens it can attend to, those that mark the beginning or end included."""
        ...

    def count(self, text: str) -> int:
        """Return how many of them a whole text takes up."""
        ...


class Room(BaseModel):
    """What is free in what the reward model reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    free: int
    """Tokens beside the longest request, response and principles; below 0: already too few."""
    context: int
    """Tokens in all."""
    tokenizer: str
    """Where it lies."""


@dataclass(frozen=True)
class ReadingRoom:
    """All that is known of what the reward model will read, but for the principles."""

    reading: Reading
    prompt: RewardPrompt
    request: str
    """The longest there is."""
    response_tokens: int
    """Of the longest response."""
    k: int
    """Principles drawn per request."""

    def of(self, states: Iterable[PrincipleState]) -> Room:
        """Return the room there is under the principles that take up most."""
        taken = max(self._taken(state) for state in states)
        context = self.reading.context
        return Room(free=context - taken, context=context, tokenizer=self.reading.tokenizer)

    def _taken(self, state: PrincipleState) -> int:
        pool = sorted((p.text for p in state.pool.principles), key=len, reverse=True)[: self.k]
        always = [p.text for p in state.always] or ["."]  # which chooses the template for both
        text = self.prompt.render(self.request, ".", pool, always)
        return self.reading.count(text) + self.response_tokens


def longest_request(requests: Sequence[tuple[str, str]], reading: Reading, most: int) -> str:
    """Return the request of most tokens among those whose prompt has at most so many.

    Args:
        requests: Each with its rendered prompt.
        reading: Counts both.
        most: Tokens of a prompt; longer ones are never trained on.
    """
    fitting: list[str] = []
    for request, prompt in sorted(requests, key=lambda one: len(one[0]), reverse=True):
        if reading.count(prompt) <= most:
            fitting.append(request)
        if len(fitting) == _CANDIDATES:
            break
    return max(fitting, key=reading.count, default="")


def check_room(
    now: PrincipleState, after: PrincipleState, room: Room | None, count: Counter | None
) -> None:
    """Make sure that what an edit leaves always on can be read beside everything else.

    Args:
        now: The principles that `room` is about.
        after: Those after the edit and all that nobody has heard yet.
        room: What is free now; None: that is not known.
        count: Counts as the reward model does; None: its tokenizer is not known here.

    Raises:
        InputError: it cannot; the message says how many tokens are free.
    """
    before = [p.text for p in now.always]
    new = [p.text for p in after.always if p.text not in before]
    if not new:
        return
    if room is None or count is None:
        for text in new:
            _check_characters(text)
        return
    gone = [text for text in before if text not in [p.text for p in after.always]]
    needed, freed = (sum(count(bullets([text]) + "\n") for text in some) for some in (new, gone))
    free = max(0, room.free + freed)
    if needed > free:
        raise InputError(
            f"{_shown(new[-1])} leaves no room in what the reward model reads: with all that is "
            f"not heard yet, {needed:,} tokens would come to it, and {free:,} of its "
            f"{room.context:,} are free beside the longest request, response and principles. "
            f"Shorten the text, or switch another one off with --remove NAME."
        )


def _check_characters(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise InputError(
            f"{_shown(text)} has {len(text):,} characters, and where the reward model's tokenizer "
            f"is not known a text may have {MOST_CHARACTERS:,}: more might leave it no room to "
            f"read. Shorten the text."
        )


def _shown(text: str) -> str:
    said = collapse_spaces(text)
    return repr(said if len(said) <= 60 else f"{said[:60]}…")
