"""The command status: the state as tables or as JSON."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from s2async.areas.edits import season_days
from s2async.cli import hints, outdated
from s2async.config.model import Config
from s2async.config.sections import VALUES_TABLE
from s2async.maintenance.guards import opened
from s2async.models import Status
from s2async.state.reader import Ledger
from s2async.state.records import Counts, Unheld, ValueTotals

if TYPE_CHECKING:  # importing it loads the network accounting
    from s2async.engine.progress import Summary


PIECES: Final = 4096
"""Number of JSON pieces that are printed at once: about 50 kB."""
MOST_LISTED: Final = 100_000
"""Maximum number of entries in each list of jobs in JSON; ``omitted`` says how many others there are."""


def show(path: Path, *, as_json: bool, areas: bool = False, verbose: bool = False) -> None:
    """Print the state of a configuration.

    Args:
        path: the configuration.
        as_json: print JSON instead of text.
        areas: print a line for each area instead.
        verbose: print everything, not only what fits on a screen.

    Raises:
        ConfigError: there is no state, or it or the output folder belongs to another configuration.
        StateError: the state cannot be used.
    """
    config = Config.load(path)
    with opened(config) as state:
        told = outdated.changed(config, state)
        if as_json:
            print_json(to_json(state, config, changed=told))
            return
        from s2async.cli import console, status_tables  # rich is not needed for JSON

        if areas:
            status_tables.show_areas(console.standard_output(), state, config)
            return
        status_tables.show_status(console.standard_output(), state, config, changed=told, verbose=verbose)


def print_json(value: object) -> None:
    """Print a value as JSON, piece by piece, because for 100,000 areas all pieces take more memory than a run."""
    pieces = json.JSONEncoder(indent=2).iterencode(value)
    while some := "".join(islice(pieces, PIECES)):
        sys.stdout.write(some)
    print(flush=True)


def to_json(state: Ledger, config: Config, run: Summary | None = None, *, changed: str = "") -> dict[str, Any]:
    """Return the state as JSON values: the tables of ``status``, every failure, and the run if one just ended.

    Args:
        state: state of the configuration.
        config: settings.
        run: the run that just ended.
        changed: how the areas differ from those of the last run; see `outdated`.
    """
    selection = config.selection()
    counts = state.counts(selection)
    whole, without = state.whole_files(selection), state.without(selection)
    alarm = state.alarm(counts, selection)
    changes = state.changes()
    lacking = state.lacking(selection)
    listed = state.problems(MOST_LISTED)
    troubled = sum(counts.total.get(status, 0) for status in (Status.FAILED, Status.MISSING))
    found: dict[str, Any] = {
        "jobs": dict(counts.total),
        "clear_days": state.clear_days(),
        "reasons": {
            status: {str(cause): jobs for cause, jobs in causes.items()}
            for status, causes in without.by_status.items()
        },
        "saved_without": [
            {"asset": asset, "cause": str(cause), "jobs": jobs} for (asset, cause), jobs in without.saved.items()
        ],
        "alarms": [told.text for told in (run.alarms if run else [alarm] if alarm else [])],
        "areas": [
            {"name": area.name, **season_days(area.start, area.end), "jobs": area.by_status}
            for area in counts.areas
        ],
        "areas_changed": changed,
        "skipped": [{"area": r.name, "place": r.place, "reason": r.text} for r in changes.skipped],
        "repaired": [{"area": r.name, "place": r.place, "repair": r.text} for r in changes.repaired],
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
            {"area": area.name, "percent": hints.floored(area.share)} for area in unheld(state, config, counts)
        ],
        "problems": [
            {"area": p.area, "item": p.item, "status": p.status, "cause": p.cause, "reason": p.reason}
            for p in listed
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
            for row in lacking[:MOST_LISTED]
        ],
        "omitted": {
            "problems": max(0, troubled - len(listed)) if len(listed) == MOST_LISTED else 0,
            "lacking": max(0, len(lacking) - MOST_LISTED),
        },
        "offsets": [
            {"crops": d.crops, "scenes": d.scenes, "item": d.item, "basis": d.basis, "reason": d.text}
            for d in state.doubts(selection)
        ],
        "values": _values(state, config),
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
            "limit": run.limit,
            "left": run.left,
            "index": str(run.index),
            **({"values": str(run.values)} if run.values else {}),
        }
    return found


def _values(state: Ledger, config: Config) -> dict[str, Any] | None:
    """Return the size of the table of values, and the uncertain offsets; None if no values are wanted."""
    totals = values(state, config)
    if totals is None:
        return None
    table = config.output.folder / VALUES_TABLE
    return {
        "table": str(table) if table.exists() else None,
        "dates": totals.dates,
        "rows": totals.rows,
        "scenes": totals.scenes,
        "offsets": [
            {"dates": d.crops, "scenes": d.scenes, "item": d.item, "basis": d.basis, "reason": d.text}
            for d in totals.doubts
        ],
    }


def values(state: Ledger, config: Config) -> ValueTotals | None:
    """Count the values; None if no values are wanted."""
    if config.values is None:
        return None
    from s2async.export.values import asking  # imports array libraries

    return state.values(asking(config))


def unheld(state: Ledger, config: Config, counts: Counts) -> tuple[Unheld, ...]:
    """Return the areas that no scene covers; none as long as scenes may be unread."""
    known = not counts.open and all(report.complete for report in state.searches())
    return state.unheld(config.cloud_rule()) if known else ()
