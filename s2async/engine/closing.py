"""The end of a run: decisions about files and offsets, warnings to the user, the tables, and the summary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2async._version import __version__
from s2async.alarms import Alarm
from s2async.catalog import search
from s2async.cog import memory
from s2async.config.sections import TABLE, VALUES_TABLE
from s2async.engine.context import Context
from s2async.engine.progress import Summary
from s2async.export import csv_table, values_csv
from s2async.maintenance import offsets
from s2async.models import Status
from s2async.reasons import Again
from s2async.state.records import Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What is known when all work is done, before the run is recorded as finished."""

    index: Path
    """Table of the saved crops."""
    values: Path | None
    """Table of values; None if no values are requested."""
    lacking: Alarm | None
    """Alarm that no scene offers a requested asset; None if there is no such asset."""


def settle(context: Context, token: str) -> Settled:
    """Settle the files that are denied and the offsets, and write the tables.

    Args:
        context: the context of the run.
        token: prefix of the names of temporary files.

    Raises:
        LocalError: a crop or a table cannot be written.
    """
    _settle_denied(context)
    harmonised, folder = context.selection.harmonised, context.config.output.folder
    offsets.follow(context.state, folder, harmonised=harmonised, token=token, tell=context.tell)
    _reopen_dropped(context)
    _choose_again(context)
    lacking = _lacking_alarm(context)
    absent = "" if lacking else context.lacking.told
    for text in filter(None, (absent, search.estimates_told(context.noted), context.found.told)):
        context.tell(text)
    index, of_values = _write_tables(context)
    return Settled(index=index, values=of_values, lacking=lacking)


def _write_tables(context: Context) -> tuple[Path, Path | None]:
    """Write the tables of crops and values unless they are up to date: a million crops take a minute."""
    state, folder, classes = context.state, context.config.output.folder, context.rule.spoilt
    has_values = context.values_rule is not None
    tables = [folder / TABLE, *([folder / VALUES_TABLE] if has_values else [])]
    by_values = f" {context.values_rule!r}" if has_values else ""
    basis = f"{__version__} {context.selection!r} {sorted(classes)}{by_values}"
    if not state.shows(f"{basis} {csv_table.identity(*tables)}"):
        csv_table.write_csv(state.saved_rows(context.selection), folder, classes, state.attributes())
        if has_values:
            values_csv.write_values(state, context.config)
            memory.give_back()
        state.note_table(f"{basis} {csv_table.identity(*tables)}")
    return folder / TABLE, tables[1] if has_values else None


def _reopen_dropped(context: Context) -> None:
    """Reopen jobs whose values were computed with an offset that differs from the one decided from more pixels."""
    if dropped := context.state.dropped:
        context.judge()
        context.tell(
            f"{dropped:,} dates had values with another offset than all pixels decided; "
            "the next run computes them again"
        )


def _choose_again(context: Context) -> None:
    """Decide all overpasses again if the searches have changed items, such as those of a rebuilt state."""
    state = context.state
    if state.is_regrouped and (
        chosen := state.choose_for_all(context.rule, context.selection, context.values_rule)
    ):
        context.tell(f"judged {chosen:,} jobs again by the other items of their overpasses")


def sum_up(context: Context, settled: Settled) -> Summary:
    """Return the summary of a run that is recorded as finished."""
    progress = context.progress
    counts = context.state.counts(context.selection)
    incomplete = tuple(report for report in context.noted if not report.complete)
    cut_short = progress.searches_done < progress.searches
    known = not (incomplete or cut_short or counts.open)
    return Summary(
        done=dict(progress.done),
        causes=dict(progress.causes),
        without=dict(progress.without),
        failed=counts.total.get(Status.FAILED, 0),
        left=counts.open,
        cut_short=cut_short,
        limit=context.watch.reached,
        found_nothing=not (cut_short or context.items or sum(counts.total.values())),
        sceneless=tuple(area.name for area in counts.areas if not area.by_status),
        incomplete=incomplete,
        unheld=context.state.unheld(context.rule) if known else (),
        alarms=_alarms(context, settled.lacking, counts),
        index=settled.index,
        values=settled.values,
        seconds=progress.seconds,
        requests=progress.meter.requests,
        bytes=progress.meter.bytes,
    )


def _settle_denied(context: Context) -> None:
    """Mark files as missing if they have been denied often enough."""
    if settled := context.state.settle_denied(context.servers.served, context.selection):
        asset, reason = settled[0]
        context.tell(f"{len(settled):,} crops are no longer requested, such as {asset}: {reason}")


def _lacking_alarm(context: Context) -> Alarm | None:
    """Return the alarm that no scene of this or an earlier run offers a requested asset, or None if one does."""
    progress, lacking = context.progress, context.lacking
    complete = all(report.complete for report in context.noted)
    known = complete and progress.searches_done == progress.searches
    if not (known and lacking.keys) or any(map(context.state.has_asset, lacking.keys)):
        return None
    place = lacking.place
    text = f"{context.config.place(*place)}: {place[1]}: {lacking.told}; {lacking.advice}"
    return Alarm(text=text, settings=True)


def _alarms(context: Context, lacking: Alarm | None, counts: Counts) -> tuple[Alarm, ...]:
    """Return alarms for keys and servers without any file or, if there are none, one alarm for all jobs."""

    def again(host: str) -> Again:
        return context.state.again(context.selection, host=host)

    found = (*([lacking] if lacking else []), *context.servers.alarms(again))
    whole = None if found else context.state.alarm(counts, context.selection)
    return (whole,) if whole else found
