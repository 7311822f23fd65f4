"""A server that answers well or badly, as its paths say. It runs in a process of its own and logs every request.

``/MODE/TIMES/NAME?more``: the first TIMES requests of a path go wrong in the way of MODE (-1: all of them), later
ones go well: a name that ends in ``.json`` is answered by an echo, any other is a file of the served folder.
``/__log`` tells all requests so far, ``/__reset`` forgets them. Requests with ``held`` in their query wait until
``/__release``; ``/__now`` tells how many are under way.

Usage: python fault_server.py FOLDER [CERTIFICATE KEY]; the first line of its output is the ports as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

FOLDER = Path()
LOG: list[dict[str, Any]] = []
COUNTS: Counter[str] = Counter()
IN_FLIGHT = {"now": 0, "peak": 0}
BUCKETS: dict[str, tuple[float, float]] = {}
RELEASED = asyncio.Event()
"""Set for a moment when all that is held is let go."""

Headers = dict[str, str]


class FaultServer:
    """The server as a test sees it: start it, ask it for addresses, look into its log."""

    def __init__(self, folder: Path, *certificate: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder), *map(str, certificate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.ports: dict[str, int] = json.loads(self._process.stdout.readline())
        self.origin = f"http://127.0.0.1:{self.ports['port']}"
        self.other = f"http://127.0.0.1:{self.ports['other']}"

    def stop(self) -> None:
        self._process.communicate()  # the end of its input ends it

    def ask(self, path: str) -> Any:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.origin + path) as response:
            return json.load(response)

    @property
    def log(self) -> list[dict[str, Any]]:
        return list(self.ask("/__log")["log"])

    def totals(self) -> tuple[int, int]:
        """Requests, and body bytes sent."""
        return len(log := self.log), sum(entry["sent"] for entry in log)

    def url(self, mode: str, times: int, name: str, **more: object) -> str:
        query = f"?{urlencode(more)}" if more else ""
        return f"{self.origin}/{mode}/{times}/{name}{query}"


class Exchange:
    """One request, and the means to answer it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        first, *lines = head.split("\r\n")
        self.method, target, _ = first.split(" ")
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        self.reader, self.writer, self.body = reader, writer, body
        url = urlsplit(target)
        self.path = url.path
        self.query = {k: v[0] for k, v in parse_qs(url.query).items()}
        self.entry: dict[str, Any] = {
            "method": self.method,
            "target": target,
            "path": url.path,
            "port": writer.get_extra_info("sockname")[1],
            "peer": writer.get_extra_info("peername")[1],
            "time": asyncio.get_running_loop().time(),
            "range": self.headers.get("range", ""),
            "headers": self.headers,
            "body": body.decode(),
            "status": 0,
            "sent": 0,
        }
        self.keep = True

    async def start(self, status: int, headers: Headers) -> None:
        self.entry["status"] = status
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def write(self, data: bytes) -> None:
        self.entry["sent"] += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, {"Content-Length": str(len(body)), **headers})
        await self.write(body)

    async def gone(self) -> None:
        """Wait until the client has left."""
        self.keep = False
        while await self.reader.read(1 << 16):
            pass

    def part(self) -> tuple[Headers, bytes]:
        """The headers and the body of a correct 206.

        Its ETag is that of the file, or none (``noetag``), a weak one (``weak``), or what ``etag`` spells: one of
        several between bars at a time, and none where nothing stands there. ``modified`` spells Last-Modified in
        the same way; ``mtime`` is that of the file, and ``garbled`` tells the same, but is no date. With
        ``headonly`` neither comes but with the file's start.
        """
        data, etag = load(self.path)
        first, last = (int(n) for n in re.findall(r"\d+", self.headers["range"]))
        last = min(last, len(data) - 1)
        headers = {"Content-Range": f"bytes {first}-{last}/{len(data)}", "Content-Type": "image/tiff"}
        etag = "" if "noetag" in self.query else f"W/{etag}" if "weak" in self.query else etag
        etag = self._in_turn("etag", etag)
        modified = self._in_turn("modified", "")
        if modified in ("mtime", "garbled"):
            seconds = int((FOLDER / unquote(self.path.rpartition("/")[2])).stat().st_mtime)
            modified = formatdate(seconds, usegmt=True) if modified == "mtime" else f"{seconds} o'clock"
        if "headonly" in self.query and first > 0:
            etag = modified = ""
        headers |= {"ETag": etag} if etag else {}
        return headers | ({"Last-Modified": modified} if modified else {}), data[first : last + 1]

    def _in_turn(self, key: str, usual: str) -> str:
        """What the query spells: of several between bars, one after the other, from request to request."""
        if key not in self.query:
            return usual
        spelled = self.query[key].split("|")
        return spelled[(COUNTS[self.entry["path"]] - 1) % len(spelled)]


