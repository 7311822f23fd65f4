"""Lines about the state that `status` and the summary of a run share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from s2async.causes import Cause
from s2async.cli.console import status_word
from s2async.events import SearchReport
from s2async.models import Status, Traffic
from s2async.reasons import counted
from s2async.state.records import Doubt, ValueTotals
from s2async.text import safe, size

LABELS_SHOWN = 3
"""Maximum number of searches listed that are incomplete for the same reason."""
_UNSURE: Final = ("doubtful", "unknown")
"""Bases of offsets that are uncertain."""


def values_line(totals: ValueTotals) -> str:
    """Return how many rows the table of values has, and for how many dates."""
    dates = "1 date" if totals.dates == 1 else f"{totals.dates:,} dates"
    return f"{totals.rows:,} for {dates} with values (one area in one scene)"


def doubt_line(doubt: Doubt) -> str:
    """Return one line about crops with an uncertain offset."""
    crops = f"1 {doubt.what}" if doubt.crops == 1 else f"{doubt.crops:,} {doubt.what}s"
    scenes = "1 scene" if doubt.scenes == 1 else f"{doubt.scenes:,} scenes"
    state = "" if doubt.untold else f" {doubt.basis}:" if doubt.basis in _UNSURE else " in doubt:"
    return f"offset of {crops} of {scenes} ({doubt.item}){state or ':'} {doubt.text}"


def incomplete_lines(reports: Sequence[SearchReport]) -> list[str]:
    """Return one line for each reason: if a server is down, it is the same for all searches."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        by_reason[report.reason].append(report.label)
    lines = []
    for reason, labels in by_reason.items():
        what = "a search is" if len(labels) == 1 else f"{len(labels):,} searches are"
        named = "; ".join(labels[:LABELS_SHOWN]) + ("; ..." if len(labels) > LABELS_SHOWN else "")
        lines.append(f"{what} incomplete: {reason} ({named})")
    return lines


def instead(whole: int, moved: int, *, estimated: bool) -> str:
    """Return the size of the whole files, in bytes, in words and as a multiple of the transferred bytes."""
    times = f", which is {whole / moved:,.0f} times the traffic" if moved else ""
    return f"{'about ' if estimated else ''}{size(whole)} for the whole files{times}"


def total(traffic: Sequence[Traffic]) -> tuple[int, int]:
    """Return the requests and bytes of all traffic."""
    return sum(entry.requests for entry in traffic), sum(entry.bytes for entry in traffic)


def reasons(
    by_status: Mapping[str, Mapping[Cause, int]], without: Mapping[tuple[str, Cause], int], *, crops: bool = True
) -> list[str]:
    """Return lines about why jobs lack files.

    Args:
        by_status: number of missing and failed jobs, by status and cause.
        without: number of saved jobs that lack an asset, by asset and cause.
        crops: whether crops are wanted.
    """
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
        lines.append(f"{status_word(Status.SAVED, crops=crops)}, but without: {told}")
    return [safe(line) for line in lines]
