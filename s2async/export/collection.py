"""The STAC collection of the saved crops on disk: a file for each item, and one that links to them all.

Beside the crops: ``collection.json``, ``<area>/<item id>.json`` and the crops, ``<area>/<item id>_<asset>.tif``.
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
from s2async.catalog.items import Catalog
from s2async.errors import ConfigError
from s2async.export import stac
from s2async.export.csv_table import utf8
from s2async.export.geojson import encode, geometry
from s2async.export.stac import COLLECTION, Extent, Place
from s2async.export.table import Table, iso
from s2async.geo import bbox
from s2async.output import quicklook, tags
from s2async.state.records import SavedRow

_OURS: Final = "s2async-"
"""Begins the id of every collection that is written here."""
_TOKEN: Final = "s2async-stac"  # noqa: S105 - not a password


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What has been written."""

    items: int
    unreadable: tuple[str, ...]
    """Crops that are not where they should be, or are damaged: paths in the output folder. They are left out."""


def write(table: Table, folder: Path, *, output: Path, catalog: Catalog, state: str) -> Written:
    """Write the collection and its items, each file as a whole: items first, the collection as a stream.

    What is there and still true is not touched. In the end those items are removed to which the former collection
    linked and this one does not: at any time every link leads to a whole file.

    Args:
        table: Saved crops, with polygons.
        folder: Of the collection; made where missing.
        output: The folder that the crops are in.
        catalog: Where the scenes come from.
        state: Id of the state; it names the collection.

    Raises:
        ConfigError: Another program's collection is there.
        LocalError: Disk full, read-only.
    """
    path, name = folder / COLLECTION, f"{_OURS}{state}"
    former = _linked(path)
    files.make_folder(folder, parents=True)
    extent, hrefs, unreadable = Extent(), set[str](), list[str]()

    @lru_cache(maxsize=1)
    def place(fingerprint: str, area: str) -> Place:
        wkb = table.polygon(fingerprint)
        parts = shapely.bounds(shapely.get_parts(shapely.from_wkb(wkb)))
        extent.add_area(parts)
        files.make_folder(folder / area)
        return Place(geometry=geometry(wkb), box=bbox(parts))

    def put(crops: list[SavedRow]) -> str | None:
        """Write the item of one area and scene, and tell its address, if it has a crop."""
        row, assets = crops[0], {}
        for crop in crops:
            file = output / crop.folder / crop.file
            layout = tags.layout_of(file)
            if layout is None:
                unreadable.append(f"{crop.folder}/{crop.file}")
                continue
            assets[crop.asset] = stac.to_asset(crop, layout, _relative(file, folder / row.folder))
            picture = quicklook.beside(file)
            if picture.is_file():
                assets[f"{crop.asset}_thumbnail"] = stac.to_thumbnail(_relative(picture, folder / row.folder))
        if not assets:
            return None
        where = place(row.fingerprint, row.folder)
        item = stac.to_item(row, where, assets, name=name, catalog=catalog, classes=table.classes)
        extent.add_time(iso(row.datetime))
        _put(folder / row.folder / f"{row.item}.json", encode(item).encode())
        return f"./{row.folder}/{row.item}.json"

    with files.writing(path, files.temporary(path, _TOKEN)) as file:
        text = utf8(file)
        text.write('{"links": [\n' + ",\n".join(map(encode, stac.collection_links(catalog))))
        for href in filter(None, map(put, _items(table))):
            hrefs.add(href)
            text.write(",\n" + encode(stac.item_link(href)))
        text.write("],\n" + encode(stac.to_collection(name, catalog, extent))[1:] + "\n")
        files.sync_all()  # the items, before they are linked to
    _remove(folder, former - hrefs)
    return Written(items=len(hrefs), unreadable=tuple(unreadable))


def _items(table: Table) -> Iterator[list[SavedRow]]:
    """The crops of each area and scene."""
    crops = (row for row in table.rows if isinstance(row, SavedRow))
    for _, group in groupby(crops, lambda crop: (crop.fingerprint, crop.collection, crop.item)):
        yield list(group)


def _put(path: Path, data: bytes) -> None:
    with files.local_errors("read", path), contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    files.replace(path, data, token=_TOKEN, sync=False)  # a quarter of the time


def _linked(path: Path) -> set[str]:
    """The items to which a collection of ours links; none when there is no collection.

    Raises:
        ConfigError: It is not ours.
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
    """Remove items, and the folders that this leaves empty."""
    for href in hrefs:
        path = folder / href
        with files.local_errors("remove", path):
            path.unlink(missing_ok=True)
    for area in {(folder / href).parent for href in hrefs}:
        with contextlib.suppress(OSError):
            area.rmdir()


def _relative(path: Path, start: Path) -> str:
    found = Path(os.path.relpath(path, start)).as_posix()
    return found if found.startswith("../") else f"./{found}"
