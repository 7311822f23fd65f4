"""A STAC server that answers what a test says, and searches of it."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shapely import box

from s2async.catalog.providers import KNOWN, Catalog
from s2async.catalog.search import LAUNCH, Request, Search, run_search
from s2async.errors import RemoteError
from s2async.events import Estimate, SearchReport
from s2async.models import Scene
from tests.support.items import an_item

EARTH_SEARCH = KNOWN["earth-search"]
SEARCH_URL = f"{EARTH_SEARCH.url}/search"
WIDE = Search(
    label="Tiergarten, 2015/2030",
    key="0" * 16,
    geometry=box(13, 52, 14, 53),
    start=LAUNCH,
    end=datetime(2030, 1, 1, tzinfo=UTC),
)
NOON = datetime(2022, 6, 9, 12, tzinfo=UTC)

Answer = Mapping[str, Any] | list[Any] | str | RemoteError | None


@dataclass
class Script:
    """A transport that gives the next answer of a list, or lets a function answer, and keeps what was asked."""

    answers: Sequence[Answer] | Callable[[Request, int], Answer]
    asked: list[Request] = field(default_factory=list)
    finals: list[frozenset[int]] = field(default_factory=list)

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        await asyncio.sleep(0)
        request = Request(method, url, json.loads(json.dumps(body)))
        self.asked.append(request)
        self.finals.append(final)
        count = len(self.asked) - 1
        answer = self.answers(request, count) if callable(self.answers) else self.answers[count]
        if isinstance(answer, RemoteError):
            raise answer
        return copy.deepcopy(answer)  # a search consumes what it gets


@dataclass
class Result:
    report: SearchReport
    scenes: list[Scene]
    notices: list[str]

    @property
    def ids(self) -> list[str]:
        return [scene.id for scene in self.scenes]


def run(
    script: Script,
    catalog: Catalog = EARTH_SEARCH,
    search: Search = WIDE,
    *,
    max_scene_cloud: float = 100,
    newest_only: bool = False,
    limit: int = 100,
    known: Estimate | None = None,
) -> Result:
    scenes: list[Scene] = []
    notices: list[str] = []

    async def on_scene(scene: Scene) -> None:
        await asyncio.sleep(0)
        scenes.append(scene)

    report = asyncio.run(
        run_search(
            search,
            catalog,
            script,
            max_scene_cloud=max_scene_cloud,
            newest_only=newest_only,
            on_scene=on_scene,
            on_notice=notices.append,
            limit=limit,
            known=known,
        )
    )
    assert (report.label, report.key) == (search.label, search.key)
    assert report.complete is not bool(report.reason)
    assert all("\n" not in text for text in [report.reason, *notices])
    return Result(report, scenes, notices)


def items(*names: str, **changes: Any) -> list[dict[str, Any]]:
    return [an_item(id=name, **changes) for name in names]


def a_page(features: Any, following: object = None, **more: Any) -> dict[str, Any]:
    """A page; ``following`` is the next link, or a token for one in Earth Search's shape."""
    if following is not None and not isinstance(following, dict):
        following = {
            "rel": "next",
            "method": "POST",
            "href": SEARCH_URL,
            "merge": False,
            "body": {"next": following},
        }
    links = [{"rel": "root", "href": EARTH_SEARCH.url}] + ([following] if following else [])
    return {"type": "FeatureCollection", "features": features, "links": links} | more
