"""The output of a run before its first and after its last request: where the areas are, and how the run ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from s2async.areas import loader as area_files
from s2async.causes import Cause
from s2async.cli import hints, status_lines
from s2async.cli.console import facts, short, status_word
from s2async.cli.status import values
from s2async.config.model import Config
from s2async.engine.limits import LimitName
from s2async.engine.progress import Summary
from s2async.events import SearchReport
from s2async.geo import bounds, sizes_km2
from s2async.models import Area, Status
from s2async.state.reader import Ledger
from s2async.state.records import Doubt, Unheld
from s2async.text import degrees, duration, safe, size, surface

_LIMITS: Mapping[LimitName, str] = {"jobs": "--limit", "bytes": "--max-bytes", "seconds": "--max-time"}
"""The option that sets each limit of a run."""
LINES_SHOWN: Final = 5
"""Maximum number of lines of one kind in the summary."""


def where(areas: Sequence[Area]) -> str:
    """Return one line with number, extent and size of the areas, so that a wrong position is easy to notice."""
    west, south, east, north = bounds(areas)
    extent = f"{degrees(south, 'SN')} to {degrees(north, 'SN')}, {degrees(west, 'WE')} to {degrees(east, 'WE')}"
    least, most = map(surface, sizes_km2(areas))
    range_ = least if least == most else f"{least} to {most}"
    return f"{len(areas):,} area{'s' * (len(areas) > 1)}: {extent}; {range_}{' each' * (len(areas) > 1)}"


def show_run(console: Console, state: Ledger, config: Config, areas: Sequence[Area], run: Summary) -> None:
    """Print the summary of a run that has ended."""
    whole = state.whole_files(config.selection())
    totals = values(state, config)
    done = sum(run.done.values())
    console.print(Text(f"{done:,} jobs processed in {duration(run.seconds)}", style="bold"))
    if done:
        console.print(Text("  " + _statuses(config, run.done)))
    by_status: dict[str, dict[Cause, int]] = defaultdict(dict)
    for (status, cause), jobs in run.causes.items():
        by_status[status][cause] = jobs
    for line in status_lines.reasons(by_status, run.without, crops=bool(config.output.assets)):
        console.print(Text(f"  {line}", style="yellow"))
    rows = {}
    if config.output.assets:
        rows["crops"] = f"{short(config.output.folder)}/<area>/<item>_<asset>.tif{_each(config)}"
        rows["index"] = short(run.index)
    if run.values and totals:
        rows |= {"values": short(run.values), "rows": status_lines.values_line(totals)}
    rows["state"] = short(config.run.state)
    rows["traffic"] = f"{size(run.bytes)} in {run.requests:,} requests in this run"
    requests, moved = status_lines.total(state.traffic())
    if requests != run.requests:  # the next line covers all runs
        rows["all runs"] = f"{size(moved)} in {requests:,} requests"
    if whole.all.bytes:
        rows["instead of"] = status_lines.instead(whole.all.bytes, moved, estimated=whole.all.estimated > 0)
    console.print(facts(rows))
    _show_doubts(console, (*state.doubts(config.selection()), *(totals.doubts if totals else ())))
    _show_incomplete(console, run.incomplete)
    if run.failed:
        console.print(
            Text(f"{run.failed:,} jobs have failed so far; s2async status lists them with reasons", style="red")
        )
    if left := _left(run):
        console.print(Text(left))
    if run.sceneless and not run.found_nothing and not run.incomplete and not run.left and not run.cut_short:
        named = ", ".join(run.sceneless[: area_files.NAMED]) + ", ..." * (len(run.sceneless) > area_files.NAMED)
        count = "1 area" if len(run.sceneless) == 1 else f"{len(run.sceneless):,} areas"
        console.print(Text(safe(f"no scene was found for {count}: {named}"), style="yellow"))
    _show_unheld(console, config, run.unheld)
    if run.found_nothing and not run.incomplete:
        starts, ends = [area.start for area in areas if area.start], [area.end for area in areas if area.end]
        first = min(starts) if len(starts) == len(areas) else None
        last = max(ends) if len(ends) == len(areas) else None
        why = hints.nothing_found(
            config, where(areas), bounds(areas), now=datetime.now(UTC), seasons=(first, last)
        )
        console.print(Text(safe(why), style="yellow"))


def _left(run: Summary) -> str:
    """Return what is left after a run, and which limit ended it; empty if nothing is left."""
    why = f"{_LIMITS[run.limit]} ended the run" if run.limit else ""
    if run.cut_short:
        least = f"at least {run.left:,} jobs are left" if run.left else "there may be more jobs"
        return f"{least}: {why or 'the search was ended'}; run again to go on"
    if run.left:
        return f"{run.left:,} jobs are left{why and f': {why}'}; run again to go on"
    return ""


def unclean(config: Config, run: Summary) -> str:
    """Return one line about a run that is not `clean`, for use if no summary is printed."""
    what = []
    if run.failed:
        what.append("1 job has failed so far" if run.failed == 1 else f"{run.failed:,} jobs have failed so far")
    if run.incomplete:
        count = len(run.incomplete)
        what.append("a search is incomplete" if count == 1 else f"{count:,} searches are incomplete")
    return f"{', and '.join(what)}; {config.command('status')} lists them with reasons"


def _each(config: Config) -> str:
    """Return how many crops a saved job has.

    The text is empty for one crop, because the numbers of jobs and crops are then the same.
    """
    assets = len(config.output.assets)
    return f", {assets} for each saved job" if assets > 1 else ""


def _statuses(config: Config, done: dict[Status, int]) -> str:
    words = {status: status_word(status, crops=bool(config.output.assets)) for status in Status}
    return "   ".join(f"{done[status]:,} {word}" for status, word in words.items() if done.get(status))


def _show_unheld(console: Console, config: Config, areas: Sequence[Unheld]) -> None:
    """Print why no date can give a crop for some areas."""
    for text in hints.unheld(areas, config.clouds.min_area_valid):
        console.print(Text(safe(text), style="yellow"))


def _show_doubts(console: Console, doubts: Sequence[Doubt]) -> None:
    """Print which crops of reflectance bands have an uncertain offset, and why."""
    _show_first(console, [status_lines.doubt_line(doubt) for doubt in doubts], "yellow", "doubts about offsets")


def _show_incomplete(console: Console, reports: Sequence[SearchReport]) -> None:
    """Print which searches are incomplete, and why."""
    _show_first(console, status_lines.incomplete_lines(reports), "red", "reasons why searches are incomplete")


def _show_first(console: Console, lines: Sequence[str], style: str, what: str) -> None:
    """Print the first lines, and how many others there are."""
    for text in lines[:LINES_SHOWN]:
        console.print(Text(safe(text), style=style))
    if len(lines) > LINES_SHOWN:
        console.print(Text(f"and {len(lines) - LINES_SHOWN:,} more {what}: s2async status -v lists them"))
