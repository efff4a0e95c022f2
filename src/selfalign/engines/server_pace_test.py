"""What the pace promises: no more at once than allowed, fewer when told so, waits with jitter."""

import asyncio
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import EngineError
from selfalign.engines.server_pace import Errands, Pace, TryAgain, backoff_s, retry_after_s
from selfalign.engines.server_settings import ServerSettings

QUICK = ServerSettings(first_backoff_s=0.001, most_backoff_s=0.002, attempts=4)
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def run(pace: Pace, count: int, attempt) -> None:
    errands = Errands(pace, QUICK, lambda: None)
    asyncio.run(errands.run(range(count), attempt, lambda k: f"to send {k}"))


def test_a_full_round_of_answers_adds_one_place() -> None:
    pace = Pace(8, 100)
    for _ in range(9):
        pace.answered(8)
    assert pace.places == 9


def test_places_that_are_not_used_do_not_grow() -> None:
    pace = Pace(8, 100)
    for _ in range(100):
        pace.answered(7)
    assert pace.places == 8


def test_a_burst_of_refusals_halves_the_places_once() -> None:
    pace = Pace(32, 100)
    for _ in range(32):
        pace.crowded(began_in=0)
    assert pace.places == 16
    pace.crowded(began_in=1)
    assert pace.places == 8


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 20), st.integers(20, 40))
def test_places_stay_between_one_and_the_most(events: list[bool], start: int, most: int) -> None:
    pace = Pace(start, most)
    for good in events:
        pace.answered(most) if good else pace.crowded(pace.round)
        assert 1 <= pace.places <= most


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:59:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("²", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header, seconds) -> None:
    assert retry_after_s(header, NOW) == seconds


@given(st.text())
def test_no_retry_after_header_is_too_strange_to_read(header: str) -> None:
    assert (retry_after_s(header, NOW) or 0.0) >= 0.0


@given(st.integers(1, 40), st.integers())
def test_a_wait_lies_between_nothing_and_its_doubling_bound(attempt: int, seed: int) -> None:
    settings = ServerSettings()
    wait = backoff_s(attempt, settings, random.Random(seed))
    assert 0 <= wait <= min(30.0, 0.5 * 2 ** (attempt - 1))


def test_never_more_at_once_than_there_are_places() -> None:
    at_once, most, pace = 0, 0, Pace(3, 3)

    async def attempt(_: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1

    run(pace, 20, attempt)
    assert most == 3


def test_errands_begin_in_their_order_and_all_are_done_although_many_fail() -> None:
    begun, done = [], []

    async def attempt(number: int) -> None:
        begun.append(number)
        if number % 3 == 0 and begun.count(number) < 3:
            raise TryAgain("no.", crowded=True)
        done.append(number)

    pace = Pace(4, 4)
    run(pace, 12, attempt)
    assert sorted(done) == list(range(12))
    assert list(dict.fromkeys(begun)) == list(range(12))
    assert pace.places < 4


def test_a_retry_after_holds_back_every_request() -> None:
    times: dict[int, list[float]] = {}

    async def attempt(number: int) -> None:
        now = asyncio.get_running_loop().time()
        times.setdefault(number, []).append(now)
        if number == 0 and len(times[0]) == 1:
            raise TryAgain("full.", crowded=True, wait_s=0.2)

    run(Pace(1, 1), 4, attempt)
    first = times[0][0]
    assert min(t for k in range(1, 4) for t in times[k]) - first >= 0.2


def test_giving_up_cancels_what_is_under_way_and_names_what_failed() -> None:
    cancelled = []

    async def attempt(number: int) -> None:
        if number == 1:
            raise TryAgain("it failed.")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(EngineError, match=r"it failed\. This was attempt 4 to send 1\."):
        run(Pace(3, 3), 3, attempt)
    assert cancelled == [0, 2]


def test_a_pause_that_is_too_long_is_not_waited_for() -> None:
    async def attempt(number: int) -> None:
        raise TryAgain("full.", crowded=True, wait_s=3600)

    with pytest.raises(EngineError, match="a pause of 3600 s"):
        run(Pace(1, 1), 1, attempt)
