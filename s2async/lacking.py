"""Wanted assets that no scene has: most likely a slip of the pen, such as B04 for red. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from s2async.models import Scene

ENOUGH: Final = 8
"""So many scenes without an asset tell that there is none: now and then one is published in part."""
_NAMED: Final = 30
"""Keys that are named."""


class Lacking:
    """Takes in scene after scene, and tells which assets none of them has.

    Args:
        wanted: Asset keys.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._never = list(dict.fromkeys(wanted))
        self._scenes = 0
        self._there: set[str] = set()

    def add(self, scene: Scene) -> None:
        """Take in a scene. What it has in a form that cannot be read is no slip."""
        self._scenes += 1
        self._there |= scene.assets.keys()
        self._never = [key for key in self._never if key not in scene.assets and key not in scene.absent]

    @property
    def sure(self) -> bool:
        """Whether an asset is lacking in so many scenes that none will have it."""
        return self._scenes >= ENOUGH and bool(self._never)

    @property
    def place(self) -> tuple[str, str]:
        """The setting to be mended: the catalogue's names the classification, the output's what is wanted."""
        return ("search", "catalog") if "scl" in self._never else ("output", "assets")

    @property
    def told(self) -> str:
        """What is lacking, in words; nothing where every asset was seen, or no scene."""
        if not self._scenes or not self._never:
            return ""
        named = ", ".join(sorted(self._there)[:_NAMED]) or "none that can be read"
        found = "the scene found" if self._scenes == 1 else f"any of {self._scenes} scenes"
        what = "is no asset" if len(self._never) == 1 else "are no assets"
        return f"{' and '.join(self._never)} {what} of {found}; there are: {named}"
