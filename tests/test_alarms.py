"""When a run was in vain: of one server, of all jobs, of one asset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from s2async.alarms import Servers, asset_alarm, state_alarm
from s2async.causes import Cause, Lack
from s2async.models import Job, Outcome, Scene, Status
from s2async.reasons import Again
from tests.support.states import CLEAR, CLOUDS, A, B, C, lack, make_product, make_scene

HOST = "https://cogs.example"
NEXT = Again(next=1)
SETTLED = "count as settled until their items are updated"


def scene(number: int) -> Scene:
    return make_scene(f"S{number}", minutes=10 * number)


def job(number: int, area: int = 0, **known: Any) -> Job:
    return replace(Job(id=10 * number + area, area=(A, B, C)[area], scene=scene(number)), **known)


def gone(of: Job, cause: Cause = Cause.NOT_THERE, asset: str = "scl", **what: Any) -> Outcome:
    one = replace(lack(asset, cause), **what)
    status = Status.MISSING if one.missing else Status.FAILED
    return Outcome(job=of, status=status, cause=cause, lacks=(one,), reason="why")


def saved(of: Job, *lacks: Lack) -> Outcome:
    return Outcome(job=of, status=Status.SAVED, measure=CLEAR, products=(make_product(of),), lacks=lacks)


def cloudy(of: Job) -> Outcome:
    return Outcome(job=of, status=Status.CLOUDY, measure=CLOUDS)


def told(*outcomes: Outcome) -> list[str]:
    servers = Servers(["scl"])
    for outcome in outcomes:
        servers.add(outcome)
    return [alarm.text for alarm in servers.alarms(lambda _: NEXT) if not alarm.settings]


@pytest.mark.parametrize("cause", [Cause.NOT_THERE, Cause.DENIED, Cause.REFUSED, Cause.ANSWER, Cause.DAMAGED])
def test_a_server_none_of_whose_files_can_be_had_is_named(cause: Cause) -> None:
    every = [gone(job(number, area), cause) for number in range(8) for area in range(3)]
    (text,) = told(*every)
    assert text.startswith(f"{HOST} gave next to no file: 24 of 24 jobs of this run got none (24 {cause.words}); ")
    assert told(*every[:-3]) == [], "seven scenes may be chance"


def test_a_few_good_ones_are_no_sign_of_health_but_more_are() -> None:
    bad = [gone(job(number, area)) for number in range(19) for area in range(2)]
    assert len(told(*bad, saved(job(50)), saved(job(51)))) == 1, "38 of 40"
    assert told(*bad, saved(job(50)), saved(job(51)), saved(job(52))) == []
    assert told(*bad, cloudy(job(50)), cloudy(job(51)), cloudy(job(52))) == [], "its classification was read"


def test_what_tells_nothing_of_a_server_does_not_count() -> None:
    numbers = range(12)
    assert told(*(gone(job(n), Cause.JPEG2000, host="") for n in numbers)) == []
    assert told(*(gone(job(n), Cause.NETWORK) for n in numbers)) == [], "it is parked, and told of"
    assert told(*(gone(job(n), known=True) for n in numbers)) == [], "nobody was asked"
    assert told(*(saved(job(n), lack("red")) for n in numbers)) == [], "one asset of several"
    before = Lack(asset="scl", cause=Cause.NOT_THERE, text="x", known=True, again=True, alone=True)
    assert told(*(gone(job(n, lacks=(before,))) for n in numbers)) == [], "it gave others when they were not there"
    outage = replace(before, alone=False)
    assert len(told(*(gone(job(n, lacks=(outage,))) for n in numbers))) == 1


def test_servers_are_told_apart() -> None:
    servers = Servers(["scl"])
    for number in range(10):
        servers.add(gone(job(number), host="https://down.example"))
        servers.add(saved(job(number, 1)))
    (alarm,) = servers.alarms({"https://down.example": NEXT}.__getitem__)
    assert alarm.text == (
        "https://down.example gave next to no file: 10 of 10 jobs of this run got none (10 not there); its files "
        "may have been moved; the next run asks again"
    )
    assert servers.served == {HOST}


MISSING = {"missing": {Cause.JPEG2000: 19}}


@pytest.mark.parametrize(
    ("jobs", "causes", "scenes", "settings"),
    [
        ({"missing": 19, "saved": 1}, MISSING, (8, 9), True),
        ({"missing": 19, "saved": 2}, MISSING, (8, 9), None),
        ({"missing": 19, "cloudy": 2}, MISSING, (8, 9), None),
        ({"missing": 19}, MISSING, (7, 8), None),
        ({"missing": 19}, MISSING, (7, 7), True),
        ({"missing": 19}, MISSING, (1, 1), True),
        ({"cloudy": 100}, {}, (0, 50), None),
        ({}, {}, (0, 0), None),
        ({"missing": 2}, {"missing": {Cause.JPEG2000: 1, Cause.NOT_THERE: 1}}, (2, 2), False),
        ({"missing": 9, "failed": 9}, {"missing": {Cause.SCHEME: 9}, "failed": {Cause.ORIGIN: 9}}, (9, 9), True),
        ({"failed": 9}, {"failed": {Cause.DENIED: 9}}, (9, 9), False),
        ({"failed": 9}, {"failed": {Cause.NETWORK: 9}}, (9, 9), None),
        ({"failed": 9}, {"failed": {Cause.CRASH: 9}}, (9, 9), None),
    ],
)
def test_a_state_in_which_nearly_all_lack_files(
    jobs: dict[str, int],
    causes: dict[str, dict[Cause, int]],
    scenes: tuple[int, int],
    settings: bool | None,
) -> None:
    alarm = state_alarm(jobs, causes, scenes=scenes, keys={"a", "b"}, forbidden=["https://x.example"], again=NEXT)
    assert (None if alarm is None else alarm.settings) is settings


def test_what_to_do_depends_on_the_causes() -> None:
    def text(*causes: Cause, forbidden: tuple[str, ...] = ()) -> str:
        missing = {"missing": dict.fromkeys(causes, 5)}
        alarm = state_alarm(
            {"missing": 5 * len(causes)},
            missing,
            scenes=(9, 9),
            keys={"red", "scl"},
            forbidden=forbidden,
            again=Again(next=2, never=3),
        )
        assert alarm is not None
        return alarm.text

    assert text(Cause.NO_ASSET).startswith(
        "5 of 5 jobs have no file that can be read: 5 no such asset; there are: red"
    )
    assert text(Cause.ORIGIN, forbidden=("https://a.example", "https://b.example")).endswith(
        'if you trust them, add "https://a.example", "https://b.example" to origins in [network]'
    )
    assert "only COGs can be read" in text(Cause.JPEG2000)
    both = text(Cause.JPEG2000, Cause.NOT_THERE)
    assert "5 only as JPEG 2000, 5 not there; only COGs can be read" in both
    assert both.endswith(
        "; the next run asks again for 2 of them, 3 count as settled until their items are updated; "
        "s2async retry --missing has the next run ask for all"
    )
    assert "asks again" not in text(Cause.JPEG2000), "only settings help"


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (Again(), ""),
        (Again(next=20), "the next run asks again"),
        (Again(later=20, earliest=1_640_995_200), "runs from 2022-01-01 00:00 UTC on ask again"),
        (Again(never=20), "they count as settled: no run asks again until their items are updated"),
        (
            Again(next=1, later=1200, earliest=1_640_995_200, never=7),
            f"the next run asks again for 1 of them, runs from 2022-01-01 00:00 UTC on for 1,200, 7 {SETTLED}",
        ),
        (
            Again(later=2, earliest=1_640_995_200, never=7),
            f"runs from 2022-01-01 00:00 UTC on ask again for 2, 7 {SETTLED}",
        ),
    ],
)
def test_when_files_are_asked_for_again(again: Again, words: str) -> None:
    more = "; s2async retry --missing has the next run ask for all"
    assert again.words == words + more * (again.later + again.never > 0)


@pytest.mark.parametrize(
    ("saved", "without", "lacking", "scenes", "settings"),
    [
        (20, {("red", Cause.NOT_THERE): 19}, {"red": 9}, 10, False),
        (20, {("red", Cause.JPEG2000): 10, ("red", Cause.NO_ASSET): 9}, {"red": 9}, 10, True),
        (20, {("red", Cause.JPEG2000): 10, ("red", Cause.NOT_THERE): 9}, {"red": 9}, 10, False),
        (20, {("red", Cause.NOT_THERE): 18}, {"red": 9}, 10, None),
        (20, {("red", Cause.NOT_THERE): 10, ("nir", Cause.NOT_THERE): 10}, {"red": 9, "nir": 9}, 10, None),
        (20, {("red", Cause.NOT_THERE): 20}, {"red": 7}, 8, None),
        (20, {}, {}, 8, None),
    ],
)
def test_an_asset_that_nearly_all_are_saved_without(
    saved: int,
    without: dict[tuple[str, Cause], int],
    lacking: dict[str, int],
    scenes: int,
    settings: bool | None,
) -> None:
    alarm = asset_alarm(saved, without, lacking, scenes=scenes)
    assert (None if alarm is None else alarm.settings) is settings
    if alarm:
        assert f"of {saved} jobs are saved without red: " in alarm.text
