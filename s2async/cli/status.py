"""The state in words and tables: what a run's end and ``status`` show, and the same as JSON."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from s2async.areas import loader as area_files
from s2async.cli import hints
from s2async.cli.console import facts, table
from s2async.config.model import Config
from s2async.engine.progress import Summary
from s2async.geo import area_km2, bounds
from s2async.models import Area, Cause, SearchReport, Status, Traffic, Use
from s2async.reasons import counted
from s2async.state.reader import Ledger
from s2async.state.records import OPEN, Counts, Unheld
from s2async.text import degrees, duration, safe, size

AREAS_SHOWN = 30
"""Rows of the table of ``status``: rich takes most of a millisecond for each; JSON has them all."""
LABELS_SHOWN = 3
"""Searches named of those that are incomplete for the same reason."""
PROBLEMS_SHOWN = 20
"""Failed jobs that ``status`` lists; JSON has them all."""


def where(areas: Sequence[Area]) -> str:
    """One line that shows at a glance whether the areas are where they should be."""
    west, south, east, north = bounds(areas)
    sizes = [area_km2(area) for area in areas]
    extent = f"{degrees(south, 'SN')} to {degrees(north, 'SN')}, {degrees(west, 'WE')} to {degrees(east, 'WE')}"
    each = _km2(sizes[0]) if len(areas) == 1 else f"{_km2(min(sizes))} to {_km2(max(sizes))} each"
    return f"{len(areas):,} area{'s' * (len(areas) > 1)}: {extent}; {each}"


def show_run(console: Console, state: Ledger, config: Config, areas: Sequence[Area], run: Summary) -> None:
    """The closing summary of a run."""
    whole = state.whole_files(config.selection())
    done = sum(run.done.values())
    console.print(Text(f"{done:,} jobs worked on in {duration(run.seconds)}", style="bold"))
    if done:
        console.print(Text("  " + _statuses(run.done)))
    by_status: dict[str, dict[Cause, int]] = defaultdict(dict)
    for (status, cause), jobs in run.causes.items():
        by_status[status][cause] = jobs
    for line in _reasons(by_status, run.without):
        console.print(Text(f"  {line}", style="yellow"))
    rows = {
        "crops": f"{_short(config.output.folder)}/<area>/<item>_<asset>.tif",
        "index": _short(run.index),
        "state": _short(config.run.state),
        "moved": f"{size(run.bytes)} in {run.requests:,} requests by this run",
    }
    requests, moved = _total(state.traffic())
    if requests != run.requests:  # what follows is of all runs
        rows["all runs"] = f"{size(moved)} in {requests:,} requests"
    if whole.all.bytes:
        rows["instead of"] = _instead(whole.all.bytes, moved, estimated=whole.all.estimated > 0)
    console.print(facts(rows))
    _show_incomplete(console, run.incomplete)
    if run.failed:
        console.print(
            Text(f"{run.failed:,} jobs have failed so far; s2async status tells which and why", style="red")
        )
    if run.cut_short:
        left = f"at least {run.left:,} jobs are left: " if run.left else ""
        console.print(Text(f"{left}the search ended with the limit; run again to go on"))
    elif run.left:
        console.print(Text(f"{run.left:,} jobs are left; run again to go on"))
    if run.sceneless and not run.found_nothing and not run.incomplete and not run.left and not run.cut_short:
        named = ", ".join(run.sceneless[: area_files.NAMED]) + ", ..." * (len(run.sceneless) > area_files.NAMED)
        count = "1 area" if len(run.sceneless) == 1 else f"{len(run.sceneless):,} areas"
        console.print(Text(safe(f"no scene was found of {count}: {named}"), style="yellow"))
    _show_unheld(console, config, run.unheld)
    if run.found_nothing and not run.incomplete:
        why = hints.nothing_found(config, where(areas), bounds(areas), now=datetime.now(UTC))
        console.print(Text(safe(why), style="yellow"))


def unclean(config: Config, run: Summary) -> str:
    """One line on a run that is not `clean`, for whoever sees no summary."""
    what = []
    if run.failed:
        what.append("1 job has failed so far" if run.failed == 1 else f"{run.failed:,} jobs have failed so far")
    if run.incomplete:
        count = len(run.incomplete)
        what.append("a search is incomplete" if count == 1 else f"{count:,} searches are incomplete")
    return f"{', and '.join(what)}; {config.command('status')} tells which and why"


def show_status(console: Console, state: Ledger, config: Config) -> None:
    """Tables of jobs, traffic, searches and failures."""
    selection = config.selection()
    counts = state.counts(selection)
    columns = [str(status) for status in Status] + [OPEN]
    told = [(area.name, area.by_status) for area in counts.areas[:AREAS_SHOWN]]
    if more := counts.areas[AREAS_SHOWN:]:
        told.append((f"and {len(more):,} more", sum((Counter(area.by_status) for area in more), Counter())))
    if len(told) != 1:
        told.append(("all", counts.total))
    rows = [[name, *(f"{jobs.get(key, 0):,}" for key in columns)] for name, jobs in told]
    console.print(table("Jobs", {"area": "text"} | dict.fromkeys(columns, "number"), rows))
    without = state.without(selection)
    for line in _reasons(without.by_status, without.saved):
        console.print(Text(line, style="yellow"))
    if alarm := state.alarm(counts, selection):
        console.print(Text(safe(alarm.text), style="red"))
    traffic = state.traffic()
    if traffic:
        console.print()
        console.print(_traffic_table(traffic))
        requests, moved = _total(traffic)
        whole = state.whole_files(selection)
        lines = {"moved": f"{size(moved)} in {requests:,} requests, over all runs"}
        if whole.all.bytes:
            lines["instead of"] = _instead(whole.all.bytes, moved, estimated=whole.all.estimated > 0)
            lines["clear scenes only"] = f"{size(whole.saved.bytes)} in {whole.saved.files:,} whole files"
        console.print(facts(lines))
    _show_searches(console, state)
    _show_unheld(console, config, _unheld(state, config, counts))
    problems = list(state.problems())
    failures = [problem for problem in problems if problem.status == Status.FAILED]
    if failures:
        shown = [[p.area, p.item, p.reason] for p in failures[:PROBLEMS_SHOWN]]
        console.print()
        console.print(table("Failed", {"area": "text", "item": "id", "reason": "text"}, shown))
        if len(failures) > len(shown):
            console.print(Text(f"and {len(failures) - len(shown):,} more; --json lists them all"))


def as_json(state: Ledger, config: Config, run: Summary | None = None) -> dict[str, Any]:
    """What ``--json`` prints: the tables of ``status``, every failure, and the run if one just ended."""
    selection = config.selection()
    counts = state.counts(selection)
    whole, without = state.whole_files(selection), state.without(selection)
    alarm = state.alarm(counts, selection)
    found: dict[str, Any] = {
        "jobs": dict(counts.total),
        "reasons": {
            status: {str(cause): jobs for cause, jobs in causes.items()}
            for status, causes in without.by_status.items()
        },
        "saved_without": [
            {"asset": asset, "cause": str(cause), "jobs": jobs} for (asset, cause), jobs in without.saved.items()
        ],
        "alarms": [told.text for told in (run.alarms if run else [alarm] if alarm else [])],
        "areas": [{"name": area.name, "jobs": dict(area.by_status)} for area in counts.areas],
        "traffic": [
            {"stage": t.stage, "asset": t.asset, "use": str(t.use), "requests": t.requests, "bytes": t.bytes}
            for t in state.traffic()
        ],
        "whole_files": {
            name: {"files": s.files, "bytes": s.bytes, "estimated": s.estimated, "unknown": s.unknown}
            for name, s in (("opened", whole.opened), ("all", whole.all), ("saved", whole.saved))
        },
        "searches": [
            {"search": s.label, "complete": s.complete, "items": s.items, "reason": s.reason}
            for s in state.searches()
        ],
        "unheld": [
            {"area": area.name, "percent": hints.floored(area.share)} for area in _unheld(state, config, counts)
        ],
        "problems": [
            {"area": p.area, "item": p.item, "status": p.status, "cause": p.cause, "reason": p.reason}
            for p in state.problems()
        ],
        "lacking": [
            {
                "area": row.area,
                "item": row.item,
                "status": row.status,
                "asset": row.asset,
                "cause": str(row.cause),
                "reason": row.reason,
                "tries": row.tries,
            }
            for row in state.lacking(selection)
        ],
        "output": str(config.output.folder),
        "state": str(config.run.state),
    }
    if run is not None:
        found["run"] = {
            "done": {str(status): count for status, count in run.done.items()},
            "seconds": round(run.seconds, 3),
            "requests": run.requests,
            "bytes": run.bytes,
            "cut_short": run.cut_short,
            "index": str(run.index),
        }
    return found


def _traffic_table(traffic: Sequence[Traffic]) -> Any:
    sums: dict[tuple[str, str], dict[Use, int]] = defaultdict(lambda: defaultdict(int))
    requests: dict[tuple[str, str], int] = defaultdict(int)
    for entry in traffic:
        sums[entry.stage, entry.asset][entry.use] += entry.bytes
        requests[entry.stage, entry.asset] += entry.requests
    rows = [
        [f"{stage} {asset}".strip(), f"{requests[stage, asset]:,}", *(size(by_use[use]) for use in Use)]
        for (stage, asset), by_use in sorted(sums.items())
    ]
    columns = {"stage": "text", "requests": "number"} | {str(use): "number" for use in Use}
    return table("Traffic", columns, rows)


def _show_searches(console: Console, state: Ledger) -> None:
    searches = state.searches()
    incomplete = [report for report in searches if not report.complete]
    if searches:
        console.print(
            Text(f"searches of the last run: {len(searches) - len(incomplete)} of {len(searches)} complete")
        )
    _show_incomplete(console, incomplete)


def _unheld(state: Ledger, config: Config, counts: Counts) -> tuple[Unheld, ...]:
    """The areas that no scene holds; none while there may be scenes that nobody has read yet."""
    known = not counts.open and all(report.complete for report in state.searches())
    return state.unheld(config.limits()) if known else ()


def _show_unheld(console: Console, config: Config, areas: Sequence[Unheld]) -> None:
    for text in hints.unheld(areas, config.clouds.min_area_valid):
        console.print(Text(safe(text), style="yellow"))


def _show_incomplete(console: Console, reports: Sequence[SearchReport]) -> None:
    """One line for each reason: when a server is down, every search says the same."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        by_reason[report.reason].append(report.label)
    for reason, labels in by_reason.items():
        what = "a search is" if len(labels) == 1 else f"{len(labels):,} searches are"
        named = "; ".join(labels[:LABELS_SHOWN]) + ("; ..." if len(labels) > LABELS_SHOWN else "")
        console.print(Text(safe(f"{what} incomplete: {reason} ({named})"), style="red"))


