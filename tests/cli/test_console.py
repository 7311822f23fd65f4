"""What a person sees: figures in words, plain lines, a live display on a terminal, never the markup of others."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from s2async.cli import console, run_view, streams
from s2async.cli.console import facts, table
from s2async.cli.run_view import RunView
from s2async.engine.progress import Progress
from s2async.events import Event, JobDone, Notice, SearchDone, SearchReport
from s2async.models import Job, Outcome, Status, Use
from s2async.text import safe
from tests.support.states import make_area, make_scene

HOSTILE = "a\x1b[31mred\x1b[0m\nb\r\t[red]x[/red] \u202egnp.exe\u2028\x00\x07\ud800 =1+1"


# ---- texts of others --------------------------------------------------------------------------------------


def test_texts_of_others_become_visible() -> None:
    assert safe("Tiergarten, Grünanlage [red] 公園, 1 m²") == "Tiergarten, Grünanlage [red] 公園, 1 m²"
    shown = safe(HOSTILE)
    assert "\\u001b[31mred" in shown
    assert "\\u202e" in shown


@given(st.text(st.characters(codec=None), max_size=50))
def test_texts_of_others_stay_on_one_line_and_without_control(text: str) -> None:
    shown = safe(text)
    assert shown.isprintable() or all(
        char.isprintable() or char in " \u3000\u00a0" or char.isspace() for char in shown
    )
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", shown)
    shown.encode()


def drawn(what: Any, width: int = 200, *, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_and_facts_show_texts_of_others_as_text(terminal: bool) -> None:
    for made in (table("T", {"area": "text"}, [[HOSTILE]]), facts({"crops": HOSTILE})):
        shown = drawn(made, terminal=terminal)
        assert "[red]x[/red]" in shown
        assert "\x1b[31m" not in shown
        assert "\u202e" not in shown
        assert "\\u000ab" in shown


def test_numbers_of_a_table_never_vanish_and_names_fold() -> None:
    columns = {"area": "text"} | dict.fromkeys("abcdefg", "number")
    shown = drawn(table("Jobs", columns, [["a long name " * 20, *["12,345"] * 7]]), width=80)
    assert shown.count("12,345") == 7
    assert shown.count("long") == 20
    assert max(map(len, shown.splitlines())) <= 80


# ---- a run ------------------------------------------------------------------------------------------------


def outcome(status: Status, reason: str = "", name: str = "Park") -> JobDone:
    job = Job(id=1, area=make_area(name), scene=make_scene())
    return JobDone(outcome=Outcome(job=job, status=status, reason=reason))


def report(reason: str = "", items: int = 7) -> SearchDone:
    found = SearchReport(label="Park, 2022", key="k", complete=not reason, items=items, reason=reason)
    return SearchDone(report=found)


EVENTS: list[Event] = [
    Notice(text="removed 3 files"),
    report(),
    report("the server answers 500"),
    outcome(Status.SAVED),
    outcome(Status.MISSING, "visual: not there"),
    outcome(Status.FAILED, "scl: timed out"),
]


def told(events: list[Event], **how: bool) -> list[str]:
    out = io.StringIO()
    view = RunView(Progress(), Console(file=out, width=40), **how)
    for event in events:
        view.on_event(event)
    return out.getvalue().splitlines()


SCENE = "S2A_33UUU_20220101_0_L2A"


def test_what_is_told_as_it_happens() -> None:
    failed = [
        "search incomplete: Park, 2022: the server answers 500",
        f"failed   Park  {SCENE}  scl: timed out",
    ]
    assert told(EVENTS, quiet=True) == failed
    assert told(EVENTS) == ["removed 3 files", *failed]
    assert told(EVENTS, verbose=True) == [
        "removed 3 files",
        "searched Park, 2022: 7 items",
        failed[0],
        f"saved    Park  {SCENE}",
        f"missing  Park  {SCENE}  visual: not there",
        failed[1],
    ]
    assert told(EVENTS, verbose=True, crops=False)[3] == f"clear    Park  {SCENE}", "nothing is saved"


def test_a_grave_notice_is_told_to_those_too_who_want_failures_only() -> None:
    notices: list[Event] = [Notice(text="removed 3 files"), Notice(text="may be 852 m off", grave=True)]
    assert told(notices, quiet=True) == ["may be 852 m off"]
    assert told(notices) == ["removed 3 files", "may be 852 m off"]


def test_many_failures_are_cut_short_unless_all_is_wanted() -> None:
    events: list[Event] = [outcome(Status.FAILED, "scl: timed out") for _ in range(50)]
    lines = told(events)
    assert len(lines) == run_view.FAILURES_SHOWN + 1
    assert lines[-1] == "more jobs failed; s2async status lists them"
    assert len(told(events, verbose=True)) == 50


def test_hostile_texts_are_told_as_text() -> None:
    lines = told(
        [outcome(Status.FAILED, HOSTILE.replace("\ud800", ""), name="x\n\x1b[2J[red]"), Notice(text="a\nb")],
        verbose=True,
    )
    assert len(lines) == 2
    assert "x\\u000a\\u001b[2J[red]" in lines[0]
    assert "[red]x[/red]" in lines[0]
    assert lines[1] == "a\\u000ab"


def watched(view: RunView, steps: Callable[[], None], seconds: float) -> None:
    async def main() -> None:
        async with view.showing():
            steps()
            await asyncio.sleep(seconds)

    asyncio.run(main())


def work(progress: Progress) -> Callable[[], None]:
    def steps() -> None:
        progress.found, progress.searches, progress.searches_done = 1400, 4, 1
        progress.done.update({Status.SAVED: 600, Status.CLOUDY: 300, Status.FAILED: 2})
        progress.meter.add("tiles", "visual", Use.USEFUL, requests=1234, size=123_400_000)

    return steps


def test_without_a_terminal_there_is_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "LINE_EVERY", 0.03)
    progress, out = Progress(), io.StringIO()
    watched(RunView(progress, Console(file=out)), work(progress), 0.2)
    lines = out.getvalue().splitlines()
    assert 1 <= len(lines) <= 7
    assert re.match(
        r"\d+ s: 902 of 1,400 jobs so far \(600 saved, 300 cloudy, 2 failed\), 123 MB in 1,234 requests", lines[0]
    )
    assert "\x1b" not in out.getvalue()


def test_a_quiet_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "LINE_EVERY", 0.01)
    for terminal in (False, True):
        progress, out = Progress(), io.StringIO()
        watched(RunView(progress, Console(file=out, force_terminal=terminal), quiet=True), work(progress), 0.05)
        assert not out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_everything_in_three_lines_that_fit(width: int) -> None:
    progress, out = Progress(), io.StringIO()
    view = RunView(progress, Console(file=out, force_terminal=True, width=width, color_system=None))
    watched(view, work(progress), 0.05)
    last = out.getvalue().split("\x1b[2K")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "".join(last))
    assert "902 of 1,400 jobs so far" in shown
    assert "600 saved  300 cloudy  0 nodata  0 outside  0 missing  2 failed" in shown
    assert "123 MB in 1,234 requests" in shown
    lines = drawn(view._live(), width=width).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= width


def test_the_pace_is_that_of_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("s2async.cli.run_view.time.monotonic", lambda: now)
    progress = Progress(found=1000, started=now)
    view = RunView(progress, Console(file=io.StringIO()))
    assert view._pace(0) == "-- jobs/s"
    now += 10
    assert view._pace(5) == "0.5 jobs/s"
    now += 10
    assert view._pace(405) == "20 jobs/s"
    now += 29
    assert view._pace(405) == "-- jobs/s", "nothing since the first half minute"


def test_the_time_left_is_shown_when_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("s2async.cli.run_view.time.monotonic", lambda: now)
    progress = Progress(started=now)
    view = RunView(progress, Console(file=io.StringIO()))
    areas = [make_area(f"a{number}") for number in range(10)]
    scenes = [make_scene(f"scene {number}") for number in range(200)]
    jobs = [[Job(id=1, area=area, scene=scene) for area in areas] for scene in scenes]
    for some in jobs:
        progress.enter(some, resumed=False)
    shown = []
    for some in jobs[:100]:
        now += 1
        for job in some:
            progress.add(Outcome(job=job, status=Status.SAVED))
        shown.append(view._pace(progress.done.total()))
    assert "left" not in shown[3]
    assert shown[49] == "10 jobs/s, about 2 min left"
    assert shown[99] == "10 jobs/s, about 2 min left"
    for some in jobs[100:]:
        now += 1
        for job in some:
            progress.add(Outcome(job=job, status=Status.SAVED))
        shown.append(view._pace(progress.done.total()))
    assert shown[179] == "10 jobs/s, about 20 s left"
    assert shown[199] == "10 jobs/s", "nothing is left"


# ---- streams ----------------------------------------------------------------------------------------------


def test_without_standard_output_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    console.standard_output().print("to nobody")
    with streams.patient_streams():
        pass
