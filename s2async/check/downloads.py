"""Requests to the file servers: the header and one block of each wanted asset."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from s2async.check import fields, rasters, service
from s2async.check.findings import Finding, not_tried, wrong
from s2async.check.session import Session
from s2async.cog import reader
from s2async.cog import source as sources
from s2async.cog.memory import Budget
from s2async.cog.source import Source
from s2async.errors import AccessDenied, CorruptFile, NotFound, RemoteError, WrongKind
from s2async.models import Asset, Scene
from s2async.net.client import Transport
from s2async.net.connections import failed_at
from s2async.text import origin

SCENES: Final = 3
"""Number of scenes that are tried if a file does not exist: an item is often published before its files."""


async def ask_files(session: Session, transport: Transport, scenes: Sequence[Scene]) -> None:
    """Read the header and one block of each wanted asset that the items offer."""
    session.why = "no item offers it"
    session.add(*(fields.offered(key, scenes, session.catalog) for key in session.keys))
    # Older scenes first: the files of the newest may not exist yet.
    ordered = sorted(scenes, key=lambda scene: (-len(scene.assets.keys() & set(session.keys)), scene.datetime))
    down: set[str] = set()
    with ThreadPoolExecutor(1) as pool:
        for key in session.keys:
            having = fields.readable(key, ordered, session.catalog)[:SCENES]
            if having:
                session.add(await _file(session, transport, key, having, pool, down))


async def _file(
    session: Session,
    transport: Transport,
    key: str,
    scenes: Sequence[Scene],
    pool: ThreadPoolExecutor,
    down: set[str],
) -> Finding:
    """Return the finding about one asset.

    Args:
        session: session of the check.
        transport: transport of the check.
        key: key of the asset.
        scenes: scenes that offer the asset; the next one is tried if a file does not exist.
        pool: threads that decode.
        down: origins that failed for an earlier asset; new ones are added.
    """
    topic, absent, missing = f"file {key}", 0, ""
    for scene in scenes:
        asset = scene.assets[key]
        server = origin(asset.href)
        if server in down:
            return not_tried(topic, f"{server} failed before")
        try:
            levels = await _levels(transport, asset)
            finding = rasters.header(topic, [one.layout for one in levels], levels[0].edition, scene.epsg)
            if fault := _unmeasurable(session, levels[0]):
                return wrong(topic, fault, service.NETWORK, "correct the key of this asset in catalog of [search]")
            await _read_block(session, transport, levels[0], pool)
        except NotFound as error:
            absent, missing = absent + 1, str(error)
            continue
        except CorruptFile as error:
            return wrong(topic, str(error), service.NETWORK)
        except RemoteError as error:
            down.add(server)
            return wrong(topic, str(error), service.NETWORK, _file_advice(error, session.proxy))
        if absent:
            return replace(finding, text=f"{finding.text}; {absent} older file{'s' * (absent > 1)} not there")
        return finding
    return wrong(
        topic, f"{missing} (nor {len(scenes) - 1} others)", service.NETWORK, "its files may have been moved"
    )


def _unmeasurable(session: Session, source: Source) -> str:
    """Why the cloud rule cannot measure a file that it needs; empty if it can, or does not need it."""
    key, layout = source.asset.key, source.layout
    return session.rule.check(key, layout.bands, layout.dtype) if key in session.rule.assets else ""


async def _read_block(session: Session, transport: Transport, source: Source, pool: ThreadPoolExecutor) -> None:
    cutout = rasters.middle_block(source.layout)
    if cutout is None:
        return
    found = await reader.read(
        transport,
        source,
        [cutout],
        budget=Budget(session.config.run.memory),
        pool=pool,
        verify=True,
        highest=session.rule.highest(source.asset.key),
    )
    if isinstance(found[0], CorruptFile):
        raise found[0]


async def _levels(transport: Transport, asset: Asset) -> tuple[Source, ...]:
    """Return the header of a file with its overviews; without these if they cannot be read."""
    try:
        return await sources.open_levels(transport, asset)
    except CorruptFile:
        return (await sources.open_source(transport, asset),)


def _file_advice(error: RemoteError, proxy: str) -> str:
    if isinstance(error, WrongKind):
        return "a page for people instead of the file: perhaps one to sign in to"
    if isinstance(error, AccessDenied):
        return "the files may need signed addresses or an account"
    where = failed_at(error)
    if where == "TLS":
        return service.tls_advice(str(error), datetime.now(UTC))
    if where == "proxy":
        return f"check the proxy {proxy}"
    return "check the network connection to this host" if where else ""
