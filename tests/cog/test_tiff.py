from __future__ import annotations

import json
import math
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import example, given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader, MemoryFile
from rasterio.shutil import copy
from rasterio.transform import rowcol

from s2async.cog import directories, tiff
from s2async.cog.grid import Grid
from s2async.cog.tiff import Layout, NeedMore, parse
from s2async.errors import CorruptFile, UnsupportedLayout
from tests.support.examples import examples
from tests.support.lanes import slow
from tests.support.layouts import MADE, Made, bomb, by_name, entries, with_tag
from tests.support.layouts import tiff as made_tiff

made_files = pytest.mark.parametrize("made", MADE, ids=str)


def layout_of(head: bytes) -> Layout:
    found = parse(head)
    assert isinstance(found, Layout)
    return found


def facts(layout: Layout) -> tuple[object, ...]:
    """All that a layout says, comparable (NaN as text)."""
    values = [getattr(layout, name) for name in layout.__slots__]
    return tuple(repr(v.tolist()) if isinstance(v, np.ndarray) else repr(v) for v in values)


def blocks_by_gdal(raster: DatasetReader, layout: Layout) -> list[tuple[int, int]]:
    """Place and size of every block in the layout's order, (0, 0) for one left out."""
    found = []
    for band in raster.indexes if layout.planar else (1,):
        for row in range(layout.down):
            for column in range(layout.across):
                place = raster.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band)
                size = raster.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band)
                found.append((int(place or 0), int(size or 0)))
    return found


def assert_agrees(layout: Layout, raster: DatasetReader) -> None:
    assert layout.grid == Grid(
        width=raster.width, height=raster.height, transform=raster.transform, epsg=raster.crs.to_epsg()
    )
    assert (layout.bands, {layout.dtype}) == (raster.count, set(raster.dtypes))
    assert repr(layout.nodata) == repr(raster.nodata)
    assert (layout.scales, layout.offsets) == (raster.scales, raster.offsets)
    assert {(layout.block_height, layout.block_width)} == set(raster.block_shapes)
    assert layout.tiled == raster.profile["tiled"] or raster.block_shapes[0][1] == raster.width
    assert layout.planar == (raster.profile.get("interleave") == "band" and raster.count > 1)
    places = blocks_by_gdal(raster, layout)
    assert list(zip(layout.block_offsets.tolist(), layout.block_counts.tolist(), strict=True)) == places


@made_files
def test_a_layout_is_what_rasterio_says(made: Made) -> None:
    data = made_tiff(made)
    with MemoryFile(data) as file, file.open() as raster:
        assert_agrees(layout_of(data), raster)


@made_files
def test_some_files_have_blocks_left_out_and_the_others_none(made: Made) -> None:
    assert (layout_of(made_tiff(made)).block_counts == 0).any() == made.sparse


@made_files
def test_asking_for_what_it_needs_ends_in_the_same_layout(made: Made) -> None:
    data = made_tiff(made)
    whole = layout_of(data)
    head, asked = 0, 0
    while isinstance(found := parse(data[:head]), NeedMore):
        assert head < found.size <= len(data)
        head, asked = found.size, asked + 1
    assert facts(found) == facts(whole)
    assert whole.end <= head
    assert asked < 12


@pytest.mark.parametrize("name", ["tiles", "strips", "tiles planar, big-endian BigTIFF", *slow("COG picture")])
def test_no_part_of_a_header_is_taken_for_another_one(name: str) -> None:
    data = made_tiff(by_name(name))
    whole = layout_of(data)
    for size in {*range(400), *range(max(0, whole.end - 40), whole.end + 2), *range(0, len(data), 97)}:
        found = parse(data[:size])
        assert found.size > size if isinstance(found, NeedMore) else facts(found) == facts(whole)


def test_the_tags_go_on_without_the_places() -> None:
    layout = layout_of(made_tiff(by_name("COG picture")))
    assert {tag for tag, *_ in layout.tags} >= {256, 257, 258, 259, 33550, 34735, 42113}
    assert not {tag for tag, *_ in layout.tags} & {
        directories.TILE_OFFSETS,
        directories.TILE_COUNTS,
        directories.SUB_IFDS,
    }


# ---- real files --------------------------------------------------------------------------------------------


