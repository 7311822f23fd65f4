"""The kinds of faults of the matrix, as data: how each is made, where it can befall, and what may come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from s2async.sandbox.faults_api import CLOUDS, IDS

PAGES: Final = ("first", "later")
FILES: Final = ("SCL header", "SCL tile", "TCI header", "TCI tile")
HEADERS: Final = ("SCL header", "TCI header")
TILES: Final = ("SCL tile", "TCI tile")
EVERYWHERE: Final = (*PAGES, *FILES)
BAD_IDS: Final = tuple(name for name in IDS if name not in ("emoji", "sql"))
"""Those that are refused; the others are odd, but names, and then it is another item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    fault: str
    """In the sandbox's table."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """``FORBIDDEN`` in a text stands for the forbidden origin."""
    positions: tuple[str, ...] = EVERYWHERE
    count: int | None = 1
    """How often for each file and each search; None for ever."""
    recovers: bool = True
    """The first run ends as if nothing had been; else what it touches may stay without an answer, and is told."""
    missing: bool = False
    """What it touches may be called missing."""
    skipped: bool = False
    """What it touches may be skipped with a notice: the item cannot be used."""
    verify: bool = False
    """With ``verify = true``."""


def kinds() -> Iterator[Kind]:
    """All kinds."""
    yield from _statuses()
    yield from _connections()
    yield from _anything_else()
    yield from _bodies()
    yield from _paging()
    yield from _items()
    yield from _ranges()
    yield from _versions()
    yield from _headers()


def _statuses() -> Iterator[Kind]:
    for status in (408, 425, 429, 500, 502, 503, 504):
        yield Kind(name=f"{status} twice", fault="code", settings={"status": status}, count=2)
    yield Kind(name="503 for ever", fault="code", count=None, recovers=False)
    for text, retry_after in (("0", "0"), ("-5", "-5"), ("garbage", "soon"), ("1 s", "1")):
        settings = {"status": 429, "retry_after": retry_after}
        yield Kind(name=f"429, Retry-After {text}", fault="code", settings=settings)
    yield Kind(name="503, Retry-After as a date", fault="code", settings={"date": 1})
    yield Kind(name="503, Retry-After 1e9", fault="code", settings={"retry_after": 1e9}, recovers=False)
    for status in (404, 410):
        yield Kind(name=f"{status}", fault="code", settings={"status": status}, recovers=False, missing=True)
    for status in (400, 401, 416, 451):
        yield Kind(name=f"{status}", fault="code", settings={"status": status}, recovers=False)
    yield Kind(name="403", fault="code", settings={"status": 403}, recovers=False)
    yield Kind(name="412", fault="code", settings={"status": 412}, positions=FILES)


def _connections() -> Iterator[Kind]:
    yield Kind(name="cut in the middle", fault="cut")
    yield Kind(name="cut before the body", fault="cut", settings={"after": 0})
    yield Kind(name="cut for ever", fault="cut", count=None, recovers=False)
    yield Kind(name="RST in the middle", fault="reset")
    yield Kind(name="RST without an answer", fault="close", settings={"rudely": True})
    yield Kind(name="closed without an answer", fault="close")
    yield Kind(name="stall before headers", fault="stall")
    yield Kind(name="stall after headers", fault="stall", settings={"after": 0})
    yield Kind(name="stall in the middle", fault="stall", settings={"after": 100})
    yield Kind(name="drip", fault="drip")


def _anything_else() -> Iterator[Kind]:
    yield Kind(name="HTML with 200", fault="html", recovers=False)
    yield Kind(name="gzip bomb", fault="bomb", recovers=False)
    yield Kind(name="unknown encoding", fault="header", settings={"name": "Content-Encoding", "value": "br"},
               recovers=False)  # fmt: skip
    for status in (301, 307):
        yield Kind(name=f"{status} to itself, once", fault="redirect", settings={"status": status})
    for name, to in (
        ("a file:", "file:///etc/passwd"),
        ("the forbidden origin", "FORBIDDEN/v1/search"),
        ("a private address", "http://169.254.169.254/latest/meta-data/"),
        ("nowhere", ""),
        ("garbage", "http://[::1"),
    ):
        yield Kind(name=f"redirect to {name}", fault="redirect", settings={"to": to}, recovers=False)
    yield Kind(name="redirect loop", fault="redirect", count=None, recovers=False)


def _bodies() -> Iterator[Kind]:
    bodies = {
        "{}": "{}",
        "no features": '{"type":"FeatureCollection"}',
        "features null": '{"type":"FeatureCollection","features":null}',
        "features of features": '{"type":"FeatureCollection","features":{"features":[]}}',
        "null": "null",
        "a list": "[]",
        "an error with 200": '{"code":"InternalServerError","description":"timeout"}',
    }
    for name, text in bodies.items():
        yield Kind(name=f"body: {name}", fault="body", settings={"text": text}, positions=PAGES, recovers=False)
    yield Kind(name="an empty body", fault="body", settings={"text": ""}, positions=PAGES)
    yield Kind(name="half of the JSON", fault="malformed", positions=PAGES)
    yield Kind(name="half of the JSON for ever", fault="malformed", positions=PAGES, count=None, recovers=False)
    yield Kind(name="JSON nested 100,000 times", fault="nested", positions=PAGES, recovers=False)
    yield Kind(
        name="JSON as text/plain",
        fault="header",
        settings={"name": "Content-Type", "value": "text/plain"},
        positions=PAGES,
        recovers=False,
    )


def _paging() -> Iterator[Kind]:
    for how in ("get", "merge", "relative"):
        yield Kind(name=f"next, {how}", fault="next", settings={"how": how}, positions=PAGES, count=None)
    for how in ("same", "back", "retoken", "lost", "hrefless", "odd"):
        for count, often in ((1, "once"), (None, "for ever")):
            settings = {"how": how}
            yield Kind(name=f"next, {how}, {often}", fault="next", settings=settings, positions=PAGES, count=count,
                       recovers=False)  # fmt: skip
    for name, to in (
        ("to the forbidden origin", "FORBIDDEN/v1/search"),
        ("to a file:", "file:///etc/passwd"),
        ("to an upper-case scheme", "FTP://127.0.0.1/"),
        ("with a user", "http://good@127.0.0.1:1/v1/search"),
        ("to a private address", "http://[::ffff:169.254.169.254]/"),
    ):
        yield Kind(name=f"next {name}", fault="next", settings={"how": "elsewhere", "to": to},
                   positions=("first",),
                   count=None, recovers=False)  # fmt: skip
    yield Kind(name="an empty page with next", fault="empty", positions=PAGES)
    yield Kind(name="3 empty pages with next", fault="empty", positions=PAGES, count=3)
    yield Kind(name="empty pages for ever", fault="empty", positions=PAGES, count=None, recovers=False)
    yield Kind(name="new items without end", fault="endless", positions=("first",), count=None, recovers=False)
    yield Kind(name="pages that shift", fault="shifted", positions=PAGES)
    yield Kind(name="duplicates", fault="duplicates", positions=PAGES, count=None)
    yield Kind(name="one item 5,000 times", fault="duplicates", settings={"times": 5000}, positions=PAGES)
    yield Kind(name="numberMatched too large once", fault="matched", settings={"number": 5000}, positions=PAGES)
    yield Kind(name="numberMatched too large for ever", fault="matched", settings={"number": 5000},
               positions=("first",), count=None, recovers=False)  # fmt: skip
    for value in ("many", None, -1, 1.5):
        yield Kind(name=f"numberMatched {value}", fault="matched", settings={"number": value}, positions=PAGES,
                   count=None)  # fmt: skip


def _items() -> Iterator[Kind]:
    def odd(how: str, **more: Any) -> Kind:
        settings = {"how": how, **({"to": more.pop("to")} if "to" in more else {})}
        name = more.pop("name", how.replace("_", " "))
        return Kind(name=f"item, {name}", fault="item", settings=settings, positions=PAGES, count=None, **more)

    for how in ("proj_null", "proj_wrong", "proj_wkt2", "null_geometry", *(f"cloud:{name}" for name in CLOUDS)):
        yield odd(how)
    for how in ("no_asset", "no_href", "null_href"):
        yield odd(how, recovers=False, missing=True)
    for how in ("nowhere", "no_properties", "no_datetime", "no_object", *(f"id:{name}" for name in BAD_IDS)):
        yield odd(how, recovers=False, skipped=True)
    for name, to in (
        ("the forbidden origin", "FORBIDDEN/cogs/x.tif"),
        ("a file:", "file:///etc/passwd.tif"),
        ("/vsicurl", "/vsicurl/FORBIDDEN/x.tif"),
    ):
        yield odd("href", name=f"href to {name}", to=to, recovers=False, missing=True)


def _ranges() -> Iterator[Kind]:
    yield Kind(name="short, and says so", fault="short", positions=FILES, recovers=False)
    yield Kind(name="shifted, and says so", fault="shift", positions=FILES, recovers=False)
    yield Kind(name="shifted, and denies it", fault="shift", settings={"honest": False}, positions=FILES,
               recovers=False)  # fmt: skip
    yield Kind(name="the whole file with 200", fault="norange", positions=FILES, recovers=False)
    yield Kind(name="no Content-Range", fault="header", settings={"name": "Content-Range"}, positions=FILES,
               recovers=False)  # fmt: skip
    for value in ("bytes */100", "bytes 0-9/*", "items 0-1/2", "bytes 9-0/5", "bytes 0-99999999999999999999/1"):
        settings = {"name": "Content-Range", "value": value}
        yield Kind(
            name=f"Content-Range {value}", fault="header", settings=settings, positions=FILES, recovers=False
        )


def _versions() -> Iterator[Kind]:
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
    yield Kind(name="the file ends early", fault="truncated", positions=FILES, recovers=False)
    yield Kind(name="the file ends early for ever", fault="truncated", positions=FILES, count=None, recovers=False)
    yield Kind(name="noise in place of a tile", fault="noise", positions=TILES)
    yield Kind(name="a bit flipped, verify", fault="flip", positions=TILES, verify=True)
    yield Kind(name="bits flipped for ever, verify", fault="flip", settings={"bits": 3}, positions=TILES,
               count=None, recovers=False, verify=True)  # fmt: skip


def _headers() -> Iterator[Kind]:
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
        yield Kind(name=f"header: {name}", fault="poke", settings={"at": at, "data": data}, positions=HEADERS,
                   recovers=False)  # fmt: skip
    yield Kind(name="header: noise", fault="noise", positions=HEADERS, recovers=False)
