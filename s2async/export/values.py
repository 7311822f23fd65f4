"""The table of values: its columns, and its rows as dataclasses.

The long table has a row for each area, overpass and band or index; the wide one has a row for each area and
overpass, and columns such as ``NDVI_mean``. Rows come in pages, and each column of a page is an array, or an index
into few values, so that a million rows are written without an object for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export.columns import ColumnType, Own, Value, own_columns, own_values
from s2async.models import Attribute
from s2async.state.reader import Ledger
from s2async.state.records import ValueItem, ValuePage
from s2async.state.serialization import row_attributes
from s2async.state.value_choice import Asking
from s2async.zonal.wanted import COUNTS, Wanted

AREA_COLUMNS: Final[Mapping[str, ColumnType]] = {"area": "text", "area_fingerprint": "text"}
"""Columns about the area, before its own columns."""
SCENE_COLUMNS: Final[Mapping[str, ColumnType]] = {
    "date": "date",
    "datetime": "utc",
    "platform": "text",
    "tile": "text",
    "item": "text",
    "collection": "text",
    "baseline": "text",
}
"""Columns about the item."""
OFFSET_COLUMNS: Final[Mapping[str, ColumnType]] = {"offset": "int32", "offset_basis": "text"}
"""Columns about the offset of the bands, after all other columns."""
PART_ROWS: Final = 1 << 16
"""Number of rows in a block."""
_COUNT, _DATA, _CLEAR, _VALID, _UNDEFINED = range(len(COUNTS))


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column with few different values."""

    codes: NDArray[np.intp]
    """(rows,) index of each row's value."""
    values: Sequence[Value]


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A column of numbers."""

    numbers: NDArray[np.float64]
    """(rows,); NaN where there is no number."""


Column: TypeAlias = Coded | Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuesTable:
    """Values to export."""

    pages: Iterable[ValuePage]
    """The values in pages, which are streamed."""
    wanted: Wanted
    own: Mapping[str, Own] = field(default_factory=dict)
    """The areas' own columns."""
    wide: bool = False
    """One row for each area and overpass, with columns for each band and index."""

    @property
    def columns(self) -> Mapping[str, ColumnType]:
        """All columns, with their types."""
        counted: ColumnType = "int64" if self.wanted.weights == "centre" else "float64"
        statistics: dict[str, ColumnType] = dict.fromkeys(self.wanted.statistics, "float64")
        own = {column: one.type for column, one in self.own.items()}
        head: dict[str, ColumnType] = {**AREA_COLUMNS, **own, **SCENE_COLUMNS}
        of_area: dict[str, ColumnType] = {"count": counted, "data_count": counted, "clear_percent": "float64"}
        of_variable: dict[str, ColumnType] = {"valid_count": counted, "undefined": counted, **statistics}
        if not self.wide:
            return {**head, "name": "text", **of_area, **of_variable, **OFFSET_COLUMNS}
        names = [variable.name for variable in self.wanted.variables]
        wide = {f"{name}_{column}": kind for name in names for column, kind in of_variable.items()}
        return {**head, **of_area, **wide, **OFFSET_COLUMNS}

    def blocks(self, rows: int = PART_ROWS) -> Iterator[Mapping[str, Column]]:
        """Yield the columns of successive blocks of rows, in the order of `columns`.

        Args:
            rows: approximate number of rows in a block.
        """
        for page in self.pages:
            for part in _parts(page, rows):
                found = self._wide(part) if self.wide else self._long(part)
                yield {column: found[column] for column in self.columns}

    def _long(self, page: ValuePage) -> dict[str, Column]:
        wanted, variables = self.wanted, self.wanted.variables
        pairs = page.item * len(variables) + page.variable
        bases = [_basis(item, variable.bands) for item in page.items for variable in variables]
        statistics = {name: Numbers(page.statistics[:, at]) for at, name in enumerate(wanted.statistics)}
        return {
            **self._head(page, page.place, page.item),
            "name": Coded(page.variable, [variable.name for variable in variables]),
            **_counts_of_area(page.counts),
            "valid_count": Numbers(page.counts[:, _VALID]),
            "undefined": Numbers(page.counts[:, _UNDEFINED]),
            **statistics,
            "offset": Numbers(page.offset),
            "offset_basis": Coded(pairs, bases),
        }

    def _wide(self, page: ValuePage) -> dict[str, Column]:
        changes = _changes(page)
        first = np.flatnonzero(changes)
        group = np.cumsum(changes) - 1
        least, most = np.minimum.reduceat(page.offset, first), np.maximum.reduceat(page.offset, first)
        found = {
            **self._head(page, page.place[first], page.item[first]),
            **_counts_of_area(page.counts[first]),
            "offset": Numbers(np.where(least == most, least, np.nan)),
            "offset_basis": Coded(page.item[first], [_basis(item, self.wanted.bands) for item in page.items]),
        }
        for number, variable in enumerate(self.wanted.variables):
            rows = page.variable == number

            def spread(column: NDArray[np.float64], rows: NDArray[np.bool_] = rows) -> Numbers:
                numbers = np.full(len(first), np.nan)
                numbers[group[rows]] = column[rows]
                return Numbers(numbers)

            found[f"{variable.name}_valid_count"] = spread(page.counts[:, _VALID])
            found[f"{variable.name}_undefined"] = spread(page.counts[:, _UNDEFINED])
            for at, name in enumerate(self.wanted.statistics):
                found[f"{variable.name}_{name}"] = spread(page.statistics[:, at])
        return found

    def _head(self, page: ValuePage, place: NDArray[np.intp], item: NDArray[np.intp]) -> dict[str, Column]:
        """Return the columns about area and item."""
        own = [own_values(row_attributes(one.columns, one.since, one.until), self.own) for one in page.places]
        areas: dict[str, Sequence[Value]] = {
            "area": [one.name for one in page.places],
            "area_fingerprint": [one.fingerprint for one in page.places],
            **{column: [values[column] for values in own] for column in self.own},
        }
        scenes: dict[str, Sequence[Value]] = {
            "date": [one.datetime.date() for one in page.items],
            "datetime": [one.datetime for one in page.items],
            "platform": [one.platform or None for one in page.items],
            "tile": [one.tile or None for one in page.items],
            "item": [one.item for one in page.items],
            "collection": [one.collection for one in page.items],
            "baseline": [one.baseline or None for one in page.items],
        }
        return {
            **{column: Coded(place, values) for column, values in areas.items()},
            **{column: Coded(item, values) for column, values in scenes.items()},
        }