def test_the_recorded_header_of_a_real_file(real_data: Path) -> None:
    (document,) = (real_data / "cog-header").glob("*.json")
    recorded = json.loads(document.read_text())
    (header,) = (real_data / "cog-header").glob("*.bin")
    head = header.read_bytes()
    tags = recorded["ifds"][0]["tags"]

    layout = layout_of(head[:8192])
    assert (layout.grid.width, layout.grid.height) == (tags["256"]["value"], tags["257"]["value"])
    assert (layout.dtype, layout.compression, layout.predictor) == ("uint16", 8, 2)
    assert (layout.block_width, layout.block_height) == (tags["322"]["value"], tags["323"]["value"])
    assert layout.block_offsets.tolist() == tags["324"]["value"]
    assert layout.block_counts.tolist() == tags["325"]["value"]
    assert layout.end <= recorded["max_ifd_byte"]
    x, y = recorded["poi"]["x"], recorded["poi"]["y"]
    row, column = map(int, rowcol(layout.grid.transform, x, y))
    assert (column, row) == (recorded["poi"]["col"], recorded["poi"]["row"])
    block = row // 1024 * layout.across + column // 1024
    assert block == recorded["known_pixels"]["tile_index"]
    assert layout.block_offsets[block] == recorded["known_pixels"]["offset"]

    # of GDAL, the file is as long as it says: a hole behind the header
    with MemoryFile(head + bytes(1 << 20)) as file, file.open() as raster:
        assert layout.grid.transform == raster.transform
        assert layout.grid.epsg == raster.crs.to_epsg()
        assert (layout.nodata, layout.scales, layout.offsets) == (raster.nodata, raster.scales, raster.offsets)


def test_real_rasters(real_data: Path) -> None:
    paths = sorted((real_data / "raster").rglob("*.tif"))
    assert len(paths) > 10
    for path in paths:
        with rasterio.open(path) as raster:
            assert_agrees(layout_of(path.read_bytes()), raster)


def test_real_files_that_are_no_satellite_pictures(real_data: Path) -> None:
    folder = real_data / "tiff-structure"
    for name in ("cogger-cog_gray.tif", "cogger-cog_rgb.tif", "cogger-cog_rgbmask.tif"):
        with rasterio.open(folder / name) as raster:
            if raster.crs and raster.crs.to_epsg():
                assert_agrees(layout_of((folder / name).read_bytes()), raster)
            else:
                with pytest.raises(UnsupportedLayout, match="CRS"):
                    parse((folder / name).read_bytes())


# ---- refused -----------------------------------------------------------------------------------------------


def gdal(
    bands: int = 1, *, colour: list[ColorInterp] | None = None, mask: bool = False, **options: object
) -> bytes:
    profile = {
        "driver": "GTiff", "width": 40, "height": 30, "count": bands, "dtype": "uint8",
        "crs": "EPSG:32633", "transform": Affine(10, 0, 3e5, 0, -10, 5.9e6),
    }  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), MemoryFile() as file:
        with file.open(**profile | options) as raster:
            if colour:
                raster.colorinterp = colour
            raster.write(np.ones((bands, 30, 40), dtype="uint8"))
            if mask:
                raster.write_mask(np.eye(30, 40, dtype=bool))
        return bytes(file.getbuffer())


def cog_of(data: bytes) -> bytes:
    with MemoryFile(data) as file, file.open() as raster, MemoryFile() as target:
        copy(raster, target.name, driver="COG")
        return bytes(target.getbuffer())


def with_a_mask_of_many_bits() -> bytes:
    data = gdal(mask=True)
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    (mask,) = struct.unpack_from("<I", data, first + 2 + 12 * entries)
    (entries,) = struct.unpack_from("<H", data, mask)
    entry = next(at for at in range(mask + 2, mask + 2 + 12 * entries, 12) if data[at : at + 2] == b"\x02\x01")
    return data[: entry + 8] + struct.pack("<H", 16) + data[entry + 10 :]


@pytest.mark.parametrize("wrap", [bytes, cog_of])
def test_a_mask_is_a_raster_of_the_same_size(wrap: Callable[[bytes], bytes]) -> None:
    layout = layout_of(wrap(gdal(mask=True)))
    assert layout.mask is not None
    assert layout.mask.grid == layout.grid
    assert (layout.mask.bands, layout.mask.dtype) == (1, "uint8")
    assert layout.mask.block_offsets.tolist() != layout.block_offsets.tolist()
    assert layout.hides
    assert not layout.alpha


