"""The network client: sends, limits, retries and counts every request of the program.

No other module opens a connection, and GDAL does not access the network. Therefore byte counts are exact, a
stalled read can be cancelled, and URLs that are not on the allow-list cannot be requested.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from s2async.errors import (
    AccessDenied,
    BadAnswer,
    Diverted,
    FileChanged,
    HostParked,
    RemoteError,
    TransientError,
    WrongKind,
)
from s2async.models import Use
from s2async.net.accounting import SPAN, Flow, Meter, Tally
from s2async.net.connections import proxy_for, trusted_certificates
from s2async.net.editions import Edition
from s2async.net.limiter import Gate
from s2async.net.responses import MAX_JSON, TRANSIENT, content_range, decode_json
from s2async.net.retries import Retries, RetryQueue, Try, equal_jitter, full_jitter
from s2async.net.sender import Sender, Server, find
from s2async.net.settings import ClientSettings
from s2async.text import origin, origin_of, shown

__all__ = ["ClientSettings", "Meter", "Piece", "Transport", "open_client"]

API_DOUBT: Final = 60.0
"""`breaker.DOUBT` for an API: it seldom gets many concurrent requests, so a few failures must park it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A range of bytes of a remote file."""

    data: bytes | bytearray
    edition: Edition
    """The edition of the file."""


class Transport:
    """The client of a run, an asynchronous context manager.

    Args:
        origins: the allowed origins, ``scheme://host[:port]``; requests and redirects to all others are refused.
        connections: maximum number of concurrent requests to one origin, separately for files and for the API; a
            run begins with fewer and learns how many the origin can handle.
        connect_timeout: maximum seconds to get a connection: name resolution, TCP, proxy and TLS together.
        idle_timeout: maximum seconds without a byte.
        total_timeout: maximum seconds for one try of a request.
        attempts: maximum number of tries of one request.
        patience: seconds after which a server that only fails is given up. A server that asks for a longer wait
            (Retry-After) is given up at once.
        private_origins: origins whose names may resolve to addresses of a private network (see `allowlist`); they
            are allowed in addition to ``origins``.
        api_headers: headers of requests to APIs, by origin. They may be secrets: they are sent to no other origin,
            and messages do not contain them.
        wait: returns the seconds to wait after try number n, counted from 1; by default full jitter for files,
            equal jitter for APIs.
        meter: counts all requests; by default a new meter.
    """

    def __init__(
        self,
        *,
        origins: Iterable[str],
        connections: int = 64,
        connect_timeout: float = 10,
        idle_timeout: float = 30,
        total_timeout: float = 300,
        attempts: int = 5,
        patience: float = 300,
        private_origins: Iterable[str] = (),
        api_headers: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        wait: Callable[[int], float] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.meter = meter or Meter()
        private = set(map(origin_of, private_origins))
        self._origins = set(map(origin_of, origins)) | private
        self._api_headers = {origin_of(name): dict(headers) for name, headers in api_headers.items()}
        self._connections = connections
        # Bodies are judged by the idle time-out if it is shorter than the usual span.
        self._span = min(SPAN, idle_timeout or SPAN)
        self._attempts = attempts
        self._patience = patience
        self._file_wait, self._api_wait = wait or full_jitter, wait or equal_jitter
        timeout = aiohttp.ClientTimeout(total=total_timeout, connect=connect_timeout, sock_read=idle_timeout)
        # Each origin has two gates. A request that a gate admits must not wait for a connection, because the wait
        # would count against the connection time-out.
        self._sender = Sender(timeout=timeout, connections=2 * connections, private=private)
        self._files: dict[str, Server] = {}
        self._apis: dict[str, Server] = {}

    def counted_by(self, meter: Meter) -> Self:
        """Return a view of this open transport that shares its connections and limits but counts in ``meter``."""
        view = copy.copy(self)
        view.meter = meter
        return view

    async def __aenter__(self) -> Self:
        self._files, self._apis = {}, {}
        for name in self._origins:
            proxy = proxy_for(name)
            files = Gate(self._connections, name=name, patience=self._patience)
            api = Gate(self._connections, name=name, patience=self._patience, doubt=API_DOUBT)
            self._add(self._files, name, files, proxy, self._file_wait)
            self._add(self._apis, name, api, proxy, self._api_wait, self._api_headers.get(name, {}))
        proxies = [server.proxy for server in self._files.values() if server.proxy]
        self._sender.open(proxies, trusted_certificates(self._origins))
        return self

    def _add(
        self,
        servers: dict[str, Server],
        name: str,
        gate: Gate,
        proxy: URL | None,
        wait: Callable[[int], float],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        retries = Retries(queue=RetryQueue(), attempts=self._attempts, patience=self._patience, wait=wait)
        servers[name] = Server(gate=gate, retries=retries, proxy=proxy, siblings=servers, headers=headers)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.close()

    # ---- requests -------------------------------------------------------------------------------------------

    async def read(
        self,
        href: str,
        start: int,
        size: int,
        *,
        edition: Edition | None = None,
        stage: str = "tiles",
        asset: str = "",
        fresh: bool = False,
    ) -> Piece:
        """Read bytes ``start`` to ``start + size`` of a file; fewer only if the file ends earlier.

        An odd response is not accepted at once: the range is requested once more, over a new connection and
        without caches. If a response has the wrong range and the server has served ranges in this run, the request
        is repeated until its tries are used up.

        Args:
            href: URL of the file.
            start: first byte.
            size: number of bytes, at least one.
            edition: if given, the edition that the file must still have.
            stage: ``header`` or ``tiles``, for the meter.
            asset: asset key, for the meter.
            fresh: use a new connection and bypass all caches, because earlier bytes were damaged.

        Raises:
            NotFound: the file does not exist.
            FileChanged: the file now has another edition.
            Refused: the URL is not allowed, or TLS failed.
            AccessDenied: the server denies access.
            BadAnswer: the response is not the requested range; a whole file is not read.
            TransientError: every try failed in a way that may be temporary.
            HostParked: the server is parked, or asked for a wait longer than the patience.
            LocalError: this machine lacks the resources for it.
        """
        url, server = self._find(href, self._files)
        wanted = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        conditions = edition.conditions if edition else {}
        about = {"host": origin(href), "href": href, "stage": stage, "asset": asset, "start": start, "size": size}

        async def once(attempt: Try) -> Piece:
            attempt = replace(attempt, fresh=attempt.fresh or fresh)
            # The conditions may have caused the odd response, so a fresh try omits them.
            headers = wanted if attempt.fresh else wanted | conditions
            tally, use = Tally(Flow(self._span)), Use.RETRIED
            try:
                async with self._sender.send(
                    tally, server, "GET", url, headers=headers, attempt=attempt, about=about
                ) as response:
                    piece = await _received(response, tally, start, size, edition, href)
                    use = Use.USEFUL
                    server.ranges = True
                    return piece
            except BadAnswer as error:
                # No request goes beyond the end of a file whose edition is known. So 416 means that the file got
                # shorter; the first such response is not trusted.
                if edition and error.status == 416 and attempt.fresh:
                    raise FileChanged(f"the file got shorter while it was read: {shown(href)}") from error
                raise
            finally:
                self.meter.add(stage, asset, use, requests=tally.requests, size=tally.bytes)

        def odd(error: RemoteError) -> int:
            ranged = server.ranges and isinstance(error, BadAnswer) and error.status is None
            return self._attempts if ranged else 1

        try:
            return await server.retries.run(once, about=about, odd=odd)
        except TransientError as error:
            if (error.retry_after or 0) <= self._patience or isinstance(error, HostParked):
                raise
            raise server.gate.parked() from error  # the long Retry-After concerns the server, not the file

    async def json(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        final: frozenset[int] = frozenset(),
        on_headers: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> Any:
        """Request a JSON document from an API. While the API is parked, wait.

        Args:
            method: ``GET`` or ``POST``.
            url: URL of the request.
            body: sent as JSON with POST.
            final: transient statuses that the caller handles itself: requests that get them are not tried again.
            on_headers: called with the headers of a good response, a case-insensitive mapping.

        Raises:
            NotFound, Refused, AccessDenied, TransientError, HostParked, LocalError: as for :meth:`read`, except
                that 403 is transient (the API behind Earth Search sends it when it throttles), and that
                `HostParked` means that the API is given up.
            BadAnswer: the response is not JSON, or is larger than :data:`~s2async.net.responses.MAX_JSON`.
        """
        target, server = self._find(url, self._apis)
        about = {"host": origin(url), "href": url, "stage": "search"}
        headers = {"Accept": "application/geo+json, application/json", "Accept-Encoding": "gzip"}

        async def once(attempt: Try) -> Any:
            tally, use = Tally(Flow(self._span)), Use.RETRIED
            try:
                async with self._sender.send(
                    tally,
                    server,
                    method,
                    target,
                    headers=headers,
                    attempt=attempt,
                    about=about,
                    json_body=body,
                    transient=TRANSIENT | {403},
                ) as response:
                    status = response.status
                    if status != 200:
                        raise BadAnswer(f"the server answers {status}: {shown(url)}", status=status)
                    on_headers(response.headers)
                    raw = await tally.receive(response.content.iter_any(), MAX_JSON, url)
                    value = decode_json(raw, response.headers, url, secrets=server.headers.values())
                    use = Use.USEFUL
                    return value
            finally:
                self.meter.add("search", "", use, requests=tally.requests, size=tally.bytes)

        def odd(error: RemoteError) -> int:
            # A document that is too large or too deep would be the same next time.
            page = isinstance(error, AccessDenied | Diverted | WrongKind)
            return int(page or getattr(error, "status", None) is not None)

        while True:
            try:
                return await server.retries.run(once, about=about, odd=odd, final=final)
            except HostParked:
                await server.gate.reopened()

    def _find(self, href: str, servers: Mapping[str, Server]) -> tuple[URL, Server]:
        if not self._sender.is_open:
            raise RuntimeError("the transport is used outside its 'async with'")
        return find(href, servers)

    # ---- servers --------------------------------------------------------------------------------------------

    def share(self, parts: int, connections: int) -> None:
        """Share the limits with clients in other processes that request files from the same servers.

        Together, the clients send as many retries as one client alone. If a server limits requests per second,
        each client learns its share of the limit.

        Args:
            parts: number of clients.
            connections: maximum number of concurrent requests of all clients to one server; each client may send
                at least one, and no more than it may send alone.
        """
        each = max(1, min(self._connections, connections // parts))
        for server in self._files.values():
            server.gate.share(each, parts)
            server.retries.queue.share(parts)

    @property
    def in_flight(self) -> int:
        """Number of requests under way."""
        return sum(server.gate.in_flight for server in self._files.values())

    @property
    def retries(self) -> int:
        """Number of requests, for files and to APIs, that were sent again."""
        return sum(server.retries.queue.retries for server in (*self._files.values(), *self._apis.values()))

    @property
    def parked(self) -> list[str]:
        """Origins to which no requests except a few probes are sent, sorted by name."""
        servers = (*self._files.items(), *self._apis.items())
        return sorted({name for name, server in servers if not server.gate.circuit.closed})

    def troubles(self, silent: float) -> dict[str, str]:
        """Return the servers that currently fail, by origin, each with a description of what it does.

        Args:
            silent: seconds without a response after which a server that is not parked is included.
        """
        found = {}
        for name, server in (*self._files.items(), *self._apis.items()):
            circuit, silence = server.gate.circuit, server.gate.silence
            if not circuit.given_up and (silence >= silent or not circuit.closed):
                found[name] = "does not answer" if silence else "gives no good answer"
        return found

    def is_parked(self, origin: str) -> bool:
        """Return whether no requests except a few probes are sent to a server."""
        return not self._files[origin].gate.circuit.closed

    def is_given_up(self, origin: str) -> bool:
        """Return whether callers should stop waiting for a server in this run."""
        return self._files[origin].gate.circuit.given_up

    async def reopened(self, origin: str) -> None:
        """Wait until requests may be sent to a parked server again.

        Args:
            origin: origin of the server, as in :attr:`HostParked.origin`.

        Raises:
            HostParked: the server is given up; callers should leave their work for another run.
        """
        await self._files[origin].gate.reopened()


async def _received(
    response: aiohttp.ClientResponse, tally: Tally, start: int, size: int, edition: Edition | None, href: str
) -> Piece:
    """Check the headers of a response, and receive the requested range."""
    first, last, whole = content_range(response.status, response.headers, href)
    seen = Edition.of(response.headers, whole)
    if edition and seen != edition:
        raise FileChanged(f"the file changed while it was read: {shown(href)}")
    expected = min(start + size, whole) - 1
    if (first, last) != (start, expected):
        raise BadAnswer(f"asked for bytes {start}-{expected}, got {first}-{last}: {shown(href)}")
    length = last - first + 1
    exact = response.content_length == length
    data = await tally.fill(response.content.iter_any(), length, href, exact=exact)
    if len(data) != length:
        raise TransientError(f"got {len(data)} of {length} bytes: {shown(href)}")
    return Piece(data=data, edition=seen)


def open_client(settings: ClientSettings, meter: Meter | None = None) -> Transport:
    """Return a client with the given settings, to be entered with ``async with``.

    Args:
        settings: the allowed servers, and the limits of requests.
        meter: counts all requests; by default a new meter.
    """
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return Transport(**values, meter=meter)
