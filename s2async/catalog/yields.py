"""How many of the items that searches return are needed: what it costs that areas are scattered. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from s2async.models import Scene

_MANY: Final = 1000
"""Scenes from which on it is worth telling that some of them were not needed."""
_SHARE: Final = 10
"""Per cent of scenes that are not needed, as for `_MANY`."""


@dataclass(slots=True)
class Yield:
    """Counts the scenes that the searches of a run pass on."""

    scenes: int = 0
    """All of them, one that two searches have returned twice."""
    _needed: set[int] = field(default_factory=set)
    """Hashes of the scenes that cover an area: there may be 100,000."""

    def add(self, scene: Scene, *, needed: bool) -> None:
        """Count a scene.

        Args:
            scene: as a search passes it on.
            needed: whether it covers an area in its season.
        """
        self.scenes += 1
        if needed:
            self._needed.add(hash((scene.collection, scene.id)))

    @property
    def needed(self) -> int:
        """How many scenes cover an area."""
        return len(self._needed)

    @property
    def told(self) -> str:
        """A notice about scenes that were returned and not needed; empty when they are few."""
        beside = self.scenes - self.needed
        if self.scenes < _MANY or beside * 100 < self.scenes * _SHARE:
            return ""
        return (
            f"searches returned {self.scenes:,} scenes, of which {self.needed:,} are needed: the others lie "
            "between the areas, or two searches returned them"
        )
