"""Sends one try of a request, and follows its redirects.

Every failure of a try leaves this module as one of the program's own errors, and is reported to the gate of its
server.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from s2async import means
from s2async.errors import BadAnswer, Diverted, LocalError, Refused, RemoteError, TransientError
from s2async.log import Fields, log
from s2async.net import allowlist
from s2async.net.accounting import Tally
from s2async.net.connections import brief, open_session
from s2async.net.limiter import Gate
from s2async.net.responses import OVERLOADED, TRANSIENT, concealed, status_error
from s2async.net.retries import Retries, Try
from s2async.text import parsed_url, shown

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_ERROR_BODY: Final = 64 << 10
"""Maximum number of bytes read of the body of an error, so that its connection can be used again."""

AUTHORITY: Final = (
    "if your network has a certificate authority of its own, name its certificates (PEM) in SSL_CERT_FILE"
)
"""Advice for a certificate that is signed by an unknown authority."""
_UNKNOWN_AUTHORITY: Final = ("self-signed", "self signed", "local issuer", "issuer certificate")
"""Words in OpenSSL's messages about such a certificate."""

_log: Final = logging.getLogger("s2async.net")


@dataclass(kw_only=True, slots=True)
class Server:
    """One allowed origin, for files or as an API, with what its requests need."""

    gate: Gate
    retries: Retries
    proxy: URL | None
    siblings: Mapping[str, Server]
    """All allowed origins of the same kind (files or APIs), keyed by name: the possible targets of redirects."""
    headers: Mapping[str, str]
    """Headers sent with each request to this origin; they may be secrets."""
    ranges: bool = False
    """Whether the server has served part of a file in this run."""


@dataclass(kw_only=True, slots=True)
class _Progress:
    """The progress of one try."""

    hop: Server
    """Server that the request, or its last redirect, went to."""
    status: int | None = None
    first_byte: float | None = None
    """Loop time at which the headers of the last response had arrived."""
    answering: bool = False
    """Whether a good response has begun."""