def load(path: str) -> tuple[bytes, str]:
    file = FOLDER / unquote(path.rpartition("/")[2])
    return file.read_bytes(), f'"{file.stat().st_mtime_ns:x}-{file.stat().st_size:x}"'


async def well(x: Exchange) -> None:
    if x.path.endswith(".json"):
        answer = json.dumps({"method": x.method, "body": x.body.decode(), "filler": "x" * 500}).encode()
        packed = "gzip" in x.headers.get("accept-encoding", "") and "plain" not in x.query
        headers = {"Content-Type": "application/geo+json; charset=utf-8", "Set-Cookie": "spy=1; Path=/"}
        headers |= {"Content-Encoding": "gzip"} if packed else {}
        await x.send(200, headers, gzip.compress(answer) if packed else answer)
    elif not (FOLDER / unquote(x.path.rpartition("/")[2])).is_file():
        await x.send(404, {}, b"<Error>NoSuchKey</Error>")
    elif "if-match" in x.headers and "blind" not in x.query and x.headers["if-match"] != x.part()[0].get("ETag"):
        await x.send(412, {}, b"<Error>PreconditionFailed</Error>")
    elif int(re.findall(r"\d+", x.headers["range"])[0]) >= len(load(x.path)[0]):
        await x.send(416, {}, b"<Error>InvalidRange</Error>")
    else:
        await x.send(206, *x.part())


async def code(x: Exchange) -> None:
    headers = {"Retry-After": x.query["after"]} if "after" in x.query else {}
    status = int(x.query["status"])
    body = b"" if status in (204, 304) else b"<b>sorry</b>" + b"." * int(x.query.get("size", 0))
    await x.send(status, headers, body)


async def down(x: Exchange) -> None:
    """A server that is down until a time, in seconds since 1970."""
    if time.time() < float(x.query["until"]):
        await x.send(503, {}, b"<Error>ServiceUnavailable</Error>")
    else:
        await well(x)


async def crowded(x: Exchange) -> None:
    """A server that has room for so many requests at once, and turns the others away."""
    if IN_FLIGHT["now"] > int(x.query["room"]):
        await x.send(503, {}, b"<Error>SlowDown</Error>")
    else:
        await asyncio.sleep(0.02)
        await well(x)


async def limited(x: Exchange) -> None:
    """A server that allows so many requests a second: a token bucket."""
    rate, burst, now = float(x.query["rate"]), float(x.query["burst"]), time.monotonic()
    left, since = BUCKETS.get(x.path, (burst, now))
    left = min(burst, left + (now - since) * rate)
    if left < 1:
        BUCKETS[x.path] = left, now
        await x.send(int(x.query["status"]), {}, b"<Error><Code>SlowDown</Code></Error>")
    else:
        BUCKETS[x.path] = left - 1, now
        await asyncio.sleep(0.01)
        await well(x)


async def redirect(x: Exchange) -> None:
    headers = {"Location": x.query["to"]} if "to" in x.query else {}
    await x.send(int(x.query.get("status", 302)), headers, b"over there")


async def stall(x: Exchange) -> None:
    await x.gone()


