"""What is fuzzed: each target takes any bytes as if they came from outside, and fails only if a promise is broken.

A target is a plain function, so that the tests run it on bytes of their own making. What is refused is refused by
one of the package's errors, in one line; what is taken is what it says.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from affine import Affine
from shapely import box

from s2async.areas import loader
from s2async.catalog import search
from s2async.catalog.providers import KNOWN
from s2async.cog import deflate, directories, headers, tiff, tiles
from s2async.cog.grid import Grid, Window
from s2async.cog.tiff import Layout, NeedMore
from s2async.config.sections import InlineArea
from s2async.errors import AreaError, CorruptFile, TransientError
from s2async.models import Scene
from s2async.net.responses import decode_json

T = TypeVar("T")


class BrokenPromiseError(Exception):
    """A finding."""


def promise(kept: bool, what: object) -> None:
    """Unlike an assertion, also under ``python -O``."""
    if not kept:
        raise BrokenPromiseError(what)


def one_line(error: Exception) -> None:
    """What a user sees is one printable line, or a heading and a line for each faulty area."""
    head, *lines = str(error).split("\n")
    listed = "areas cannot be used; " in head and all(line.startswith("  ") for line in lines)
    promise(not lines or listed, repr(error))
    promise(all(len(line) < 1000 for line in (head, *lines)), repr(error))


# ---- headers of files -------------------------------------------------------------------------------------


def header(data: bytes) -> None:
    """The first bytes of a remote file."""
    try:
        found = tiff.parse(data)
    except CorruptFile as error:
        return one_line(error)
    if isinstance(found, NeedMore):
        return promise(len(data) < found.size <= directories.MAX_HEADER, found)
    _sound(found)
    unpacked = headers.unpack(headers.pack(found))
    # places in no order, beyond what a word holds, are not kept: that costs a request
    if unpacked is not None and int(found.block_offsets.max()) < 1 << 31:
        promise(bool((unpacked.block_offsets == found.block_offsets).all()), "other places after being kept")
        promise(bool((unpacked.block_counts == found.block_counts).all()), "other sizes after being kept")
        promise((unpacked.grid, unpacked.dtype) == (found.grid, found.dtype), "another raster after being kept")
        promise(sorted(unpacked.tags) == sorted(found.tags), "other tags after being kept")
    return _subset(found)


def _sound(layout: Layout) -> None:
    grid = layout.grid
    itemsize = np.dtype(layout.dtype).itemsize
    size = layout.block_width * layout.block_height * itemsize * (1 if layout.planar else layout.bands)
    blocks = layout.across * layout.down * (layout.bands if layout.planar else 1)
    promise(max(grid.width, grid.height) <= tiff.MAX_SIDE and size <= tiff.MAX_BLOCK, grid)
    promise(len(layout.block_offsets) == len(layout.block_counts) == blocks, "too few blocks")
    promise(int(min(layout.block_offsets.min(), layout.block_counts.min())) >= 0, "negative places")
    promise(bool(np.isfinite(grid.transform[:6]).all()), grid.transform)
    deflate.supported(layout)


def _subset(layout: Layout) -> None:
    """The small TIFF that GDAL is given says the same of itself."""
    window = Window(col=0, row=0, width=min(layout.grid.width, 64), height=min(layout.grid.height, 64))
    under = {block: int(layout.block_counts[block]) for block in tiles.blocks_under(layout, [window])}
    if sum(under.values()) > 1 << 20:
        return
    small = headers.subset(layout, {block: bytes(count) for block, count in under.items() if count})
    try:
        again = tiff.parse(small)
    except CorruptFile as error:
        promise("reaches to byte" in str(error), error)  # it begins behind the blocks
        return
    if isinstance(again, Layout):
        promise((again.grid, again.dtype, again.bands) == (layout.grid, layout.dtype, layout.bands), again.grid)


def stored(data: bytes) -> None:
    """A header as the state keeps it: as it stands, and as the damaged inside of a sound stream."""
    for packed in (data, zlib.compress(data, 1)):
        found = headers.unpack(packed)
        if found is not None:
            _sound(found)


# ---- tiles ------------------------------------------------------------------------------------------------

_DTYPES: Final = ("uint8", "int8", "uint16", "int16")


def tile(data: bytes) -> None:
    """The start of a tile's stream: 8 bytes tell the layout and what is wanted, the others are the stream."""
    if len(data) < 8:
        return None
    high, wide, bands, kind, rows, col, width, switches = data[:8]
    large = 8 if switches & 4 else 1  # isal takes the larger ones
    layout = replace(
        _plain(),
        block_height=high * large + 1,
        block_width=wide * large + 1,
        bands=bands % 5 + 1,
        dtype=_DTYPES[kind % 4],
        order="<>"[switches & 1],
        predictor=1 + (switches >> 1 & 1),
    )
    wanted = rows * large % layout.block_height + 1
    stream, whole = data[8:], bool(switches & 8)
    if switches & 16:
        stream = zlib.compress(stream * 8, 1)[: None if whole else -1]
    size, most = wanted * deflate.line_bytes(layout), layout.block_height * deflate.line_bytes(layout)
    try:
        raw, used = deflate.read_rows(layout, stream, wanted, whole=whole)
    except CorruptFile as error:
        return one_line(error)
    promise(0 <= used <= len(stream), used)
    promise(len(raw) <= (most if whole else size), len(raw))
    reference = zlib.decompressobj()
    try:
        expected = reference.decompress(stream, most + 1 if whole else size)
    except zlib.error as error:
        promise(not whole, f"a whole tile that zlib refuses ({error})")
        return None
    least = min(len(raw), len(expected))  # of a stream that is cut off, one sees a little further than the other
    promise(raw[:least] == expected[:least], "other bytes than those of zlib")
    if len(raw) >= size:
        first = col % layout.block_width
        _placed(layout, raw, wanted, slice(first, min(first + width % 64 + 1, layout.block_width)))
    return None


