"""The data that the report and the plots read from the state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from s2async.areas.folders import span
from s2async.config.model import Config
from s2async.export.values import asking
from s2async.models import Area
from s2async.report.data import Saving, Watched, looks, saving, total
from s2async.report.series import Curve, Reading, curves
from s2async.state.reader import Ledger
from s2async.state.records import ValuePage
from s2async.zonal.wanted import COUNTS, Wanted

_DATA, _CLEAR = COUNTS.index("data_count"), COUNTS.index("clear_count")


def watched_areas(state: Ledger, config: Config, areas: Sequence[Area]) -> Iterator[Watched]:
    """Yield areas with their observations and values, one after the other.

    Args:
        state: read only.
        config: settings of the job.
        areas: all areas, in the order of the state.
    """
    selection, classes = config.selection(), config.cloud_rule().spoilt
    for area, found in zip(areas, _curves(state, config, areas), strict=True):
        rows = state.job_rows(selection, area=area)
        yield Watched(area=area, looks=tuple(looks(rows, classes, config.output.assets)), curves=found)


def _curves(state: Ledger, config: Config, areas: Sequence[Area]) -> Iterator[tuple[Curve, ...]]:
    """Yield the curves of areas, one after the other; values come in pages of many areas, in the same order."""
    wanted = config.wanted_values()
    if wanted is None:
        yield from ((),) * len(areas)
        return
    numbers = {(area.name, span(area)[0]): number for number, area in enumerate(areas)}
    pages = state.value_pages(asking(config))
    readings: dict[int, slice] = {}
    page, last = None, -1
    for number in range(len(areas)):
        # pages without values are left out: the next page then begins with a later area
        if number > last and (page := next(pages, None)) is not None:
            places = [numbers.get((place.name, place.since), -1) for place in page.places]
            readings, last = _rows(page, places), max(places)
        if page is not None and number in readings:
            yield curves(_readings(page, readings[number], wanted), wanted.variables, wanted.statistics)
        else:
            yield ()


def _rows(page: ValuePage, places: Sequence[int]) -> dict[int, slice]:
    """Return the rows of each place of a page, by the number of the place."""
    starts = np.searchsorted(page.place, np.arange(len(places) + 1)).tolist()
    return {number: slice(*starts[at : at + 2]) for at, number in enumerate(places) if starts[at] < starts[at + 1]}


def _readings(page: ValuePage, rows: slice, wanted: Wanted) -> Iterator[Reading]:
    names = [variable.name for variable in wanted.variables]
    columns = (page.item[rows], page.variable[rows], page.counts[rows], page.statistics[rows])
    for item, variable, counts, statistics in zip(*(column.tolist() for column in columns), strict=True):
        yield Reading(
            name=names[variable],
            day=page.items[item].datetime.date(),
            clear=100 * counts[_CLEAR] / counts[_DATA] if counts[_DATA] else 0.0,
            statistics=statistics,
        )


def bytes_saved(state: Ledger, config: Config) -> Saving:
    """Compare what all runs downloaded with the whole files of all scenes."""
    selection = config.selection()
    classification = state.whole_files(replace(selection, assets=(), values=None))
    return saving(state.whole_files(selection), classification, total(state.traffic())[1])
