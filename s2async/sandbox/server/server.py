"""Responds to the requests to the sandbox: the STAC API under ``/v1`` and the files under ``/cogs``.

For tests, there are also ``GET /_log?since=N`` (JSON lines), ``GET /_totals``, ``POST /_reset``, and ``GET``,
``POST`` and ``DELETE /_faults``. These are neither delayed nor counted. There can also be a second origin, on
another port, that should receive no requests; ``GET /_forbidden`` lists those that it received.

One event loop on one core. Files are read in the loop, piece by piece: they are mostly in the page cache, and a
thread for each piece would cost more than reading it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from dataclasses import asdict
from typing import Any

from aiohttp import web

from s2async.sandbox.faults.faults import FaultTable
from s2async.sandbox.server.answers import Answer, Asked, pieces, s3_error
from s2async.sandbox.server.api import api_answer
from s2async.sandbox.server.files import Files
from s2async.sandbox.server.journal import Journal, LogEntry
from s2async.sandbox.server.stac import Catalog, compact

PIECE = 256 * 1024
"""Bytes of a file in memory at once, per connection."""
_LINES = 1000
_BURST = 0.05
_DROP = 10
"""Maximum size of a request body in bytes."""
_LINGER = struct.pack("ii", 1, 0)
"""Value for SO_LINGER: a socket that is closed has no time to send the rest, and resets its connection."""


class Throttle:
    """A token bucket over all connections: ``rate`` bytes per second, with at most 50 ms of it in reserve."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0
        self.piece = int(min(max(rate / 100, 4096), PIECE))
        """Bytes to request at once: about 10 ms of the rate, so that connections take turns."""

    async def take(self, size: int) -> None:
        """Wait until ``size`` bytes may be sent."""
        now = asyncio.get_running_loop().time()
        self._free = max(self._free, now - _BURST) + size / self._rate
        if self._free > now:
            await asyncio.sleep(self._free - now)