def _short(path: Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _instead(whole: int, moved: int, *, estimated: bool) -> str:
    times = f", {whole / moved:,.0f} times as much" if moved else ""
    return f"{'about ' if estimated else ''}{size(whole)} for the whole files{times}"


def _total(traffic: Sequence[Traffic]) -> tuple[int, int]:
    return sum(entry.requests for entry in traffic), sum(entry.bytes for entry in traffic)


def _statuses(done: dict[Status, int]) -> str:
    return "   ".join(f"{done[status]:,} {status}" for status in Status if done.get(status))


def _reasons(by_status: Mapping[str, Mapping[Cause, int]], without: Mapping[tuple[str, Cause], int]) -> list[str]:
    """Why jobs lack files, in lines."""
    lines = [
        f"{sum(causes.values()):,} {status}: {counted(causes)}"
        for status in (Status.MISSING, Status.FAILED)
        if (causes := by_status.get(status))
    ]
    by_asset: dict[str, dict[Cause, int]] = defaultdict(dict)
    for (asset, cause), jobs in without.items():
        by_asset[asset][cause] = jobs
    if by_asset:
        told = "; ".join(f"{asset} {counted(causes)}" for asset, causes in sorted(by_asset.items()))
        lines.append(f"saved, but without: {told}")
    return [safe(line) for line in lines]


def _km2(value: float) -> str:
    return f"{value:.2g} km2" if value < 10 else f"{value:,.0f} km2"
