"""The state as tables on the terminal, and lines that the summary of a run also shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2async.areas.edits import named_season
from s2async.areas.faults import Changes, listed
from s2async.cli import hints
from s2async.cli.console import facts, table
from s2async.cli.status import unheld
from s2async.config.model import Config
from s2async.models import Cause, SearchReport, Status, Traffic, Use
from s2async.reasons import counted
from s2async.state.reader import Ledger
from s2async.state.records import OPEN, Doubt, Problem, Unheld
from s2async.text import safe, size

AREAS_SHOWN = 30
"""Rows of the table of jobs: rich takes almost a millisecond for each. The JSON output has every area."""
LABELS_SHOWN = 3
"""Searches listed of those that are incomplete for the same reason."""
PROBLEMS_SHOWN = 20
"""Failed jobs listed; the JSON output has them all."""


def show_status(console: Console, state: Ledger, config: Config) -> None:
    """Print tables of jobs, traffic, searches and failures."""
    selection = config.selection()
    counts = state.counts(selection)
    columns = [str(status) for status in Status if status is not Status.DUPLICATE or counts.total.get(status)]
    columns.append(OPEN)
    told = [(named_season(area.name, area.start, area.end), area.by_status) for area in counts.areas[:AREAS_SHOWN]]
    if more := counts.areas[AREAS_SHOWN:]:
        told.append((f"and {len(more):,} more", sum((Counter(area.by_status) for area in more), Counter())))
    if len(told) != 1:
        told.append(("all", counts.total))
    rows = [[name, *(f"{jobs.get(key, 0):,}" for key in columns)] for name, jobs in told]
    console.print(table("Jobs (one area in one scene)", {"area": "text"} | dict.fromkeys(columns, "number"), rows))
    if (saved := counts.total.get(Status.SAVED, 0)) != (days := state.clear_days()):
        console.print(Text(f"the {saved:,} saved jobs are {days:,} days: some days have several scenes"))
    _show_changes(console, state.changes())
    without = state.without(selection)
    problems = list(state.problems())
    for line in [*reasons(without.by_status, without.saved), *examples(problems)]:
        console.print(Text(line, style="yellow"))
    show_doubts(console, state.doubts(selection))
    if alarm := state.alarm(counts, selection):
        console.print(Text(safe(alarm.text), style="red"))
    traffic = state.traffic()
    if traffic:
        console.print()
        console.print(_traffic_table(traffic))
        requests, moved = total(traffic)
        whole = state.whole_files(selection)
        lines = {"traffic": f"{size(moved)} in {requests:,} requests, over all runs"}
        if whole.all.bytes:
            lines["instead of"] = instead(whole.all.bytes, moved, estimated=whole.all.estimated > 0)
            lines["clear scenes only"] = f"{size(whole.saved.bytes)} in {whole.saved.files:,} whole files"
        console.print(facts(lines))
    _show_searches(console, state)
    show_unheld(console, config, unheld(state, config, counts))
    failures = [problem for problem in problems if problem.status == Status.FAILED]
    if failures:
        shown = [[p.area, p.item, p.reason] for p in failures[:PROBLEMS_SHOWN]]
        console.print()
        console.print(table("Failed", {"area": "text", "item": "id", "reason": "text"}, shown))
        if len(failures) > len(shown):
            console.print(Text(f"and {len(failures) - len(shown):,} more; --json lists them all"))


def _show_changes(console: Console, changes: Changes) -> None:
    """Print which areas of the configuration were left out or repaired."""
    for what, remarks in (("left out", changes.skipped), ("repaired", changes.repaired)):
        if remarks:
            were = "area was" if len(remarks) == 1 else "areas were"
            lines = [f"{len(remarks):,} {were} {what}:", *listed("", remarks)]
            console.print(Text("\n".join(map(safe, lines)), style="yellow"), soft_wrap=True)


def _traffic_table(traffic: Sequence[Traffic]) -> Table:
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
    show_incomplete(console, incomplete)


def show_unheld(console: Console, config: Config, areas: Sequence[Unheld]) -> None:
    """Print why no date can give a crop of some areas."""
    for text in hints.unheld(areas, config.clouds.min_area_valid):
        console.print(Text(safe(text), style="yellow"))


def show_doubts(console: Console, doubts: Sequence[Doubt]) -> None:
    """Print which crops of reflectance bands have an offset that is not certain, and why."""
    for doubt in doubts:
        console.print(Text(safe(doubt_line(doubt)), style="yellow"))


def doubt_line(doubt: Doubt) -> str:
    """One line about crops whose offset is not certain."""
    crops = "1 crop" if doubt.crops == 1 else f"{doubt.crops:,} crops"
    scenes = "1 scene" if doubt.scenes == 1 else f"{doubt.scenes:,} scenes"
    state = "" if doubt.untold else f" {doubt.basis}:" if doubt.basis in _UNSURE else " in doubt:"
    return f"offset of {crops} of {scenes} ({doubt.item}){state or ':'} {doubt.text}"


_UNSURE: Final = ("doubtful", "unknown")
"""Bases of offsets that are not certain."""


def show_incomplete(console: Console, reports: Sequence[SearchReport]) -> None:
    """Print one line for each reason: when a server is down, all searches have the same one."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        by_reason[report.reason].append(report.label)
    for reason, labels in by_reason.items():
        what = "a search is" if len(labels) == 1 else f"{len(labels):,} searches are"
        named = "; ".join(labels[:LABELS_SHOWN]) + ("; ..." if len(labels) > LABELS_SHOWN else "")
        console.print(Text(safe(f"{what} incomplete: {reason} ({named})"), style="red"))


def instead(whole: int, moved: int, *, estimated: bool) -> str:
    """The size of the whole files, in bytes, in words and as a multiple of the bytes that were transferred."""
    times = f", which is {whole / moved:,.0f} times the traffic" if moved else ""
    return f"{'about ' if estimated else ''}{size(whole)} for the whole files{times}"


def examples(problems: Sequence[Problem]) -> list[str]:
    """Lines that name a scene for each cause of missing files; failures are listed one by one."""
    by_cause: dict[Cause, dict[str, None]] = defaultdict(dict)
    for problem in problems:
        if problem.status == Status.MISSING and problem.cause:
            by_cause[Cause(problem.cause)][problem.item] = None
    lines = []
    for cause, scenes in sorted(by_cause.items()):
        first = min(scenes)
        lines.append(f"  {cause.words}: {first}{f', the first of {len(scenes):,} scenes' * (len(scenes) > 1)}")
    return [safe(line) for line in lines]


def total(traffic: Sequence[Traffic]) -> tuple[int, int]:
    """Requests and bytes of all traffic."""
    return sum(entry.requests for entry in traffic), sum(entry.bytes for entry in traffic)


def reasons(by_status: Mapping[str, Mapping[Cause, int]], without: Mapping[tuple[str, Cause], int]) -> list[str]:
    """Lines about why jobs lack files."""
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