@pytest.mark.parametrize(
    ("data", "alpha"),
    [
        (lambda: gdal(4, photometric="RGB", ALPHA="YES"), True),
        (lambda: gdal(2, ALPHA="PREMULTIPLIED"), True),
        (lambda: gdal(2, ALPHA="YES", mask=True), False),
        (lambda: gdal(3, ALPHA="YES"), False),  # as in GDAL: only beside one or three bands
        (lambda: gdal(4, photometric="RGB", ALPHA="NO"), False),
        (lambda: gdal(4, photometric="MINISBLACK"), False),
    ],
)
def test_an_alpha_band_counts_where_it_counts_for_gdal(data: Callable[[], bytes], alpha: bool) -> None:
    written = data()
    layout = layout_of(written)
    assert layout.alpha is alpha
    with MemoryFile(written) as file, file.open() as raster:
        assert alpha is (MaskFlags.alpha in raster.mask_flag_enums[0])


def without_crs() -> bytes:
    return gdal(crs=None)


def with_a_crs_of_its_own() -> bytes:
    return gdal(crs="+proj=laea +lat_0=50 +lon_0=10 +datum=WGS84")


def without_transform() -> bytes:
    data = gdal()
    return with_tag(data, 65000, 12, 3, bytes(24), at=directories.PIXEL_SCALE)


def with_bits() -> bytes:
    return gdal(NBITS=1)


def with_few_bits() -> bytes:
    return with_tag(gdal(), directories.BITS, 3, 1, struct.pack("<H", 12))


def with_complex_pixels() -> bytes:
    return with_tag(gdal(), directories.SAMPLE_FORMAT, 3, 1, struct.pack("<H", 6))


def with_bands_of_two_types() -> bytes:
    return with_tag(gdal(3), directories.BITS, 3, 3, struct.pack("<3H", 8, 8, 16))


def with_bands_of_two_kinds() -> bytes:
    return with_tag(gdal(3), directories.SAMPLE_FORMAT, 3, 3, struct.pack("<3H", 1, 2, 1))


def with_its_directory_at_the_end() -> bytes:
    data = gdal()
    return data[:4] + struct.pack("<I", 3_000_000) + data[8:]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (with_a_mask_of_many_bits, "a mask of 1 bands of 16 bits"),
        (without_crs, "no EPSG code"),
        (with_a_crs_of_its_own, "no EPSG code"),
        (without_transform, "no transform"),
        (with_bits, "of 1 bits"),
        (with_few_bits, "of 12 bits"),
        (with_complex_pixels, "format 6"),
        (with_bands_of_two_types, "different types"),
        (with_bands_of_two_kinds, "different types"),
        (with_its_directory_at_the_end, "not a cloud-optimised GeoTIFF"),
    ],
)
def test_what_cannot_be_read_in_part_is_refused_by_its_name(make, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsupportedLayout, match=why) as refused:
        parse(make())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "head", [b"<html><body>404\r\n</body></html>", b"\0\0\0\x0cjP  \r\n\x87\n\0\0", b"II*\1" + bytes(20), b"PNG!"]
)
def test_other_files_are_no_tiffs(head: bytes) -> None:
    with pytest.raises(CorruptFile, match="not a TIFF: it starts with") as refused:
        parse(head)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("tag", "kind", "values"),
    [
        (directories.WIDTH, "<I", (0,)),
        (directories.WIDTH, "<I", (20_001,)),
        (directories.HEIGHT, "<I", (20_001,)),
        (directories.HEIGHT, "<I", (4_294_967_295,)),
        (directories.TILE_WIDTH, "<I", (0,)),
        (directories.TILE_HEIGHT, "<I", (4_294_967_295,)),
        (directories.TILE_WIDTH, "<I", (2_147_483_648,)),
        (directories.SAMPLES, "<I", (60_000,)),
        (directories.TILE_OFFSETS, "<I", (1,)),
        (directories.TILE_COUNTS, "<I", (1, 2, 3)),
        (directories.PIXEL_SCALE, "<d", (0.0, 10.0, 0.0)),
        (directories.PIXEL_SCALE, "<d", (math.nan, 10.0, 0.0)),
        (directories.TIEPOINTS, "<d", (0.0, 0.0, 0.0, math.inf, 0.0, 0.0)),
        (directories.GDAL_NODATA, "<B", (65, 66)),
        (directories.GDAL_METADATA, "<B", tuple(b'<Item name="OFFSET" sample="0" role="offset">nan</Item>')),
        (directories.GDAL_METADATA, "<B", tuple(b'<Item name="SCALE" sample="0" role="scale">-inf</Item>')),
    ],
)
def test_contradictions_and_absurd_sizes_are_refused(tag: int, kind: str, values: tuple[float, ...]) -> None:
    data = made_tiff(by_name("tiles"))
    code = {"B": 2, "I": 4, "d": 12}[kind[1]]
    raw = struct.pack(f"<{len(values)}{kind[1]}", *values)
    with pytest.raises(CorruptFile):
        parse(with_tag(data, tag, code, len(values), raw))


