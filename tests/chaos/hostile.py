"""Addresses and redirects that must not be followed, in every place where a server can put one.

Two loopback servers, each in its own process: one that may be asked, and one that counts whoever connects to it.
Each address comes as the transport is asked for it, as an item's asset, as the target of a redirect (of a file and
of a search), and as the link to the next page. Counted are connections to the second server, openings of a raster
on this machine (by the kernel's inotify, so that GDAL's count too), and files outside the output folder.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock
from urllib.parse import quote

from pyproj import Transformer
from shapely import box

from s2async.areas.loader import load
from s2async.catalog import providers, search
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.errors import NotFound, RemoteError
from s2async.events import Event, JobDone
from s2async.models import Status
from s2async.net.client import Transport
from s2async.sandbox.settings import toml
from tests.chaos.addresses import NAMES, hostile
from tests.support import served
from tests.support.fault_server import FaultServer

LEAST: Final = 150
SECRET: Final = "canary-of-secrets"
LONGEST: Final = 800
"""Characters of a refusal that is still one clear line."""
IN_OPEN: Final = 0x20
IN_ISDIR: Final = 0x40000000
REDIRECTS: Final = (301, 302, 303, 307, 308)

COUNTING = """
import asyncio, sys
async def main():
    seen = 0
    def met(reader, writer):
        nonlocal seen
        seen += 1
        writer.close()
    first = await asyncio.start_server(met, "127.0.0.1", 0)
    port = first.sockets[0].getsockname()[1]
    others = []
    for host in ("127.0.0.2", "127.255.255.254", "::1"):
        try:
            others.append(await asyncio.start_server(met, host, port))
        except OSError:
            pass
    print(port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(seen, flush=True)
asyncio.run(main())
"""


class Forbidden:
    """A server that nobody may connect to, in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", COUNTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def connections(self) -> int:
        """How many there have been."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return int(self._line())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


class Watch:
    """Counts how often the files of a folder are opened, by whomever."""

    def __init__(self, folder: Path) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._events = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._events < 0 or library.inotify_add_watch(self._events, os.fsencode(folder), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        self._seen = 0

    @property
    def openings(self) -> int:
        """How many there have been."""
        try:
            while data := os.read(self._events, 1 << 16):
                while data:
                    _, what, _, length = struct.unpack_from("iIII", data)
                    data = data[16 + length :]
                    self._seen += not what & IN_ISDIR
        except BlockingIOError:
            pass
        return self._seen


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the experiment happens."""

    server: FaultServer
    targets: Sequence[str]
    folder: Path
    origins: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one address in one position."""

    target: str
    text: str
    """The refusal; nothing where something was read."""
    asked: bool = False
    """It was taken for an address of the server that may be asked, as relative ones are, and not found there."""

    @property
    def fault(self) -> str:
        """What is wrong with it."""
        if not self.text:
            return "was followed"
        if not self.text.isprintable() or len(self.text) > LONGEST:
            return "is not refused in one clear line"
        return "shows a secret" if SECRET in self.text else ""


def main(arguments: list[str]) -> int:
    """Try all addresses in all positions; 1 when any leads anywhere, or there are too few."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos hostile", description=__doc__)
    parser.add_argument("--count", type=int, metavar="N", help="addresses, each in five positions (default: all)")
    asked = parser.parse_args(arguments)
    tried, traces = run(asked.count)
    print(f"{'position':24}{'tried':>7}{'refused':>9}{'not found':>11}  faults")
    for position, answers in tried.items():
        faults = [f"{answer.target!r} {answer.fault}" for answer in answers if answer.fault]
        elsewhere = sum(answer.asked for answer in answers)
        print(
            f"{position:24}{len(answers):7}{len(answers) - elsewhere - len(faults):9}{elsewhere:11}  {len(faults)}"
        )
        for fault in faults[:5]:
            print(f"    {fault}")
    total = sum(map(len, tried.values()))
    print(f"{total} tried; " + ", ".join(f"{count} {what}" for what, count in traces.items()))
    few = asked.count is None and total < LEAST
    return int(few or any(traces.values()) or any(answer.fault for found in tried.values() for answer in found))


