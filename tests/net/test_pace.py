"""How a rate limit is found, against servers that have one, on a clock of their own."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from s2async.net.pace import FAST, LONGEST, PLATEAU, SLOW, CongestionWindow, Pace
from tests.support.lanes import few_quick

Allows = Callable[[float, int], bool]
"""Whether a server answers at a time what it has refused so often."""


def bucket(rate: float, burst: float) -> Allows:
    """A token bucket, as S3, nginx and most gateways have it."""
    left, since = burst, 0.0

    def allows(now: float, _before: int) -> bool:
        nonlocal left, since
        left, since = min(burst, left + (now - since) * rate), now
        left -= (allowed := left >= 1)
        return allowed

    return allows


def windowed(rate: int, phase: float = 0.37) -> Allows:
    """So many in each second of the server's clock."""
    window, count = -1, 0

    def allows(now: float, _before: int) -> bool:
        nonlocal window, count
        if math.floor(now + phase) != window:
            window, count = math.floor(now + phase), 0
        count += 1
        return count <= rate

    return allows


def fickle(share: float, seed: int = 3) -> Allows:
    """A relay that refuses such a share of the requests, however often it is asked."""
    chance = random.Random(seed)
    return lambda _now, _before: chance.random() >= share


def down(begin: float, end: float) -> Allows:
    """No limit, but out of order for a while."""
    return lambda now, _before: not begin <= now < end


def new(times: int = 1, share: float = 1.0, seed: int = 5) -> Allows:
    """A server that refuses such a share of what is new to it, the first time, or so many times."""
    chance = random.Random(seed)
    return lambda _now, before: before >= times or (before == 0 and chance.random() >= share)


@dataclass
class Run:
    """What became of some requests, made as the turnstile makes them."""

    seconds: float = 0.0
    refused: int = 0
    most_tries: int = 0
    begun: list[float] = field(default_factory=list)


def ran(server: Allows, requests: int, *, trip: float = 0.01, seed: int = 1, fastest: float = 1000) -> Run:
    """Make so many requests of 96 workers; a refused one comes again after a random wait."""
    often: dict[int, int] = {}
    chance, ended, pace, window = random.Random(seed), Run(), Pace(), CongestionWindow.initial(64)
    events: list[tuple[float, int, str, tuple[int, int, int]]] = []
    heard: dict[int, int] = {}
    count, waiting = itertools.count(), [(turn, 1) for turn in range(min(96, requests))]
    left, in_flight, done, now, free, look = requests - len(waiting), 0, 0, 0.0, 0.0, 0.0

    def later(seconds: float, what: str, *about: int) -> None:
        turn, tries, number = (*about, 0)[:3]
        heapq.heappush(events, (now + seconds, next(count), what, (turn, tries, number)))

    while done < requests:
        while waiting and in_flight < window.size:
            opens = max(pace.due, free)
            if opens > now:
                if look != opens:
                    look = opens
                    heapq.heappush(events, (opens, next(count), "look", (0, 0, 0)))
                break
            turn, tries = heapq.heappop(waiting)
            in_flight, free = in_flight + 1, now + 1 / fastest
            ended.begun.append(now)
            heard[len(ended.begun)] = done
            pace.begun(now)
            later(trip / 2 * chance.uniform(0.9, 1.1), "arrived", turn, tries, len(ended.begun))
        now, _, what, (turn, tries, number) = heapq.heappop(events)
        assert now < 300, "it does not end"
        if what == "arrived":
            allowed = server(now, often.get(turn, 0))
            later(trip / 2 * chance.uniform(0.9, 1.1), "good" if allowed else "refused", turn, tries, number)
        elif what == "good":
            window = window.answered(number, in_flight)
            pace.answered(number, now, before=often.pop(turn, 0))
            in_flight, done = in_flight - 1, done + 1
            if left:
                left -= 1
                heapq.heappush(waiting, (1000 + turn, 1))
        elif what == "refused":
            if window.slow_start:
                window = window.overloaded(number, len(ended.begun))
            pace.refused(number, len(ended.begun), now, before=often.get(turn, 0))
            often[turn] = often.get(turn, 0) + 1
            in_flight -= 1
            ended.refused += 1
            alone = done == heard[number]  # others that are answered meanwhile tell that it was one too many
            ended.most_tries = max(ended.most_tries, tries)
            later(chance.uniform(0, min(20, 0.5 * 2 ** (tries - 1))), "again", turn, tries + alone)
        elif what == "again":
            heapq.heappush(waiting, (turn, tries))
    ended.seconds = now
    return ended


