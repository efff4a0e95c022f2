"""How many requests are under way, and when a failed one is sent again.

    errands in order --places free?--> attempt --answered--> finished
                            ^             |
                            +-- a wait <--+-- TryAgain (crowded: half the places)

Additive increase, multiplicative decrease: every full round of answers adds a place; a server
that says it is overloaded, or says nothing in time, halves them, once per round and not once per
refusal. Waits have full jitter (uniform between 0 and a doubling bound); a `Retry-After` holds
every request back until it has passed.
"""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from selfalign.core.errors import EngineError
from selfalign.engines.server_settings import ServerSettings

E = TypeVar("E")


class TryAgain(Exception):
    """An attempt failed in a way that another attempt may not."""

    def __init__(
        self, sentence: str, *, crowded: bool = False, wait_s: float | None = None
    ) -> None:
        """Take what happened, whether it means "too many at once", and the server's own wait."""
        super().__init__(sentence)
        self.crowded, self.wait_s = crowded, wait_s


class Pace:
    """The number of places; it outlives a batch, so that what was learnt is not learnt again."""

    def __init__(self, start: int, most: int) -> None:
        self._limit, self._most = float(start), most
        self.round = 0
        """Counts the decreases; an attempt that began in an earlier round decreases nothing."""

    @property
    def places(self) -> int:
        """Return how many requests may be under way."""
        return int(self._limit)

    def answered(self, under_way: int) -> None:
        """Take note of an answer; places grow only while all of them are used."""
        if under_way >= self.places:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)

    def crowded(self, began_in: int) -> None:
        """Take note that the server had too much to do."""
        if began_in == self.round:
            self._limit = max(1.0, self._limit / 2)
            self.round += 1


def backoff_s(attempt: int, settings: ServerSettings, rng: random.Random) -> float:
    """Return the wait after the given attempt (1 for the first), with full jitter."""
    bound = min(settings.most_backoff_s, settings.first_backoff_s * 2 ** (attempt - 1))
    return rng.uniform(0, bound)


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, in seconds or as an HTTP date; None if it says nothing."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())


@dataclass(order=True)
class _Errand:
    due: float
    """On the event loop's clock."""
    number: int
    attempt: int = field(default=1, compare=False)
    began_in: int = field(default=0, compare=False)


@dataclass
class Errands:
    """Sends a batch of requests, as many at once as the pace allows, in the order given."""

    pace: Pace
    settings: ServerSettings
    alive: Callable[[], None]
    """Raises if there is no point in another attempt."""

    async def run(
        self,
        errands: Sequence[E],
        attempt: Callable[[E], Awaitable[None]],
        named: Callable[[E], str],
    ) -> None:
        """Call `attempt` for each errand until it stops raising TryAgain.

        `named` says in an error what was attempted: "to send …".

        Raises:
            EngineError: an errand failed too often, or the server asks for too long a pause. The
                attempts under way are cancelled.
        """
        batch = _Batch(self, lambda number: _awaited(attempt, errands[number]))
        batch.queue = [_Errand(0.0, number) for number in range(len(errands))]  # a heap already
        try:
            while batch.queue or batch.flying:
                for errand, failure in await batch.next_failures():
                    batch.postpone(errand, failure, named(errands[errand.number]))
        finally:
            for task in batch.flying:
                task.cancel()
            await asyncio.gather(*batch.flying, return_exceptions=True)


class _Batch:
    """What is waiting and what is under way."""

    def __init__(
        self, errands: Errands, start: Callable[[int], Coroutine[None, None, None]]
    ) -> None:
        self.queue: list[_Errand] = []
        self.flying: dict[asyncio.Task[None], _Errand] = {}
        self._pace, self._settings, self._alive = errands.pace, errands.settings, errands.alive
        self._start = start
        self._held = 0.0
        self._clock = asyncio.get_running_loop().time
        self._rng = random.Random()  # unseeded: the waits of two processes must differ

    async def next_failures(self) -> list[tuple[_Errand, TryAgain]]:
        """Start what is due, wait until something ends, and return what did not end well."""
        while self._has_place() and self._wait_s() <= 0:
            errand = heapq.heappop(self.queue)
            errand.began_in = self._pace.round
            self.flying[asyncio.ensure_future(self._start(errand.number))] = errand
        wait = self._wait_s() if self._has_place() else None
        if not self.flying:
            await asyncio.sleep(wait or 0.0)
            return []
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait(self.flying, timeout=wait, return_when=first)
        under_way, failures = len(self.flying), list[tuple[_Errand, TryAgain]]()
        for task in done:
            errand = self.flying.pop(task)
            try:
                task.result()
            except TryAgain as failure:
                failures.append((errand, failure))
            else:
                self._pace.answered(under_way)
        return failures

    def postpone(self, errand: _Errand, failure: TryAgain, name: str) -> None:
        """Put a failed errand back into the queue.

        Raises:
            EngineError: it has been there often enough.
        """
        self._alive()
        if failure.crowded:
            self._pace.crowded(errand.began_in)
        asked = failure.wait_s or 0.0
        if asked > self._settings.most_retry_after_s:
            raise EngineError(
                f"{failure} It was asked {name}, and wants a pause of {asked:.0f} s. Run the same "
                f"command after that: what is finished is kept."
            )
        if errand.attempt >= self._settings.attempts:
            raise EngineError(
                f"{failure} This was attempt {errand.attempt} {name}. Look at the server's log; "
                f"once it answers, run the same command again: what is finished is kept."
            )
        now = self._clock()
        self._held = max(self._held, now + asked)
        errand.due = now + asked + backoff_s(errand.attempt, self._settings, self._rng)
        errand.attempt += 1
        heapq.heappush(self.queue, errand)

    def _has_place(self) -> bool:
        return bool(self.queue) and len(self.flying) < self._pace.places

    def _wait_s(self) -> float:
        return max(self.queue[0].due, self._held) - self._clock()


async def _awaited(attempt: Callable[[E], Awaitable[None]], errand: E) -> None:
    await attempt(errand)