class Server:
    """Responds to requests, independently of sockets.

    Args:
        catalog: the items of the API.
        files: the files under ``/cogs``.
        delay: milliseconds that are added to every request, before its response.
        bandwidth: Mbit/s of body bytes over all connections; None for no limit.
        per_client: apply the bandwidth to each client address separately.
    """

    def __init__(
        self,
        catalog: Catalog,
        files: Files,
        *,
        delay: float = 0,
        bandwidth: float | None = None,
        per_client: bool = False,
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._delay = delay / 1000
        self._rate = bandwidth * 1e6 / 8 if bandwidth else None
        self._per_client = per_client
        self._throttles: dict[str | None, Throttle] = {}
        """Throttles by client address; a single one if all addresses share the bandwidth."""
        self._journal = Journal()
        self._faults = FaultTable()
        self.intruders: list[LogEntry] = []
        """Requests to the forbidden origin."""
        self.intrusions = 0
        """Number of connections to the forbidden origin, used or not."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to a request."""
        asked = Asked(
            method=request.method,
            path=request.path,
            headers=request.headers,
            parameters=request.query,
            body=await request.content.read() if request.can_read_body else b"",
        )
        if asked.path.startswith("/_"):
            return await self._control(request, asked)
        entry = self._journal.begin(asked.method, asked.path, asked.headers)
        try:
            if self._delay:
                await asyncio.sleep(self._delay)
            answer = self._faults.spoil(asked, await self._answer(asked))
            return await self._send(request, answer, entry)
        except ConnectionError:
            return web.Response()  # the client has left
        finally:
            self._journal.end(entry)

    async def refuse(self, request: web.BaseRequest) -> web.StreamResponse:
        """Log a request to the forbidden origin, and respond as the normal origin would.

        No client may use this response.
        """
        asked = Asked(method=request.method, path=request.path, headers=request.headers)
        number = len(self.intruders) + 1
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        self.intruders.append(
            LogEntry(
                n=number,
                time=time.time(),
                method=asked.method,
                path=asked.path,
                range=headers.get("Range", ""),
                headers=headers,
            )
        )
        entry = Journal().begin(asked.method, asked.path, asked.headers)
        return await self._send(request, await self._answer(asked), entry)

    async def _answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/cogs/"):
            return self._files.answer(asked)
        if asked.path == "/v1" or asked.path.startswith("/v1/"):
            # Not in the event loop: a page takes several milliseconds of search and compression.
            return await asyncio.to_thread(api_answer, self._catalog, asked)
        return s3_error(404, "NoSuchKey", "The specified key does not exist.", Key=asked.path.lstrip("/"))

    async def _send(self, request: web.BaseRequest, answer: Answer, entry: LogEntry) -> web.StreamResponse:
        if answer.stalled:
            await asyncio.Event().wait()
        if answer.closed:
            _hang_up(request, rudely=answer.reset)
            return web.Response()  # the connection is already closed
        response = web.StreamResponse(
            status=answer.status, headers={**answer.headers, "Server": "s2async-sandbox"}
        )
        size = len(answer.body)
        response.content_length = size
        entry.status = answer.status
        await response.prepare(request)
        if request.method == "HEAD" or answer.status == 304:
            self._journal.end(entry)
            await response.write_eof()
            return response
        sent = 0
        end = min(size if early is None else early for early in (answer.cut, answer.hang))
        throttle = self._throttle(request)
        step = throttle.piece if throttle else PIECE
        with contextlib.closing(pieces(answer.body, _DROP if answer.drip else step)) as source:
            while sent < end and (piece := next(source, b"")[: end - sent]):
                if answer.drip:
                    await asyncio.sleep(_DROP / answer.drip)
                if throttle:
                    await throttle.take(len(piece))
                self._journal.wrote(entry, len(piece))
                sent += len(piece)
                if sent == end:
                    self._journal.end(entry)
                await response.write(piece)
        if answer.hang is not None:
            await asyncio.Event().wait()
        if sent < size and request.transport:
            await response.write(b"")
            _hang_up(request, rudely=answer.reset)
        else:
            await response.write_eof()
        return response

    def _throttle(self, request: web.BaseRequest) -> Throttle | None:
        if self._rate is None:
            return None
        client = request.remote if self._per_client else None
        if client not in self._throttles:
            self._throttles[client] = Throttle(self._rate)
        return self._throttles[client]

    # ---- control --------------------------------------------------------------------------------------

    async def _control(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        match asked.method, asked.path:
            case "GET", "/_log":
                return await self._write_log(request, int(asked.parameters.get("since", 0)))
            case "GET", "/_totals":
                return _json_response(self._journal.totals())
            case "POST", "/_reset":
                self._journal.reset()
            case "POST", "/_faults":
                try:
                    self._faults.add(**json.loads(asked.body))
                except (TypeError, ValueError) as error:
                    return _json_response({"error": str(error)}, status=400)
            case "DELETE", "/_faults":
                self._faults.clear()
            case "GET", "/_faults":
                return _json_response(self._faults.listing())
            case "GET", "/_forbidden":
                requests = [asdict(entry) for entry in self.intruders]
                return _json_response({"connections": self.intrusions, "requests": requests})
            case _:
                return _json_response({"error": f"no {asked.method} {asked.path} here"}, status=404)
        return web.Response(status=204)

    async def _write_log(self, request: web.BaseRequest, since: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        entries = list(self._journal.since(since))
        for at in range(0, len(entries), _LINES):
            lines = (compact(asdict(entry)) + "\n" for entry in entries[at : at + _LINES])
            await response.write("".join(lines).encode())
        await response.write_eof()
        return response


def _hang_up(request: web.BaseRequest, *, rudely: bool) -> None:
    """Close the connection at once, normally or with a reset."""
    if request.transport is None:
        return
    if rudely:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        request.transport.abort()
    else:
        request.transport.close()


def _json_response(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, text=compact(document), content_type="application/json")
