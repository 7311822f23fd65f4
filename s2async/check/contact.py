"""The first contact with a service: the requests of the check, sent by the client and read by the code of a run.

With one asset to crop there are eight: the landing page, the collection, two pages of a search over the areas,
and of each asset the header and one block. Whatever fails is asked for twice. What cannot be asked for because of
an earlier failure is not asked for at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote

from yarl import URL

from s2async.catalog import search
from s2async.catalog.items import links
from s2async.catalog.periods import TOLERANCE
from s2async.check import fields, rasters, service
from s2async.check.findings import Finding, Verdict, not_tried, odd, right, wrong
from s2async.cog import reader
from s2async.cog import source as sources
from s2async.cog.memory import Budget
from s2async.cog.source import Source
from s2async.config.model import Config
from s2async.errors import (
    AccessDenied,
    ConfigError,
    CorruptFile,
    Diverted,
    LocalError,
    NotFound,
    RemoteError,
    WrongKind,
)
from s2async.models import Area, Asset, Scene
from s2async.net.allowlist import place_of
from s2async.net.client import Meter, Transport, open_client
from s2async.net.connections import Resolver, brief, check_certificates, check_proxies, failed_at, proxy_told
from s2async.text import excerpt, shown

ATTEMPTS: Final = 2
"""Tries of a request: a single failure may be chance."""
PATIENCE: Final = 20.0
"""Seconds that a server may ask to wait: a person waits for the result."""
ITEMS: Final = 10
"""Items of a page."""
PAGES: Final = 2
SCENES: Final = 3
"""Scenes that are tried if a file does not exist: an item is often published before its files."""

SERVICE: Final = ("proxy", "name", "TLS", "catalogue", "clock", "conformance", "collection", "search", "next page")


def topics(config: Config) -> tuple[str, ...]:
    """All topics of the contact, in the order of the result."""
    keys = wanted(config)
    return (*SERVICE, fields.TOPIC, *(f"asset {key}" for key in keys), *(f"file {key}" for key in keys))


def wanted(config: Config) -> tuple[str, ...]:
    """Keys of the assets that a run reads: those of the cloud rule, then those to crop."""
    selection = config.selection()
    return tuple(dict.fromkeys((*selection.measured, *selection.assets)))


async def ask(
    config: Config, areas: Sequence[Area], *, connections: int, meter: Meter, why_no_areas: str = ""
) -> list[Finding]:
    """Contact the service of a configuration; at least one finding for each of `topics`.

    Args:
        config: settings.
        areas: over which items are searched; empty if they cannot be read.
        connections: maximum number of concurrent requests to a server.
        meter: counts the requests.
        why_no_areas: why there are no areas.
    """
    contact = _Contact(config, areas, why_no_areas)
    try:
        contact.settings()
        client = replace(
            config.client_settings(),
            attempts=ATTEMPTS,
            patience=min(config.network.patience, PATIENCE),
            connections=connections,
        )
        async with open_client(client, meter) as transport:
            await contact.run(transport)
    except _Stop as stop:
        contact.why = stop.why
    except (ConfigError, LocalError) as error:
        contact.add(wrong("catalogue", str(error), error.exit_code))
        contact.why = "no request can be sent"
    return contact.result()


class _Stop(Exception):
    """Nothing more can be asked for."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass
