"""Which folder contains the crops of each area, and which name is in their tags, when the areas change. Pure.

An area is a polygon; its *places* are the entries of the configuration with this polygon, each with a name and a
season. The crops of a day are in the folder of the first place, in the order of the configuration, whose season
includes the day. Crops of a day that no season includes stay where they are, unless another area needs the folder.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import chain, pairwise
from typing import Final

from s2async.areas.folder_names import HASH_DIGITS, clash_key, folder_name
from s2async.models import Area

FIRST, LAST = -(1 << 63), (1 << 63) - 1
"""Start and end of time in microseconds since 1970: the smallest and the largest integer of SQLite."""
DAY: Final = 86_400_000_000
"""Microseconds per day."""
PARKING: Final = ".moving-"
"""Start of the temporary names of folders that move; folders of areas never start with a dot."""
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """A period, and where the crops of an area from that period are.

    The shelves of an area cover all time.
    """

    since: int
    """First microsecond of the period since 1970, UTC."""
    until: int
    """First microsecond after the period."""
    wanted: bool
    """Whether a place of the configuration includes these days."""
    folder: str
    """Folder where the crops are."""
    name: str
    """The name in their tags."""
    new_folder: str
    """Folder where they are to be."""
    new_name: str
    """The name that their tags are to contain."""


def span(area: Area) -> tuple[int, int]:
    """Return the first microsecond (since 1970, UTC) of a season, and the first one after it."""
    since = FIRST if area.start is None else (area.start - _EPOCH).days * DAY
    until = LAST if area.end is None else ((area.end - _EPOCH).days + 1) * DAY
    return since, until


def season(since: int, until: int) -> tuple[date | None, date | None]:
    """Return the first and last day of a period as returned by `span`."""
    start = None if since == FIRST else _EPOCH + timedelta(days=since // DAY)
    end = None if until == LAST else _EPOCH + timedelta(days=until // DAY - 1)
    return start, end


def clash(areas: Collection[Area]) -> tuple[Area, Area] | None:
    """Return two places that would have the same folder on the same day; None if there are none."""
    keys = [clash_key(area.folder) for area in areas]
    if len(set(keys)) == len(keys):
        return None
    by_folder: dict[str, list[Area]] = defaultdict(list)
    for key, area in zip(keys, areas, strict=True):
        by_folder[key].append(area)
    for several in by_folder.values():
        for one, other in pairwise(sorted(several, key=span) if len(several) > 1 else ()):
            if span(other)[0] < span(one)[1]:
                return one, other
    return None


def parking(fingerprint: str, old: str, new: str) -> str:
    """Return the temporary name of a folder for what moves from one folder to another."""
    return f"{PARKING}{fingerprint}-{hashlib.blake2b(f'{old}/{new}'.encode(), digest_size=4).hexdigest()}"


def arrange(known: Mapping[str, Sequence[Shelf]], areas: Iterable[Area]) -> dict[str, list[Shelf]]:
    """Arrange the shelves of all areas for a configuration.

    Crops whose days no place includes stay in their folder. If all other crops of the area in this folder move to
    one other folder, they move with them; and if a place of another area has that folder on the same days, the
    fingerprint is appended to the name. Names that differ only in case are treated as equal, as on some file
    systems.

    Args:
        known: present shelves by fingerprint, without pending moves.
        areas: places of the configuration, in the order of the configuration.

    Returns:
        The shelves of all areas, known or new, in chronological order, keyed by fingerprint.
    """
    places: dict[str, list[Area]] = defaultdict(list)
    for area in areas:
        places[area.fingerprint].append(area)
    covered = {key: _covered(several) for key, several in places.items()}
    room = _Room(known, covered)
    return {key: room.shelves(key, known.get(key, ()), covered.get(key, ())) for key in {**known, **covered}}


@dataclass(frozen=True, slots=True)
class _Span:
    """A period in which one place gets the crops of an area."""

    since: int
    until: int
    folder: str
    name: str


def _covered(places: Sequence[Area]) -> list[_Span]:
    """Return the periods of an area; if several places include a day, the first one gets it."""
    if len(places) == 1:
        return [_Span(*span(places[0]), places[0].folder, places[0].name)]
    spans = [(*span(place), place) for place in places]
    found: list[_Span] = []
    for since, until in pairwise(sorted({end for first, last, _ in spans for end in (first, last)})):
        place = next((place for first, last, place in spans if first <= since and until <= last), None)
        if place is not None:
            found.append(_Span(since, until, place.folder, place.name))
    return found


class _Room:
    """The folders that are taken, and when."""

    def __init__(self, known: Mapping[str, Sequence[Shelf]], covered: Mapping[str, Sequence[_Span]]) -> None:
        self._taken: dict[str, list[tuple[str, _Span]]] = defaultdict(list)
        for key, spans in covered.items():
            for one in spans:
                self._taken[clash_key(one.folder)].append((key, one))
        self._held: dict[str, set[str]] = defaultdict(set)
        for key, shelves in known.items():
            for shelf in shelves:
                self._held[clash_key(shelf.folder)].add(key)

    def shelves(self, key: str, old: Sequence[Shelf], spans: Sequence[_Span]) -> list[Shelf]:
        """Return the new shelves of one area, in chronological order."""
        if len(spans) == 1 and len(old) <= 1 and (spans[0].since, spans[0].until) == (FIRST, LAST):
            return [_whole(old, spans[0])]  # nearly all areas have one name and no season
        found = list(_refined(old, spans))
        followed: dict[str, set[str]] = defaultdict(set)
        for shelf in found:
            if shelf.wanted:
                followed[shelf.folder].add(shelf.new_folder)
        for number, shelf in enumerate(found):
            if not shelf.wanted:
                folder = self._place_of(key, shelf, followed[shelf.folder])
                here = shelf.folder if old else folder  # a new area has no crops to be moved
                found[number] = replace(shelf, folder=here, new_folder=folder)
        return _merged(found)

    def _place_of(self, key: str, shelf: Shelf, followed: Collection[str]) -> str:
        """Return the folder for crops whose days no place includes.

        A folder must never contain crops of two areas from the same day, because their files might have the same
        names.
        """
        folder = shelf.folder
        if folder.startswith(PARKING):  # left by a run of an earlier version that was killed
            folder = folder_name(shelf.name)
            return folder if self._is_free(folder, key) else self._spare(folder, key)
        if len(followed) == 1 and clash_key(folder) not in self._taken:
            (other,) = followed
            return other if self._is_free(other, key) else folder
        in_the_way = any(
            one.since < shelf.until and shelf.since < one.until
            for owner, one in self._taken.get(clash_key(folder), ())
            if owner != key
        )
        return self._spare(folder, key) if in_the_way else folder

    def _is_free(self, folder: str, key: str) -> bool:
        """Return whether no other area has, or gets, crops in a folder."""
        name = clash_key(folder)
        return self._held.get(name, {key}) == {key} and all(owner == key for owner, _ in self._taken.get(name, ()))

    def _spare(self, folder: str, key: str) -> str:
        spare = f"{folder}-{key[:HASH_DIGITS]}"
        while self._taken.get(clash_key(spare)) or not self._is_free(spare, key):
            spare += "-"
        return spare


def _whole(old: Sequence[Shelf], to: _Span) -> Shelf:
    """Return the only shelf of an area if one place includes all days."""
    at = old[0] if old else to
    return Shelf(
        since=FIRST,
        until=LAST,
        wanted=True,
        folder=at.folder,
        name=at.name,
        new_folder=to.folder,
        new_name=to.name,
    )


def _refined(old: Sequence[Shelf], spans: Sequence[_Span]) -> Iterable[Shelf]:
    """Return shelves that are cut at the ends of both.

    Those whose days no place includes keep their folder, until `_Room` decides.
    """
    cuts = [(one.since, one.until) for one in old] + [(one.since, one.until) for one in spans]
    ends = {FIRST, LAST, *chain.from_iterable(cuts)}
    for since, until in pairwise(sorted(ends)):
        to = next((one for one in spans if one.since <= since and until <= one.until), None)
        at = next((one for one in old if one.since <= since and until <= one.until), None) or to or spans[0]
        yield Shelf(
            since=since,
            until=until,
            wanted=to is not None,
            folder=at.folder,
            name=at.name,
            new_folder=to.folder if to else at.folder,
            new_name=to.name if to else at.name,
        )


def _merged(shelves: Iterable[Shelf]) -> list[Shelf]:
    """Join neighbours that differ only in time."""
    found: list[Shelf] = []
    for shelf in shelves:
        if found and replace(found[-1], since=shelf.since, until=shelf.until) == shelf:
            found[-1] = replace(found[-1], until=shelf.until)
        else:
            found.append(shelf)
    return found