def run(count: int | None = None) -> tuple[dict[str, list[Answer]], dict[str, int]]:
    """Try the first addresses, or all of them.

    Returns:
        What became of each by position; and the traces that there must not be.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("served", "private", "work"):
            (folder / part).mkdir()
        server, forbidden = FaultServer(folder / "served"), Forbidden()
        try:
            return _run(folder, server, forbidden, count)
        finally:
            server.stop()
            forbidden.stop()


def _run(
    folder: Path, server: FaultServer, forbidden: Forbidden, count: int | None
) -> tuple[dict[str, list[Answer]], dict[str, int]]:
    canary = folder / "private" / "canary.tif"
    served.make(canary, side=64)
    served.make(folder / "served" / "good.tif")
    watch = Watch(canary.parent)
    _prove(forbidden, watch, canary)
    met, opened = forbidden.connections, watch.openings

    good = server.origin.removeprefix("http://")
    targets = list(hostile(good, f"127.0.0.1:{forbidden.port}", canary, SECRET))[:count]
    origins = [server.origin, *(f"http://{name}:{forbidden.port}" for name in NAMES)]
    place = Place(server=server, targets=targets, folder=folder, origins=origins)
    before = _files(folder)
    with _names():
        found = asyncio.run(_directly(place)) | asyncio.run(_next_pages(place)) | _assets(place)
    traces = {
        "connections to the forbidden server": forbidden.connections - met,
        "openings of the private raster": watch.openings - opened,
        "files outside the output folder": len(_files(folder) - before),
    }
    return found, traces


def _prove(forbidden: Forbidden, watch: Watch, canary: Path) -> None:
    """Whoever connects is counted, and whoever opens: else nothing would be proved by counts of zero."""
    with socket.create_connection(("127.0.0.1", forbidden.port), 5) as connection:
        connection.recv(1)
    canary.read_bytes()
    if not forbidden.connections or not watch.openings:
        raise RuntimeError("what must not happen would not be noticed")


def _files(folder: Path) -> set[Path]:
    """All files but those of the output and of the pages that are served."""
    mine = folder / "work" / "data", folder / "served", folder / "work" / "config.toml"
    return {path for path in folder.rglob("*") if not any(path.is_relative_to(one) for one in mine)}


@contextmanager
def _names() -> Iterator[None]:
    """A name server that knows the names of this experiment, and no others."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else str(host)
        if text in NAMES:
            return real(NAMES[text], port, type=socket.SOCK_STREAM)
        if text in ("127.0.0.1", "::1", "localhost"):
            return real(host, port, *more, **named)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with mock.patch.object(socket, "getaddrinfo", look_up):
        yield


def _transport(place: Place) -> Transport:
    return Transport(origins=place.origins, attempts=1, connect_timeout=2, idle_timeout=5)


def _redirect(place: Place, number: int, name: str) -> str:
    """An address that may be asked, and leads to a target."""
    status, to = REDIRECTS[number % len(REDIRECTS)], quote(place.targets[number], safe="", errors="replace")
    return f"{place.server.origin}/redirect/-1/{name}?status={status}&to={to}"


async def _directly(place: Place) -> dict[str, list[Answer]]:
    async with _transport(place) as transport:

        async def read(number: int) -> Any:
            return await transport.read(place.targets[number], 0, 10)

        async def ask(number: int) -> Any:
            return await transport.json("POST", _redirect(place, number, "search"), {})

        found: dict[str, list[Answer]] = {"asked directly": [], "redirect of a search": []}
        for number, target in enumerate(place.targets):
            for position, work in zip(found, (read, ask), strict=True):
                try:
                    await work(number)
                    found[position].append(Answer(target=target, text=""))
                except RemoteError as error:
                    asked = isinstance(error, NotFound)
                    found[position].append(Answer(target=target, text=str(error), asked=asked))
        return found


async def _next_pages(place: Place) -> dict[str, list[Answer]]:
    answers = []
    async with _transport(place) as transport:
        for number, target in enumerate(place.targets):
            link = {"rel": "next", "href": target, "method": ("GET", "POST")[number % 2], "merge": True}
            _put_page(place, f"next{number}", [_item(place, 0, f"{place.server.origin}/well/0/good.tif")], [link])
            report = await _search(place, transport, f"next{number}")
            text = "" if report.complete or report.items != 1 else report.reason
            answers.append(Answer(target=target, text=text, asked=text.startswith("not there")))
    return {"link to the next page": answers}


