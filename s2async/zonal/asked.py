"""Parses the keys of stored values, which `Wanted.key` writes: they say how the values were computed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a key that `Wanted.key` returns."""

    formula: str
    classes: frozenset[int]
    """Classes whose pixels do not count."""
    weights: str
    statistics: tuple[str, ...]

    def serves(self, other: Asked) -> bool:
        """Return whether values with this key also serve a request that differs at most by fewer statistics."""
        return self.classes == other.classes and self.is_like(other)

    def is_like(self, other: Asked) -> bool:
        """Return the same as `serves`, assuming that no pixel has a class that only one of the keys excludes."""
        same = (self.formula, self.weights) == (other.formula, other.weights)
        return same and set(other.statistics) <= set(self.statistics)

    def with_classes_of(self, other: Asked) -> str:
        """Return this key with the classes of another key."""
        classes = " ".join(map(str, sorted(other.classes)))
        return f"{self.formula}; not {classes}; {self.weights}; {' '.join(self.statistics)}"


@lru_cache(maxsize=256)
def asked(key: str) -> Asked:
    """Parse a key.

    Raises:
        ValueError: the text is not a key.
    """
    formula, classes, weights, statistics = key.split("; ")
    numbers = classes.removeprefix("not ").removeprefix("not").split()
    return Asked(formula, frozenset(map(int, numbers)), weights, tuple(statistics.split()))
