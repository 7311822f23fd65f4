"""What a STAC server does wrong, from the answer to the exit code: what was found is done once, the rest is told.

The files are served by the sandbox; the answers to the search are those of a table.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s2async.catalog import search as searching
from s2async.config.model import Config
from s2async.errors import BadAnswer, RemoteError, TransientError
from s2async.net.client import Transport
from tests.support import worlds
from tests.support.fault_server import FaultServer
from tests.support.shell import Shell
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow

LABEL = "North and 5 more, 2022-01-01/2022-03-31"
Item = dict[str, Any]
Answer = Mapping[str, Any] | RemoteError
Answers = Callable[[list[Item], int, str], Answer]
"""From the four items (newest first), the number of the request (from 0) and a forbidden origin, an answer."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in (1, 2, 3, 4)])


def page(items: list[Any], following: str | Mapping[str, Any] = "", **more: Any) -> dict[str, Any]:
    """A page; ``following`` is the token of the next one, or what its link says."""
    link: Mapping[str, Any] = (
        {"method": "POST", "href": "/search", "body": {"next": following}}
        if isinstance(following, str)
        else following
    )
    links = [{"rel": "next"} | dict(link)] if following else []
    return {"type": "FeatureCollection", "features": items, "links": links} | more


def clone(item: Item, number: int) -> Item:
    """Another item, far from every area, and no twin of any."""
    told = item["properties"] | {"platform": f"sentinel-{number}"}
    return item | {"id": f"far-{number}", "properties": told, "geometry": None, "bbox": [100, 10, 101, 11]}


def nested(depth: int) -> list[Any]:
    """A list in a list in a list ..."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def listed(*pages: Answer | Callable[[list[Item]], Answer]) -> Answers:
    """These answers, one after another."""

    def answer(items: list[Item], number: int, _origin: str) -> Answer:
        given = pages[number]
        return given(items) if callable(given) else given

    return answer


def two(number: int) -> Callable[[list[Item]], Answer]:
    """Two items and a next page; the last two and none."""
    return lambda i: page(i[:2], "t") if number == 0 else page(i[2:])


def to(link: Mapping[str, Any]) -> Answers:
    """Two items, and a next page of which the link is odd; the others come to whoever follows it."""
    return lambda i, n, origin: (
        page(i[2:]) if n else page(i[:2], json.loads(json.dumps(link).replace("ORIGIN", origin)))
    )


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the server does, and what is seen of it."""

    answers: Answers
    found: int
    """Of the four items."""
    reason: str = ""
    """Of a search that is incomplete."""
    notice: str = ""
    """That is told although the search is complete."""
    requests: int
    """At most."""


