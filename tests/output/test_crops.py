from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.io import MemoryFile
from shapely import MultiPolygon, Polygon

from s2async.cog import gdal, headers, tiff, tiles
from s2async.cog.polygon_mask import cutout
from s2async.cog.tiff import Layout
from s2async.models import Area
from s2async.output import crops, quicklook
from s2async.output.crops import cut
from s2async.output.geotiff import Crop, encode
from s2async.sandbox.truth import oracle
from s2async.sandbox.truth.oracle import project
from tests.support.lanes import few_quick
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
    part = cutout(Area(name="", wkb=polygon.wkb, fingerprint=polygon.wkb_hex, folder=""), layout.grid)
    assert part is not None
    blocks = {
        i: data[layout.block_offsets[i] :][: layout.block_counts[i]]
        for i in tiles.blocks_under(layout, [part.window])
        if layout.block_counts[i]
    }
    (pixels,) = gdal.read(headers.subset(layout, blocks), [part.window])
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


@pytest.mark.parametrize("made", few_quick([made for made in MADE if made.width > 3], 15), ids=str)
def test_a_crop_read_back_is_that_of_rasterio_mask(made: Made) -> None:
    source = made_tiff(made)
    for polygon in shapes(made):
        with MemoryFile(source) as file, file.open() as raster:
            plain = oracle.masked(raster, project(polygon, raster.crs))
            facts = raster.crs, raster.nodata, raster.scales, raster.offsets

        assert plain is not None
        expected, transform = plain
        with opened(encode(cropped(source, polygon))) as crop:
            pixels = crop.read()
            assert pixels.dtype == expected.dtype
            assert pixels.shape == expected.shape
            assert pixels.tobytes() == expected.tobytes()
            assert crop.transform == transform
            assert repr((crop.crs, crop.nodata, crop.scales, crop.offsets)) == repr(facts)
            assert crop.tags()["ITEM_ID"] == "S2A"
            assert crop.tags()["AREA"] == "Gärten <der> Welt & mehr"
            assert crop.block_shapes == [crop.shape] * crop.count
            assert crop.compression is not None
            assert crop.compression.name == "deflate"
            assert crop.overviews(1) == []


@pytest.mark.slow
def test_real_pixels_are_cut_as_rasterio_cuts_them(real_data: Path) -> None:
    for path in sorted((real_data / "raster").rglob("*.tif")):
        source = path.read_bytes()
        with rasterio.open(path) as raster:
            west, south, east, north = rasterio.warp.transform_bounds(raster.crs, "OGC:CRS84", *raster.bounds)
            x, y = west + (east - west) * 0.55, south + (north - south) * 0.45
            polygon = shapely.Point(x, y).buffer((east - west) / 9, quad_segs=5)
            plain = oracle.masked(raster, project(polygon, raster.crs))
        assert plain is not None
        expected, transform = plain
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
    name = crops.file_name("S2A_33UUU", "visual")
    assert name == "S2A_33UUU_visual.tif"
    crop = crop_of(by_name("tiles three bands").pixels, tags={"ITEM_ID": "S2A_33UUU"})
    product, data = crops.encode(crop, name, mask=True, asset="visual")
    assert data == encode(crop)
    assert (product.bytes, product.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (product.asset, product.file, product.mask) == ("visual", name, True)
    assert (product.format, product.epsg) == ("gtiff", 32633)
    assert crops.encode(crop, name, mask=True, asset="visual") == (product, data)


@pytest.mark.parametrize(("image", "stays"), [(None, False), ("own", False), ("foreign", True)])
def test_a_crop_is_removed_with_its_own_quicklook_alone(tmp_path: Path, image: str | None, stays: bool) -> None:
    path = tmp_path / "a.tif"
    path.touch()
    own = quicklook.encode(np.ones((1, 2, 2), np.uint8), None)
    if image:
        path.with_suffix(".png").write_bytes(own if image == "own" else b"\x89PNG of another program")
    crops.remove(path)
    assert not path.exists()
    assert path.with_suffix(".png").exists() == stays
    crops.remove(path)  # nothing is left to do
