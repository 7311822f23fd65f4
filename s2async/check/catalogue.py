"""Requests to the catalogue: its conformance classes, its collection, and two pages of items over the areas."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urljoin

from s2async.catalog import search
from s2async.catalog.assets import at_origin_of
from s2async.catalog.items import links
from s2async.catalog.pages import Asker
from s2async.check import fields, service
from s2async.check.findings import Finding, not_tried, odd, right, wrong
from s2async.check.pages import Pages, whole_time
from s2async.check.session import Session, Stop
from s2async.errors import NotFound, RemoteError
from s2async.models import Area, Scene
from s2async.net.client import Transport

ITEMS: Final = 10
"""Number of items on a page."""


async def ask_conformance(session: Session, transport: Transport) -> None:
    """Judge the conformance classes of the API, which are requested unless the landing page lists them."""
    if session.landing is None:
        session.add(not_tried("conformance", "there is no landing page"))
        return
    claims = service.claims(session.landing)
    named = links(session.landing, "conformance") if isinstance(session.landing, Mapping) else []
    if claims is None and named:
        with contextlib.suppress(RemoteError):
            url = at_origin_of(session.catalog.url, urljoin(session.catalog.url, str(named[0].get("href"))))
            claims = service.claims(await transport.json("GET", url))
    session.add(service.conformance(claims))


async def ask_collection(session: Session, transport: Transport) -> bool:
    """Request the document of the collection; return whether the API says that there is none."""
    name = session.catalog.collection
    url = f"{session.catalog.url}/collections/{quote(name, safe='')}"
    try:
        session.add(service.collection(await transport.json("GET", url), name))
    except NotFound:
        if service.denies(session.landing, name):
            session.add(service.no_collection(session.landing, name))
            raise Stop("there is no such collection") from None
        return True
    except RemoteError as error:
        session.add(odd("collection", str(error), service.advice(error)))
    return False


async def ask_search(
    session: Session, transport: Transport, areas: Sequence[Area], *, missing: bool
) -> Sequence[Scene]:
    """Search over the first areas in the whole period, for at most two pages."""
    whole = whole_time(session.config, areas)
    if whole is None:
        session.add(odd("search", "the seasons of the areas lie outside the period: a run searches nothing"))
        raise Stop("there is nothing to search")
    pages = Pages(Asker(transport.json, lambda text: session.add(odd("search", text))))
    report = await search.run_search(
        whole,
        session.catalog,
        pages,
        max_scene_cloud=100,
        newest_only=False,
        measured=session.rule.assets,
        on_scene=_ignore,
        on_notice=lambda _: None,
        limit=ITEMS,
    )
    if not pages.read:
        session.add(wrong("search", report.reason, service.NETWORK, _advised(pages.failed)))
        raise Stop("the search does not work")
    items = [item for page in pages.read for item in page]
    of = f" of {pages.matched:,}" if pages.matched is not None else ""
    if not items:
        session.add(_nothing(session, whole, missing))
        raise Stop("no scene was found")
    if missing:
        session.add(right("collection", f"{session.catalog.collection} (it has items, but no page of its own)"))
    session.add(right("search", f"{len(items)}{of} items over {whole.label}"))
    if pages.failed or (pages.following and len(pages.read) == 1):
        session.add(wrong("next page", report.reason, service.NETWORK, _advised(pages.failed)))
    else:
        session.add(right("next page", "works" if len(pages.read) > 1 else "none: all items are on one page"))
    read = fields.read(items, session.catalog)
    session.add(*read.findings)
    if not read.scenes:
        raise Stop("no item can be used")
    return read.scenes


def _nothing(session: Session, whole: search.Search, missing: bool) -> Finding:
    if missing:
        session.add(service.no_collection(session.landing, session.catalog.collection))
        return not_tried("search", "there is no such collection")
    where = f"no scene over {whole.label}"
    return odd("search", where, "check position of the areas, period and collection")


def _advised(error: RemoteError | None) -> str:
    return service.advice(error) if error else ""


async def _ignore(_scene: Scene) -> None:
    """Ignore scenes: they are read from the items themselves."""
