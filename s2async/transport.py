"""The one door to the network: every request of the program is made, limited, retried and counted here.

Nothing else opens a connection, GDAL least of all. That is what makes byte counts exact, a stalled read
cancellable, and an address that was not allowed unreachable. Counted are body bytes as they come over the wire.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp
import tenacity
from yarl import URL

import s2async
from s2async.errors import BadAnswer, FileChanged, NotFound, Refused, RemoteError, TransientError
from s2async.models import Traffic, Use

TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be better on another try."""
MAX_JSON: Final = 64 << 20
"""Decoded bytes of one JSON answer; a body of 0.3 MB can unpack to 300 MB."""
MAX_REDIRECTS: Final = 5
MAX_WAIT: Final = 300.0
"""Seconds of Retry-After that are waited; a server that asks for more is given up for now."""
MAX_ERROR_BODY: Final = 64 << 10
"""Bytes of an error's body that are read, so that the connection can be used again."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some bytes of a remote file."""

    data: bytes
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
        """Book ``size`` bytes, counted as useful before, as not needed after all."""
        self._counts[stage, asset, Use.USEFUL][1] -= size
        self._counts[stage, asset, Use.WASTED][1] += size

    def drain(self) -> list[Traffic]:
        """What was counted since the last call."""
        counts, self._counts = self._counts, defaultdict(lambda: [0, 0])
        return [
            Traffic(stage=stage, asset=asset, use=use, requests=requests, bytes=size)
            for (stage, asset, use), (requests, size) in counts.items()
        ]


