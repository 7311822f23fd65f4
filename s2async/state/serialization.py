"""Conversion between values of the program and rows of the state's tables. Pure."""

from __future__ import annotations

import hashlib
import json
import os.path
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from s2async.areas.faults import Changes, Remark
from s2async.areas.folders import season, span
from s2async.areas.seasons import FIRST, LAST
from s2async.causes import Cause, Lack, Reason
from s2async.clouds import scl
from s2async.models import Area, Asset, Attribute, Scene, Selection
from s2async.reasons import is_due
from s2async.state.packed import measure_at
from s2async.state.records import KnownJob, LackRow, Problem, RunRow
from s2async.text import public
from s2async.zonal.wanted import VALUES, Wanted

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(time: datetime) -> int:
    """Return an aware time as microseconds since 1970, which is exact and can be sorted by SQLite."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """Return the UTC time that `to_microseconds` converted."""
    return _EPOCH + count * _MICROSECOND


def pack_changes(changes: Changes) -> str:
    """Return the areas that a run skipped or repaired, as JSON."""
    return json.dumps(asdict(changes), ensure_ascii=False)


def unpack_changes(column: str) -> Changes:
    """Return the changes that `pack_changes` serialized."""
    lists = json.loads(column)
    return Changes(**{key: tuple(Remark(**remark) for remark in remarks) for key, remarks in lists.items()})


_to_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_to_lines = json.JSONEncoder(separators=("\n", ":"), ensure_ascii=False).encode
_TOGETHER: Final = 5_000
"""Number of places whose rows are made together."""
PlaceRow: TypeAlias = tuple[str, str, int, int, str, str]
"""Fingerprint, name, season, folder, and JSON of the attributes of a place."""


def place_values(area: Area) -> tuple[str, int, int, str, str]:
    """Return an area as columns of the table of places: name, season, folder, and JSON of its attributes.

    JSON has no dates, so they are stored as objects with one key, ``date`` or ``datetime``.
    """
    attributes = {key: _to_json(value) for key, value in area.attributes.items()}
    return area.name, *span(area), area.folder, _to_text(attributes)


def place_rows(areas: Sequence[Area]) -> Iterator[PlaceRow]:
    """Yield the fingerprint and the `place_values` of each area, computed by columns for many areas at once."""
    for start in range(0, len(areas), _TOGETHER):
        some = areas[start : start + _TOGETHER]
        yield from zip(
            [area.fingerprint for area in some],
            [area.name for area in some],
            *zip(*map(span, some), strict=True),
            [area.folder for area in some],
            _attribute_texts(some),
            strict=True,
        )


def _attribute_texts(areas: Sequence[Area]) -> Iterable[str]:
    """Return the JSON of the attributes of some areas, which nearly always have the same columns."""
    names = tuple(areas[0].attributes)
    if not names or any(tuple(area.attributes) != names for area in areas):
        return [place_values(area)[-1] for area in areas]
    parts: list[Iterable[str]] = []
    for name, column in zip(names, zip(*(area.attributes.values() for area in areas), strict=True), strict=True):
        parts += [repeat(f"{',' if parts else '{'}{_to_text(name)}:"), _texts(column)]
    return map("".join, zip(*parts, repeat("}")))  # not strict, because repeated texts are endless


def _texts(column: Sequence[Attribute]) -> list[str]:
    """Return the JSON of each value of a column."""
    has_dates = any(issubclass(kind, date) for kind in set(map(type, column)))
    values = [_to_json(value) for value in column] if has_dates else column
    # JSON strings contain no line ends, nor does any other value, so each line is one value.
    return _to_lines(values)[1:-1].split("\n")


@lru_cache(maxsize=64)
def to_attributes(text: str) -> Mapping[str, Attribute]:
    """Return the attributes of `place_values`. Rows of one place share the mapping, which is read-only."""
    return MappingProxyType({key: _from_json(value) for key, value in json.loads(text).items()})


@lru_cache(maxsize=64)
def row_attributes(text: str, since: int, until: int) -> Mapping[str, Attribute]:
    """Return the attributes of a place for its rows, with its season, if any, as ``valid_from`` and ``valid_to``.

    Columns of the areas' file with these names take precedence.

    Args:
        text: attributes as `place_values` returns them.
        since: first microsecond of the season.
        until: end of the season.
    """
    start, end = season(since, until)
    own = to_attributes(text)
    if start is None and end is None:
        return own
    return MappingProxyType({**own, **{key: own.get(key, day) for key, day in ((FIRST, start), (LAST, end))}})


def _to_json(value: Attribute) -> object:
    if isinstance(value, date):
        return {"datetime" if isinstance(value, datetime) else "date": value.isoformat()}
    return value


def _from_json(value: Any) -> Attribute:
    if isinstance(value, dict):
        ((kind, text),) = value.items()
        return datetime.fromisoformat(text) if kind == "datetime" else date.fromisoformat(text)
    found: Attribute = value
    return found


def selection_values(selection: Selection) -> dict[str, Any]:
    """Return a selection as parameters of statements, such as ``mask`` and ``format``."""
    return {
        "rule": selection.rule,
        "measured": json.dumps(selection.measured),
        "assets": json.dumps(selection.assets),
        "mask": selection.mask,
        "format": selection.format,
        "harmonised": selection.harmonised,
        "newest": selection.newest_only,
        "valued": json.dumps(value_assets(selection.values)),
    }


def value_assets(wanted: Wanted | None) -> tuple[str, ...]:
    """Return what values need, if any: the classification, an area that is not too large, and the bands."""
    return (scl.ASSET, VALUES, *wanted.bands) if wanted else ()


def hash_address(href: str) -> bytes:
    """Return eight bytes that distinguish one URL from another."""
    return hashlib.blake2b(href.encode(), digest_size=8).digest()


def item_values(scene: Scene) -> tuple[object, ...]:
    """Return a scene as the columns of `reader_sql.ITEM_COLUMNS`.

    The assets of an item are mostly in one folder, so the common start of their hrefs is stored once. A footprint
    is stored unless it is much larger than usual (about 100 bytes).
    """
    hrefs = {key: asset.href for key, asset in scene.assets.items()}
    base = os.path.commonprefix(list(hrefs.values()))  # noqa: RUF071 - a prefix of characters is intended
    return (
        scene.collection,
        scene.id,
        scene.version,
        scene.updated,
        to_microseconds(scene.datetime),
        scene.platform,
        scene.grid,
        scene.cloud,
        scene.epsg,
        scene.baseline,
        scene.generated,
        scene.datastrip,
        base,
        json.dumps({key: href[len(base) :] for key, href in hrefs.items()}, separators=(",", ":")),
        json.dumps({key: _reason_columns(reason) for key, reason in scene.absent.items()}, separators=(",", ":")),
        scene.datatake,
        scene.subtracted,
        None if scene.offsets is None else json.dumps(scene.offsets, separators=(",", ":")),
        _pack_footprint(scene.footprint),
    )


_LARGEST_FOOTPRINT = 4096
"""Bytes of the largest footprint that is stored: 250 points, while usual footprints have 5 to 11."""


def _pack_footprint(footprint: BaseGeometry | None) -> bytes | None:
    """Return a footprint as WKB; None if it is too large."""
    from shapely import to_wkb

    packed: bytes | None = None if footprint is None else to_wkb(footprint)
    return packed if packed is not None and len(packed) <= _LARGEST_FOOTPRINT else None


def _unpack_footprint(packed: bytes | None) -> BaseGeometry | None:
    from shapely import from_wkb

    footprint: BaseGeometry | None = from_wkb(packed)
    return footprint


def _reason_columns(reason: Reason) -> list[str]:
    return [reason.cause, reason.text, *([reason.host] if reason.host else [])]


def to_scene(columns: Sequence[Any]) -> Scene:
    """Return the scene that `item_values` serialized."""
    collection, item, version, updated, sensed, platform, grid, cloud, epsg, *texts = columns
    baseline, generated, datastrip, base, assets, absent, datatake, subtracted, offsets, footprint = texts
    return Scene(
        id=item,
        collection=collection,
        version=version,
        updated=updated,
        datetime=from_microseconds(sensed),
        platform=platform,
        grid=grid,
        cloud=cloud,
        epsg=epsg,
        baseline=baseline,
        generated=generated,
        datastrip=datastrip,
        footprint=_unpack_footprint(footprint),
        assets={key: Asset(key=key, href=href) for key, href in addresses(base, assets).items()},
        absent={key: Reason(Cause(cause), *rest) for key, (cause, *rest) in json.loads(absent).items()},
        datatake=datatake,
        subtracted=None if subtracted is None else bool(subtracted),
        offsets=None if offsets is None else json.loads(offsets),
    )


def namesake(item: str, collection: str) -> str:
    """Return the start of an item's file names if an item of another collection has the same id (`Job.alias`).

    The id is followed by the name of the collection, or by its hash if the name is unsuitable for a short file
    name.
    """
    is_safe = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}", collection)
    return f"{item}_{collection if is_safe else hash_address(collection).hex()}"


def addresses(base: str, assets: str) -> dict[str, str]:
    """Return the hrefs of an item's assets by key, from the columns ``base`` and ``assets``."""
    return {key: base + rest for key, rest in json.loads(assets).items()}


