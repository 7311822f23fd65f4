"""Counts how many of the scenes that searches return are needed, which shows the cost of scattered areas. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from s2async.models import Scene

_MANY: Final = 1000
"""Minimum number of scenes for a notice about scenes that were not needed."""
_SHARE: Final = 10
"""Minimum percentage of scenes that were not needed for this notice."""


@dataclass(slots=True)
class Yield:
    """Counts the scenes that the searches of a run pass on."""

    scenes: int = 0
    """Number of scenes; a scene that two searches have returned counts twice."""
    _needed: set[int] = field(default_factory=set)
    """Hashes of the scenes that cover an area, to save memory: there may be 100,000 scenes."""

    def add(self, scene: Scene, *, needed: bool) -> None:
        """Count a scene.

        Args:
            scene: a scene that a search passes on.
            needed: whether the scene covers an area in its season.
        """
        self.scenes += 1
        if needed:
            self._needed.add(hash((scene.collection, scene.id)))

    @property
    def needed(self) -> int:
        """Number of scenes that cover an area."""
        return len(self._needed)

    @property
    def told(self) -> str:
        """A notice about scenes that were returned but not needed; empty if they are few."""
        beside = self.scenes - self.needed
        if self.scenes < _MANY or beside * 100 < self.scenes * _SHARE:
            return ""
        return (
            f"searches returned {self.scenes:,} scenes, of which {self.needed:,} are needed: the others lie "
            "between the areas, or two searches returned them"
        )