def _placed(layout: Layout, raw: bytes, rows: int, columns: slice) -> None:
    """Pixels of two pieces, against the plain rule: sums from the left, modulo the type."""
    dtype = np.dtype(layout.dtype)
    pieces = [
        deflate.Piece(
            rows=slice(first, rows),
            columns=columns,
            target=np.zeros((layout.bands, rows - first, columns.stop - columns.start), dtype),
        )
        for first in (0, rows // 2)
    ]
    deflate.place(layout, raw, pieces)
    count = rows * layout.block_width * layout.bands
    pixels = np.frombuffer(raw, np.dtype(f"{layout.order}{dtype.str[1:]}"), count)
    pixels = pixels.reshape(rows, layout.block_width, layout.bands)
    if layout.predictor == 2:
        pixels = np.cumsum(pixels, axis=1, dtype=dtype)
    for piece in pieces:
        expected = pixels[piece.rows, piece.columns].transpose(2, 0, 1)
        promise(bool((piece.target == expected).all()), "other pixels than the plain rule gives")


@cache
def _plain() -> Layout:
    return Layout(
        order="<",
        big=False,
        grid=Grid(width=64, height=64, transform=Affine(10, 0, 3e5, 0, -10, 58e5), epsg=32633),
        bands=1,
        dtype="uint8",
        nodata=None,
        scales=(1.0,),
        offsets=(0.0,),
        compression=8,
        predictor=1,
        planar=False,
        tiled=True,
        block_width=64,
        block_height=64,
        block_offsets=np.array([512]),
        block_counts=np.array([512]),
        end=512,
        read_to=512,
        tags=(),
    )


# ---- searches ---------------------------------------------------------------------------------------------

_SEARCH: Final = search.Search(
    label="everywhere",
    key="0" * 16,
    geometry=box(13, 52, 14, 53),
    start=search.LAUNCH,
    end=datetime(2030, 1, 1, tzinfo=UTC),
)


def pages(data: bytes) -> None:
    """The answers to a search, one after another, between empty lines."""
    answers = data.split(b"\n\n")[:20]
    asked: list[str] = []
    scenes: list[Scene] = []
    notices: list[str] = []

    async def fetch(method: str, url: str, body: Mapping[str, Any] | None = None, **_: object) -> Any:
        asked.append(url)
        promise(method in ("GET", "POST") and url.startswith(("http://", "https://")), f"{method} {url!r}")
        json.dumps(body)
        if len(asked) > len(answers):
            raise TransientError("no more", status=None)
        return decode_json(answers[len(asked) - 1], {"Content-Type": "application/json"}, url)

    async def on_scene(scene: Scene) -> None:
        scenes.append(scene)

    report = _done(
        search.run_search(
            _SEARCH,
            KNOWN["earth-search"],
            fetch,
            max_scene_cloud=80,
            newest_only=bool(len(data) % 2),
            on_scene=on_scene,
            on_notice=notices.append,
        )
    )
    promise(report.complete is not bool(report.reason), report)
    promise(all("\n" not in text and len(text) < 1000 for text in [report.reason, *notices]), report)
    promise(len({(s.collection, s.id) for s in scenes}) == len(scenes) <= report.items, "a scene came twice")
    for scene in scenes:
        promise("/" not in scene.id and scene.id.isprintable() and len(scene.id.encode()) <= 200, scene.id)
        promise(_SEARCH.start <= scene.datetime < _SEARCH.end, scene.datetime)
        hrefs = [one.href.lower() for one in scene.assets.values()]
        promise(all(href.startswith(("http://", "https://")) for href in hrefs), hrefs)
        promise(scene.cloud is None or 0 <= scene.cloud <= 80, scene.cloud)


def _done(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits for anything."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise RuntimeError("it waits")


# ---- areas ------------------------------------------------------------------------------------------------


def geojson(data: bytes) -> None:
    """An areas file in GeoJSON."""
    _areas(_file(".geojson", data))


def table(data: bytes) -> None:
    """An areas file in CSV."""
    _areas(_file(".csv", data))


def wkt(data: bytes) -> None:
    """Areas in the config: names and WKT line by line, as TOML would give them."""
    lines = data.decode("utf-8", "replace").split("\n")
    named = zip(lines[::2], lines[1::2], strict=False)
    _areas([InlineArea.model_construct(name=name, wkt=text) for name, text in named])


def _areas(source: Path | list[InlineArea]) -> None:
    try:
        found = loader.read(source)
    except AreaError as error:
        return one_line(error)
    promise(bool(found), "no area and no error")
    for area in found:
        west, south, east, north = area.polygon.bounds
        promise(-180 <= west < east <= 180 and -90 <= south < north <= 90, area.polygon.bounds)
        promise(area.polygon.is_valid and loader.fingerprint(area.polygon) == area.fingerprint, area.polygon.wkt)
        promise("/" not in area.folder and area.folder.isprintable(), area.folder)
    return promise(len({area.folder.casefold() for area in found}) == len(found), "two areas share a folder")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(
        prefix="s2async-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    )


def _file(suffix: str, data: bytes) -> Path:
    path = Path(_folder().name) / f"areas{suffix}"
    path.write_bytes(data)
    return path


# ---- all of them ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is fuzzed, and with which bytes one begins."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    words: tuple[str, ...] = ()
    """What a mutation may put in."""


def _headers() -> Iterator[bytes]:
    from tests.support import layouts  # not needed where the seeds are known: the fuzzer's own process

    names = (
        "tiles",
        "COG",
        "tiles planar",
        "float32 NaN",
        "int16 scaled",
        "strips deflate",
        "sparse",
        "rotated point",
    )
    for name in (*names, "one strip, big-endian BigTIFF", "tiles planar, big-endian", "point, BigTIFF"):
        data = layouts.tiff(layouts.by_name(name))
        found = tiff.parse(data)
        yield data[: found.read_to] if isinstance(found, Layout) else data


def _stored() -> Iterator[bytes]:
    for data in _headers():
        yield data
        found = tiff.parse(data)
        if isinstance(found, Layout):
            yield headers.pack(found)


def _tiles() -> Iterator[bytes]:
    noise = np.random.default_rng(1).integers(0, 40, 40_000, dtype=np.uint8).tobytes()
    for switches in range(0, 16, 3):
        start = bytes([60, 60, 2, switches, 30, 10, 20, switches])
        yield start + zlib.compress(noise[:9000], 6)
        yield start + zlib.compress(bytes(3000) + noise, 9)[:3000]
        yield start[:7] + bytes([switches | 16]) + noise[:500]


def _pages() -> Iterator[bytes]:
    from tests.support.items import an_item

    first = [an_item(id="a"), an_item(id="b", collection=None, bbox=[13, 52, 14, 53], geometry=None)]
    for link in (
        {"rel": "next", "href": "?page=2", "method": "POST", "merge": True, "body": {"next": "t"}},
        {"rel": "next", "href": "https://earth-search.aws.element84.com/v1/search?token=2"},
    ):
        page = {"type": "FeatureCollection", "features": first, "links": [link], "numberMatched": 3}
        last = {"type": "FeatureCollection", "features": [an_item(id="c")], "context": {"matched": 3}}
        yield b"\n\n".join(json.dumps(one).encode() for one in (page, last))


def _geojsons() -> Iterator[bytes]:
    ring = [[13, 52], [13.1, 52], [13.1, 52.1], [13, 52]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {"name": "Zoo"}, "geometry": polygon}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25833"}}
    for one in (polygon, feature, {"type": "FeatureCollection", "features": [feature], "crs": crs}):
        yield json.dumps(one).encode()
    yield json.dumps(
        {"type": "MultiPolygon", "coordinates": [[ring], [[[20, 1, 5], [21, 1, 5], [21, 2, 5]]]]}
    ).encode()


def _tables() -> Iterator[bytes]:
    yield b'name,wkt\r\nZoo,"POLYGON ((13 52, 13.1 52, 13.1 52.1, 13 52))"\r\n'
    yield '\ufeffWKT,name\n"MULTIPOLYGON (((13 52, 13.1 52, 13.1 52.1, 13 52)))",Zoo\n'.encode()


def _wkts() -> Iterator[bytes]:
    yield b"Zoo\nPOLYGON ((13 52, 13.1 52, 13.1 52.1, 13 52))"
    yield b"Zoo\nSRID=4326;MULTIPOLYGON Z (((13 52 1, 13.1 52 1, 13.1 52.1 1, 13 52 1)))\nA/..\nPOLYGON EMPTY"


_JSON = (
    '"type":',
    '"coordinates":',
    '"features":',
    '"properties":',
    '"geometry":',
    "null",
    "1e999",
    "NaN",
    "[[[[",
)
TARGETS: Final[Mapping[str, Target]] = {
    "header": Target(run=header, seeds=_headers),
    "stored": Target(run=stored, seeds=_stored),
    "tile": Target(run=tile, seeds=_tiles),
    "pages": Target(
        run=pages,
        seeds=_pages,
        words=(*_JSON, '"links":', '"rel":"next"', '"href":', '"merge":true', '"body":', '"assets":', '"id":'),
    ),
    "geojson": Target(run=geojson, seeds=_geojsons, words=(*_JSON, '"Polygon"', '"MultiPolygon"', '"crs":')),
    "csv": Target(run=table, seeds=_tables, words=("wkt", "name", '"', "POLYGON", "EMPTY", "SRID=", "nan")),
    "wkt": Target(run=wkt, seeds=_wkts, words=("POLYGON", "EMPTY", "SRID=4326;", "nan", "inf", "Z", "1e308")),
}