FAULTS = {
    "next is the same page": Fault(
        answers=lambda i, n, _: page(i[:2], "t"), found=2, requests=2, reason="paging does not advance"
    ),
    "next goes in a circle": Fault(
        answers=lambda i, n, _: page([i[n % 2]], "AB"[n % 2]), found=2, requests=3, reason="paging does not"
    ),
    "old items under new tokens": Fault(
        answers=lambda i, n, _: page(i[:2], f"t{n}"), found=2, requests=3, reason="paging does not advance"
    ),
    "next is lost": Fault(
        answers=lambda i, n, _: page(i[: 2 if n else 3], numberMatched=4),
        found=3,
        requests=2,
        reason="the server counts 4 items, but gave 3",
    ),
    "next is lost once": Fault(
        answers=lambda i, n, _: page(i if n else i[:3], numberMatched=4), found=4, requests=2
    ),
    "a count that is an estimate": Fault(
        answers=lambda i, n, _: page(i, numberMatched=5), found=4, requests=2
    ),
    "a count that is an estimate, and pages of one item": Fault(
        answers=lambda i, n, _: page([i[n % 4]], "" if n % 4 == 3 else f"t{n}", numberMatched=99),
        found=4,
        requests=8,
    ),
    "an order that changes between two pages": Fault(
        answers=listed(
            lambda i: page(i[:2], "t", numberMatched=4),
            lambda i: page(i[1:3], numberMatched=4),
            lambda i: page([i[3], i[0]], "u", numberMatched=4),
            lambda i: page(i[1:3], numberMatched=4),
        ),
        found=4,
        requests=4,
    ),
    "items of another collection only": Fault(
        answers=lambda i, n, _: page([item | {"collection": "sentinel-2-l1c"} for item in i]),
        found=0,
        requests=1,
        reason="all its items are of other collections, such as 'sentinel-2-l1c', not of sentinel-2-l2a",
    ),
    "items without properties only": Fault(
        answers=lambda i, n, _: page([item | {"properties": None} for item in i]),
        found=0,
        requests=1,
        reason="none of its 4 items can be used; the first that cannot: item ",
    ),
    "items without properties, but for one": Fault(
        answers=lambda i, n, _: page([i[0], *(i[1] | {"id": f"bad-{k}", "properties": {}} for k in range(19))]),
        found=1,
        requests=1,
        reason="only 1 of its 20 items can be used; the first that cannot: item bad-0: ",
    ),
    "made-up items that cannot be used for ever": Fault(
        answers=lambda i, n, _: page([i[0] | {"id": f"../{n}"}] if n else i[:2], f"t{n}"),
        found=2,
        requests=21,
        reason="20 pages in a row without an item that can be used",
    ),
    "pages shift as an item lands": Fault(
        answers=listed(
            lambda i: page(i[1:3], "t", numberMatched=3),
            lambda i: page(i[2:], numberMatched=4),
            lambda i: page(i, numberMatched=4),
        ),
        found=4,
        requests=3,
    ),
    "duplicates in and across pages": Fault(
        answers=listed(lambda i: page([i[0], i[0], i[1]], "t"), lambda i: page([*i, *i])), found=4, requests=2
    ),
    "one item a page": Fault(
        answers=lambda i, n, _: page([i[n]], f"t{n}" if n < 3 else ""), found=4, requests=4
    ),
    "thousands of items a page": Fault(
        answers=lambda i, n, _: page([*i, *(clone(i[0], number) for number in range(3000))]), found=4, requests=1
    ),
    "new items for ever": Fault(
        answers=lambda i, n, _: page([*i, *(clone(i[0], 20 * n + k) for k in range(20))], f"t{n}"),
        found=4,
        requests=25,
        reason="more than 500 items: split the areas or the period",
    ),
    "an empty page on the way": Fault(
        answers=listed(lambda i: page(i[:2], "t"), page([], "u"), lambda i: page(i[2:])), found=4, requests=3
    ),
    "empty pages for ever": Fault(
        answers=lambda i, n, _: page([] if n else i[:2], f"t{n}"),
        found=2,
        requests=5,
        reason="paging does not advance",
    ),
    "{}": Fault(answers=listed(two(0), {}), found=2, requests=2, reason="not a FeatureCollection: {}"),
    "features are null": Fault(
        answers=listed(two(0), page([]) | {"features": None}), found=2, requests=2, reason="not a Feature"
    ),
    "a page to sign in": Fault(
        answers=listed(two(0), BadAnswer("expected JSON, got text/html '<html>'")),
        found=2,
        requests=2,
        reason="expected JSON, got text/html",
    ),
    "503 for ever": Fault(
        answers=listed(two(0), TransientError("the server answers 503", status=503)),
        found=2,
        requests=2,
        reason="the server answers 503",
    ),
    "502 where a page is too large": Fault(
        answers=lambda i, n, _: page(i) if n == 3 else TransientError("502", status=502), found=4, requests=4
    ),
    "next on another host": Fault(
        answers=to({"href": "ORIGIN/v1/search?token=2"}), found=4, requests=2, notice="links to further pages name"
    ),
    "next on another host by POST": Fault(
        answers=to({"href": "ORIGIN/v1/search", "method": "POST", "merge": True, "body": {"token": 2}}),
        found=4,
        requests=2,
        notice="links to further pages name",
    ),
    "next with a user name": Fault(
        answers=to({"href": "http://me:hunter2@127.0.0.1/"}), found=2, requests=1, reason="with a user name"
    ),
    "next is a file": Fault(
        answers=to({"href": "file:///etc/passwd"}), found=2, requests=1, reason="the next page cannot be asked for"
    ),
    "next is ftp": Fault(
        answers=to({"href": "ftp://127.0.0.1/x"}), found=2, requests=1, reason="the next page cannot be asked for"
    ),
    "next is nothing": Fault(
        answers=to({"href": None, "method": ["GET"]}), found=2, requests=1, reason="next page cannot be asked for"
    ),
    "next by POST with merge": Fault(
        answers=to({"href": "/search", "method": "POST", "merge": True, "body": {"token": 2}}), found=4, requests=2
    ),
    "next by GET, relative": Fault(answers=to({"href": "search?token=2", "method": "GET"}), found=4, requests=2),
    "odd items": Fault(
        answers=lambda i, n, _: page(
            [None, 5, [], "x", {}, *(i[0] | {"id": odd} for odd in ("", "../../x", "a\0b", "x" * 10_000, 7)), *i]
        ),
        found=4,
        requests=1,
    ),
    "nested deeper and deeper": Fault(
        answers=lambda i, n, _: page([*i[:2], {"id": nested(930 + n)}], f"t{n}"),
        found=2,
        requests=70,
        reason="nested too deeply",
    ),
    "counts without sense": Fault(
        answers=lambda i, n, _: page(i, numberMatched=10**4000, context={"matched": -1}), found=4, requests=1
    ),
}  # fmt: skip


