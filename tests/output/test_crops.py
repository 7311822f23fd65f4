from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.mask
import rasterio.warp
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.io import MemoryFile
from shapely import MultiPolygon, Polygon

from s2async import files
from s2async.areas.folders import parking, plan_moves
from s2async.cog import gdal, tiff, tiles
from s2async.cog.grid import cutout
from s2async.cog.tiff import Layout
from s2async.errors import LocalError
from s2async.models import Area, FolderMove
from s2async.output import crops
from s2async.output.crops import cut
from s2async.output.geotiff import Crop, encode
from s2async.sandbox.truth.oracle import project
from tests.support.layouts import MADE, Made, by_name, crop_of, opened
from tests.support.layouts import tiff as made_tiff


def shapes(made: Made) -> list[Polygon | MultiPolygon]:
    """Areas in lon/lat on a made raster: in the middle, over an edge, two parts, around it all."""
    back = Transformer.from_crs(f"EPSG:{made.epsg}", "OGC:CRS84", always_xy=True)
    a, b, c, d, e, f = made.transform[:6]
    w, h = made.width, made.height
    middle = Polygon([(0.2 * w, 0.1 * h), (0.9 * w, 0.3 * h), (0.5 * w, 0.8 * h)], [])
    edge = shapely.Point(w, h / 2).buffer(0.4 * w, quad_segs=2)
    parts = MultiPolygon([shapely.box(0.1, 0.1, w / 3, h / 3), shapely.box(w / 2, h / 2, w * 1.2, h * 0.9)])

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        return np.column_stack(back.transform(a * x + b * y + c, d * x + e * y + f))

    found = [shapely.transform(shape, place) for shape in (middle, edge, parts, shapely.box(-3, -3, w + 3, h + 3))]
    return [shape for shape in found if isinstance(shape, Polygon | MultiPolygon)]


def cropped(data: bytes, polygon: Polygon | MultiPolygon) -> Crop:
    """The package's whole way from the bytes of a file to a crop."""
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    part = cutout(Area(name="", polygon=polygon, fingerprint=polygon.wkb_hex, folder=""), layout.grid)
    assert part is not None
    blocks = {
        i: data[layout.block_offsets[i] :][: layout.block_counts[i]]
        for i in tiles.blocks_under(layout, [part.window])
        if layout.block_counts[i]
    }
    (pixels,) = gdal.read(tiles.subset(layout, blocks), [part.window])
    return Crop(
        pixels=cut(pixels, part.inside, layout.nodata),
        transform=layout.grid.window_transform(part.window),
        epsg=layout.grid.epsg,
        nodata=layout.nodata,
        scales=layout.scales,
        offsets=layout.offsets,
        tags={"ITEM_ID": "S2A", "AREA": "Gärten <der> Welt & mehr", "EMPTY": ""},
    )


# ---- pixels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [made for made in MADE if made.width > 3], ids=str)
def test_a_crop_read_back_is_that_of_rasterio_mask(made: Made) -> None:
    source = made_tiff(made)
    for polygon in shapes(made):
        with MemoryFile(source) as file, file.open() as raster:
            expected, transform = rasterio.mask.mask(raster, [project(polygon, raster.crs)], crop=True)
            facts = raster.crs, raster.nodata, raster.scales, raster.offsets

        with opened(encode(cropped(source, polygon))) as crop:
            pixels = crop.read()
            assert pixels.dtype == expected.dtype
            assert pixels.shape == expected.shape
            assert pixels.tobytes() == expected.tobytes()
            assert crop.transform == transform
            assert repr((crop.crs, crop.nodata, crop.scales, crop.offsets)) == repr(facts)
            assert crop.tags()["ITEM_ID"] == "S2A"
            assert crop.tags()["AREA"] == "Gärten <der> Welt & mehr"
            assert crop.profile["tiled"]
            assert crop.compression is not None
            assert crop.compression.name == "deflate"
            assert crop.overviews(1) == []


def test_real_pixels_are_cut_as_rasterio_cuts_them(real_data: Path) -> None:
    for path in sorted((real_data / "raster").rglob("*.tif")):
        source = path.read_bytes()
        with rasterio.open(path) as raster:
            west, south, east, north = rasterio.warp.transform_bounds(raster.crs, "OGC:CRS84", *raster.bounds)
            x, y = west + (east - west) * 0.55, south + (north - south) * 0.45
            polygon = shapely.Point(x, y).buffer((east - west) / 9, quad_segs=5)
            expected, transform = rasterio.mask.mask(raster, [project(polygon, raster.crs)], crop=True)
        crop = cropped(source, polygon)
        assert expected.any()

        with opened(encode(crop)) as found:
            assert found.read().tobytes() == expected.tobytes()
            assert found.transform == transform


def test_cutting_makes_a_new_array() -> None:
    pixels = np.full((3, 2, 2), 9, np.uint16)
    inside = np.array([[True, False], [False, True]])
    inside.flags.writeable = False
    found = cut(pixels, inside, 7)
    assert found.dtype == np.uint16
    assert found.tolist() == [[[9, 7], [7, 9]]] * 3
    assert (pixels == 9).all()
    assert cut(pixels, inside, None).tolist() == [[[9, 0], [0, 9]]] * 3


