"""What values are wanted of every area and date, and what one area and date gave. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

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


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaValues:
    """The numbers of one variable, area and date: one of `Outcome.results`."""

    key: str
    """What was asked; see `Wanted.key`."""
    counts: tuple[float, ...]
    """By `COUNTS`."""
    offsets: tuple[int | None, ...]
    """By band of the variable, what was added to its DN: 0 or -1000; None where the offset is unknown, and
    nothing was added."""
    statistics: tuple[float, ...]
    """By the statistics that were asked for; NaN where no pixel is valid."""
    classes: int | None = None
    """Which classes its pixels have: bit 9 is set where one is a cloud, and so on. None when this is not known."""