AGAIN = ("old items under new tokens", "503 for ever")


@pytest.mark.parametrize("name", FAULTS)
def test_what_was_found_is_done_once_and_what_was_not_is_said(
    name: str, s2: Shell, tmp_path: Path, stage: Stage, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    monkeypatch.setattr(searching, "MAX_ITEMS", 500 if "500" in fault.reason else 100_000)
    real, asked, items = Transport.json, [], list[Item]()

    async def answer(
        self: Transport, method: str, url: str, body: Any = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        if not url.startswith(stage.sandbox.origin):
            return await real(self, method, url, body, final=final)
        if not items:
            items.extend((await real(self, method, url, body, final=final))["features"])
            assert len(items) == 4
        asked.append(url)
        found = fault.answers([*items], len(asked) - 1, server.origin)  # a search consumes its pages
        if isinstance(found, RemoteError):
            raise found
        return found

    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.reset()
    with monkeypatch.context() as patch:
        patch.setattr(Transport, "json", answer)
        ended = s2("run", path)

    assert ended.code == (3 if fault.reason else 0)
    assert "Traceback" not in ended.error
    assert "hunter2" not in ended.error + ended.out
    assert len(asked) <= fault.requests
    assert server.log == [], "the forbidden origin"
    if fault.reason:
        (told,) = [line for line in ended.error.splitlines() if line.startswith("search incomplete: ")]
        assert told.startswith(f"search incomplete: {LABEL}: ")
        assert fault.reason in told
        assert "a search is incomplete: " in ended.out
        assert LABEL in ended.out
    assert fault.notice in ended.out + ended.error
    config = Config.load(path)
    done = worlds.statuses(config)
    assert {item for _, item in done} == {item["id"] for item in items[: fault.found]}
    assert len(done) == 6 * fault.found
    assert set(done.values()) <= {"saved", "outside", "cloudy", "nodata"}
    read = Counter(
        entry.path for entry in stage.sandbox.log() if entry.kind == "cogs" and entry.range.startswith("bytes=0-")
    )
    assert len(read) == 2 * fault.found
    assert set(read.values()) <= {1}, "each file once"
    assert worlds.faults_of(config, stage.world) == []

    if name in AGAIN:  # the next run asks again from the start, and does only what is left
        again = s2("run", path)
        assert again.code == 0
        assert len(worlds.statuses(config)) == 6 * 4
        assert worlds.faults_of(config, stage.world) == []
