"""Kinds of faults of files: ranges that are none, damage, editions, headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.kind import FILES, HEADERS, TILES, Kind


def kinds() -> Iterator[Kind]:
    """Ranges, damage, editions and headers."""
    yield from _ranges()
    yield from _damage()
    yield from _versions()
    yield from _editions()
    yield from _headers()


def _ranges() -> Iterator[Kind]:
    """Answers that are not the range: asked for once more, they are."""
    ranges: dict[str, tuple[str, Mapping[str, Any]]] = {
        "short, and says so": ("short", {}),
        "shifted, and says so": ("shift", {}),
        "shifted, and denies it": ("shift", {"honest": False}),
        "the whole file with 200": ("norange", {}),
        "multipart": ("multipart", {}),
        "no Content-Range": ("header", {"name": "Content-Range"}),
    }
    for value in ("bytes */100", "bytes 0-9/*", "items 0-1/2", "bytes 9-0/5", "bytes 0-99999999999999999999/1"):
        ranges[f"Content-Range {value}"] = ("header", {"name": "Content-Range", "value": value})
    for name, (fault, settings) in ranges.items():
        yield Kind(name=f"{name}, once", fault=fault, settings=settings, positions=FILES)
    for name in ("the whole file with 200", "multipart", "short, and says so"):
        fault, settings = ranges[name]
        yield Kind(name=f"{name}, for ever", fault=fault, settings=settings, positions=FILES, count=None,
                   recovers=False, by_itself=True)  # fmt: skip


def _damage() -> Iterator[Kind]:
    """Bytes of another value, in an answer whose length and headers are right.

    A classification is read whole, with its checksum. A picture is so with ``verify`` alone; without it the start
    of a tile is read, which has none.
    """
    holes: dict[str, Mapping[str, Any]] = {
        "the last third zeros": {},
        "half zeros": {"at": 0.5},
        "all zeros": {"at": 0},
        "a page of zeros": {"at": 0.1, "size": 4096},
        "512 zeros": {"at": 0.4, "size": 512},
        "16 bytes of anything": {"at": 0.5, "size": 16, "zeros": False},
        "the first 16 bytes": {"at": 0, "size": 16, "zeros": False},
        "the last 12 bytes": {"at": 0.998, "size": 16, "zeros": False},
        "one byte": {"at": 0.3, "size": 1, "zeros": False, "seed": 3},
    }
    for name, settings in holes.items():
        yield Kind(name=f"tile, {name}, once", fault="hole", settings=settings, positions=("SCL tile",))
        yield Kind(name=f"tile, {name}, once, verify", fault="hole", settings=settings, positions=TILES,
                   verify=True)  # fmt: skip
    for name in ("the last third zeros", "a page of zeros", "16 bytes of anything"):
        yield Kind(name=f"tile, {name}, for ever", fault="hole", settings=holes[name], positions=("SCL tile",),
                   count=None, recovers=False, by_itself=True)  # fmt: skip
    yield Kind(name="tile, noise, once", fault="noise", positions=TILES)
    yield Kind(name="a bit flipped in the classification", fault="flip", positions=("SCL tile",))
    yield Kind(name="a bit flipped, verify", fault="flip", positions=TILES, verify=True)
    yield Kind(name="bits flipped for ever, verify", fault="flip", settings={"bits": 3}, positions=TILES,
               count=None, recovers=False, verify=True)  # fmt: skip


def _versions() -> Iterator[Kind]:
    """Other tags, and files that end early."""
    yield Kind(name="another version once", fault="swap", positions=FILES)
    yield Kind(name="another version for ever", fault="swap", positions=TILES, count=None, recovers=False)
    yield Kind(name="no ETag", fault="header", settings={"name": "ETag"}, positions=FILES)
    for name, value in (
        ("weak", 'W/"weak"'),
        ("unquoted", "plain"),
        ("empty", '""'),
        ("of 4 kB", f'"{"e" * 4000}"'),
    ):
        yield Kind(name=f"ETag {name}", fault="header", settings={"name": "ETag", "value": value}, positions=FILES)
    yield Kind(name="the file ends early", fault="truncated", positions=FILES)
    yield Kind(name="the file ends early for ever", fault="truncated", positions=FILES, count=None, recovers=False)


def _editions() -> Iterator[Kind]:
    """A file is replaced while it is read: its crop is of the one edition or the other, whatever tells of it."""
    tags: dict[str, tuple[str, Mapping[str, str | None]]] = {
        "a strong ETag": ("alike", {}),
        "no ETag": ("alike", {"ETag": None}),
        "a weak ETag": ("alike", {"ETag": 'W/"the same"'}),
        "the size alone": ("longer", {"ETag": None, "Last-Modified": None}),
    }
    for name, (folder, always) in tags.items():
        for heeds in (True, False):
            text = "" if heeds else ", conditions passed over"
            settings = {"folder": f"WORLDS/{folder}", "heeds": heeds}
            yield Kind(name=f"replaced, {name}{text}", fault="edition", settings=settings, positions=FILES,
                       count=None, onwards=True, always=always, later=True)  # fmt: skip
            for skip in (1, 2):
                yield Kind(name=f"replaced after {skip} tiles, {name}{text}", fault="edition", settings=settings,
                           skip=skip, positions=("TCI tile",), count=None, onwards=True, always=always,
                           later=True)  # fmt: skip
        yield Kind(name=f"replaced, {name}, and back", fault="edition", settings={"folder": f"WORLDS/{folder}"},
                   positions=FILES, always=always, later=True)  # fmt: skip


def _headers() -> Iterator[Kind]:
    """Bytes at the start of the file that make no picture."""
    tags = {
        "width 2^31": (256, 2**31),
        "height 2^32-1": (257, 2**32 - 1),
        "width 0": (256, 0),
        "tile of 32768 columns": (322, 32768),
        "tile of 0 rows": (323, 0),
        "60,000 bands": (277, 60_000),
        "compression 9": (259, 9),
        "predictor 7": (317, 7),
        "planar 3": (284, 3),
        "tile offsets beyond the end": (324, 2**32 - 8),
    }
    for name, (number, value) in tags.items():
        yield Kind(name=f"header: {name}", fault="tag", settings={"number": number, "value": value},
                   positions=HEADERS, recovers=False)  # fmt: skip
    yield Kind(
        name="header: 2^31 tile offsets",
        fault="tag",
        settings={"number": 324, "value": 8, "values": 2**31},
        positions=HEADERS,
        recovers=False,
    )
    pokes = {
        "no TIFF": (0, "89504e470d0a1a0a"),
        "BigTIFF of nothing": (2, "2b00ffffffff"),
        "directory beyond the end": (4, "f0ffffff"),
        "directory in itself": (4, "00000000"),
    }
    for name, (at, data) in pokes.items():
        yield Kind(name=f"header: {name}", fault="poke", settings={"at": at, "data": data}, positions=HEADERS)
    yield Kind(name="header: noise", fault="noise", positions=HEADERS)
    yield Kind(name="header: zeros", fault="hole", settings={"at": 0}, positions=HEADERS)
    yield Kind(name="header: zeros, for ever", fault="hole", settings={"at": 0}, positions=HEADERS, count=None,
               recovers=False, by_itself=True)  # fmt: skip