def _changes(page: ValuePage) -> NDArray[np.bool_]:
    """Return which rows are the first of an area and item, (n,)."""
    changes: NDArray[np.bool_] = np.diff(page.place, prepend=-1) != 0
    changes |= np.diff(page.item, prepend=-1) != 0
    return changes


def _parts(page: ValuePage, rows: int) -> Iterator[ValuePage]:
    """Yield the rows of a page in parts of about the given size; rows of one area and item stay together."""
    starts = np.flatnonzero(_changes(page))
    wanted = np.arange(0, len(page.place), rows)
    edges = np.unique([*starts[np.searchsorted(starts, wanted, side="right") - 1], len(page.place)]).tolist()
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        first, last = page.place[start], page.place[stop - 1]
        yield replace(
            page,
            places=page.places[first : last + 1],
            place=page.place[part] - first,
            item=page.item[part],
            variable=page.variable[part],
            counts=page.counts[part],
            offset=page.offset[part],
            statistics=page.statistics[part],
        )


def _counts_of_area(counts: NDArray[np.float64]) -> dict[str, Column]:
    with np.errstate(invalid="ignore", divide="ignore"):
        clear = 100 * counts[:, _CLEAR] / counts[:, _DATA]
    return {
        "count": Numbers(counts[:, _COUNT]),
        "data_count": Numbers(counts[:, _DATA]),
        "clear_percent": Numbers(clear),
    }