class Transport:
    """One session for all requests of a run. Use it as an asynchronous context manager.

    Args:
        origins: ``scheme://host[:port]`` that may be asked; everything else is refused, redirects included.
        connections: requests under way at once.
        connect_timeout: seconds to get a connection.
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
        connections: int = 32,
        connect_timeout: float = 10,
        idle_timeout: float = 30,
        total_timeout: float = 300,
        attempts: int = 5,
        wait: Callable[[int], float] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.meter = meter or Meter()
        self._origins = {_origin(URL(origin)) for origin in origins}
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(
            total=total_timeout, sock_connect=connect_timeout, sock_read=idle_timeout
        )
        self._attempts = attempts
        self._wait = wait or _full_jitter
        self._places = asyncio.Semaphore(connections)
        self._parked: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None
        self.in_flight = 0
        """Requests under way now."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ttl_dns_cache=300),
            timeout=self._timeout,
            headers={"User-Agent": f"s2async/{s2async.__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(
        self, href: str, start: int, size: int, *, etag: str = "", stage: str = "tiles", asset: str = ""
    ) -> Piece:
        """Bytes ``start`` to ``start + size`` of a file; fewer only where the file ends before.

        Args:
            href: address of the file.
            start: first byte.
            size: bytes wanted.
            etag: when given, the file must still have it.
            stage: for the count, ``header`` or ``tiles``.
            asset: for the count.

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

        async def once() -> Piece:
            body = _Body()
            use = Use.RETRIED
            try:
                async with self._request(body, "GET", href, headers=headers) as response:
                    first, last, whole = _content_range(response, href)
                    expected = min(start + size, whole) - 1
                    if (first, last) != (start, expected):
                        raise BadAnswer(f"asked for bytes {start}-{expected}, got {first}-{last}: {href}")
                    seen = response.headers.get("ETag", "")
                    if etag and seen and seen != etag:
                        raise FileChanged(f"the file changed while it was read: {href}")
                    await body.receive(response, last - first + 1)
                    if len(body) != last - first + 1:
                        raise TransientError(f"got {len(body)} of {last - first + 1} bytes: {href}")
                    use = Use.USEFUL
                    return Piece(data=body.join(), size=whole, etag=seen)
            finally:
                self.meter.add(stage, asset, use, requests=body.requests, size=len(body))

        return await self._retrying(once, href)

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
            BadAnswer: the answer is not JSON, or is larger than :data:`MAX_JSON`.
        """
        headers = {"Accept": "application/geo+json, application/json", "Accept-Encoding": "gzip"}

        async def once() -> Any:
            received = _Body()
            use = Use.RETRIED
            try:
                async with self._request(
                    received, method, url, headers=headers, json_body=body, transient=TRANSIENT | {403}
                ) as response:
                    if response.status != 200:
                        raise BadAnswer(f"status {response.status}: {url}")
                    await received.receive(response, MAX_JSON)
                    found = _decode_json(received.join(), response, url)
                    use = Use.USEFUL
                    return found
            finally:
                self.meter.add("search", "", use, requests=received.requests, size=len(received))

        return await self._retrying(once, url, final)

    async def _retrying(
        self, once: Callable[[], Awaitable[T]], href: str, final: frozenset[int] = frozenset()
    ) -> T:
        host = _origin(URL(href))

        def worth_it(error: BaseException) -> bool:
            if not isinstance(error, TransientError) or error.status in final:
                return False
            return error.retry_after is None or error.retry_after <= MAX_WAIT

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, TransientError) else None
            seconds = max(self._wait(state.attempt_number), asked or 0.0)
            if asked:  # the whole host is asked for patience, not this one request
                self._parked[host] = max(self._parked.get(host, 0.0), _now() + asked)
            return seconds

        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(worth_it),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=pause,
            reraise=True,
        ):
            with attempt:
                wait = self._parked.get(host, 0.0) - _now()
                if wait > 0:
                    await asyncio.sleep(wait)
                return await once()
        raise AssertionError("tenacity returns or raises")

    @asynccontextmanager
    async def _request(
        self,
        body: _Body,
        method: str,
        href: str,
        *,
        headers: Mapping[str, str],
        json_body: Mapping[str, Any] | None = None,
        transient: frozenset[int] = TRANSIENT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One try, redirects followed by hand. Every way it can fail leaves as one of our errors."""
        if self._session is None:
            raise RuntimeError("the transport is used outside its 'async with'")
        url = self._allowed(href)
        async with self._places:
            self.in_flight += 1
            try:
                for _ in range(MAX_REDIRECTS + 1):
                    async with self._session.request(
                        method, url, headers=headers, json=json_body, allow_redirects=False
                    ) as response:
                        body.requests += 1
                        if response.status in (200, 206):
                            yield response
                            return
                        await body.receive(response, MAX_ERROR_BODY)
                        if response.status not in (301, 302, 303, 307, 308):
                            raise _status_error(response, href, transient)
                        url = self._allowed(str(url.join(URL(response.headers.get("Location", "")))))
                raise Refused(f"more than {MAX_REDIRECTS} redirects: {href}")
            except RemoteError:
                raise
            except (TimeoutError, aiohttp.ServerTimeoutError) as error:
                raise TransientError(f"timed out: {href}") from error
            except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
                raise Refused(f"TLS failed ({_brief(error)}): {href}") from error
            except aiohttp.InvalidURL as error:
                raise Refused(f"not an address: {href!r}") from error
            except (aiohttp.ClientError, ConnectionError, OSError) as error:
                raise TransientError(f"{_brief(error)}: {href}") from error
            finally:
                self.in_flight -= 1

    def _allowed(self, href: str) -> URL:
        try:
            url = URL(href)
        except ValueError as error:
            raise Refused(f"not an address: {href!r}") from error
        if url.user or url.password:
            raise Refused("an address with a user name in it is refused")
        if url.scheme not in ("http", "https") or not url.host or _origin(url) not in self._origins:
            raise Refused(
                f'not an allowed origin: {href}; to allow it, add "{_origin(url)}" to origins in [network]'
            )
        return url


class _Body:
    """Collects a body piece by piece, so that what came before a fault is counted too."""

    def __init__(self) -> None:
        self.requests = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    async def receive(self, response: aiohttp.ClientResponse, limit: int) -> None:
        async for piece in response.content.iter_any():
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > limit:
                response.close()
                raise BadAnswer(f"a body of more than {limit:,} bytes: {response.url}")

    def join(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def _status_error(response: aiohttp.ClientResponse, href: str, transient: frozenset[int]) -> RemoteError:
    status = response.status
    if status in (404, 410):
        return NotFound(f"no such file ({status}): {href}")
    if status == 412:
        return FileChanged(f"the file changed while it was read: {href}")
    if status in transient:
        return TransientError(
            f"the server answers {status}: {href}", status=status, retry_after=_retry_after(response)
        )
    if status in (401, 403):
        return Refused(f"access denied ({status}): {href}")
    return BadAnswer(f"the server answers {status}: {href}")


def _content_range(response: aiohttp.ClientResponse, href: str) -> tuple[int, int, int]:
    """First byte, last byte and size of the whole file (RFC 9110, 14.4)."""
    if response.status == 200:
        kind = response.headers.get("Content-Type", "")
        if "html" in kind:
            raise BadAnswer(f"expected part of a file, got {kind}: {href}")
        raise Refused(f"the server does not serve ranges: {href}")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", response.headers.get("Content-Range", ""))
    if not found:
        raise BadAnswer(f"no usable Content-Range: {href}")
    first, last, whole = (int(number) for number in found.groups())
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise BadAnswer(f"a compressed range: {href}")
    return first, last, whole


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3); None when absent or nonsense."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,12}", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _decode_json(raw: bytes, response: aiohttp.ClientResponse, url: str) -> Any:
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding == "gzip":
        unpacker = zlib.decompressobj(wbits=31)
        try:
            raw = unpacker.decompress(raw, MAX_JSON)
        except zlib.error as error:
            raise TransientError(f"a damaged gzip body: {url}") from error
        if unpacker.unconsumed_tail:
            raise BadAnswer(f"a body that unpacks to more than {MAX_JSON:,} bytes: {url}")
        if not unpacker.eof:
            raise TransientError(f"a gzip body that was cut off: {url}")
    elif encoding != "identity":
        raise BadAnswer(f"an unknown encoding {encoding!r}: {url}")
    kind = response.headers.get("Content-Type", "").split(";")[0]
    if "json" not in kind:
        start = raw[:80].decode("utf-8", "replace").encode("unicode_escape").decode()
        raise BadAnswer(f"expected JSON, got {kind or 'no type'} '{start}': {url}")
    try:
        return json.loads(raw)
    except ValueError as error:
        place = getattr(error, "pos", 0)
        raise TransientError(f"not JSON at byte {place} of {len(raw)}: {url}") from error


def _origin(url: URL) -> str:
    return f"{url.scheme}://{url.host}:{url.port}".lower()


def _brief(error: BaseException) -> str:
    """One line of an error that may have many, or none."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({error.os_error.strerror or error.os_error})"
    return " ".join(str(error).split()) or type(error).__name__


def _full_jitter(attempt: int) -> float:
    """Seconds before a retry: anything up to 0.5, 1, 2, 4 ... 20 ("full jitter", AWS Architecture Blog, 2015)."""
    return random.uniform(0, min(20.0, 0.5 * 2 ** (attempt - 1)))  # noqa: S311 - not for secrets


def _now() -> float:
    return asyncio.get_running_loop().time()