# ---- on disk -----------------------------------------------------------------------------------------------


def test_encoding_tells_what_is_to_be_saved() -> None:
    name = crops.file_name("S2A_33UUU", "visual", "gtiff")
    assert name == "S2A_33UUU_visual.tif"
    crop = crop_of(by_name("tiles three bands").pixels, tags={"ITEM_ID": "S2A_33UUU"})
    product, data = crops.encode(crop, name, format_="gtiff", mask=True, asset="visual")
    assert data == encode(crop)
    assert (product.bytes, product.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (product.asset, product.file, product.mask) == ("visual", name, True)
    assert (product.format, product.epsg) == ("gtiff", 32633)
    assert crops.encode(crop, name, format_="gtiff", mask=True, asset="visual") == (product, data)


def test_every_writer_has_a_suffix() -> None:
    assert set(crops.WRITERS) == set(crops.SUFFIXES)


# ---- folders -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill."""


def move_all(output: Path, moves: Sequence[FolderMove]) -> None:
    crops.park_folders(output, moves)
    crops.place_folders(output, moves)


def contents(output: Path) -> dict[str, set[str]]:
    return {folder.name: {path.name for path in folder.iterdir()} for folder in output.iterdir()}


def killed_after(renames: int, work: Callable[[], None]) -> bool:
    """Do the work, but be killed before a rename after so many; tells whether it was."""
    left = renames
    rename = Path.replace

    def counted(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", counted)
        try:
            work()
        except Killed:
            return True
    return False


@settings(max_examples=80, deadline=None)
@given(st.permutations("abcd"), st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcdx")), st.data())
def test_any_exchange_of_names_survives_kills(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    crops_of: set[str],
    foreign: set[str],
    data: st.DataObject,
) -> None:
    """Areas 0 to 3 had the folders a to d and get others: rings, chains, and e or x that nobody had."""
    names = [data.draw(st.sampled_from([name, name, "e", "x"])) if name == "d" else name for name in names]
    output = tmp_path_factory.mktemp("output")
    keys = [f"{index}" * 16 for index in range(4)]
    for key, old in zip(keys, "abcd", strict=True):
        if old in crops_of:
            (output / old).mkdir()
            (output / old / f"crop of {key}").touch()
    if "x" in foreign:
        (output / "x").mkdir()
        (output / "x" / "foreign").touch()
    known = dict(zip(keys, "abcd", strict=True))
    wanted = {
        key: Area(name=name, polygon=shapely.box(0, 0, 1, 1), fingerprint=key, folder=name)
        for key, name in zip(keys, names, strict=True)
    }
    moves = plan_moves(known, wanted)

    # the state notes the end of the first half, so that a kill repeats one half only
    while killed_after(data.draw(st.integers(0, 6)), lambda: crops.park_folders(output, moves)):
        pass
    parked = [replace(move, old=parking(move.fingerprint)) for move in moves]
    while killed_after(data.draw(st.integers(0, 6)), lambda: move_all(output, parked)):
        pass

    expected = {wanted[key].folder: {f"crop of {key}"} for key, old in known.items() if old in crops_of}
    if "x" in foreign:
        expected.setdefault("x", set()).add("foreign")
    assert contents(output) == expected


@pytest.mark.parametrize("renames", range(8))
def test_files_join_those_of_a_folder_that_is_there(tmp_path: Path, renames: int) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    for name in ("old/1.tif", "old/2.tif", "old/3.tif", "new/notes.txt", "new/2.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    killed = killed_after(renames, lambda: move_all(tmp_path, [move]))
    assert killed == (renames < 4)
    move_all(tmp_path, [move])
    assert contents(tmp_path) == {"new": {"1.tif", "2.tif", "3.tif", "notes.txt"}}
    assert (tmp_path / "new/2.tif").read_text() == "old/2.tif"  # the area's own crop wins


def test_moves_are_on_the_disk_before_they_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    for name in ("old/1.tif", "new/notes.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    crops.park_folders(tmp_path, [move])
    assert synced == [tmp_path]
    crops.place_folders(tmp_path, [move])
    assert synced == [tmp_path, tmp_path / "new", tmp_path]


def test_a_parking_place_that_was_left_is_joined(tmp_path: Path) -> None:
    """Killed after parking, run with the old config, then moved again: crops lie in both places."""
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    for name in (f"{parking(move.fingerprint)}/1.tif", "old/2.tif"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    move_all(tmp_path, [move])
    assert contents(tmp_path) == {"new": {"1.tif", "2.tif"}}


def test_moves_without_folders_do_nothing(tmp_path: Path) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    move_all(tmp_path, [move])
    move_all(tmp_path / "no output yet", [move])
    move_all(tmp_path / "no output yet", [])
    assert contents(tmp_path) == {}


def test_a_move_that_is_not_possible_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "1.tif").touch()
    (tmp_path / "new").touch()
    with pytest.raises(LocalError, match=r"^cannot move to .*new: Not a directory; move away the file "):
        move_all(tmp_path, [move])
    assert (tmp_path / parking(move.fingerprint) / "1.tif").exists()
    (tmp_path / "new").unlink()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(LocalError, match=r"^cannot move folders in .*: Input/output error"):
        move_all(tmp_path, [move])