class _Contact:
    config: Config
    areas: Sequence[Area]
    why_no_areas: str
    why: str = ""
    """Why topics without a finding were not tried."""
    found: defaultdict[str, list[Finding]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.catalog = self.config.catalog()
        self.rule = self.config.cloud_rule()
        self.keys = wanted(self.config)
        self.proxy = ""
        self.landing: Any = None

    def add(self, *findings: Finding) -> None:
        """Note findings; a wrong one replaces those of its topic."""
        for finding in findings:
            if finding.verdict is Verdict.WRONG and all(
                f.verdict is Verdict.RIGHT for f in self.found[finding.topic]
            ):
                self.found[finding.topic].clear()
            self.found[finding.topic].append(finding)

    def result(self) -> list[Finding]:
        """The findings in the order of `topics`."""
        return [
            finding
            for topic in topics(self.config)
            for finding in self.found[topic] or [not_tried(topic, self.why or "an earlier check failed")]
        ]

    async def run(self, transport: Transport) -> None:
        await self.look_up()
        await self.ask_landing(transport)
        await self.ask_conformance(transport)
        missing = await self.ask_collection(transport)
        scenes = await self.ask_search(transport, missing)
        await self.ask_files(transport, scenes)

    # ---- before the first request ------------------------------------------------------------------------

    def settings(self) -> None:
        """Proxy and certificates as the environment sets them."""
        origins = self.config.allowed_origins()
        try:
            check_proxies(origins)
            self.proxy = proxy_told(origins[0])
        except ConfigError as error:
            self.add(wrong("proxy", str(error), error.exit_code))
            raise _Stop("the proxy cannot be used") from None
        others = {proxy_told(origin) for origin in origins[1:]} - {self.proxy}
        more = f"; for files: {', '.join(sorted(other or 'none' for other in others))}" if others else ""
        self.add(right("proxy", f"{self.proxy or 'none'}{more}"))
        try:
            check_certificates(origins)
        except ConfigError as error:
            self.add(wrong("TLS", str(error), error.exit_code))
            raise _Stop("TLS cannot be used") from None

    async def look_up(self) -> None:
        """Resolve the name of the catalogue's host."""
        host, port = place_of(self.catalog.url)
        if self.proxy:
            self.add(right("name", f"{host}: the proxy resolves it"))
            return
        if _is_address(host):
            self.add(right("name", f"{host} is an address"))
            return
        resolver = Resolver(private=map(place_of, self.config.network.private_origins), proxies=())
        try:
            async with asyncio.timeout(self.config.network.connect_timeout):
                found = await resolver.resolve(host, port, socket.AF_UNSPEC)
            addresses = {entry["host"] for entry in found}
        except RemoteError as error:
            self._no_name(str(error))
        except OSError as error:
            self._no_name(
                f"{host} cannot be resolved ({_cause(error)})", "check the URL and the network connection"
            )
        else:
            self.add(right("name", f"{host}: {len(addresses)} address{'es' * (len(addresses) > 1)}"))
        finally:
            await resolver.close()

    def _no_name(self, text: str, advice: str = "") -> None:
        self.add(wrong("name", text, service.NETWORK, advice))
        raise _Stop("the name cannot be resolved")

    # ---- the catalogue ---------------------------------------------------------------------------------------

    async def ask_landing(self, transport: Transport) -> None:
        """Request the landing page, which also shows whether proxy and TLS work, and the time of the server."""
        headers: Mapping[str, str] = {}

        def keep(found: Mapping[str, str]) -> None:
            nonlocal headers
            headers = found

        secure = self.catalog.url.startswith("https:")
        began = datetime.now(UTC)
        try:
            self.landing = await transport.json("GET", self.catalog.url, on_headers=keep)
        except RemoteError as error:
            self._no_landing(error, secure=secure)
            return
        self.add(right("TLS", "the certificate is accepted" if secure else "not used (http)"))
        self.add(service.clock(headers, began, datetime.now(UTC)))
        if service.is_catalog(self.landing):
            title = self.landing.get("title") or self.landing.get("id")
            version = excerpt(str(self.landing["stac_version"]).encode(), 20)
            self.add(
                right(
                    "catalogue", f"{shown(self.catalog.url)}: {excerpt(str(title).encode(), 60)} (STAC {version})"
                )
            )
        else:
            text = (
                f"{shown(self.catalog.url)} is not a STAC catalogue: {excerpt(ascii(self.landing).encode(), 60)}"
            )
            self.add(odd("catalogue", text, "correct url under [search] catalog if the search fails too"))

    def _no_landing(self, error: RemoteError, *, secure: bool) -> None:
        """Find out what the failure of the first request means."""
        where, text = failed_at(error), str(error)
        if self.proxy and (where in ("proxy", "name") or getattr(error, "status", None) == 407):
            what = "user name and password in the variable, NO_PROXY for hosts that are asked directly"
            self.add(wrong("proxy", f"{self.proxy}: {text}", service.NETWORK, f"check its address, {what}"))
            raise _Stop("the proxy does not work")
        if where == "name":
            self._no_name(text, "check the URL and the network connection")
        if where == "TLS":
            self.add(wrong("TLS", text, service.NETWORK, service.tls_advice(text, datetime.now(UTC))))
            raise _Stop("TLS failed")
        if where == "connection":
            self.add(
                wrong("catalogue", text, service.NETWORK, "check url under [search] catalog, and the firewall")
            )
            raise _Stop("the catalogue cannot be reached")
        self.add(right("TLS", "the certificate is accepted" if secure else "not used (http)"))
        advice = service.advice(error)
        if isinstance(error, AccessDenied | Diverted | WrongKind) or getattr(error, "status", None) in (401, 403):
            self.add(wrong("catalogue", text, service.NETWORK, advice))
            raise _Stop("the catalogue does not answer as one")
        self.add(odd("catalogue", text, advice), not_tried("clock", "there is no landing page"))

    async def ask_conformance(self, transport: Transport) -> None:
        """Judge what the API claims to conform to; requested only if the landing page does not list it."""
        if self.landing is None:
            self.add(not_tried("conformance", "there is no landing page"))
            return
        claims = service.claims(self.landing)
        named = links(self.landing, "conformance") if isinstance(self.landing, Mapping) else []
        if claims is None and named:
            with contextlib.suppress(RemoteError):
                claims = service.claims(await transport.json("GET", str(named[0].get("href"))))
        self.add(service.conformance(claims))

    async def ask_collection(self, transport: Transport) -> bool:
        """Request the document of the collection; returns whether the API says that there is none."""
        name = self.catalog.collection
        url = f"{self.catalog.url}/collections/{quote(name, safe='')}"
        try:
            self.add(service.collection(await transport.json("GET", url), name))
        except NotFound:
            if service.denies(self.landing, name):
                self.add(service.no_collection(self.landing, name))
                raise _Stop("there is no such collection") from None
            return True
        except RemoteError as error:
            self.add(odd("collection", str(error), service.advice(error)))
        return False

    # ---- the search -------------------------------------------------------------------------------------------

    async def ask_search(self, transport: Transport, missing: bool) -> Sequence[Scene]:
        """Search over the first areas in the whole period, for at most two pages."""
        if not self.areas:
            raise _Stop(self.why_no_areas)
        whole = _whole(self.config, self.areas)
        if whole is None:
            self.add(odd("search", "the seasons of the areas lie outside the period: a run searches nothing"))
            raise _Stop("there is nothing to search")
        pages = _Pages(transport.json)
        report = await search.run_search(
            whole,
            self.catalog,
            pages,
            max_scene_cloud=100,
            newest_only=False,
            measured=self.rule.assets,
            on_scene=_ignore,
            on_notice=lambda _: None,
            limit=ITEMS,
        )
        if not pages.read:
            self._no_search(pages.failed, report.reason)
        items = [item for page in pages.read for item in page]
        of = f" of {pages.matched:,}" if pages.matched is not None else ""
        if not items:
            self.add(self._nothing(whole, missing))
            raise _Stop("no scene was found")
        if missing:
            self.add(right("collection", f"{self.catalog.collection} (it has items, but no page of its own)"))
        self.add(right("search", f"{len(items)}{of} items over {whole.label}"))
        if pages.failed or (pages.following and len(pages.read) == 1):
            self.add(wrong("next page", report.reason, service.NETWORK, _advised(pages.failed)))
        else:
            self.add(right("next page", "works" if len(pages.read) > 1 else "none: all items are on one page"))
        read = fields.read(items, self.catalog)
        self.add(*read.findings)
        if not read.scenes:
            raise _Stop("no item can be used")
        return read.scenes

    def _no_search(self, error: RemoteError | None, reason: str) -> None:
        self.add(wrong("search", reason, service.NETWORK, _advised(error)))
        raise _Stop("the search does not work")

    def _nothing(self, whole: search.Search, missing: bool) -> Finding:
        if missing:
            self.add(service.no_collection(self.landing, self.catalog.collection))
            return not_tried("search", "there is no such collection")
        where = f"no scene over {whole.label}"
        return odd("search", where, "check position of the areas, period and collection")

    # ---- the files --------------------------------------------------------------------------------------------

    async def ask_files(self, transport: Transport, scenes: Sequence[Scene]) -> None:
        """Read the header and one block of each wanted asset that the items offer."""
        self.why = "no item offers it"
        self.add(*(fields.offered(key, scenes, self.catalog) for key in self.keys))
        # Older scenes first: the files of the newest may not be there yet.
        ordered = sorted(scenes, key=lambda scene: (-len(scene.assets.keys() & set(self.keys)), scene.datetime))
        down: set[str] = set()
        with ThreadPoolExecutor(1) as pool:
            for key in self.keys:
                having = fields.readable(key, ordered, self.catalog)[:SCENES]
                if having:
                    self.add(await self._file(transport, key, having, pool, down))

    async def _file(
        self, transport: Transport, key: str, scenes: Sequence[Scene], pool: ThreadPoolExecutor, down: set[str]
    ) -> Finding:
        """The finding on one asset.

        Args:
            transport: of the check.
            key: of the asset.
            scenes: that offer it; the next one is tried if a file does not exist.
            pool: decodes.
            down: origins that failed for an earlier asset; filled here.
        """
        topic, absent, missing = f"file {key}", 0, ""
        for scene in scenes:
            asset = scene.assets[key]
            server = str(URL(asset.href).origin())
            if server in down:
                return not_tried(topic, f"{server} failed before")
            try:
                levels = await _levels(transport, asset)
                finding = rasters.header(topic, [one.layout for one in levels], levels[0].edition, scene.epsg)
                await self._read_block(transport, levels[0], pool)
            except NotFound as error:
                absent, missing = absent + 1, str(error)
                continue
            except CorruptFile as error:
                return wrong(topic, str(error), service.NETWORK)
            except RemoteError as error:
                down.add(server)
                return wrong(topic, str(error), service.NETWORK, _file_advice(error, self.proxy))
            if absent:
                return replace(finding, text=f"{finding.text}; {absent} older file{'s' * (absent > 1)} not there")
            return finding
        return wrong(
            topic, f"{missing} (nor {len(scenes) - 1} others)", service.NETWORK, "its files may have been moved"
        )

    async def _read_block(self, transport: Transport, source: Source, pool: ThreadPoolExecutor) -> None:
        cutout = rasters.middle_block(source.layout)
        if cutout is None:
            return
        found = await reader.read(
            transport,
            source,
            [cutout],
            budget=Budget(self.config.run.memory),
            pool=pool,
            verify=True,
            highest=self.rule.highest(source.asset.key),
        )
        if isinstance(found[0], CorruptFile):
            raise found[0]


async def _levels(transport: Transport, asset: Asset) -> tuple[Source, ...]:
    """The header of a file with its overviews; without them if only they cannot be read."""
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


def _advised(error: RemoteError | None) -> str:
    return service.advice(error) if error else ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _cause(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or brief(error))


def _whole(config: Config, areas: Sequence[Area]) -> search.Search | None:
    """The searches of a run over the first areas, as one over their whole time; None if a run makes none."""
    period, now = config.search.period, datetime.now(UTC) + TOLERANCE
    planned = search.plan(areas, period.start, period.end, config.catalog(), now=now)
    same = [one for one in planned if one.geometry == planned[0].geometry]
    if not same:
        return None
    who, start, end = same[0].label.rpartition(", ")[0], same[0].start, max(one.end for one in same)
    label = f"{who}, {start:%Y-%m-%d}/{end - timedelta(microseconds=1):%Y-%m-%d}"
    return replace(same[0], start=start, end=end, label=label)


async def _ignore(_scene: Scene) -> None:
    """Scenes are read from the items themselves."""


class _Pages:
    """Fetches the first pages of a search, and ends the search after them.

    Args:
        fetch: requests a page.
    """

    def __init__(self, fetch: search.Fetch) -> None:
        self._fetch = fetch
        self.read: list[list[Any]] = []
        """Items of each page."""
        self.matched: int | None = None
        """The catalogue's count of items; None if it gives none."""
        self.following = False
        """Whether the first page has a link to another one."""
        self.failed: RemoteError | None = None
        """Error of the last request."""

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        """Request a page; see `catalog.search.Fetch`."""
        self.failed = None
        try:
            page = await self._fetch(method, url, body, final=final)
        except RemoteError as error:
            self.failed = error
            raise
        features = page.get("features") if isinstance(page, Mapping) else None
        if not isinstance(features, list) or page.get("type") != "FeatureCollection":
            return page
        count = page.get("numberMatched")
        self.matched = count if type(count) is int and self.matched is None else self.matched
        self.following = self.following or bool(links(page, "next"))
        self.read.append([*features])
        # Without the count, the search does not start again because pages are left out.
        kept = {key: value for key, value in page.items() if key not in ("numberMatched", "context")}
        return kept if len(self.read) < PAGES else kept | {"links": []}
