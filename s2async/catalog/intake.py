"""Filters the items of one search by duplicates, reprocessing, time, collection and cloud cover. Pure.

Unusable items are counted with their reasons, which show at the end whether the search is usable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from s2async.catalog.items import to_scene
from s2async.catalog.providers import Catalog
from s2async.catalog.reprocessing import NewestOnly
from s2async.errors import BadAnswer
from s2async.models import DEFAULT_MEASURED, Scene
from s2async.text import excerpt, is_too_deep

ENOUGH: Final = 8
"""Minimum number of items for conclusions about a catalogue: a single item may be published incompletely."""
MOST: Final = 95
"""Minimum percentage of unusable items for which the search counts as failed."""


def identity(item: Any, catalog: Catalog) -> str:
    """Return the identity of an item: its collection and id, or a hash of its content if the id is not text.

    Raises:
        BadAnswer: the item is nested too deeply to be hashed.
    """
    if isinstance(item, Mapping) and isinstance(item.get("id"), str):
        collection = item.get("collection")
        return f"{catalog.collection if collection is None else collection}/{item['id']}"
    if is_too_deep(item):
        raise BadAnswer("an item that is nested too deeply")
    return hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()


class Intake:
    """Takes the items of a search one by one and returns the scenes that pass.

    Args:
        catalog: source of the items.
        start: first instant of the period, aware.
        end: first instant after the period, aware.
        max_scene_cloud: maximum cloud cover of a scene, in per cent; scenes with more are dropped.
        newest_only: whether only the newest item of a scene counts if it was processed several times.
        measured: keys of the assets that the cloud rule measures.
    """

    def __init__(
        self,
        catalog: Catalog,
        start: datetime,
        end: datetime,
        *,
        max_scene_cloud: float,
        newest_only: bool,
        measured: Collection[str] = DEFAULT_MEASURED,
    ) -> None:
        self.listed: set[str] = set()
        """Identities of all items so far."""
        self.ours: set[str] = set()
        """Identities of the items that are of the catalogue's collection."""
        self.refused: dict[str, str] = {}
        """Identities of unusable items, with the reason."""
        self._catalog = catalog
        self._start, self._end = start, end
        self._max_scene_cloud = max_scene_cloud
        self._newest = NewestOnly(descending=catalog.descending, measured=measured) if newest_only else None
        self._cloudless = self._timely = self._untimely = 0
        self._foreign = ""

    def add(self, name: str, item: Any) -> list[Scene]:
        """Take an item with this `identity`; return the scenes that can be passed on now."""
        if name in self.listed:
            return []
        self.listed.add(name)
        collection = item.get("collection") if isinstance(item, Mapping) else None
        if collection not in (None, self._catalog.collection):
            self._foreign = self._foreign or excerpt(ascii(collection).encode())
            return []
        self.ours.add(name)
        try:
            if not isinstance(item, Mapping):
                raise BadAnswer("an item that is not an object")
            scene = to_scene(item, self._catalog)
        except BadAnswer as error:
            self.refused[name] = str(error)
            return []
        if not self._start <= scene.datetime < self._end:
            self._untimely += 1
            return []
        self._timely += 1
        self._cloudless += scene.cloud is None
        return self._clear([scene] if self._newest is None else self._newest.add(scene))

    def rest(self) -> list[Scene]:
        """Return the scenes that are still held back, at the end of the search."""
        return self._clear([] if self._newest is None else self._newest.rest())

    def fault(self) -> str:
        """Return why the search is unusable although it returned items; the empty string if it is usable."""
        if self.listed and not self.ours:
            return (
                f"all its items are of other collections, such as {self._foreign}, not of "
                f"{self._catalog.collection}; is that the collection's name?"
            )
        if self._is_hopeless:
            bad, count = len(self.refused), len(self.ours)
            share = f"only {count - bad} of its {count} items" if bad < count else f"none of its {count} items"
            return f"{share} can be used; the first that cannot: {self.example}"
        return ""

    def notices(self) -> list[str]:
        """Return notices about items that were left out or kept without a cloud cover, one line each."""
        told = {
            "items of other collections, ignored": len(self.listed - self.ours) if self.ours else 0,
            "items, all of other times, ignored": 0 if self._timely else self._untimely,
            "items that tell no cloud cover, kept": self._cloudless,
            f"unusable items, skipped, such as {self.example}": 0 if self._is_hopeless else len(self.refused),
        }
        return [f"{count} {text}" for text, count in told.items() if count]

    @property
    def example(self) -> str:
        """The reason of the first unusable item; the empty string if there is none."""
        return next(iter(self.refused.values()), "")

    @property
    def _is_hopeless(self) -> bool:
        bad, count = len(self.refused), len(self.ours)
        return bad > 0 and (bad == count or (count >= ENOUGH and bad * 100 >= count * MOST))

    def _clear(self, scenes: list[Scene]) -> list[Scene]:
        return [scene for scene in scenes if scene.cloud is None or scene.cloud <= self._max_scene_cloud]
