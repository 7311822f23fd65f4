"""What values are wanted of every area and date, and what one area and date gave. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weights: TypeAlias = Literal["centre", "coverage"]
"""Which pixels count: those whose centre lies in the area, fully; or all that it touches, each by the share that
the area covers."""

COUNTS: Final = ("count", "data_count", "clear_count", "valid_count", "undefined_count")
"""What is counted for every variable: pixels of the area; those whose classification is not 0; those of them whose
class does not spoil; those of these that the statistics use; and those left out because the index has no value
there. With weights by coverage, sums of shares take the place of numbers of pixels."""
VALUES: Final = "values"
"""What an area lacks that is too large for values: it takes the place of an asset's key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A band or an index."""

    name: str
    """Key of the band, or name of the index, as tables call it."""
    formula: str
    """Canonical text of the formula over keys of bands, constants filled in; of a band, its key. Variables of
    equal formulas have equal values."""
    bands: tuple[str, ...]
    """Asset keys of the bands in the formula, without repetition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is wanted of every area and date. It can be pickled."""

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
        """What was asked about a variable: numbers with equal keys mean the same. This is a file format."""
        classes = " ".join(map(str, self.classes))
        return f"{variable.formula}; not {classes}; {self.weights}; {' '.join(self.statistics)}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ValueTable:
    """The numbers of one variable in one scene, for several areas."""

    key: str
    """What was asked; see `Wanted.key`."""
    bands: int
    """Number of the bands of the variable."""
    numbers: NDArray[np.float64]
    """(areas, columns): counts by `COUNTS`, classes, offsets by band, then the statistics that were asked for.
    NaN: unknown, or no pixel is valid. The properties of `AreaValues` say what they mean."""


class AreaValues(NamedTuple):
    """The numbers of one variable, area and date: one of `Outcome.results`."""

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
        """The numbers of one area; the arguments are its properties."""
        import numpy as np  # loaded only here: settings need what is wanted, and no arrays

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
        """What was asked; see `Wanted.key`."""
        return self.table.key

    @property
    def counts(self) -> tuple[float, ...]:
        """By `COUNTS`."""
        return tuple(self._numbers[: len(COUNTS)])

    @property
    def classes(self) -> int | None:
        """Which classes its pixels have: bit 9 is set where one is a cloud, and so on. None when not known."""
        return _whole(self._numbers[len(COUNTS)])

    @property
    def offsets(self) -> tuple[int | None, ...]:
        """By band of the variable, what was added to its DN: 0 or -1000; None where it is unknown: nothing was."""
        return tuple(map(_whole, self._numbers[len(COUNTS) + 1 :][: self.table.bands]))

    @property
    def statistics(self) -> tuple[float, ...]:
        """By the statistics that were asked for; NaN where no pixel is valid."""
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