async def stall_body(x: Exchange) -> None:
    headers, body = x.part()
    await x.start(206, {"Content-Length": str(len(body)), **headers})
    await x.write(body[: len(body) // 2])
    await x.gone()


async def drip(x: Exchange) -> None:
    headers, body = x.part()
    await x.start(206, {"Content-Length": str(len(body)), **headers})
    x.keep = False
    for byte in body:
        await x.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def cut(x: Exchange) -> None:
    headers, body = x.part()
    await x.start(206, {"Content-Length": str(len(body)), **headers})
    await x.write(body[: len(body) // 2])
    x.keep = False


async def reset(x: Exchange) -> None:
    await cut(x)
    # closing with a linger time of zero sends RST instead of FIN
    x.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def close(x: Exchange) -> None:
    x.keep = False


async def shifted(x: Exchange) -> None:
    headers, body = x.part()
    first, last, whole = (int(n) for n in re.findall(r"\d+", headers["Content-Range"]))
    await x.send(206, headers | {"Content-Range": f"bytes {first + 8}-{last + 8}/{whole}"}, body)


async def short(x: Exchange) -> None:
    headers, body = x.part()
    first, last, whole = (int(n) for n in re.findall(r"\d+", headers["Content-Range"]))
    await x.send(206, headers | {"Content-Range": f"bytes {first}-{last - 8}/{whole}"}, body[:-8])


async def thin(x: Exchange) -> None:
    """The Content-Range that was asked for, and fewer bytes."""
    headers, body = x.part()
    await x.send(206, headers, body[:-8])


async def fat(x: Exchange) -> None:
    headers, body = x.part()
    await x.send(206, headers, body + b"more")


async def torn(x: Exchange) -> None:
    """The range that was asked for, with a byte of it changed: the one at ``at`` of the file."""
    headers, body = x.part()
    place = int(x.query["at"]) - int(re.findall(r"\d+", headers["Content-Range"])[0])
    damaged = bytearray(body)
    if 0 <= place < len(body):
        damaged[place] ^= 0xFF
    await x.send(206, headers, bytes(damaged))


async def spoilt(x: Exchange) -> None:
    """Damage from the byte at ``at`` of the file on, in the first answer that holds it, or the first ``often``.

    What is asked for from the file's start on is its header.
    """
    headers, body = x.part()
    start = int(re.findall(r"\d+", headers["Content-Range"])[0])
    place = int(x.query["at"]) - start
    if start and 0 <= place < len(body):
        COUNTS[f"{x.path} spoilt"] += 1
        if COUNTS[f"{x.path} spoilt"] <= int(x.query.get("often", 1)):
            body = _spoil(bytearray(body), place, x.query, COUNTS[f"{x.path} spoilt"])
    await x.send(206, headers, body)


def _spoil(body: bytearray, place: int, query: dict[str, str], number: int) -> bytes:
    """Bytes from a place on (``size``), or all that follow: zeros, random ones by ``seed``, or those of a file."""
    stop = min(place + int(query.get("size", len(body))), len(body))
    if query["how"] == "zeros":
        body[place:stop] = bytes(stop - place)
    elif query["how"] == "random":
        body[place:stop] = random.Random(f"{query['seed']} {number}").randbytes(stop - place)
    elif query["how"] == "flipped":
        body[place:stop] = bytes(byte ^ 1 << number % 8 for byte in body[place:stop])
    else:
        at = int(query["from"])
        body[place:stop] = (FOLDER / query["how"]).read_bytes()[at : at + stop - place].ljust(stop - place, b"\0")
    return bytes(body)


async def old(x: Exchange) -> None:
    """The file as it was: that of the same name with ``.old`` behind it."""
    x.path += ".old"
    await well(x)


async def rangeless(x: Exchange) -> None:
    headers, body = x.part()
    del headers["Content-Range"]
    await x.send(206, headers, body)


async def packed(x: Exchange) -> None:
    headers, body = x.part()
    await x.send(206, headers | {"Content-Encoding": "gzip"}, body)


async def whole(x: Exchange) -> None:
    """A server that knows no ranges sends 1 GiB, if it is let."""
    await x.start(200, {"Content-Length": str(1 << 30), "Content-Type": "image/tiff"})
    x.keep = False
    for _ in range(1 << 14):
        await x.write(bytes(1 << 16))


async def multi(x: Exchange) -> None:
    """The range as a part of a multipart body."""
    headers, body = x.part()
    part = f"--B\r\nContent-Range: {headers.pop('Content-Range')}\r\n\r\n".encode() + body + b"\r\n--B--\r\n"
    await x.send(206, headers | {"Content-Type": "multipart/byteranges; boundary=B"}, part)


async def html(x: Exchange) -> None:
    await x.send(200, {"Content-Type": "text/html"}, b"<html>\n<title>Sign in</title>" + b" " * 200)


async def body(x: Exchange) -> None:
    """A JSON answer as the query spells it, byte by byte."""
    names = {"kind": "Content-Type", "encoding": "Content-Encoding"}
    headers = {"Content-Type": "application/json"} | {names[k]: v for k, v in x.query.items() if k in names}
    await x.send(int(x.query.get("status", 200)), headers, bytes.fromhex(x.query["hex"]))


async def page(x: Exchange) -> None:
    """The answer to a search, from the file that the path names after the count: ``/page/-1/NAME/search``."""
    name = x.path.split("/")[3]
    await x.send(200, {"Content-Type": "application/geo+json"}, (FOLDER / f"{name}.json").read_bytes())


async def bomb(x: Exchange) -> None:
    data = gzip.compress(b"[" + b" " * (70 << 20) + b"]", 1)
    await x.send(200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, data)


async def endless(x: Exchange) -> None:
    await x.start(200, {"Content-Type": "application/json", "Connection": "close"})
    x.keep = False
    for _ in range(1 << 14):
        await x.write(b" " * (1 << 16))


MODES: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "well": well,
    "code": code,
    "crowded": crowded,
    "limited": limited,
    "down": down,
    "redirect": redirect,
    "stall": stall,
    "stall-body": stall_body,
    "drip": drip,
    "cut": cut,
    "reset": reset,
    "close": close,
    "shifted": shifted,
    "short": short,
    "thin": thin,
    "fat": fat,
    "torn": torn,
    "spoilt": spoilt,
    "old": old,
    "rangeless": rangeless,
    "packed": packed,
    "whole": whole,
    "html": html,
    "multi": multi,
    "body": body,
    "page": page,
    "bomb": bomb,
    "endless": endless,
}


async def answer(x: Exchange) -> None:
    LOG.append(x.entry)
    COUNTS[x.path] += 1
    IN_FLIGHT["now"] += 1
    IN_FLIGHT["peak"] = max(IN_FLIGHT["peak"], IN_FLIGHT["now"])
    x.entry["in_flight"] = IN_FLIGHT["now"]
    try:
        if x.method == "CONNECT":
            await x.send(407, {"Proxy-Authenticate": "Basic"}, b"")
            x.keep = False
            return
        await asyncio.sleep(float(x.query.get("delay", 0)))
        if "held" in x.query:
            await RELEASED.wait()
        _, mode, times, *_ = f"{x.path}///".split("/")
        if mode not in MODES or not re.fullmatch(r"-?[0-9]{1,6}", times):
            await x.send(404, {}, b"<Error>NoSuchKey</Error>")
            return
        wrong = int(times) < 0 or COUNTS[x.path] <= int(times)
        await (MODES[mode] if wrong else well)(x)
    finally:
        IN_FLIGHT["now"] -= 1


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All requests of one connection."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            first = await reader.readexactly(1)
            if first == b"\x16":  # a TLS greeting
                writer.write(b"HTTP/1.1 400 No TLS here\r\n\r\n")
                break
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
            exchange = Exchange(reader, writer, head, await reader.readexactly(int(length[1]) if length else 0))
            if exchange.path == "/__log":
                told = {"log": LOG, "peak": IN_FLIGHT["peak"], "now": IN_FLIGHT["now"]}
                await exchange.send(200, {}, json.dumps(told).encode())
            elif exchange.path == "/__now":
                await exchange.send(200, {}, json.dumps(IN_FLIGHT["now"]).encode())
            elif exchange.path == "/__release":
                RELEASED.set()
                RELEASED.clear()
                await exchange.send(200, {}, b"{}")
            elif exchange.path == "/__reset":
                LOG.clear()
                COUNTS.clear()
                BUCKETS.clear()
                IN_FLIGHT["peak"] = IN_FLIGHT["now"]
                await exchange.send(200, {}, b"{}")
            else:
                await answer(exchange)
            if not exchange.keep:
                break
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def main(folder: str, *certificate: str) -> None:
    global FOLDER
    FOLDER = Path(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate:
        context.load_cert_chain(*certificate)
    contexts = {"port": None, "other": None} | ({"tls": context} if certificate else {})
    servers = {name: await asyncio.start_server(converse, "127.0.0.1", 0, ssl=c) for name, c in contexts.items()}
    print(json.dumps({name: s.sockets[0].getsockname()[1] for name, s in servers.items()}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the test's process is gone


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
