"""A run that resumes after a kill, ``status`` at the same time, and a run that has nothing left to do."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from affine import Affine
from rasterio.io import MemoryFile

from benchmarks import measure
from s2async.config.model import Config
from s2async.models import Status
from s2async.state.reader import Ledger
from s2async.state.records import OPEN

_NO_ITEMS: Final = b'{"type": "FeatureCollection", "features": [], "links": []}'


class FarArchive:
    """A server whose searches find nothing, and whose files are all one small raster that contains no area.

    It records the requests and their times.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        """Time in seconds since 1970, and path, of each request."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._note, _small_raster()))
        self.origin: Final = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _note(self, path: str) -> None:
        self.asked.append((measure.now(), path))

    @property
    def files(self) -> list[tuple[float, str]]:
        """The requests for files."""
        return [(time, path) for time, path in self.asked if path.endswith(".tif")]


def _small_raster() -> bytes:
    """Return a classification of 1 km2 in the middle of UTM zone 33, at the equator."""
    with MemoryFile() as file:
        layout = {"count": 1, "dtype": "uint8", "crs": "EPSG:32633", "transform": Affine(20, 0, 5e5, 0, -20, 1e3)}
        with file.open(driver="COG", width=50, height=50, compress="deflate", **layout) as raster:
            raster.write(np.full((1, 50, 50), 4, np.uint8))
        return bytes(file.getbuffer())


def _handler(note: Callable[[str], None], raster: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            note(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(200, _NO_ITEMS, {"Content-Type": "application/geo+json"})

        def do_GET(self) -> None:
            note(self.path)
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            part = raster[first : last + 1]
            where = f"bytes {first}-{first + len(part) - 1}/{len(raster)}"
            self._answer(206, part, {"Content-Range": where, "ETag": '"1"', "Content-Type": "image/tiff"})

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Handler


def run_once(config: Path, watch: Callable[[int], None] = lambda _: None) -> measure.Usage:
    """Run a configuration to its end."""
    return measure.run([sys.executable, "-m", "s2async", "-q", "run", str(config), "--yes"], watch=watch)


def run(config: Path, archive: FarArchive) -> Iterator[dict[str, Any]]:
    """Measure the cost of resuming from a state until no job is open, and of another run.

    Args:
        config: configuration of the state, which is not sealed because its run was killed.
        archive: the server that the configuration names.
    """
    for what in ("resume", "again"):
        expected, at_first = Counter(_jobs(config)), dict[str, Any]()
        before = dict(expected)
        expected[Status.OUTSIDE] += expected.pop(OPEN, 0)
        archive.asked.clear()

        def watch(pid: int, at_first: dict[str, Any] = at_first) -> None:
            if archive.asked and not at_first:
                at_first["cpu_seconds_at_first"] = round(measure.cpu_seconds(pid), 2)
                at_first["peak_megabytes_at_first"] = round(measure.high_water(pid) / 1e6, 1)
                at_first["status"] = _status(config)

        usage, files = run_once(config, watch), archive.files
        status = at_first.pop("status", None) or _status(config)
        line = {
            "what": what,
            "first_request_seconds": round(archive.asked[0][0] - usage.began, 2),
            **({"first_file_seconds": round(files[0][0] - usage.began, 2)} if files else {}),
            **at_first,
            "seconds": round(usage.seconds, 2),
            "cpu_seconds": round(usage.cpu_seconds, 2),
            "peak_megabytes": round(usage.peak_bytes / 1e6, 1),
            "requests": len(archive.asked),
            "files": len(files),
        }
        after = _jobs(config)
        is_right = Counter(after) == expected and bool(files) == (what == "resume")
        yield line if is_right else {**line, "fault": f"{before} became {after}"}
        yield {"what": f"status during {what}", **status}


def _jobs(config: Path) -> dict[str, int]:
    """Return the number of jobs by status."""
    settings = Config.load(config)
    with Ledger.read(settings.run.state) as state:
        return dict(state.counts(settings.selection()).total)


def _status(config: Path) -> dict[str, Any]:
    with (config.parent / "said").open("wb") as table:
        usage = measure.run([sys.executable, "-m", "s2async", "status", str(config)], stdout=table)
    return {
        "seconds": round(usage.seconds, 2),
        "cpu_seconds": round(usage.cpu_seconds, 2),
        "peak_megabytes": round(usage.peak_bytes / 1e6, 1),
    }
