"""The state on the terminal: what `status` shows."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2async.areas.edits import named_season
from s2async.areas.faults import Changes, listed
from s2async.causes import Cause
from s2async.cli import hints, status_lines
from s2async.cli.console import short, status_word, table
from s2async.cli.status import unheld, values
from s2async.config.model import Config
from s2async.config.sections import VALUES_TABLE
from s2async.models import Status, Traffic, Use
from s2async.state.reader import Ledger
from s2async.state.records import OPEN, AreaCounts, Counts, Problem, ValueTotals
from s2async.text import safe, size

NO_SCREEN: Final = 40
"""Number of lines if the output is not a terminal."""
REMARK_ROWS: Final = 2
"""Maximum number of screen lines of a remark; -v shows it in full."""
PROBLEMS_READ: Final = 1000
"""Maximum number of failed and missing jobs read for examples, and listed with -v; the JSON output has more."""
GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark for the user, on one line."""

    text: str
    style: str = "yellow"
    rank: int = 0
    """Number of remarks of the same kind before it. If there is no room for all, one of each kind comes first."""


def show_status(
    console: Console, state: Ledger, config: Config, *, changed: str = "", verbose: bool = False
) -> None:
    """Print the totals, what is wrong, the traffic, and as many areas and failed jobs as fit on the screen.

    Args:
        console: where to print.
        state: state of the configuration.
        config: settings.
        changed: how the areas differ from those of the last run.
        verbose: print everything, however long it is.
    """
    selection = config.selection()
    counts = state.counts(selection)
    totals = values(state, config)
    problems = state.problems(PROBLEMS_READ)
    failures = [problem for problem in problems if problem.status == Status.FAILED]
    notes = _remarks(state, config, counts, problems, totals, changed=changed)
    if verbose:
        _print(console, _headline(state, config, counts))
        for note in notes:
            console.print(Text(note.text, style=note.style))
        _show_changes(console, state.changes())
        if traffic := state.traffic():
            console.print()
            console.print(_traffic_table(traffic))
        _print(
            console,
            [
                "",
                *_facts(state, config, totals),
                "",
                *areas_table(config, counts, counts.areas, console.width),
                "",
            ],
        )
        more = counts.total.get(Status.FAILED, 0) - len(failures)
        _print(console, [f"failed{GAP}{_failure(problem)}" for problem in failures])
        _print(console, [f"and {more:,} more failed jobs; --json lists them"] * (more > 0))
        return
    notes += _changes_in_short(state.changes())
    rows = (console.height if console.is_terminal else NO_SCREEN) - 1  # one line is needed for the prompt
    head, end = _headline(state, config, counts), _facts(state, config, totals)
    rows -= sum(_height(console, line) for line in (*head, *end))
    _print(console, head)
    rows -= _show_remarks(console, notes, rows // 2, config)
    _print(console, end)
    _show_room(console, config, counts, failures, rows)


def show_areas(console: Console, state: Ledger, config: Config) -> None:
    """Print the jobs of every area, one line for each area."""
    counts = state.counts(config.selection())
    # without rich, which would take a second for 10,000 lines
    for line in areas_table(config, counts, counts.areas, console.width):
        console.file.write(f"{line.rstrip()}\n")


def areas_table(config: Config, counts: Counts, areas: Sequence[AreaCounts], width: int) -> Iterator[str]:
    """Yield a heading, and a line for each area, without rich's tables, which take a millisecond per line.

    Args:
        config: settings.
        counts: counts of all areas, which determine the columns.
        areas: areas to list.
        width: width of the screen; longer names are cut.
    """
    keys = _columns(counts)
    room = max(8, width - sum(max(len(key), 5) + len(GAP) for key in keys))
    names = [safe(named_season(area.name, area.start, area.end)) for area in areas]
    room = min(room, max(map(cell_len, names), default=0) + 1)

    def line(name: str, cells: Iterable[str]) -> str:
        numbers = (f"{cell:>{max(len(key), 5)}}" for key, cell in zip(keys, cells, strict=True))
        return GAP.join((name, *numbers))

    yield line(set_cell_size("area", room), (status_word(key, crops=bool(config.output.assets)) for key in keys))
    for area, name in zip(areas, names, strict=True):
        yield line(
            set_cell_size(_shortened(name, room), room), (f"{area.by_status.get(key, 0):,}" for key in keys)
        )


def _columns(counts: Counts) -> list[str]:
    """Return the statuses that tables show, including open jobs."""
    statuses = [str(status) for status in Status if status is not Status.DUPLICATE or counts.total.get(status)]
    return [*statuses, OPEN]


def _headline(state: Ledger, config: Config, counts: Counts) -> list[str]:
    keys, crops = _columns(counts), bool(config.output.assets)
    areas = "1 area" if len(counts.areas) == 1 else f"{len(counts.areas):,} areas"
    whole = f"{sum(counts.total.values()):,} jobs (one area in one scene) of {areas}"
    jobs = ((counts.total.get(key, 0), status_word(key, crops=crops)) for key in keys)
    told = "   ".join(f"{count:,} {word}" for count, word in jobs if count)
    lines = [whole, *([GAP + told] if told else [])]
    if (saved := counts.total.get(Status.SAVED, 0)) != (days := state.clear_days()):
        word = status_word(Status.SAVED, crops=crops)
        lines.append(f"{GAP}the {saved:,} {word} jobs are {days:,} clear days (one area on one day)")
    return lines


def _facts(state: Ledger, config: Config, totals: ValueTotals | None) -> list[str]:
    """Return labelled lines about values, traffic, searches and state."""
    traffic, searches = state.traffic(), state.searches()
    found = {}
    if totals:
        path = config.output.folder / VALUES_TABLE
        found["values"] = short(path) if path.exists() else f"a run that ends writes {short(path)}"
        found["rows"] = status_lines.values_line(totals)
    if traffic:
        requests, moved = status_lines.total(traffic)
        whole = state.whole_files(config.selection())
        found["traffic"] = f"{size(moved)} in {requests:,} requests, over all runs"
        if whole.all.bytes:
            found["instead of"] = status_lines.instead(whole.all.bytes, moved, estimated=whole.all.estimated > 0)
            found["clear only"] = f"{size(whole.saved.bytes)} in {whole.saved.files:,} whole files of clear scenes"
    if searches:
        complete = sum(report.complete for report in searches)
        found["searches"] = f"{complete:,} of {len(searches):,} complete in the last run"
    return [f"{label:10}{GAP}{text}" for label, text in found.items()]


def _remarks(
    state: Ledger,
    config: Config,
    counts: Counts,
    problems: Sequence[Problem],
    totals: ValueTotals | None,
    *,
    changed: str,
) -> list[Remark]:
    """Return what the user should know, in order of gravity."""
    selection, crops = config.selection(), bool(config.output.assets)
    without, alarm = state.without(selection), state.alarm(counts, selection)
    incomplete = [report for report in state.searches() if not report.complete]
    kinds = [
        ("red", [alarm.text] if alarm else []),
        ("red", status_lines.incomplete_lines(incomplete)),
        ("yellow", [changed] if changed else []),
        *(("yellow", [line]) for line in status_lines.reasons(without.by_status, without.saved, crops=crops)),
        ("yellow", examples(problems, every=len(problems) < PROBLEMS_READ)),
        ("yellow", [status_lines.doubt_line(doubt) for doubt in state.doubts(selection)]),
        ("yellow", [status_lines.doubt_line(doubt) for doubt in (totals.doubts if totals else ())]),
        ("yellow", hints.unheld(unheld(state, config, counts), config.clouds.min_area_valid)),
    ]
    return [Remark(safe(text), style, rank) for style, texts in kinds for rank, text in enumerate(texts)]


def _changes_in_short(changes: Changes) -> list[Remark]:
    """Return which areas of the configuration were left out or repaired; of each kind, only the first is named."""
    found = []
    for what, remarks in (("left out", changes.skipped), ("repaired", changes.repaired)):
        if len(remarks) == 1:
            found.append(Remark(safe(f"1 area was {what}: {remarks[0]}")))
        elif remarks:
            found.append(Remark(safe(f"{len(remarks):,} areas were {what}, such as {remarks[0]}")))
    return found


def _show_remarks(console: Console, notes: Sequence[Remark], rows: int, config: Config) -> int:
    """Print as many remarks as there is room for, shortened if they are long; return the number of lines used."""
    used = 0
    if sum(_height(console, _shortened(note.text, console.width * REMARK_ROWS - 8)) for note in notes) > rows:
        notes = sorted(notes, key=lambda note: note.rank)
    for number, note in enumerate(notes):
        text = _shortened(note.text, console.width * REMARK_ROWS - 8)
        height = _height(console, text)
        if used + height > rows - 1 and (number + 1 < len(notes) or used + height > rows):
            more = len(notes) - number
            console.print(Text(f"and {more:,} more remark{'s' * (more > 1)}: {config.command('status -v')}"))
            return used + 1
        console.print(Text(text, style=note.style))
        used += height
    return used


def _show_room(console: Console, config: Config, counts: Counts, failures: Sequence[Problem], rows: int) -> None:
    """Print areas and failed jobs in the remaining lines; if there is no room for all, some of each."""
    least = min(len(counts.areas), 4) + 3
    failed = counts.total.get(Status.FAILED, 0)
    listed = failures[: max(int(rows > 7), rows - min(len(counts.areas) + 2, max(least, rows // 2)) - 2)]
    if listed:
        rows -= len(listed) + 1
        rows -= failed > len(listed)
    shown = min(len(counts.areas), rows - 2)
    if 0 < shown < len(counts.areas):
        shown -= 1  # the line that says how many more areas there are
    if shown > 0:
        first = counts.areas[:shown]
        if shown < len(counts.areas):
            first = tuple(heapq.nsmallest(shown, counts.areas, key=_gravity))
        _print(console, ["", *areas_table(config, counts, first, console.width)])
        if more := len(counts.areas) - shown:
            _print(
                console,
                [_shortened(f"and {more:,} more areas: {config.command('status --areas')}", console.width)],
            )
    if listed:
        _print(console, ["", *(_shortened(f"failed{GAP}{_failure(p)}", console.width) for p in listed)])
        if more := failed - len(listed):
            _print(
                console,
                [_shortened(f"and {more:,} more failed jobs: {config.command('status -v')}", console.width)],
            )


def _gravity(area: AreaCounts) -> tuple[int, ...]:
    """Return a sort key: areas with most failed jobs first, then with most missing and open ones; then by name."""
    return tuple(-area.by_status.get(status, 0) for status in (Status.FAILED, Status.MISSING, OPEN))


def _failure(problem: Problem) -> str:
    return safe(GAP.join((problem.area, problem.item, problem.reason)))


def _shortened(text: str, cells: int) -> str:
    """Return a string of at most the given number of columns."""
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 3).rstrip() + "..."


def _height(console: Console, line: str) -> int:
    return max(1, len(Text(line).wrap(console, console.width)))


def _print(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(Text(line.rstrip()))


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


def examples(problems: Sequence[Problem], *, every: bool = True) -> list[str]:
    """Return lines that name a scene for each cause of missing files; failures are listed one by one.

    Args:
        problems: failed and missing jobs.
        every: whether these are all such jobs, so that scenes can be counted.
    """
    by_cause: dict[Cause, dict[str, None]] = defaultdict(dict)
    for problem in problems:
        if problem.status == Status.MISSING and problem.cause:
            by_cause[Cause(problem.cause)][problem.item] = None
    lines = []
    for cause, scenes in sorted(by_cause.items()):
        first = min(scenes)
        lines.append(
            f"  {cause.words}: {first}{f', the first of {len(scenes):,} scenes' * (every and len(scenes) > 1)}"
        )
    return [safe(line) for line in lines]
