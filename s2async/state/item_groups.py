"""The facts of items that matter for overpasses and their choice, and the overpasses among items. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import combinations
from typing import NamedTuple

from s2async.catalog.overpasses import same_overpass, zone_number
from s2async.catalog.reprocessing import LONGEST_DATATAKE
from s2async.state.serialization import from_microseconds


class Item(NamedTuple):
    """The facts of an item that matter for overpasses and their choice; a `catalog.overpasses.Sighting`."""

    id: int
    collection: str
    name: str
    datetime: datetime
    datatake: str
    platform: str
    zone: int | None
    has_editions: bool = False

    @classmethod
    def of_row(
        cls,
        row: int,
        collection: str,
        name: str,
        sensed: int,
        datatake: str,
        platform: str,
        grid: str,
        epsg: int | None,
        *,
        has_editions: bool = False,
    ) -> Item:
        """Return an item from columns of the table of items."""
        zone = zone_number(grid, epsg)
        return cls(row, collection, name, from_microseconds(sensed), datatake, platform, zone, has_editions)

    @property
    def label(self) -> str:
        """The label by which the choice sorts items that are equally good."""
        return f"{self.name} {self.collection}"


class Group:
    """The items of an overpass, which are added in chronological order."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._newest: dict[tuple[str, str, str], Item] = {}
        """The newest item of each datatake, collection and platform: the one nearest to items that come later."""

    def add(self, item: Item) -> None:
        """Add the newest item."""
        self.items.append(item)
        self._newest[item.datatake, item.collection, item.platform] = item

    def take(self, other: Group) -> None:
        """Add the items of another group, before an item is added that belongs to both."""
        self.items += other.items
        for kind, item in other._newest.items():
            if kind not in self._newest or self._newest[kind].datetime < item.datetime:
                self._newest[kind] = item

    def has(self, item: Item) -> bool:
        """Return whether the next item is of the same overpass as any item of the group."""
        return any(same_overpass(one, item) for one in self._newest.values())

    def is_over(self, now: datetime) -> bool:
        """Return whether no item of this time or later can belong to the group."""
        return now - self.items[-1].datetime > LONGEST_DATATAKE

    @property
    def is_plain(self) -> bool:
        """Whether every subset of the items is also one overpass."""
        times = [item.datetime for item in self.items]
        return (
            max(times) - min(times) <= LONGEST_DATATAKE
            and all(same_overpass(one, other) for one, other in combinations(self._newest.values(), 2))
            and not any(item.has_editions for item in self.items)
        )


def grouped(items: Iterable[Item]) -> Iterator[tuple[list[Item], bool]]:
    """Yield items by overpass, for any areas, and whether every subset of the items is also one overpass.

    Args:
        items: items in chronological order.
    """
    going_on: list[Group] = []
    for item in items:
        yield from ((group.items, group.is_plain) for group in going_on if group.is_over(item.datetime))
        going_on = [group for group in going_on if not group.is_over(item.datetime)]
        own, *others = [group for group in going_on if group.has(item)] or [Group()]
        for other in others:
            own.take(other)
        own.add(item)
        going_on = [group for group in going_on if group not in (own, *others)] + [own]
    yield from ((group.items, group.is_plain) for group in going_on)
