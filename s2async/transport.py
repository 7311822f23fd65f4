"""The one door to the network: every request of the program is made, limited, retried and counted here.

Nothing else opens a connection, GDAL least of all. That is what makes byte counts exact, a stalled read
cancellable, and an address that was not allowed unreachable. Counted are body bytes as they come over the wire.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp
import tenacity
from yarl import URL

from s2async import means, sessions
from s2async import origins as addresses
from s2async.answers import MAX_JSON, OVERLOADED, TRANSIENT, content_range, decode_json, shown, status_error
from s2async.editions import Edition
from s2async.errors import BadAnswer, FileChanged, HostParked, Refused, RemoteError, TransientError
from s2async.gate import Gate
from s2async.meter import Meter, Tally
from s2async.models import Use
from s2async.retries import TIMED_OUT, RetryBudget

__all__ = ["Meter", "Piece", "Transport"]

MAX_REDIRECTS: Final = 5
MAX_WAIT: Final = 300.0
"""Seconds of Retry-After that are waited; a server that asks for more is not asked so long, and jobs stay open."""
MAX_ERROR_BODY: Final = 64 << 10
"""Bytes of an error's body that are read, so that the connection can be used again."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some bytes of a remote file."""

    data: bytes | bytearray
    edition: Edition
    """Of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Server:
    """One origin that may be asked, and what governs how."""

    gate: Gate
    budget: RetryBudget
    proxy: URL | None


class Transport:
    """One session for all requests of a run. Use it as an asynchronous context manager.

    Args:
        origins: ``scheme://host[:port]`` that may be asked; everything else is refused, redirects included.
        connections: requests under way at once to one origin, at most; how many pay is found out on the way.
        connect_timeout: seconds to get a connection: name, TCP, proxy and TLS together.
        idle_timeout: seconds without a byte.
        total_timeout: seconds for one try of a request.
        attempts: tries of one request.
        patience: seconds after which a server that only fails is given up, and :meth:`reopened` says so.
        private_origins: origins whose names may stand for addresses of a private network (see `origins`); allowed
            like all others.
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
        patience: float = 300,
        private_origins: Iterable[str] = (),
        wait: Callable[[int], float] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.meter = meter or Meter()
        self._private = {addresses.origin_of(origin) for origin in private_origins}
        self._origins = {addresses.origin_of(origin) for origin in origins} | self._private
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=total_timeout, connect=connect_timeout, sock_read=idle_timeout)
        self._attempts = attempts
        self._patience = patience
        self._wait = wait or _full_jitter
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        """Its connections are used once; made when somebody needs it."""
        self._servers: dict[str, _Server] = {}

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return sum(server.gate.in_flight for server in self._servers.values())

    async def __aenter__(self) -> Self:
        now = time.monotonic()
        self._servers = {
            origin: _Server(
                gate=Gate(self._connections, name=origin, patience=self._patience),
                budget=RetryBudget(now),
                proxy=sessions.proxy_for(origin),
            )
            for origin in self._origins
        }
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
        return sessions.open_session(
            timeout=self._timeout,
            connections=self._connections,
            private=self._private,
            via=[server.proxy for server in self._servers.values() if server.proxy],
            fresh=fresh,
        )

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
        """Bytes ``start`` to ``start + size`` of a file; fewer only where the file ends before.

        Args:
            href: address of the file.
            start: first byte.
            size: bytes wanted, at least one.
            edition: when given, the file must still be of it.
            stage: for the count, ``header`` or ``tiles``.
            asset: for the count.
            fresh: over a connection of its own, and past all caches: what came before was damaged.

        Raises:
            NotFound: no such file.
            FileChanged: the file is of another edition by now.
            Refused: the address is not allowed, access is denied, or the server does not serve ranges.
            BadAnswer: the range that came is not the one that was asked for.
            TransientError: every try failed in a way that may pass, or retries have been too many lately.
            HostParked: the server only failed lately, and is not asked at present.
        """
        url, server = self._found(href)
        headers = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        if edition:
            headers |= edition.conditions
        if fresh:
            headers["Cache-Control"] = "no-cache"  # RFC 9111, 5.2.1.4

        async def once() -> Piece:
            tally = Tally()
            use = Use.RETRIED
            try:
                async with self._request(tally, server, "GET", url, headers=headers, fresh=fresh) as response:
                    first, last, whole = content_range(response.status, response.headers, href)
                    seen = Edition.told(response.headers, whole)
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
                    use = Use.USEFUL
                    return Piece(data=data, edition=seen)
            except BadAnswer as error:
                if edition and error.status == 416:  # nothing is asked for beyond the end of a known file
                    raise FileChanged(f"the file got shorter while it was read: {shown(href)}") from error
                raise
            finally:
                self.meter.add(stage, asset, use, requests=tally.requests, size=tally.bytes)

        return await self._retrying(once, server)

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
            NotFound, Refused, TransientError, HostParked: as for :meth:`read`; 403 is transient here, because the
                API behind Earth Search answers it when it throttles, and a parked API is waited for.
            BadAnswer: the answer is not JSON, or is larger than :data:`~s2async.answers.MAX_JSON`.
        """
        target, server = self._found(url)
        headers = {"Accept": "application/geo+json, application/json", "Accept-Encoding": "gzip"}

        async def once() -> Any:
            tally = Tally()
            use = Use.RETRIED
            try:
                async with self._request(
                    tally, server, method, target, headers=headers, json_body=body, transient=TRANSIENT | {403}
                ) as response:
                    if response.status != 200:
                        raise BadAnswer(f"the server answers {response.status}: {shown(url)}")
                    raw = await tally.receive(response.content.iter_any(), MAX_JSON, url)
                    found = decode_json(raw, response.headers, url)
                    use = Use.USEFUL
                    return found
            finally:
                self.meter.add("search", "", use, requests=tally.requests, size=tally.bytes)

        while True:
            try:
                return await self._retrying(once, server, final)
            except HostParked:
                await server.gate.reopened()

    async def reopened(self, origin: str) -> None:
        """Wait until a server that was parked may be asked again.

        Args:
            origin: as :class:`HostParked` names it.

        Raises:
            HostParked: it gave no answer for all the patience there is; whoever needs it should stop.
        """
        await self._servers[origin].gate.reopened()

    async def _retrying(
        self, once: Callable[[], Awaitable[T]], server: _Server, final: frozenset[int] = frozenset()
    ) -> T:
        def again(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            if not isinstance(error, TransientError) or isinstance(error, HostParked) or error.status in final:
                return False
            if (error.retry_after or 0) > MAX_WAIT or state.attempt_number >= self._attempts:
                return False
            cost = TIMED_OUT if isinstance(error.__cause__, TimeoutError) else 1.0
            return server.budget.spend(time.monotonic(), cost)

        server.budget.earn()
        try:
            return await once()
        except TransientError as error:
            failed = error
        # tenacity takes 15 us, which only those pay that failed; it is told of that as of its first attempt
        async for attempt in tenacity.AsyncRetrying(
            retry=again,
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
        tally: Tally,
        server: _Server,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        json_body: Mapping[str, Any] | None = None,
        transient: frozenset[int] = TRANSIENT,
        fresh: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One try, redirects followed by hand. Every way it can fail leaves as one of our errors."""
        session = self._session
        if fresh:
            session = self._fresh = self._fresh or self._open_session(fresh=True)
        assert session is not None  # noqa: S101 - _found has looked
        asked, hop, gate = url, server, server.gate
        number = await gate.enter()
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with session.request(
                    method, url, headers=headers, json=json_body, allow_redirects=False, proxy=hop.proxy
                ) as response:
                    tally.requests += 1
                    if response.status in (200, 206):
                        yield response
                        gate.answered(number)
                        return
                    body = await _rest(tally, response)
                    if response.status not in (301, 302, 303, 307, 308):
                        found = status_error(response.status, response.headers, body, str(asked), transient)
                        if not isinstance(found, TransientError):
                            gate.alive()
                        raise found
                    url, hop = self._target(url, response.headers.get("Location", ""))
            raise Refused(f"more than {MAX_REDIRECTS} redirects: {shown(str(asked))}")
        except TransientError as error:
            gate.failed(number)
            if error.status in OVERLOADED:
                gate.overloaded(number)
            for each in (gate, hop.gate):  # the whole server asks for patience, not this one answer
                each.heed(error.retry_after, MAX_WAIT)
            raise
        except TimeoutError as error:
            gate.failed(number)
            gate.overloaded(number)
            raise TransientError(f"timed out: {shown(str(asked))}") from error
        except aiohttp.ClientSSLError as error:
            raise Refused(f"TLS failed ({sessions.brief(error)}): {shown(str(asked))}") from error
        except aiohttp.InvalidURL as error:
            raise Refused(f"not an address: {shown(str(asked))}") from error
        except (aiohttp.ClientError, OSError) as error:
            if local := means.shortage(getattr(error, "os_error", error)):
                raise local from error  # it says nothing of the server
            gate.failed(number)
            raise TransientError(f"{sessions.brief(error)}: {shown(str(asked))}") from error
        finally:
            gate.leave(number)

    def _found(self, href: str) -> tuple[URL, _Server]:
        """An address that may be asked, and its server."""
        url, origin = addresses.allowed(href, self._origins)
        if self._session is None:
            raise RuntimeError("the transport is used outside its 'async with'")
        return url, self._servers[origin]

    def _target(self, url: URL, location: str) -> tuple[URL, _Server]:
        if not location:
            raise BadAnswer(f"a redirect without a target: {shown(str(url))}")
        try:
            return self._found(str(url.join(URL(location))))
        except ValueError as error:
            raise Refused(f"a redirect to what is not an address: {shown(str(url))}") from error


async def _rest(tally: Tally, response: aiohttp.ClientResponse) -> bytes:
    """The body of an error or a redirect, if it is short; what its headers say counts, whatever befalls it."""
    with suppress(RemoteError, aiohttp.ClientError, OSError):
        return await tally.receive(response.content.iter_any(), MAX_ERROR_BODY, str(response.url))
    return b""


def _full_jitter(attempt: int) -> float:
    """Seconds before a retry: anything up to 0.5, 1, 2, 4 ... 20 ("full jitter", AWS Architecture Blog, 2015)."""
    return random.uniform(0, min(20.0, 0.5 * 2 ** (attempt - 1)))  # noqa: S311 - not for secrets