@pytest.mark.parametrize("rate", [5, 20, 50, 100, 200, 500])
@pytest.mark.parametrize("kind", ["short bucket", "bucket", "long bucket", "windows"])
@pytest.mark.parametrize("trip", few_quick([0.01, 0.002, 0.05]))
def test_a_limit_is_found_and_kept(rate: int, kind: str, trip: float) -> None:
    requests = max(300, 6 * rate)
    burst = {"short bucket": max(1, rate // 10), "bucket": rate, "long bucket": 3 * rate, "windows": rate}[kind]
    server = windowed(rate) if kind == "windows" else bucket(rate, burst)
    needed = (requests - burst) / rate
    found = ran(server, requests, trip=trip)
    assert found.seconds <= 1.5 * needed + 0.5
    assert found.refused <= 0.25 * requests + 64, "what was under way when the first was refused, and a few later"
    assert found.most_tries < 5, "no request uses its tries up"


@pytest.mark.parametrize("rate", [1, 2, 1000])
def test_very_slow_and_very_fast_servers_too(rate: int) -> None:
    found = ran(bucket(rate, rate), 20 if rate < 5 else 4000)
    assert found.seconds <= 1.5 * (20 / rate if rate < 5 else 4)


def test_a_server_that_refuses_nothing_is_not_held_back() -> None:
    found = ran(lambda _now, _before: True, 2000)
    assert found.refused == 0
    assert found.seconds <= 2000 / 1000 + 0.1
    pace = Pace()
    for number in range(1, 1000):
        pace.begun(0.0)
        pace.answered(number, 0.0)
    assert pace.due == -math.inf
    assert pace.limit(0.0) == math.inf


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("fastest", [60, 300])
def test_refusals_that_are_not_for_the_rate_do_not_bring_it_down(share: float, fastest: float) -> None:
    requests = 10 * int(fastest)
    found = ran(fickle(share), requests, fastest=fastest)
    assert found.seconds <= 1.6 * 10 / (1 - share) + 12, "some seconds to find out, now and then"


@pytest.mark.parametrize("trip", few_quick([0.01, 0.002, 0.05]))
@pytest.mark.parametrize(
    ("times", "share", "most"),
    [(1, 1.0, 12), (1, 0.7, 7), (1, 0.33, 4), (2, 1.0, 12), (2, 0.5, 9), (2, 0.25, 9)],
)
def test_refusals_of_what_is_new_do_not_bring_it_down(times: int, share: float, most: float, trip: float) -> None:
    """At any rate the same is refused: the slower it is asked, the longer it takes."""
    for seed in range(5):
        found = ran(new(times, share), 240, trip=trip, seed=seed)
        assert found.seconds <= most


def test_what_is_new_is_held_back_as_well_where_it_is_answered_in_part() -> None:
    pace, number = Pace(), 0
    for number in range(1, 101):
        pace.begun(number / 100)
        pace.answered(number, number / 100)
    for step in range(100):  # for a second: one in ten is refused, and answered when it is asked for again
        number += 1
        now = 1 + step / 100
        if step % 10:
            pace.answered(number, now, before=int(step % 10 == 1))
        else:
            pace.refused(number, number, now)
    assert 80 <= pace.limit(2.0) <= 110


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("begin", few_quick([0.5, 0.02, 2.0]))
def test_a_fault_that_passes_is_soon_forgotten(begin: float, seconds: float) -> None:
    requests = 3000
    undisturbed = ran(lambda _now, _before: True, requests).seconds
    found = ran(down(begin, begin + seconds), requests)
    assert found.seconds <= undisturbed + 3 * seconds + 2
    assert found.refused <= 64 + 20 + 5 * seconds


def test_a_limit_that_is_met_no_more_is_gone_after_some_seconds() -> None:
    pace = Pace()
    for number in range(1, 101):
        pace.begun(number / 100)
        pace.answered(number, number / 100)
    pace.refused(101, 101, 1.0)
    pace.answered(102, 1.1)
    assert pace.limit(1.1) == pytest.approx(90, rel=0.05)
    assert pace.limit(1.1 + PLATEAU) == pytest.approx(100, rel=0.02)
    assert pace.limit(1.1 + 3 * PLATEAU) == pytest.approx(400, rel=0.02)
    assert pace.limit(1e9) > FAST


def test_refusals_of_what_was_under_way_together_count_as_one() -> None:
    pace = Pace()
    for number in range(1, 151):
        pace.begun(0.0)
        if number <= 100:
            pace.answered(number, 0.5)
    for number in range(101, 151):
        pace.refused(number, 150, 0.5)
    assert pace.limit(0.5) == pytest.approx(180, rel=0.01)
    assert pace.due == pytest.approx(0.5 + 2 / 180, abs=0.001)
    pace.refused(151, 151, 0.6)
    assert pace.due == pytest.approx(0.6 + 4 / 180, abs=0.001)
    for number in range(152, 180):
        pace.refused(number, number, 0.7)
    assert pace.due == pytest.approx(0.7 + LONGEST)


def test_the_first_answer_after_refusals_brings_the_limit_back_at_once() -> None:
    pace = Pace()
    for number in range(1, 101):
        pace.begun(number / 100)
        pace.answered(number, number / 100)
    for number in range(101, 120):
        pace.refused(number, number, 1.0)
    pace.answered(119, 1.1)
    assert pace.due > 1.2, "it began before the last refusal was noted"
    pace.answered(120, 1.1)
    assert pace.due == pytest.approx(1.1 + 1 / 90, abs=0.001)


@pytest.mark.parametrize("parts", [1, 10])
def test_nothing_is_allowed_less_than_slow(parts: int) -> None:
    pace = Pace()
    pace.parts = parts
    pace.begun(0.0)
    pace.answered(1, 0.1)
    pace.refused(2, 2, 10.0)
    pace.answered(3, 11.0)
    assert pace.limit(11.0) >= 0.9 * SLOW / parts