async def _search(place: Place, transport: Transport, name: str) -> Any:
    async def ignore(_: object) -> None:
        pass

    return await search.run_search(
        search.Search(
            label=name,
            key=name,
            geometry=_area(),
            start=datetime(2022, 1, 1, tzinfo=UTC),
            end=datetime(2023, 1, 1, tzinfo=UTC),
        ),
        providers.custom(f"{place.server.origin}/page/-1/{name}", "sentinel-2-l2a", {"scl": "scl"}),
        transport.json,
        max_scene_cloud=100,
        newest_only=False,
        on_scene=ignore,
        on_notice=lambda _: None,
    )


def _assets(place: Place) -> dict[str, list[Answer]]:
    """A run over items whose assets are hostile, or lead there; and a sound one, which must be answered."""
    hrefs = [f"{place.server.origin}/well/0/good.tif", *place.targets]
    hrefs += [_redirect(place, number, "moved.tif") for number in range(len(place.targets))]
    _put_page(place, "assets", [_item(place, number, href) for number, href in enumerate(hrefs)], [])
    path = place.folder / "work" / "config.toml"
    path.write_text(
        toml(
            areas=[{"name": "Here", "wkt": _area().wkt}],
            search={
                "catalog": {
                    "url": f"{place.server.origin}/page/-1/assets",
                    "collection": "sentinel-2-l2a",
                    "assets": {"scl": "scl"},
                },
                "reprocessed": "all",
            },
            output={"folder": "data", "assets": []},
            network={"origins": list(place.origins), "attempts": 1, "connect_timeout": 2, "idle_timeout": 5},
            run={"reserve": "1 MiB"},
        ),
        encoding="utf-8",
    )
    config, events = Config.load(path), list[Event]()
    asyncio.run(pipeline.run(config, load(config), on_event=events.append))
    ended = {event.outcome.job.scene.id: event.outcome for event in events if isinstance(event, JobDone)}
    if ended[_name(0)].status in (Status.FAILED, Status.MISSING):
        raise RuntimeError(f"even the sound item is refused: {ended[_name(0)].reason}")
    found: dict[str, list[Answer]] = {"asset of an item": [], "redirect of an asset": []}
    for number in range(1, len(hrefs)):
        outcome = ended[_name(number)]
        position = tuple(found)[number > len(place.targets)]
        asked = "not there (404)" in outcome.reason
        target = place.targets[(number - 1) % len(place.targets)]
        found[position].append(Answer(target=target, text=outcome.reason, asked=asked))
    return found


def _put_page(place: Place, name: str, items: Sequence[Mapping[str, Any]], links: Sequence[Any]) -> None:
    page = {"type": "FeatureCollection", "features": items, "links": links}
    (place.server.folder / f"{name}.json").write_text(json.dumps(page), encoding="utf-8")


def _name(number: int) -> str:
    return f"S2A_33UUU_20220101_{number}_L2A"


def _item(place: Place, number: int, href: str) -> dict[str, Any]:
    """The STAC item of a scene over the area, with this address of its scene classification."""
    around = _area().buffer(0.01)
    return {
        "type": "Feature",
        "id": _name(number),
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [list(around.exterior.coords)]},
        "bbox": list(around.bounds),
        "properties": {
            "datetime": (datetime(2022, 1, 1, tzinfo=UTC) + timedelta(minutes=number)).isoformat(),
            "updated": "2022-06-01T00:00:00Z",
        },
        "assets": {"scl": {"href": href, "type": "image/tiff; application=geotiff"}},
        "links": [{"rel": "self", "href": f"{place.server.origin}/collections/items/{_name(number)}"}],
    }


def _area() -> Any:
    """A square of 500 m in the middle of the rasters that are served."""
    to_lonlat = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
    west, south = to_lonlat.transform(305_000, 5_793_000)
    east, north = to_lonlat.transform(305_500, 5_793_500)
    return box(west, south, east, north)
