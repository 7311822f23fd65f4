"""The one door to the network: every request of the program is made, limited, retried and counted here.

Nothing else opens a connection, GDAL least of all. That is what makes byte counts exact, a stalled read
cancellable, and an address that was not allowed unreachable. Counted are body bytes as they come over the wire.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from s2async import means
from s2async.errors import (
    AccessDenied,
    BadAnswer,
    Diverted,
    FileChanged,
    HostParked,
    Refused,
    RemoteError,
    TransientError,
    WrongKind,
)
from s2async.models import Use
from s2async.net import allowlist as addresses
from s2async.net import connections as sessions
from s2async.net.accounting import Meter, Tally
from s2async.net.editions import Edition
from s2async.net.flow import SPAN, Flow
from s2async.net.limiter import Gate
from s2async.net.responses import MAX_JSON, OVERLOADED, TRANSIENT, content_range, decode_json, status_error
from s2async.net.tries import Purse, Tries, Try
from s2async.text import origin_of, shown

__all__ = ["Meter", "Piece", "Transport"]

MAX_REDIRECTS: Final = 5
API_DOUBT: Final = 60.0
"""Seconds after which a few searches that fail are left to their own tries: there are never many at once."""
MAX_ERROR_BODY: Final = 64 << 10
"""Bytes of an error's body that are read, so that the connection can be used again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some bytes of a remote file."""

    data: bytes | bytearray
    edition: Edition
    """Of the file."""


@dataclass(kw_only=True, slots=True)
class _Server:
    """One origin that may be asked, for files or as an API, and what governs how."""

    gate: Gate
    tries: Tries
    proxy: URL | None
    apart: Mapping[str, _Server]
    """All origins as they are asked for the same."""
    ranges: bool = False
    """It has served part of a file in this run."""


