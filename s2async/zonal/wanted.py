"""The values that are requested for every area and date, and the values of one area and date. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weights: TypeAlias = Literal["centre", "coverage"]
"""Which pixels count: those whose centre lies in the area, fully; or all pixels that the area touches, each
weighted by the fraction that the area covers."""

COUNTS: Final = ("count", "data_count", "clear_count", "valid_count", "undefined_count")
"""The numbers of pixels that are counted for every variable: all pixels of the area; those with a classification
other than 0 (data); data pixels whose class counts as clear; clear pixels that the statistics use; and clear
pixels that are left out because the index is undefined there. With weights by coverage, these are sums of
fractions, not numbers of pixels."""
VALUES: Final = "values"
"""Used in place of an asset's key to record that an area is too large for values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A band or an index."""

    name: str
    """Key of the band, or name of the index, as used in tables."""
    formula: str
    """Canonical text of the formula over keys of bands, with constants filled in; for a band, its key. Variables
    with equal formulas have equal values."""
    bands: tuple[str, ...]
    """Asset keys of the bands in the formula, without repetition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The values requested for every area and date. Instances can be pickled."""

    variables: tuple[Variable, ...]
    """Bands first, then indices."""
    statistics: tuple[str, ...]
    """Names of statistics, in the order of the table; ``p10`` is the tenth percentile."""
    classes: tuple[int, ...]
    """Classes of the scene classification whose pixels do not count, ascending. Class 0 never counts."""
    weights: Weights = "centre"

    @property
    def bands(self) -> tuple[str, ...]:
        """Asset keys of all bands that are read, without repetition."""
        return tuple(dict.fromkeys(band for variable in self.variables for band in variable.bands))

    def key(self, variable: Variable) -> str:
        """Return the key of a variable's values; values with equal keys mean the same.

        Keys are stored, so their format is a file format.
        """
        classes = " ".join(map(str, self.classes))
        return f"{variable.formula}; not {classes}; {self.weights}; {' '.join(self.statistics)}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ValueTable:
    """The values of one variable in one scene, for several areas."""

    key: str
    """Key of the values; see `Wanted.key`."""
    bands: int
    """Number of bands of the variable."""
    numbers: NDArray[np.float64]
    """(areas, columns): counts in the order of `COUNTS`, classes, offsets by band, then the requested statistics.
    NaN means that a number is unknown, or that no pixel is valid. The properties of `AreaValues` explain the
    columns."""


class AreaValues(NamedTuple):
    """The values of one variable, area and date, an element of `Outcome.results`."""

    table: ValueTable
    row: int

    @classmethod
    def of(
        cls,
        *,
        key: str,
        counts: Sequence[float],
        offsets: Sequence[int | None],
        statistics: Sequence[float],
        classes: int | None = None,
    ) -> Self:
        """Return the values of one area; the arguments have the meaning of the properties."""
        import numpy as np  # imported only here: the settings need this module, but no arrays

        row = [*counts, *(np.nan if one is None else one for one in (classes, *offsets)), *statistics]
        return cls(ValueTable(key=key, bands=len(offsets), numbers=np.array([row], np.float64)), 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AreaValues) and self._all == other._all

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> str:
        """Key of the values; see `Wanted.key`."""
        return self.table.key

    @property
    def counts(self) -> tuple[float, ...]:
        """Counts, in the order of `COUNTS`."""
        return tuple(self._numbers[: len(COUNTS)])

    @property
    def classes(self) -> int | None:
        """Classes of the pixels of the area as bits (bit 9 is set if any has class 9); None if unknown."""
        return _whole(self._numbers[len(COUNTS)])

    @property
    def offsets(self) -> tuple[int | None, ...]:
        """For each band of the variable, what was added to its DN: 0 or -1000; None if unknown (nothing added)."""
        return tuple(map(_whole, self._numbers[len(COUNTS) + 1 :][: self.table.bands]))

    @property
    def statistics(self) -> tuple[float, ...]:
        """The requested statistics, in order; NaN if no pixel is valid."""
        return tuple(self._numbers[len(COUNTS) + 1 + self.table.bands :])

    @property
    def _numbers(self) -> list[float]:
        found: list[float] = self.table.numbers[self.row].tolist()
        return found

    @property
    def _all(self) -> tuple[object, ...]:
        return self.key, self.counts, self.classes, self.offsets, self.statistics


def _whole(number: float) -> int | None:
    return None if number != number else int(number)
