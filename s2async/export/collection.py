"""Writes the STAC collection of the saved crops: one file for each item, and one that links to all of them.

``collection.json``, ``<area>/<item id>.json`` and the crops ``<area>/<item id>_<asset>.tif`` are in the same
folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final

import shapely

from s2async import files
from s2async.catalog.providers import Catalog
from s2async.errors import ConfigError
from s2async.export import stac
from s2async.export.columns import Table
from s2async.export.encoding import to_json, utf8
from s2async.export.geojson import geometry
from s2async.export.stac import COLLECTION, Extent, Footprint
from s2async.geo import bbox
from s2async.output import quicklook, tags
from s2async.state.records import SavedRow

_OURS: Final = "s2async-"
"""Prefix of the ids of all collections written here."""
OWN_PREFIX: Final = "area:"
"""Prefix of the areas' own columns in items, which distinguishes them from all fields of STAC."""
_TOKEN: Final = "s2async-stac"  # noqa: S105 - not a password


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The result of `write`."""

    items: int
    unreadable: tuple[str, ...]
    """Crops that are missing or damaged, as paths in the output folder. They are left out."""


def write(table: Table, folder: Path, *, output: Path, catalog: Catalog, state: str) -> Written:
    """Write the collection and its items, each file atomically: items first, then the collection as a stream.

    Files whose content would not change are not written. Finally, items are removed that the former collection
    linked to and the new one does not. At any time, every link leads to a complete file.

    Args:
        table: saved crops, with polygons.
        folder: folder of the collection; created if missing.
        output: the folder that the crops are in.
        catalog: the catalogue that the scenes come from.
        state: id of the state; it becomes part of the collection's id.

    Raises:
        ConfigError: the folder contains the collection of another program.
        LocalError: a file cannot be written: the disk is full or read-only.
    """
    path, name = folder / COLLECTION, f"{_OURS}{state}"
    former = _linked(path)
    files.make_folder(folder, parents=True)
    extent, hrefs, unreadable = Extent(), set[str](), list[str]()
    own = {f"{OWN_PREFIX}{own.name}": own for own in table.own.values()}

    @lru_cache(maxsize=1)
    def footprint(fingerprint: str, area: str) -> Footprint:
        wkb = table.polygon(fingerprint)
        parts = shapely.bounds(shapely.get_parts(shapely.from_wkb(wkb)))
        extent.add_area(parts)
        files.make_folder(folder / area)
        return Footprint(geometry=geometry(wkb), box=bbox(parts))

    def put(crops: list[SavedRow]) -> str | None:
        """Write the item of one area and scene; return its href, or None if no crop can be read."""
        row, readable = crops[0], []
        for crop in crops:
            layout = tags.layout_of(output / crop.folder / crop.file)
            if layout is None:
                unreadable.append(f"{crop.folder}/{crop.file}")
            else:
                readable.append((crop, layout))
        if not readable:
            return None
        where = footprint(row.fingerprint, row.home)
        item = stac.to_item(row, where, name=name, catalog=catalog, classes=table.classes, own=own)
        for crop, layout in readable:
            file = output / crop.folder / crop.file
            stac.add_crop(item, crop, layout, _relative(file, folder / row.home))
            if (thumbnail := quicklook.beside(file)).is_file():
                stac.add_thumbnail(item, crop.asset, _relative(thumbnail, folder / row.home))
        extent.add_time(row.datetime)
        _put(folder / row.home / f"{row.stem}.json", to_json(stac.to_dict(item)).encode())
        return f"./{row.home}/{row.stem}.json"

    with files.writing(path, files.temporary(path, _TOKEN)) as file:
        # The links come first and are streamed: there may be a million items, and the extent is only known at
        # the end.
        text = utf8(file)
        links = [to_json(link.to_dict()) for link in stac.collection_links(catalog)]
        text.write('{"links": [\n' + ",\n".join(links))
        for href in filter(None, map(put, _items(table))):
            hrefs.add(href)
            text.write(",\n" + to_json(stac.item_link(href).to_dict()))
        rest = stac.to_dict(stac.to_collection(name, catalog, extent))
        del rest["links"]
        text.write("],\n" + to_json(rest)[1:] + "\n")
        files.sync_all()  # the items must be on disk before the collection links to them
    _remove(folder, former - hrefs)
    return Written(items=len(hrefs), unreadable=tuple(unreadable))


def is_of(folder: Path, state: str) -> bool:
    """Return whether a folder contains a collection that `write` made of a state, given by its id."""
    try:
        old = json.loads((folder / COLLECTION).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(old, dict) and old.get("id") == f"{_OURS}{state}"


def _items(table: Table) -> Iterator[list[SavedRow]]:
    """Group the crops by area and scene."""
    crops = (row for row in table.rows if isinstance(row, SavedRow))
    for _, group in groupby(crops, lambda crop: (crop.home, crop.collection, crop.item)):
        yield list(group)


def _put(path: Path, data: bytes) -> None:
    with files.local_errors("read", path), contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    # One sync of the whole disk at the end takes a quarter of the time of one for each file.
    files.replace(path, data, token=_TOKEN, sync=False)


def _linked(path: Path) -> set[str]:
    """Return the items that an existing collection links to; none if there is no collection.

    Raises:
        ConfigError: the collection was not written by this program.
    """
    with files.local_errors("read", path):
        try:
            old = json.loads(path.read_bytes())
        except FileNotFoundError:
            return set()
        except ValueError:
            old = None
    if not (isinstance(old, dict) and str(old.get("id")).startswith(_OURS)):
        raise ConfigError(f"{path} is not a collection of s2async; name another folder")
    hrefs = (str(link.get("href")) for link in old.get("links", ()) if link.get("rel") == "item")
    return {href for href in hrefs if re.fullmatch(r"\./[^/.][^/]*/[^/]+\.json", href)}


def _remove(folder: Path, hrefs: set[str]) -> None:
    """Remove items, and the folders that become empty."""
    for href in hrefs:
        path = folder / href
        with files.local_errors("remove", path):
            path.unlink(missing_ok=True)
    for area in {(folder / href).parent for href in hrefs}:
        with contextlib.suppress(OSError):
            area.rmdir()


def _relative(path: Path, start: Path) -> str:
    relative = Path(os.path.relpath(path, start)).as_posix()
    return relative if relative.startswith("../") else f"./{relative}"
