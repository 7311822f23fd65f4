"""Kinds of faults of the API: what is no page, paging that goes wrong, items that are odd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from s2async.sandbox.faults.api import CLOUDS, IDS
from tests.chaos.kind import PAGES, Kind

BAD_IDS: Final = tuple(name for name in IDS if name not in ("emoji", "sql"))
"""Those that are refused; the others are odd, but names, and then it is another item."""


def kinds() -> Iterator[Kind]:
    """Bodies, paging and items."""
    yield from _bodies()
    yield from _paging()
    yield from _items()


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
        # pages of one item cannot be shorter, so that what a lost link costs looks like an estimated count
        notice = "counts more items" if how == "lost" else ""
        for count, often in ((1, "once"), (None, "for ever")):
            settings = {"how": how}
            yield Kind(name=f"next, {how}, {often}", fault="next", settings=settings, positions=PAGES, count=count,
                       recovers=False, notice=notice)  # fmt: skip
    for name, to in (
        ("to the forbidden origin", "FORBIDDEN/v1/search"),
        ("to a file:", "file:///etc/passwd"),
        ("to an upper-case scheme", "FTP://127.0.0.1/"),
        ("with a user", "http://good@127.0.0.1:1/v1/search"),
        ("to a private address", "http://[::ffff:169.254.169.254]/v1/search"),
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
               positions=("first",), count=None)  # fmt: skip
    for factor in (1.3, 0.5):
        yield Kind(name=f"numberMatched estimated, times {factor}", fault="matched", settings={"factor": factor},
                   positions=("first", "later", "anything"), count=None)  # fmt: skip
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
        yield odd(how, recovers=False, notice="skipped")
    for name, to in (
        ("the forbidden origin", "FORBIDDEN/cogs/x.tif"),
        ("a file:", "file:///etc/passwd.tif"),
        ("/vsicurl", "/vsicurl/FORBIDDEN/x.tif"),
    ):
        yield odd("href", name=f"href to {name}", to=to, recovers=False, missing=True)