class Transport:
    """One session for all requests of a run. Use it as an asynchronous context manager.

    Args:
        origins: ``scheme://host[:port]`` that may be asked; everything else is refused, redirects included.
        connections: requests under way at once to one origin, at most; how many pay is found out on the way.
        connect_timeout: seconds to get a connection: name, TCP, proxy and TLS together.
        idle_timeout: seconds without a byte.
        total_timeout: seconds for one try of a request.
        attempts: tries of one request.
        patience: seconds after which a server that only fails is given up, and :meth:`reopened` says so; one that
            asks to be left alone for longer (Retry-After) is given up at once.
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
        self._private = {origin_of(origin) for origin in private_origins}
        self._origins = {origin_of(origin) for origin in origins} | self._private
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=total_timeout, connect=connect_timeout, sock_read=idle_timeout)
        self._attempts = attempts
        self._patience = patience
        self._wait = wait or _full_jitter
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        """Its connections are used once; made when somebody needs it."""
        self._files: dict[str, _Server] = {}
        self._apis: dict[str, _Server] = {}

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return sum(server.gate.in_flight for server in self._files.values())

    async def __aenter__(self) -> Self:
        self._files, self._apis = {}, {}
        for origin in self._origins:
            proxy = sessions.proxy_for(origin)
            gate = Gate(self._connections, name=origin, patience=self._patience)
            beside = Gate(self._connections, name=origin, patience=self._patience, doubt=API_DOUBT, beside=gate)
            for servers, entrance in ((self._files, gate), (self._apis, beside)):
                tries = Tries(purse=Purse(), attempts=self._attempts, patience=self._patience, wait=self._wait)
                servers[origin] = _Server(gate=entrance, tries=tries, proxy=proxy, apart=servers)
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
            via=[server.proxy for server in self._files.values() if server.proxy],
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

        One odd answer is not believed: it is asked for once more, fresh. So is another range from a server that
        serves ranges as a rule, as long as there are tries.

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
            Refused: the address is not allowed, or TLS failed.
            AccessDenied: the server does not permit it.
            BadAnswer: what came is not the range that was asked for; of a whole file, nothing is read.
            TransientError: every try failed in a way that may pass.
            HostParked: the server only failed lately, and is not asked at present; or it asked for more patience
                than there is.
        """
        url, server = self._found(href, self._files)
        wanted = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        conditions = edition.conditions if edition else {}

        async def once(attempt: Try) -> Piece:
            attempt = replace(attempt, fresh=attempt.fresh or fresh)
            # what was odd may have been an answer to the conditions
            headers = wanted if attempt.fresh else wanted | conditions
            tally = Tally(self._flow())
            use = Use.RETRIED
            try:
                async with self._request(tally, server, "GET", url, headers=headers, attempt=attempt) as response:
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
                    server.ranges = True
                    return Piece(data=data, edition=seen)
            except BadAnswer as error:
                # nothing is asked for beyond the end of a known file; but one such answer is not believed
                if edition and error.status == 416 and attempt.fresh:
                    raise FileChanged(f"the file got shorter while it was read: {shown(href)}") from error
                raise
            finally:
                self.meter.add(stage, asset, use, requests=tally.requests, size=tally.bytes)

        def odd(error: RemoteError) -> int:
            ranged = server.ranges and isinstance(error, BadAnswer) and error.status is None
            return self._attempts if ranged else 1

        try:
            return await server.tries.made(once, odd=odd)
        except TransientError as error:
            if (error.retry_after or 0) <= self._patience or isinstance(error, HostParked):
                raise
            raise server.gate.turned_away() from error  # it says nothing of the file

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
            NotFound, Refused, AccessDenied, TransientError, HostParked: as for :meth:`read`; 403 is transient
                here, because the API behind Earth Search answers it when it throttles, and a parked API is
                waited for.
            BadAnswer: the answer is not JSON, or is larger than :data:`~s2async.net.responses.MAX_JSON`.
        """
        target, server = self._found(url, self._apis)
        headers = {"Accept": "application/geo+json, application/json", "Accept-Encoding": "gzip"}

        async def once(attempt: Try) -> Any:
            tally = Tally(self._flow())
            use = Use.RETRIED
            try:
                async with self._request(
                    tally,
                    server,
                    method,
                    target,
                    headers=headers,
                    json_body=body,
                    transient=TRANSIENT | {403},
                    attempt=attempt,
                ) as response:
                    if response.status != 200:
                        raise BadAnswer(
                            f"the server answers {response.status}: {shown(url)}", status=response.status
                        )
                    raw = await tally.receive(response.content.iter_any(), MAX_JSON, url)
                    found = decode_json(raw, response.headers, url)
                    use = Use.USEFUL
                    return found
            finally:
                self.meter.add("search", "", use, requests=tally.requests, size=tally.bytes)

        def odd(error: RemoteError) -> int:  # what is too large or too deep would be so again
            page = isinstance(error, AccessDenied | Diverted | WrongKind)
            return int(page or getattr(error, "status", None) is not None)

        while True:
            try:
                return await server.tries.made(once, odd=odd, final=final)
            except HostParked:
                await server.gate.reopened()

    def is_parked(self, origin: str) -> bool:
        """Whether a server is not asked at present, but for a few requests that try."""
        return not self._files[origin].gate.circuit.closed

    def is_given_up(self, origin: str) -> bool:
        """Whether nobody should wait for a server any more: it only failed, or asked for too much patience."""
        return self._files[origin].gate.circuit.hopeless

    async def reopened(self, origin: str) -> None:
        """Wait until a server that was parked may be asked again.

        Args:
            origin: as :class:`HostParked` names it.

        Raises:
            HostParked: it is given up; whoever needs it should leave that for another run.
        """
        await self._files[origin].gate.reopened()

    def _flow(self) -> Flow:
        # a user who waits less long for a byte than we for some waits no longer for these either
        return Flow(min(SPAN, self._timeout.sock_read or SPAN))

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
        attempt: Try,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One try, redirects followed by hand. Every way it can fail leaves as one of our errors."""
        session = self._session
        if attempt.fresh:
            session = self._fresh = self._fresh or self._open_session(fresh=True)
            headers = {**headers, "Cache-Control": "no-cache"}  # RFC 9111, 5.2.1.4
        assert session is not None  # noqa: S101 - _found has looked
        asked, hop, gate = url, server, server.gate
        file = f"{asked} {json_body}"
        answering = False
        number = await gate.enter()
        before = gate.answers
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with session.request(
                    method, url, headers=headers, json=json_body, allow_redirects=False, proxy=hop.proxy
                ) as response:
                    tally.requests += 1
                    if response.status in (200, 206):
                        answering = True
                        yield response
                        gate.answered(number, before=attempt.before)
                        return
                    body = await _rest(tally, response)
                    if response.status not in (301, 302, 303, 307, 308):
                        found = status_error(response.status, response.headers, body, str(asked), transient)
                        if not isinstance(found, TransientError):
                            gate.alive(number)
                        raise found
                    url, hop = self._target(url, response.headers.get("Location", ""), hop.apart)
            raise BadAnswer(f"more than {MAX_REDIRECTS} redirects: {shown(str(asked))}")
        except TransientError as error:
            if answering:
                gate.incomplete(number, file)
                raise
            refused = error.status in OVERLOADED
            error.crowded = refused and gate.answers > before
            if refused:
                gate.refused(number, file, asks=bool(error.retry_after), before=attempt.before)
            else:
                gate.failed(number, file, before=attempt.before)
            for each in {gate, hop.gate}:  # the whole server asks for patience, not this one answer
                each.heed(error.retry_after)
            raise
        except TimeoutError as error:
            # bytes came until the time for the whole answer was over: that is slow, not silent
            slow = answering and not isinstance(error, aiohttp.ServerTimeoutError)
            if slow:
                gate.incomplete(number, file)
            else:
                gate.silent(number, file, before=attempt.before)
            raise TransientError(f"timed out: {shown(str(asked))}") from error
        except aiohttp.ClientSSLError as error:
            if local := means.shortage(getattr(error, "os_error", error)):
                raise local from error
            raise Refused(f"TLS failed ({sessions.brief(error)}): {shown(str(asked))}") from error
        except aiohttp.InvalidURL as error:
            raise Refused(f"not an address: {shown(str(asked))}") from error
        except (aiohttp.ClientError, OSError) as error:
            if local := means.shortage(getattr(error, "os_error", error)):
                raise local from error  # it says nothing of the server
            if answering:
                gate.incomplete(number, file)
            else:
                gate.failed(number, file, before=attempt.before)
            raise TransientError(f"{sessions.brief(error)}: {shown(str(asked))}") from error
        finally:
            gate.leave(number)

    def _found(self, href: str, servers: Mapping[str, _Server]) -> tuple[URL, _Server]:
        """An address that may be asked, and its server."""
        url, origin = addresses.allowed(href, self._origins)
        if self._session is None:
            raise RuntimeError("the transport is used outside its 'async with'")
        return url, servers[origin]

    def _target(self, url: URL, location: str, servers: Mapping[str, _Server]) -> tuple[URL, _Server]:
        if not location:
            raise BadAnswer(f"a redirect without a target: {shown(str(url))}")
        try:
            return self._found(str(url.join(URL(location))), servers)
        except ValueError as error:
            raise Diverted(f"a redirect to what is not an address: {shown(str(url))}") from error
        except Refused as error:
            raise Diverted(f"a redirect to elsewhere: {error}") from error


async def _rest(tally: Tally, response: aiohttp.ClientResponse) -> bytes:
    """The body of an error or a redirect, if it is short; what its headers say counts, whatever befalls it."""
    with suppress(RemoteError, aiohttp.ClientError, OSError):
        return await tally.receive(response.content.iter_any(), MAX_ERROR_BODY, str(response.url))
    return b""


def _full_jitter(attempt: int) -> float:
    """Seconds before a retry: anything up to 0.5, 1, 2, 4 ... 20 ("full jitter", AWS Architecture Blog, 2015)."""
    return random.uniform(0, min(20.0, 0.5 * 2 ** (attempt - 1)))  # noqa: S311 - not for secrets
