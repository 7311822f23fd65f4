"""What was asked about values that are stored: the keys of `Wanted.key`, read back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Asked:
    """A key of `Wanted.key`, taken apart."""

    formula: str
    classes: frozenset[int]
    """Classes whose pixels did not count."""
    weights: str
    statistics: tuple[str, ...]

    def serves(self, other: Asked) -> bool:
        """Whether numbers for this answer another question as well: it differs at most by fewer statistics."""
        return self.classes == other.classes and self.is_like(other)

    def is_like(self, other: Asked) -> bool:
        """Whether it serves another question where no pixel has a class that only one of the two leaves out."""
        same = (self.formula, self.weights) == (other.formula, other.weights)
        return same and set(other.statistics) <= set(self.statistics)

    def with_classes_of(self, other: Asked) -> str:
        """The key of this question, but with the classes of another one."""
        classes = " ".join(map(str, sorted(other.classes)))
        return f"{self.formula}; not {classes}; {self.weights}; {' '.join(self.statistics)}"


@lru_cache(maxsize=256)
def asked(key: str) -> Asked:
    """Take a key apart.

    Raises:
        ValueError: it is no key.
    """
    formula, classes, weights, statistics = key.split("; ")
    numbers = classes.removeprefix("not ").removeprefix("not").split()
    return Asked(formula, frozenset(map(int, numbers)), weights, tuple(statistics.split()))
