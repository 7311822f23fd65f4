"""A plan in words, in a table and as JSON."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from typing import Any

from rich.console import Console
from rich.text import Text

from s2async.areas.edits import season_days, told_apart
from s2async.cli.console import facts, table
from s2async.plan.costs import Range
from s2async.plan.forecast import AreaPlan, Plan
from s2async.plan.survey import Surveyed
from s2async.text import duration, safe, size

AREAS_SHOWN = 30
"""Maximum number of rows of the table; the JSON output has every area."""
MONTHS_SHOWN = 12
"""Maximum number of columns for months; a longer period is shown by years."""
HOPELESS_SHOWN = 5


def show(console: Console, found: Surveyed, *, connections: int, bandwidth: float, crops: bool = True) -> None:
    """Print a plan.

    Args:
        console: console for the results.
        found: the plan.
        connections: number of connections that the time estimate assumes.
        bandwidth: bandwidth that the time estimate assumes, in Mbit/s.
        crops: whether crops are wanted; without them, jobs are counted as clear, not as kept.
    """
    plan, word = found.plan, "kept" if crops else "clear"
    if found.empty:
        console.print(Text(safe(why_none(found)), style="red"), soft_wrap=True)
        return
    if plan.jobs:
        console.print(_table(plan, word))
        console.print()
    console.print(Text(_headline(plan, word), style="bold"))
    basis = (
        f"{found.experience:,} scenes measured before" if found.experience else "the cloud cover of whole scenes"
    )
    searches = {"searches": _searches(found)} if found.searches else {}
    console.print(
        facts(
            {
                word: f"{_numbers(plan.kept)} jobs{_share(plan)}; from {basis}",
                **({"values": f"{_numbers(plan.values)} dates (one area on one day)"} if plan.values.high else {}),
                "requests": _numbers(plan.requests),
                "bytes": _sizes(plan.bytes),
                "disk": _sizes(plan.disk),
                "time": f"{_times(plan.seconds)} with {connections} connections and {bandwidth:g} Mbit/s",
                "instead of": f"{_sizes(plan.whole)} for the whole files",
                **searches,
                "this plan": f"{size(found.bytes)} in {found.requests:,} requests; nothing was written",
            }
        )
    )
    # while a search is incomplete, there may be more scenes
    named = zip(told_apart(plan.areas), plan.areas, strict=True)
    hopeless = [] if found.incomplete else [(name, area) for name, area in named if area.hopeless]
    for name, area in hopeless[:HOPELESS_SHOWN]:
        what = "no crop can be kept" if crops else "no scene can be clear"
        console.print(Text(safe(f"{name}: {what}: {area.hopeless}"), style="yellow"))
    if len(hopeless) > HOPELESS_SHOWN:
        end = "without a possible crop" if crops else "that no scene can show clear"
        console.print(Text(f"and {len(hopeless) - HOPELESS_SHOWN:,} more areas {end}"))
    for report in found.incomplete:
        console.print(Text(safe(f"a search is incomplete: {report.label}: {report.reason}"), style="red"))


def why_none(found: Surveyed) -> str:
    """Return why there is no plan, in one line, for a survey that is ``empty``."""
    first, count = found.incomplete[0], len(found.incomplete)
    if found.offline:
        reason = first.reason.removesuffix(": its jobs stay open")  # for a server that a run gives up
        return f"no plan without the network: {reason}; s2async check shows what is wrong"
    which = "a search is incomplete" if count == 1 else f"all {count:,} searches are incomplete, such as"
    return f"no plan: {which}: {first.label}: {first.reason}"


def as_json(found: Surveyed, *, connections: int, bandwidth: float) -> dict[str, Any]:
    """Return the plan as JSON values; ranges are pairs. Without a completed search, numbers are null."""
    plan, known = found.plan, not found.empty
    ranges = {
        name: [round(one.low, 3), round(one.high, 3)] if known else None
        for name, one in (
            ("kept", plan.kept),
            ("values", plan.values),
            ("requests", plan.requests),
            ("bytes", plan.bytes),
            ("disk", plan.disk),
            ("seconds", plan.seconds),
            ("whole_files", plan.whole),
        )
    }
    return {
        "scenes": plan.scenes if known else None,
        "jobs": plan.jobs if known else None,
        "answered": plan.answered if known else None,
        **ranges,
        "connections": connections,
        "megabits": bandwidth,
        "scenes_measured_before": found.experience,
        "areas": [
            {
                "name": area.name,
                **season_days(area.start, area.end),
                "jobs": area.jobs,
                "months": dict(area.months),
                "kept": [round(area.kept.low, 3), round(area.kept.high, 3)],
                "hopeless": "" if found.incomplete else area.hopeless,
            }
            for area in plan.areas
            if known
        ],
        "searches": [
            {"search": s.label, "complete": s.complete, "items": s.items, "reason": s.reason}
            for s in found.searches
        ],
        "found": {"scenes": found.found.scenes, "needed": found.found.needed},
        "plan": {"requests": found.requests, "bytes": found.bytes},
    }


def _searches(found: Surveyed) -> str:
    """Return how many searches a run makes, and how many of the scenes that they return it needs."""
    count = len(found.searches)
    who = "1 search returns" if count == 1 else f"{count:,} searches return"
    return f"{who} {found.found.scenes:,} scenes, of which {found.found.needed:,} are needed"


def _headline(plan: Plan, word: str) -> str:
    jobs = [area.jobs for area in plan.areas]
    text = f"{plan.jobs:,} jobs: {len(jobs):,} area{'s' * (len(jobs) > 1)} in {plan.scenes:,} scenes"
    if len(jobs) > 1:
        kept = Range(median(a.kept.low for a in plan.areas), median(a.kept.high for a in plan.areas))
        text += f"; a median of {median(jobs):,.0f} jobs per area, of which {_numbers(kept)} are {word}"
    return f"{text}; {plan.answered:,} are finished already" if plan.answered else text


def _table(plan: Plan, word: str) -> Any:
    """Return a table of jobs by area and month, or by year if there are too many months."""
    months = sorted({month for area in plan.areas for month in area.months})
    by_year = len(months) > MONTHS_SHOWN
    headings = {month: month[:4] if by_year else _MONTHS[int(month[5:]) - 1] for month in months}
    columns = list(dict.fromkeys(headings.values()))

    def cells(name: str, counts: Mapping[str, int], kept: Range) -> list[str]:
        sums: defaultdict[str, int] = defaultdict(int)
        for month, count in counts.items():
            sums[headings[month]] += count
        return [name, *(f"{sums[column]:,}" for column in columns), f"{sum(sums.values()):,}", _numbers(kept)]

    shown = list(zip(told_apart(plan.areas), plan.areas, strict=True))[:AREAS_SHOWN]
    rows = [cells(name, area.months, area.kept) for name, area in shown]
    if len(plan.areas) > AREAS_SHOWN:
        rows.append(cells(f"and {len(plan.areas) - AREAS_SHOWN:,} more", *_together(plan.areas[AREAS_SHOWN:])))
    if len(plan.areas) > 1:
        rows.append(cells("all", *_together(plan.areas)))
    title = f"Jobs, {months[0]} to {months[-1]}" if len(months) > 1 else f"Jobs, {months[0]}"
    return table(title, {"area": "text"} | dict.fromkeys([*columns, "all", word], "number"), rows)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _together(areas: tuple[AreaPlan, ...]) -> tuple[dict[str, int], Range]:
    months: defaultdict[str, int] = defaultdict(int)
    for area in areas:
        for month, count in area.months.items():
            months[month] += count
    return months, Range(sum(area.kept.low for area in areas), sum(area.kept.high for area in areas))


def _share(plan: Plan) -> str:
    if not plan.open:
        return ""
    return f" of {plan.open:,} ({plan.kept.low / plan.open:.0%} to {plan.kept.high / plan.open:.0%})"


def _numbers(found: Range) -> str:
    """Return a range of counts with two significant digits, because the estimate is not more precise."""
    low, high = _rounded(found.low, math.floor), _rounded(found.high, math.ceil)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _rounded(value: float, turn: Any) -> int:
    unit = 10 ** max(0, len(str(int(value))) - 2)
    return int(turn(round(value / unit, 6)) * unit)


def _sizes(found: Range) -> str:
    low, high = size(found.low), size(found.high)
    return low if low == high else f"{low} to {high}"


def _times(found: Range) -> str:
    low, high = duration(found.low), duration(found.high)
    return low if low == high else f"{low} to {high}"