def _basis(item: ValueItem, bands: Sequence[str]) -> str | None:
    """Return how the offset of bands was determined: in most cases the same for all of them."""
    known = dict.fromkeys(item.bands[band].basis for band in bands if band in item.bands)
    return " ".join(known) or None


# ---- which values -----------------------------------------------------------------------------------------


def asking(config: Config) -> Asking:
    """Return which values of a state count according to a configuration.

    Raises:
        ConfigError: the configuration requests no values.
    """
    wanted, rule = config.wanted_values(), config.values_rule()
    if wanted is None or rule is None:
        raise ConfigError(
            f'{config.place()}: no values are computed; add [values] with indices = ["NDVI"], and run'
        )
    return Asking(wanted, config.selection(), rule.verdicts)


def table(state: Ledger, config: Config, *, wide: bool = False, area: str | None = None) -> ValuesTable:
    """Return the values of a state as a table.

    Args:
        state: the state, which must stay open until the pages are read.
        config: settings of the job.
        wide: one row for each area and overpass.
        area: name of the only area to return.

    Raises:
        ConfigError: the configuration requests no values.
    """
    asked = asking(config)
    bare = ValuesTable(pages=(), wanted=asked.wanted, wide=wide)
    return ValuesTable(
        pages=state.value_pages(asked, area=area),
        wanted=asked.wanted,
        own=own_columns(state.attributes(), bare.columns),
        wide=wide,
    )


# ---- rows -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueRow:
    """The values of one area, overpass and band or index."""

    area: str
    area_fingerprint: str
    attributes: Mapping[str, Attribute]
    """Values of the areas' own columns, and the area's season, if it has one."""
    date: date
    """Sensing day, UTC."""
    datetime: datetime
    """Sensing time, UTC, timezone-aware."""
    platform: str
    tile: str
    item: str
    collection: str
    baseline: str
    name: str
    """Name of the band or index."""
    count: float
    """Number of pixels in the area."""
    data_count: float
    """Number of these whose scene classification is not 0."""
    valid_count: float
    """Number of pixels that the statistics use."""
    undefined: float
    """Number of clear pixels without a value: a denominator is 0, or a root is that of a negative number."""
    clear_percent: float | None
    """Clear share of the pixels with data, in per cent; None without such pixels."""
    statistics: Mapping[str, float | None]
    """Statistics, keyed by name; None if no pixel is valid."""
    offset: int | None
    """The number that was added to DN: 0 or -1000; None if the offset is unknown, and nothing was added."""
    offset_basis: str
    """How the offset was determined: one of `reflectance.decision.Basis`."""


def value_rows(found: ValuesTable) -> Iterator[ValueRow]:
    """Yield the rows of a long table, one by one."""
    wanted = found.wanted
    for page in found.pages:
        columns = found._long(page)
        numbers = {name: column.numbers for name, column in columns.items() if isinstance(column, Numbers)}
        attributes = [row_attributes(one.columns, one.since, one.until) for one in page.places]
        for row in range(len(page.place)):
            item, place = page.items[page.item[row]], page.places[page.place[row]]
            variable = wanted.variables[page.variable[row]]
            offset = _known(numbers["offset"][row])
            yield ValueRow(
                area=place.name,
                area_fingerprint=place.fingerprint,
                attributes=attributes[page.place[row]],
                date=item.datetime.date(),
                datetime=item.datetime,
                platform=item.platform,
                tile=item.tile,
                item=item.item,
                collection=item.collection,
                baseline=item.baseline,
                name=variable.name,
                count=float(numbers["count"][row]),
                data_count=float(numbers["data_count"][row]),
                valid_count=float(numbers["valid_count"][row]),
                undefined=float(numbers["undefined"][row]),
                clear_percent=_known(numbers["clear_percent"][row]),
                statistics={name: _known(numbers[name][row]) for name in wanted.statistics},
                offset=None if offset is None else round(offset),
                offset_basis=_basis(item, variable.bands) or "",
            )


def _known(number: np.float64) -> float | None:
    return None if np.isnan(number) else float(number)
