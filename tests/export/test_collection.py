from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
from shapely import MultiPolygon, box, to_wkb
from shapely.geometry import shape

from s2async.errors import ConfigError, LocalError
from s2async.export import collection
from s2async.output import quicklook
from s2async.state.reader import Ledger
from s2async.state.records import JobRow, SavedRow
from tests.support.shelves import Shelf, fill

pytestmark = pytest.mark.slow


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return fill(tmp_path)


def write(
    shelf: Shelf,
    folder: Path | None = None,
    *,
    rows: Callable[[Any], Iterable[JobRow]] = lambda rows: rows,
    polygon: Callable[[str], bytes] | None = None,
) -> collection.Written:
    with Ledger.read(shelf.settings.run.state) as state:
        table = shelf.table(state)
        return collection.write(
            replace(table, rows=rows(table.rows), polygon=polygon or table.polygon),
            folder or shelf.output,
            output=shelf.output,
            catalog=shelf.settings.search.resolve(),
            state=state.id,
        )


def read(path: Path) -> pystac.Collection:
    return pystac.Collection.from_file(path / "collection.json")


@pytest.mark.parametrize("beside", [True, False])
def test_pystac_finds_every_crop(shelf: Shelf, tmp_path: Path, beside: bool) -> None:
    folder = shelf.output if beside else tmp_path / "else where" / "stac"
    assert write(shelf, folder) == collection.Written(items=6, unreadable=())
    items = list(read(folder).get_items())
    assert len({item.id for item in items}) == 6
    for item in items:
        assert item.collection_id == read(folder).id
        area = shelf.areas[item.properties["s2async:area"]]
        assert item.geometry
        assert shape(item.geometry).equals(area.polygon)
        assert tuple(item.bbox or ()) == area.polygon.bounds
        assert set(item.assets) == {"visual", "nir"}
        for asset in item.assets.values():
            data = Path(str(asset.get_absolute_href())).read_bytes()
            assert len(data) == asset.extra_fields["file:size"]
            assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
            with rasterio.open(str(asset.get_absolute_href())) as raster:
                assert list(raster.shape) == asset.extra_fields["proj:shape"]
    clouds = sorted(item.properties["eo:cloud_cover"] for item in items)
    assert clouds == [0.0] * 3 + [1.0] * 3


def test_items_of_two_collections_with_one_id_are_two(shelf: Shelf) -> None:
    def twice(rows: Iterable[JobRow]) -> Iterator[JobRow]:
        crops = [row for row in rows if isinstance(row, SavedRow)]
        others = [
            replace(row, collection="other", file=row.file.replace(f"_{row.asset}.", f"_other_{row.asset}."))
            for row in crops
        ]
        for row, other in zip(crops, others, strict=True):
            shutil.copy(shelf.output / row.folder / row.file, shelf.output / row.folder / other.file)
        yield from sorted(
            [*crops, *others], key=lambda row: (row.area, row.datetime, row.item, row.collection, row.asset)
        )

    assert write(shelf, rows=twice) == collection.Written(items=12, unreadable=())
    items = list(read(shelf.output).get_items())
    assert len({item.id for item in items}) == 12
    files = [asset.href for item in items for asset in item.assets.values() if item.id.endswith("_other")]
    assert len(files) == 12
    assert all("_other_" in file for file in files)


def test_boxes_about_the_antimeridian_are_narrow(shelf: Shelf) -> None:
    """RFC 7946, 5.2: west is the larger one."""
    across = MultiPolygon([box(179.9, -17, 180, -16.9), box(-180, -17, -179.9, -16.9)])
    places = {area.fingerprint: box(179.5, -17.5, 179.6, -17.4) for area in shelf.areas.values()}
    moved = places | {shelf.areas["plain"].fingerprint: across}
    write(shelf, polygon=lambda fingerprint: to_wkb(moved[fingerprint]))
    boxes = {item.properties["s2async:area"]: item.bbox for item in read(shelf.output).get_items()}
    assert boxes.pop("plain") == [179.9, -17, -179.9, -16.9]
    assert list(boxes.values()) == [[179.5, -17.5, 179.6, -17.4]] * 2
    assert read(shelf.output).extent.spatial.bboxes == [[179.5, -17.5, -179.9, -16.9]]
    pystac.validation.validate_dict(json.loads((shelf.output / "collection.json").read_bytes()), extensions=[])


def test_the_core_schemas_hold(shelf: Shelf) -> None:
    """Against the schemas that pystac brings along; those of the extensions would have to be fetched."""
    pytest.importorskip("jsonschema", reason="jsonschema is in the extra dev")
    write(shelf)
    paths = [shelf.output / "collection.json", *shelf.output.glob("*/*.json")]
    assert len(paths) == 7
    for path in paths:
        pystac.validation.validate_dict(json.loads(path.read_bytes()), extensions=[])


def test_links_within_are_relative_and_lead_back(shelf: Shelf) -> None:
    write(shelf)
    for path in shelf.output.glob("*/*.json"):
        item = json.loads(path.read_bytes())
        for link in item["links"]:
            if link["rel"] == "derived_from":
                assert link["href"].startswith("https://")
            else:
                assert (path.parent / link["href"]).resolve() == shelf.output / "collection.json"
        for asset in item["assets"].values():
            assert asset["href"].startswith("./")