def same_edition(version: str, hrefs: Mapping[str, str], scene: Scene) -> bool:
    """Return whether facts read from an item's files hold for a scene: same version, no asset at another URL.

    An asset that only one of them has says nothing about the other files. Queries are ignored, because a query may
    be a signature, which is new in each search.
    """
    shared = hrefs.keys() & scene.assets.keys()
    return version == scene.version and all(_same_file(hrefs[key], scene.assets[key].href) for key in shared)


def is_update(old: Scene, new: Scene) -> bool:
    """Return whether files that were missing from an edition of an item may exist now."""
    return (old.updated, old.assets.keys(), old.absent) != (new.updated, new.assets.keys(), new.absent)


def overpass_facts(scene: Scene) -> tuple[object, ...]:
    """Return the facts of an item that determine its overpass, its zone, and which edition of it is the best."""
    grouped = scene.datatake, scene.platform, scene.datetime, scene.grid, scene.epsg
    return *grouped, scene.baseline, scene.generated, scene.datastrip


def _same_file(one: str, other: str) -> bool:
    return one == other or public(one) == public(other)


def lack(columns: Sequence[Any], now: int) -> Lack:
    """Convert a row of `writer_sql.VALID_ABSENCES`, at a time in seconds since 1970."""
    asset, cause, text, host, missing, tried, due, alone = columns
    return Lack(
        asset=asset,
        cause=Cause(cause),
        text=text,
        host=host,
        missing=bool(missing),
        known=True,
        again=not missing or is_due(due, tried, now),
        alone=bool(alone),
    )