class Sender:
    """Sends requests over pooled connections.

    Args:
        timeout: time-outs of each try.
        connections: maximum number of connections to one host.
        private: origins whose names may resolve to addresses of a private network.
    """

    def __init__(self, *, timeout: aiohttp.ClientTimeout, connections: int, private: Iterable[str]) -> None:
        self._timeout = timeout
        self._connections = connections
        self._private = tuple(private)
        self._proxies: tuple[URL, ...] = ()
        self._trusted: ssl.SSLContext | None = None
        self._pooled: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        """Session that uses each connection once; opened when first needed."""

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._pooled is not None

    def open(self, proxies: Iterable[URL], trusted: ssl.SSLContext | None) -> None:
        """Open the pool of connections.

        Args:
            proxies: the user's proxies, which may have any address.
            trusted: TLS context with the certificate authorities to trust; None for those of the system.

        Raises:
            LocalError: this machine lacks the resources to open a session.
        """
        self._proxies, self._trusted = tuple(proxies), trusted
        self._pooled = self._open_session()

    async def close(self) -> None:
        """Close all connections."""
        sessions, self._pooled, self._fresh = (self._pooled, self._fresh), None, None
        for session in sessions:
            if session is not None:
                await session.close()

    def _open_session(self, *, fresh: bool = False) -> aiohttp.ClientSession:
        return open_session(
            timeout=self._timeout,
            connections=self._connections,
            private=self._private,
            via=self._proxies,
            trusted=self._trusted,
            fresh=fresh,
        )

    @asynccontextmanager
    async def send(
        self,
        tally: Tally,
        server: Server,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        attempt: Try,
        about: Fields,
        json_body: Mapping[str, Any] | None = None,
        transient: frozenset[int] = TRANSIENT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one try, and yield the response when a good one (200, 206) begins.

        Args:
            tally: counts the responses and their bytes.
            server: server of ``url``.
            method: HTTP method.
            url: URL of the request, which has passed the check against the allow-list.
            headers: headers of the request.
            attempt: describes this try.
            about: fields for the log.
            json_body: sent as JSON.
            transient: statuses for which another try may succeed.

        Raises:
            RemoteError: as for `Transport.read`.
            LocalError: this machine lacks the resources for it.
        """
        session = self._pooled
        if attempt.fresh:
            session = self._fresh = self._fresh or self._open_session(fresh=True)
            headers = {**headers, "Cache-Control": "no-cache"}  # RFC 9111, 5.2.1.4
        if session is None:
            raise RuntimeError("the transport is used outside its 'async with'")
        loop, gate = asyncio.get_running_loop(), server.gate
        progress, reason, target = _Progress(hop=server), "", url
        arrived = loop.time()
        number = await gate.enter()
        begun, answers = loop.time(), gate.answers
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with session.request(
                    method,
                    target,
                    headers={**headers, **progress.hop.headers},
                    json=json_body,
                    allow_redirects=False,
                    proxy=progress.hop.proxy,
                ) as response:
                    tally.requests += 1
                    gate.heard(number)
                    progress.status, progress.first_byte = response.status, loop.time()
                    if response.status in (200, 206):
                        progress.answering = True
                        yield response
                        gate.answered(number, before=attempt.before)
                        return
                    body = concealed(await _error_body(tally, response), progress.hop.headers.values())
                    if response.status not in REDIRECTS:
                        wrong = status_error(response.status, response.headers, body, str(url), transient)
                        if not isinstance(wrong, TransientError):
                            gate.alive(number)
                        raise wrong
                    location = response.headers.get("Location", "")
                    target, progress.hop = _redirected(target, location, server.siblings)
            raise BadAnswer(f"more than {MAX_REDIRECTS} redirects: {shown(str(url))}")
        except (RemoteError, aiohttp.ClientError, OSError) as error:
            failure = _as_our_error(error, str(url))
            reason = str(failure)
            if isinstance(failure, TransientError):
                failure.crowded = (
                    failure.status in OVERLOADED and not progress.answering and gate.answers > answers
                )
                _report(failure, error, number, f"{url} {json_body}", server, progress, attempt.before)
            if failure is error:
                raise
            raise failure from error
        finally:
            gate.leave(number)
            if _log.isEnabledFor(logging.DEBUG):
                fields = {
                    **about,
                    "method": method,
                    "try": attempt.number,
                    "status": progress.status,
                    "bytes": tally.bytes,
                    "queued": begun - arrived,
                    "first_byte": progress.first_byte and progress.first_byte - begun,
                    "seconds": loop.time() - begun,
                    "reason": reason,
                }
                log(_log, logging.DEBUG, "request", fields)


def find(href: str, servers: Mapping[str, Server]) -> tuple[URL, Server]:
    """Check a URL against the allow-list.

    Args:
        href: URL.
        servers: all allowed origins, keyed by name.

    Returns:
        The parsed URL, and its server.

    Raises:
        Refused: the URL is not allowed.
    """
    url, origin = allowlist.allowed(href, servers)
    return url, servers[origin]


def _redirected(url: URL, location: str, servers: Mapping[str, Server]) -> tuple[URL, Server]:
    """Return the target of a redirect, which must be on the allow-list as well."""
    if not location:
        raise BadAnswer(f"a redirect without a target: {shown(str(url))}")
    try:
        return find(str(url.join(parsed_url(location))), servers)
    except ValueError as error:
        raise Diverted(f"a redirect to a target that is not a URL: {shown(str(url))}") from error
    except Refused as error:
        raise Diverted(f"a redirect to elsewhere: {error}") from error


async def _error_body(tally: Tally, response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an error or a redirect; empty if it is too long or cannot be read."""
    with suppress(RemoteError, aiohttp.ClientError, OSError):
        return await tally.receive(response.content.iter_any(), MAX_ERROR_BODY, str(response.url))
    return b""


def _as_our_error(error: Exception, href: str) -> RemoteError | LocalError:
    """Return the error that the caller gets; its message is one line and contains the URL."""
    if isinstance(error, RemoteError):
        return error
    if isinstance(error, TimeoutError):
        return TransientError(f"timed out: {shown(href)}")
    if isinstance(error, aiohttp.InvalidURL):
        return Refused(f"not a URL: {shown(href)}")
    # If this machine lacks memory or file handles, the failure says nothing about the server.
    if local := means.shortage(getattr(error, "os_error", error)):
        return local
    if isinstance(error, aiohttp.ClientSSLError):
        reason = brief(error)
        advice = f"; {AUTHORITY}" if any(words in reason for words in _UNKNOWN_AUTHORITY) else ""
        return Refused(f"TLS failed ({reason}): {shown(href)}{advice}")
    return TransientError(f"{brief(error)}: {shown(href)}")


def _report(
    failure: TransientError,
    error: Exception,
    number: int,
    file: str,
    server: Server,
    progress: _Progress,
    before: int,
) -> None:
    """Report a failed try to the gate of its server.

    Args:
        failure: the error that the caller gets.
        error: the original error.
        number: number of the request at its gate.
        file: identifies what was requested; several failures of one file count less than those of several files.
        server: the server that the request was sent to first.
        progress: the progress of the try.
        before: number of earlier tries that failed in a way that may be temporary.
    """
    gate = server.gate
    # If the response began and was read until the time-out for the whole request, the server is slow, not silent.
    # A ServerTimeoutError means silence: no byte arrived within the idle time-out.
    if progress.answering and not isinstance(error, aiohttp.ServerTimeoutError):
        gate.incomplete(number, file)
    elif isinstance(error, TimeoutError):
        gate.silent(number, file, before=before)
    elif failure.status in OVERLOADED:
        gate.refused(number, file, asks=bool(failure.retry_after), before=before)
    else:
        gate.failed(number, file, before=before)
    # A Retry-After concerns all requests to the server that sent it, which may be the target of a redirect.
    for each in {gate, progress.hop.gate}:
        each.heed(failure.retry_after)