@pytest.mark.parametrize(
    ("width", "height", "bands", "dtype", "why"),
    [
        (32_768, 32_768, 1, "uint8", "a raster of 32768 x 32768 x 1 is refused"),
        (16_384, 16_384, 1, "uint8", "blocks of 256 MiB are refused"),
        (8192, 8192, 1, "uint16", "blocks of 128 MiB are refused"),
        (4096, 2048, 3, "float32", "blocks of 96 MiB are refused"),
        (8192, 8192, 1, "uint8", ""),
        (16, 16, 65, "uint8", "a raster of 16 x 16 x 65 is refused"),
    ],
)
def test_bombs_are_refused_by_their_header(width: int, height: int, bands: int, dtype: str, why: str) -> None:
    """One block as large as the raster, in a file of a kilobyte."""
    data = bomb(width, height, bands, dtype)
    assert len(data) < 4096
    if why:
        with pytest.raises(CorruptFile, match=why):
            parse(data)
    else:
        assert isinstance(tiff.parse(data), Layout)


@pytest.mark.parametrize(
    ("tag", "code", "values"),
    [
        (directories.BITS, 3, range(5000)),
        (directories.SAMPLE_FORMAT, 3, range(5000)),
        (directories.BITS, 12, [1e308]),
        (directories.WIDTH, 12, [1e308]),
        (directories.TILE_WIDTH, 12, [1e308]),
        (directories.GDAL_NODATA, 2, b"9" * 5000 + b"x"),
    ],
)
def test_a_damaged_tag_is_not_told_at_length(tag: int, code: int, values: Sequence[float]) -> None:
    raw = bytes(values) if isinstance(values, bytes) else struct.pack(f"<{len(values)}{'Hd'[code == 12]}", *values)
    with pytest.raises(CorruptFile) as refused:
        parse(with_tag(made_tiff(by_name("tiles")), tag, code, len(values), raw))
    assert len(str(refused.value)) < 300


# ---- as GDAL tells it, also where files are odd -------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiles", "int16 scaled", "int8", "float32 least", "float64"])
@pytest.mark.parametrize(
    "text", ["0", " 5 ", "-1", "256", "1.5", "255.4", "32768", "-32768", "1e3", "1e300", "3.4028235e38",
             "-3.40282346638529e+38", "inf", "-inf", "nan", " "]
)  # fmt: skip
def test_nodata_is_what_rasterio_says(name: str, text: str) -> None:
    raw = text.encode() + b"\0"
    data = with_tag(made_tiff(by_name(name)), directories.GDAL_NODATA, 2, len(raw), raw)
    found = layout_of(data).nodata
    with MemoryFile(data) as file, file.open() as raster:
        if text == " ":  # GDAL takes a blank for 0, which no writer means
            assert (found, raster.nodata) == (None, 0)
        else:
            assert repr(found) == repr(raster.nodata)