def run_row(columns: Sequence[Any]) -> RunRow:
    """Convert a row of `reader_sql.RUNS`."""
    id_, started, ended, how, version = columns
    return RunRow(id=id_, started=started, ended=ended, how=how, version=version)


def lack_row(columns: Sequence[Any]) -> LackRow:
    """Convert a row of `totals_sql.LACKING`."""
    area, item, status, asset, cause, reason, tries = columns
    return LackRow(
        area=area, item=item, status=status, asset=asset, cause=Cause(cause), reason=reason, tries=tries
    )


def problem(columns: Sequence[Any]) -> Problem:
    """Convert a row of `totals_sql.PROBLEMS`."""
    area, item, status, reason, cause = columns
    return Problem(area=area, item=item, status=status, reason=reason, cause=Cause(cause) if cause else None)


def known_job(columns: Sequence[Any], rule: str, now: int, valued: Collection[str] = ()) -> KnownJob:
    """Convert a row of `reader_sql.KNOWN_JOBS`.

    Args:
        columns: the row.
        rule: name of the cloud rule.
        now: current time in seconds since 1970, which decides whether missing assets are requested again.
        valued: requested values that the job has, as keys of `zonal.wanted.Wanted.key`.
    """
    _, fingerprint, status, given_up, slot, cells, saved, lacks = columns
    return KnownJob(
        fingerprint=fingerprint,
        status=status,
        measure=measure_at(cells, slot, rule),
        saved=frozenset(json.loads(saved)),
        given_up=bool(given_up),
        lacks=frozenset(asset for asset, due, tried in json.loads(lacks) if not is_due(due, tried, now)),
        valued=frozenset(valued),
    )