def test_odc_stac_loads_it(shelf: Shelf) -> None:
    odc = pytest.importorskip("odc.stac", reason="odc-stac is in the extra bench")
    write(shelf)
    items = [item for item in read(shelf.output).get_items() if item.properties["s2async:area"] == "=Park"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own matter
        cube = odc.load(items, bands=["red", "blue", "nir"])
    assert dict(cube.sizes)["time"] == 2
    for number, item in enumerate(items):
        assert cube.time.values[number] == np.datetime64(str(item.properties["datetime"]).rstrip("Z"))
        for band, asset, index in (("red", "visual", 1), ("blue", "visual", 3), ("nir", "nir", 1)):
            with rasterio.open(str(item.assets[asset].get_absolute_href())) as raster:
                assert cube[band].shape[1:] == raster.shape
                assert (cube[band].values[number] == raster.read(index)).all()
                assert cube.odc.geobox.transform == raster.transform


def test_quicklooks_are_thumbnails(shelf: Shelf) -> None:
    for path in shelf.output.glob("plain/*_visual.tif"):
        quicklook.beside(path).write_bytes(b"a picture")
    write(shelf)
    for item in read(shelf.output).get_items():
        pictures = {key: asset for key, asset in item.assets.items() if asset.has_role("thumbnail")}
        assert set(pictures) == ({"visual_thumbnail"} if item.id.startswith("plain_") else set())
        for asset in pictures.values():
            assert Path(str(asset.get_absolute_href())).read_bytes() == b"a picture"


def test_items_are_on_the_disk_before_they_are_linked_to(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def sync() -> None:
        seen.append((len(list(shelf.output.glob("*/*.json"))), (shelf.output / "collection.json").exists()))

    monkeypatch.setattr(os, "sync", sync)
    write(shelf)
    assert seen == [(6, False)]


def test_what_is_the_same_is_not_written_again(shelf: Shelf) -> None:
    write(shelf)
    changed, *others = sorted(shelf.output.glob("*/*.json"))
    changed.write_text("{}")
    before = {path: path.stat().st_ino for path in others}
    write(shelf)
    assert {path: path.stat().st_ino for path in others} == before
    assert json.loads(changed.read_bytes())["type"] == "Feature"


def test_items_that_count_no_more_go_and_nothing_else(shelf: Shelf) -> None:
    write(shelf)
    crops = set(shelf.output.glob("*/*.tif"))
    own = shelf.output / "plain" / "mine.json"
    own.write_text("{}")
    write(shelf, rows=lambda rows: (row for row in rows if row.area != "plain"))
    assert {path.parent.name for path in shelf.output.glob("*/S2*.json")} == {
        area.folder for name, area in shelf.areas.items() if name != "plain"
    }
    assert own.exists()
    assert set(shelf.output.glob("*/*.tif")) == crops


def test_a_folder_that_is_left_empty_goes(shelf: Shelf, tmp_path: Path) -> None:
    write(shelf, tmp_path / "stac")
    write(shelf, tmp_path / "stac", rows=lambda rows: ())
    assert [path.name for path in (tmp_path / "stac").iterdir()] == ["collection.json"]
    assert list(read(tmp_path / "stac").get_items()) == []


def test_links_that_lead_out_of_the_folder_remove_nothing(shelf: Shelf, tmp_path: Path) -> None:
    victim = tmp_path / "victim.json"
    for href in ("../victim.json", "./../victim.json", str(victim), "./a/../../victim.json"):
        victim.write_text("{}")
        links = [{"rel": "item", "href": href}]
        (shelf.output / "collection.json").write_text(json.dumps({"id": "s2async-x", "links": links}))
        write(shelf)
        assert victim.exists(), href


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"id": "landsat", "type": "Collection"}', '{"type": "Collection"}']
)
def test_another_programs_collection_is_left_alone(shelf: Shelf, text: str) -> None:
    path = shelf.output / "collection.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not a collection of s2async; name another folder"):
        write(shelf)
    assert path.read_text() == text
    assert not list(shelf.output.glob("*/*.json"))


@pytest.mark.parametrize("content", [None, b"II*\0", b"no TIFF"])
def test_crops_that_cannot_be_read_are_left_out_and_told(shelf: Shelf, content: bytes | None) -> None:
    first, second, *_ = sorted((shelf.output / "plain").glob("*.tif"))
    told: tuple[str, ...] = ()
    for path, items in ((first, 6), (second, 5)):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        told = (*told, f"plain/{path.name}")
        assert write(shelf) == collection.Written(items=items, unreadable=told)
    assert len(list(read(shelf.output).get_items())) == 5
    assert first.name.removesuffix("_nir.tif") == second.name.removesuffix("_visual.tif")


def test_a_failure_in_the_middle_leaves_a_collection_whose_links_all_lead_somewhere(shelf: Shelf) -> None:
    write(shelf)
    before = (shelf.output / "collection.json").read_bytes()

    def broken(rows: Iterator[JobRow]) -> Iterator[JobRow]:
        yield next(rows)
        raise OSError("the disk")

    with pytest.raises(LocalError, match="the disk"):
        write(shelf, rows=broken)
    assert (shelf.output / "collection.json").read_bytes() == before
    assert len(list(read(shelf.output).get_items())) == 6
    assert not list(shelf.output.rglob("*.part"))
