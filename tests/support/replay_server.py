"""Serves answers as a script spells them, on loopback, in a process of its own: recorded exchanges, served back.

The script is a JSON file: ``routes``, a list of ``{method, path, status, headers, body}`` (the path is a regular
expression; the first that fits answers, ``times`` times if it says so; ``{origin}`` in a body becomes that of the
server), and ``files``, local files by path, which are served by ranges (``{file, size}``: with zeros up to that
size). Requests are counted at ``/__count``.

Usage: python replay_server.py SCRIPT [CERTIFICATE KEY]; it prints its port, and ends with its standard input.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Replay:
    """The server as a test sees it.

    Args:
        folder: for the script.
        routes: answers, as the script has them.
        files: local files by path.
        certificate: certificate and key, for https.
    """

    def __init__(
        self,
        folder: Path,
        routes: Sequence[Mapping[str, Any]],
        files: Mapping[str, Mapping[str, Any]] | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        script = folder / "script.json"
        script.write_text(json.dumps({"routes": list(routes), "files": dict(files or {})}, default=str))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(script), *map(str, certificate or ())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self.origin = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it

    @property
    def requests(self) -> list[str]:
        """Method and path of each request so far; for http only."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.origin}/__count") as answer:
            return list(json.load(answer))


def route(path: str, body: Any, *, status: int = 200, method: str = "", **headers: str) -> dict[str, Any]:
    """One answer of a script."""
    kind = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    text = body if isinstance(body, str) else json.dumps(body)
    return {"method": method, "path": path, "status": status, "headers": kind, "body": text}


# ---- the process --------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: dict[str, Any] = {}  # noqa: RUF012 - the same for all connections
    origin = ""
    seen: list[str] = []  # noqa: RUF012 - one list for all connections

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - of the base class
        pass

    def do_GET(self) -> None:
        if self.path == "/__count":
            return self._say(200, {"Content-Type": "application/json"}, json.dumps(self.seen).encode())
        self.seen.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        if found := self.script["files"].get(path):
            return self._part(Path(found["file"]).read_bytes(), found.get("size"))
        for one in self.script["routes"]:
            if re.fullmatch(one["path"], path) and one["method"] in ("", self.command) and one.get("times", 1) > 0:
                if "times" in one:
                    one["times"] -= 1
                return self._say(
                    one["status"], one["headers"], one["body"].replace("{origin}", self.origin).encode()
                )
        return self._say(404, {"Content-Type": "application/json"}, b'{"code": "NotFound"}')

    do_POST = do_GET  # noqa: N815 - a name of the base class

    def _part(self, data: bytes, size: int | None) -> None:
        whole = size or len(data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert wanted
        first, last = int(wanted[1]), min(int(wanted[2]), whole - 1)
        part = data[first : last + 1].ljust(last + 1 - first, b"\0")
        headers = {"Content-Range": f"bytes {first}-{last}/{whole}", "ETag": '"recorded"'}
        self._say(206, {"Content-Type": "image/tiff", **headers}, part)

    def _say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


def main(script: str, *certificate: str) -> None:
    _Handler.script = json.loads(Path(script).read_text())
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    port = server.server_address[1]
    _Handler.origin = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(port, flush=True)
    sys.stdin.read()  # until the test's process is gone


if __name__ == "__main__":
    main(*sys.argv[1:])