@pytest.mark.parametrize(
    ("scale", "ties"),
    [
        ((10.0, -10.0, 0.0), (0.0, 0.0, 0.0, 3e5, 5.9e6, 0.0)),
        ((10.0, 20.0), (2.0, 3.0, 0.0, 3e5, 5.9e6, 0.0)),
        ((10.0, 10.0, 0.0), (1.5, -2.5, 0.0, 3e5, 5.9e6, 0.0, 9.0, 9.0, 0.0, 1.0, 1.0, 0.0)),
    ],
)
@pytest.mark.parametrize("name", ["tiles", "point"])
@pytest.mark.filterwarnings("ignore")
def test_odd_places_of_the_grid_are_what_rasterio_says(
    name: str, scale: tuple[float, ...], ties: tuple[float, ...]
) -> None:
    data = made_tiff(by_name(name))
    data = with_tag(data, directories.PIXEL_SCALE, 12, len(scale), struct.pack(f"<{len(scale)}d", *scale))
    data = with_tag(data, directories.TIEPOINTS, 12, len(ties), struct.pack(f"<{len(ties)}d", *ties))
    with MemoryFile(data) as file, file.open() as raster:
        assert layout_of(data).grid.transform == raster.transform


# ---- damage ------------------------------------------------------------------------------------------------

HEADS = [
    made_tiff(by_name(name))
    for name in ("tiles", "strips", "COG picture", "tiles planar, big-endian BigTIFF", "int16 scaled", "rotated")
]
edges = st.sampled_from([0, 1, 2, 7, 8, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    head = bytearray(draw(st.sampled_from(HEADS)))
    reach = min(len(head), 1600) - 8
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, reach))
        value = draw(st.one_of(edges, st.integers(0, 255)))
        form = draw(st.sampled_from(["<B", "<H", "<I", ">I", "<Q"]))
        size = struct.calcsize(form)
        struct.pack_into(form, head, place, value & (1 << 8 * size) - 1)
    return bytes(head[: draw(st.one_of(st.just(len(head)), st.integers(0, len(head))))])


def outcome(head: bytes) -> Layout | NeedMore | CorruptFile:
    try:
        return parse(head)
    except CorruptFile as refused:
        return refused


def check_damage(head: bytes) -> None:
    found = outcome(head)
    if isinstance(found, NeedMore):
        assert len(head) < found.size <= directories.MAX_HEADER
    elif isinstance(found, Layout):
        assert len(found.block_offsets) == len(found.block_counts)
        assert found.end <= len(head)
    else:
        assert "\n" not in str(found)
        assert len(str(found)) < 300


@examples(600)
@given(damaged())
def test_damage_is_told_as_damage(head: bytes) -> None:
    check_damage(head)


@examples(150)
@given(st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+"]), st.binary(max_size=300))
@example(b"II*\0", b"\x08\0\0\0" + b"\xff\xff" + b"\xff" * 400)
def test_noise_is_told_as_damage(start: bytes, noise: bytes) -> None:
    check_damage(start + noise)


def directory(entry: bytes, number: int, *, following: int = 0) -> bytes:
    """A header of so many entries, each with a tag of its own and the rest as given."""
    body = b"".join(struct.pack("<H", 256 + index) + entry for index in range(number))
    return struct.pack("<2sHIH", b"II", 42, 8, number) + body + struct.pack("<I", following)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 12, 16, 99])
def test_counts_that_nothing_can_hold_are_refused_at_once(kind: int) -> None:
    head = directory(struct.pack("<HII", kind, 2**31, 8), 30) + bytes(5000)
    with pytest.raises(UnsupportedLayout, match="not a cloud-optimised"):
        parse(head)


def test_many_tags_over_the_same_bytes_do_not_fill_the_memory() -> None:
    head = directory(struct.pack("<HII", 1, 900_000, 8), 4000) + bytes(1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFile, match="share"):
            parse(head)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_directories_in_a_circle_end() -> None:
    data = made_tiff(by_name("tiles"))
    (start,) = struct.unpack_from("<I", data, 4)
    end = start + 2 + 12 * len(entries(data))
    with pytest.raises(CorruptFile, match="circle"):
        parse(data[:end] + struct.pack("<I", start) + data[end + 4 :])


def test_a_tag_that_is_there_twice_is_refused() -> None:
    data = made_tiff(by_name("tiles"))
    kind, count, value, _ = entries(data)[directories.WIDTH]
    with pytest.raises(CorruptFile, match="twice"):
        parse(
            with_tag(data, directories.WIDTH, kind, count, struct.pack("<I", value), at=directories.GDAL_METADATA)
        )
