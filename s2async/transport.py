"""The one door to the network: every request of the program is made, limited, retried and counted here.

Nothing else opens a connection, GDAL least of all. That is what makes byte counts exact, a stalled read
cancellable, and an address that was not allowed unreachable. Counted are body bytes as they come over the wire.
"""

from __future__ import annotations

import os
import random
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp
import tenacity
from yarl import URL

import s2async
from s2async.answers import MAX_JSON, OVERLOADED, TRANSIENT, content_range, decode_json, shown, status_error
from s2async.errors import BadAnswer, FileChanged, Refused, RemoteError, TransientError
from s2async.gate import Gate
from s2async.models import Traffic, Use

MAX_REDIRECTS: Final = 5
MAX_WAIT: Final = 300.0
"""Seconds of Retry-After that are waited; a server that asks for more is given up for now."""
MAX_ERROR_BODY: Final = 64 << 10
"""Bytes of an error's body that are read, so that the connection can be used again."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some bytes of a remote file."""

    data: bytes | bytearray
    size: int
    """Bytes of the whole file."""
    etag: str
    """As the server gave it; the empty string when it gave none."""


class Meter:
    """Counts requests and body bytes by stage, asset and use.

    A request counts when its answer begins, and a byte when it arrives: so the counts equal a server's log where
    connections hold, and never exceed it where they break.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, Use], list[int]] = defaultdict(lambda: [0, 0])
        self.requests = 0
        """Requests sent since the start."""
        self.bytes = 0
        """Body bytes received since the start."""

    def add(self, stage: str, asset: str, use: Use, *, requests: int, size: int) -> None:
        """Book requests that received ``size`` body bytes together."""
        entry = self._counts[stage, asset, use]
        entry[0] += requests
        entry[1] += size
        self.requests += requests
        self.bytes += size

    def waste(self, stage: str, asset: str, size: int) -> None:
        """Book ``size`` bytes, counted as useful before, as not needed after all.

        When the count was drained in between, the next one takes them back: its useful bytes may be negative, and
        the sum over all is right.
        """
        self._counts[stage, asset, Use.USEFUL][1] -= size
        self._counts[stage, asset, Use.WASTED][1] += size

    def drain(self) -> list[Traffic]:
        """What was counted since the last call."""
        counts, self._counts = self._counts, defaultdict(lambda: [0, 0])
        return [
            Traffic(stage=stage, asset=asset, use=use, requests=requests, bytes=size)
            for (stage, asset, use), (requests, size) in counts.items()
            if requests or size
        ]


class Transport:
    """One session for all requests of a run. Use it as an asynchronous context manager.

    Args:
        origins: ``scheme://host[:port]`` that may be asked; everything else is refused, redirects included.
        connections: requests under way at once to one origin, at most; how many pay is found out on the way.
        connect_timeout: seconds to get a connection: name, TCP, proxy and TLS together.
        idle_timeout: seconds without a byte.
        total_timeout: seconds for one try of a request.
        attempts: tries of one request.
        wait: seconds to wait after try number n, counted from 1; full jitter by default.
        meter: counts all requests; a new one by default.
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
        wait: Callable[[int], float] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.meter = meter or Meter()
        self._origins = {str(URL(origin).origin()) for origin in origins}
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=total_timeout, connect=connect_timeout, sock_read=idle_timeout)
        self._attempts = attempts
        self._wait = wait or _full_jitter
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        """Its connections are used once; made when somebody needs it."""
        self._gates: dict[str, Gate] = {}
        self._proxies: dict[str, str | None] = {}

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return sum(gate.in_flight for gate in self._gates.values())

    async def __aenter__(self) -> Self:
        self._gates = {origin: Gate(self._connections) for origin in self._origins}
        self._proxies = {origin: _proxy(URL(origin)) for origin in self._origins}
        self._session = self._open_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sessions, self._session, self._fresh = (self._session, self._fresh), None, None
        for session in sessions:
            if session is not None:
                await session.close()

    def _open_session(self, *, fresh: bool = False) -> aiohttp.ClientSession:
        # the gates limit; the limit per host is for hosts that redirects lead to
        connector = aiohttp.TCPConnector(
            limit=0, limit_per_host=self._connections, ttl_dns_cache=300, force_close=fresh
        )
        # trust_env stays off: it would send the passwords of ~/.netrc to hosts that serve public data
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers={"User-Agent": f"s2async/{s2async.__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def read(
        self,
        href: str,
        start: int,
        size: int,
        *,
        etag: str = "",
        stage: str = "tiles",
        asset: str = "",
        fresh: bool = False,
    ) -> Piece:
        """Bytes ``start`` to ``start + size`` of a file; fewer only where the file ends before.

        Args:
            href: address of the file.
            start: first byte.
            size: bytes wanted, at least one.
            etag: when given, the file must still have it.
            stage: for the count, ``header`` or ``tiles``.
            asset: for the count.
            fresh: over a connection of its own, and past all caches: what came before was damaged.

        Raises:
            NotFound: no such file.
            FileChanged: the file has another ETag by now.
            Refused: the address is not allowed, access is denied, or the server does not serve ranges.
            BadAnswer: the range that came is not the one that was asked for.
            TransientError: every try failed in a way that may pass.
        """
        headers = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        if etag and not etag.startswith("W/"):  # a weak tag never matches If-Match (RFC 9110, 13.1.1)
            headers["If-Match"] = etag
        if fresh:
            headers["Cache-Control"] = "no-cache"  # RFC 9111, 5.2.1.4

        async def once() -> Piece:
            tally = _Tally()
            use = Use.RETRIED
            try:
                async with self._request(tally, "GET", href, headers=headers, fresh=fresh) as response:
                    first, last, whole = content_range(response.status, response.headers, href)
                    seen = response.headers.get("ETag", "")
                    if etag and seen and seen != etag:
                        raise FileChanged(f"the file changed while it was read: {shown(href)}")
                    expected = min(start + size, whole) - 1
                    if (first, last) != (start, expected):
                        raise BadAnswer(f"asked for bytes {start}-{expected}, got {first}-{last}: {shown(href)}")
                    data = await tally.fill(response, last - first + 1)
                    if len(data) != last - first + 1:
                        raise TransientError(f"got {len(data)} of {last - first + 1} bytes: {shown(href)}")
                    use = Use.USEFUL
                    return Piece(data=data, size=whole, etag=seen)
            finally:
                self.meter.add(stage, asset, use, requests=tally.requests, size=tally.bytes)

        return await self._retrying(once)

    async def json(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        final: frozenset[int] = frozenset(),
    ) -> Any:
        """A JSON document from an API.

        Args:
            method: ``GET`` or ``POST``.
            url: address.
            body: sent as JSON with POST.
            final: transient statuses that the caller handles himself: they are not tried again here.

        Raises:
            NotFound, Refused, TransientError: as for :meth:`read`; 403 is transient here, because the API
                behind Earth Search answers it when it throttles.
            BadAnswer: the answer is not JSON, or is larger than :data:`~s2async.answers.MAX_JSON`.
        """
        headers = {"Accept": "application/geo+json, application/json", "Accept-Encoding": "gzip"}

        async def once() -> Any:
            tally = _Tally()
            use = Use.RETRIED
            try:
                async with self._request(
                    tally, method, url, headers=headers, json_body=body, transient=TRANSIENT | {403}
                ) as response:
                    if response.status != 200:
                        raise BadAnswer(f"the server answers {response.status}: {shown(url)}")
                    raw = await tally.receive(response, MAX_JSON)
                    found = decode_json(raw, response.headers, url)
                    use = Use.USEFUL
                    return found
            finally:
                self.meter.add("search", "", use, requests=tally.requests, size=tally.bytes)

        return await self._retrying(once, final)

    async def _retrying(self, once: Callable[[], Awaitable[T]], final: frozenset[int] = frozenset()) -> T:
        def worth_it(error: BaseException) -> bool:
            if not isinstance(error, TransientError) or error.status in final:
                return False
            return error.retry_after is None or error.retry_after <= MAX_WAIT

        try:
            return await once()
        except TransientError as error:
            failed = error
        # tenacity takes 15 us, which only those pay that failed; it is told of that as of its first attempt
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(worth_it),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=lambda state: self._wait(state.attempt_number),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise failed
                return await once()
        raise AssertionError("tenacity returns or raises")

    @asynccontextmanager
    async def _request(
        self,
        tally: _Tally,
        method: str,
        href: str,
        *,
        headers: Mapping[str, str],
        json_body: Mapping[str, Any] | None = None,
        transient: frozenset[int] = TRANSIENT,
        fresh: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One try, redirects followed by hand. Every way it can fail leaves as one of our errors."""
        if self._session is None:
            raise RuntimeError("the transport is used outside its 'async with'")
        session = self._session
        if fresh:
            session = self._fresh = self._fresh or self._open_session(fresh=True)
        url = self._allowed(href)
        gate = self._gates[str(url.origin())]
        number = await gate.enter()
        try:
            for _ in range(MAX_REDIRECTS + 1):
                proxy = self._proxies[str(url.origin())]
                async with session.request(
                    method, url, headers=headers, json=json_body, allow_redirects=False, proxy=proxy
                ) as response:
                    tally.requests += 1
                    if response.status in (200, 206):
                        yield response
                        gate.answered(number)
                        return
                    body = await tally.drain(response)
                    if response.status not in (301, 302, 303, 307, 308):
                        raise status_error(response.status, response.headers, body, href, transient)
                    url = self._target(url, response.headers.get("Location", ""))
            raise Refused(f"more than {MAX_REDIRECTS} redirects: {shown(href)}")
        except TransientError as error:
            if error.status in OVERLOADED:
                gate.overloaded(number)
            if error.retry_after and error.retry_after <= MAX_WAIT:
                gate.park(error.retry_after)  # the whole server is asked for patience, not this one request
            raise
        except TimeoutError as error:
            gate.overloaded(number)
            raise TransientError(f"timed out: {shown(href)}") from error
        except aiohttp.ClientSSLError as error:
            raise Refused(f"TLS failed ({_brief(error)}): {shown(href)}") from error
        except aiohttp.InvalidURL as error:
            raise Refused(f"not an address: {shown(href)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransientError(f"{_brief(error)}: {shown(href)}") from error
        finally:
            gate.leave()

    def _allowed(self, href: str) -> URL:
        try:
            url = URL(href)
            origin = str(url.origin())
        except ValueError as error:
            raise Refused(f"not a full http(s) address: {shown(href)}") from error
        if url.raw_user is not None or url.raw_password is not None:
            raise Refused(f"an address with a user name in it is refused: {shown(href)}")
        if url.scheme not in ("http", "https"):
            raise Refused(f"only http and https are allowed: {shown(href)}")
        if origin not in self._origins:
            raise Refused(
                f'not an allowed origin: {shown(href)}; to allow it, add "{origin}" to origins in [network]'
            )
        return url

    def _target(self, url: URL, location: str) -> URL:
        if not location:
            raise BadAnswer(f"a redirect without a target: {shown(str(url))}")
        try:
            return self._allowed(str(url.join(URL(location))))
        except ValueError as error:
            raise Refused(f"a redirect to what is not an address: {shown(str(url))}") from error


class _Tally:
    """Counts what comes, piece by piece, so that what came before a fault is counted too."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0

    async def receive(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        pieces, size = [], 0
        async for piece in response.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            self.bytes += len(piece)
            if size > limit:
                raise BadAnswer(f"a body of more than {limit:,} bytes: {shown(str(response.url))}")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def fill(self, response: aiohttp.ClientResponse, size: int) -> bytes | bytearray:
        """A body of a known size, or what came of it; put together as it comes, so that it is in memory once."""
        data, end = bytearray(), 0
        async for piece in response.content.iter_any():
            self.bytes += len(piece)
            if end + len(piece) > size:
                raise BadAnswer(f"a body of more than {size:,} bytes: {shown(str(response.url))}")
            if len(piece) == size:
                return piece
            data = data or bytearray(size)
            data[end : end + len(piece)] = piece
            end += len(piece)
        del data[end:]
        return data

    async def drain(self, response: aiohttp.ClientResponse) -> bytes:
        """The body of an error or a redirect, if it is short; what its headers say counts, whatever befalls it."""
        with suppress(RemoteError, aiohttp.ClientError, OSError):
            return await self.receive(response, MAX_ERROR_BODY)
        return b""


def _proxy(url: URL) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for an address."""
    found = urllib.request.getproxies().get(url.scheme)
    if not found or urllib.request.proxy_bypass(url.host or ""):
        return None
    return found if "://" in found else f"http://{found}"


def _brief(error: BaseException) -> str:
    """One line of an error that may have many, or none; without addresses, which may hold secrets."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answers {error.status}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        text = str(error.certificate_error)
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        text = str(error.os_error)
    elif isinstance(error, aiohttp.ClientConnectorError):
        whom = " to the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        cause, number = error.os_error, error.os_error.errno or 0  # negative when it is of getaddrinfo
        text = f"cannot connect{whom} ({os.strerror(number) if number > 0 else cause.strerror or cause})"
    else:
        text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return " ".join(text.split()) or type(error).__name__


def _full_jitter(attempt: int) -> float:
    """Seconds before a retry: anything up to 0.5, 1, 2, 4 ... 20 ("full jitter", AWS Architecture Blog, 2015)."""
    return random.uniform(0, min(20.0, 0.5 * 2 ** (attempt - 1)))  # noqa: S311 - not for secrets
