"""Downloads the images of the two pairs, counts the traffic, and stores the images for the next report."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from shapely.geometry.base import BaseGeometry

from s2async import files
from s2async.causes import Cause
from s2async.cog import reader as raster
from s2async.cog import source as sources
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget
from s2async.cog.polygon_mask import outline
from s2async.cog.source import Source
from s2async.config.model import Config
from s2async.errors import CorruptFile, RemoteError, TransientError, UnsupportedLayout
from s2async.geo import bounds
from s2async.models import Area, Asset, Traffic, Use
from s2async.net.client import Meter, Transport, open_client
from s2async.output import quicklook
from s2async.reasons import cause_of
from s2async.report.scene_pairs import Candidate, Candidates, Kind, Missing, Pair, View, path
from s2async.state.reader import Ledger
from s2async.text import origin, shown, size

ASSET: Final = "visual"
STAGE: Final = "report"
"""Stage under which the traffic of these images is counted, in addition to the stages of a run."""
AROUND: Final = 2000.0
"""Width of the margin around the area, in metres."""
MOST: Final = 1600
"""Maximum number of pixels on an image's longer side. Larger areas, and whole scenes, are read from an
overview."""
_DEGREE: Final = 111_320.0
"""Approximate length of a degree of latitude, in metres."""
ATTEMPTS: Final = 2
"""Number of tries of a request; few, because a user waits for the page."""
OFFLINE: Final = "not asked for"
"""Cause of a missing pair if nothing may be downloaded."""
_PIXEL: Final = 1.3
"""Approximate bytes of a true colour pixel in a compressed block (median of the producer's blocks)."""
_SIDES: Final = (1024, 512)
"""Pixels per side of a block in the full resolution, and in an overview."""
_SCENE: Final = 687
"""Pixels per side of the coarsest overview of true colour."""
_MEMORY: Final = 64 << 20
_KEPT: Final = 1
"""Version of the format of stored images."""
_VIEWS: Final = ("scene", "area")
_TOKEN: Final = "s2async-report"  # noqa: S105 - not a password


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenery:
    """The result of `fetch`."""

    pairs: tuple[Pair, ...]
    """At most one of each kind."""
    traffic: tuple[Traffic, ...]
    """What was downloaded now; empty if all images were already stored."""
    missing: tuple[Missing, ...]
    """The scenes that were not available, of each kind without a pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    candidate: Candidate
    asset: Asset
    file: Path
    """File in which the pair is stored."""


def fetch(
    state: Ledger,
    config: Config,
    candidates: Candidates,
    folder: Path,
    *,
    offline: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Scenery:
    """Get the two pairs: from the folder if they are stored there, otherwise from the network (about 2 MB each).

    Must not be called from a running event loop. A server that does not respond is not an error; the pair is then
    missing.

    Args:
        state: contains the hrefs of the scenes; read only.
        config: settings of the job; the network and the allowed origins are used.
        candidates: the observations to choose from.
        folder: where pairs are stored; created together with the first one.
        offline: only use stored pairs.
        tell: called with one line before the first request: what is downloaded, and from where.

    Raises:
        LocalError: the folder cannot be written.
    """
    meter = Meter()
    pairs: list[Pair] = []
    missing: list[Missing] = []
    left: list[list[_Wanted]] = []
    for several in candidates.by_kind.values():
        found = [_wanted(state, config, candidate, folder) for candidate in several]
        wanted = [one for one in found if one is not None]
        kept = next((pair for one in wanted[:1] if (pair := _kept(one))), None)
        if kept:
            pairs.append(kept)
        elif wanted and offline:
            missing.append(_lack(wanted[0].candidate, OFFLINE, "nothing was to be fetched (--offline)"))
        elif wanted:
            left.append(wanted)
        elif several:
            missing.append(_lack(several[0], Cause.NO_ASSET.words, f"the scenes have no asset {ASSET!r}"))
    if left:
        tell(
            announcement(
                [one.asset.href for several in left for one in several], [one[0].candidate for one in left]
            )
        )
        for pair, file, failures in asyncio.run(_fetched(config, left, meter)):
            if pair is None:
                missing += failures
            else:
                _keep(file, pair)
                pairs.append(pair)
    order = list(Kind)
    pairs.sort(key=lambda pair: order.index(pair.candidate.kind))
    return Scenery(pairs=tuple(pairs), traffic=_booked(meter), missing=tuple(missing))


def announcement(hrefs: Sequence[str], candidates: Sequence[Candidate]) -> str:
    """Return one line about what is going to be downloaded.

    Args:
        hrefs: URLs of the files that may be requested.
        candidates: the observations whose files are requested first.
    """
    hosts = ", ".join(dict.fromkeys(map(origin, hrefs)))
    amount = size(sum(about_bytes(candidate.area) for candidate in candidates))
    count = "1 scene" if len(candidates) == 1 else f"{len(candidates)} scenes"
    return f"fetching pictures of {count} from {hosts}, about {amount}; --offline leaves them out"


def about_bytes(area: Area) -> int:
    """Estimate the bytes of a pair: the whole scene in its coarsest overview, and the blocks around the area."""
    west, south, east, north = bounds([area])
    height = (north - south) * _DEGREE + 2 * AROUND
    width = (east - west) % 360 * _DEGREE * math.cos(math.radians((north + south) / 2)) + 2 * AROUND
    metres, side = 10, _SIDES[0]
    while max(width, height) / metres > MOST:
        metres, side = metres * 2, _SIDES[1]
    # a window of n blocks' length touches n + 1 of them on average; half of the last row is read on average
    blocks = (width / metres / side + 1) * (height / metres / side + 0.5)
    return round(_PIXEL * (_SCENE**2 + blocks * side**2))


def _lack(candidate: Candidate, cause: str, reason: str) -> Missing:
    return Missing(kind=candidate.kind, item=candidate.look.item, cause=cause, reason=reason)


def _wanted(state: Ledger, config: Config, candidate: Candidate, folder: Path) -> _Wanted | None:
    scene = state.scene(config.search.resolve().collection, candidate.look.item)
    asset = scene.assets.get(ASSET) if scene else None
    if scene is None or asset is None:
        return None
    told = "\n".join([str(_KEPT), candidate.area.fingerprint, asset.href, scene.version])
    name = hashlib.sha256(told.encode()).hexdigest()[:24]
    return _Wanted(candidate=candidate, asset=asset, file=folder / f"{name}.json")


def _booked(meter: Meter) -> tuple[Traffic, ...]:
    """Sum up what was downloaded, by use."""
    drained = meter.drain()
    found = []
    for use in Use:
        own = [entry for entry in drained if entry.use == use]
        if own:
            requests, size = sum(entry.requests for entry in own), sum(entry.bytes for entry in own)
            found.append(Traffic(stage=STAGE, asset=ASSET, use=use, requests=requests, bytes=size))
    return tuple(found)


# ---- stored pairs -----------------------------------------------------------------------------------------


def _keep(file: Path, pair: Pair) -> None:
    views = {
        name: asdict(view) | {"data": base64.b64encode(view.data).decode()}
        for name, view in zip(_VIEWS, (pair.scene, pair.area), strict=True)
    }
    text = json.dumps({**views, "requests": pair.requests, "bytes": pair.bytes})
    files.make_folder(file.parent, parents=True)
    files.replace(file, text.encode(), token=_TOKEN)


def _kept(one: _Wanted) -> Pair | None:
    """Return the pair of an earlier report; None if there is none or it is unreadable, as it can be downloaded."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        told = json.loads(one.file.read_bytes())
        views = {name: View(**told[name] | {"data": base64.b64decode(told[name]["data"])}) for name in _VIEWS}
        return Pair(
            candidate=one.candidate,
            origin=origin(one.asset.href),
            requests=int(told["requests"]),
            bytes=int(told["bytes"]),
            **views,
        )
    return None


# ---- new pairs --------------------------------------------------------------------------------------------


_Result = tuple[Pair | None, Path, list[Missing]]
"""A pair with the file to store it in, or the scenes that were not available for it."""


async def _fetched(config: Config, wanted: Sequence[Sequence[_Wanted]], meter: Meter) -> list[_Result]:
    """Download the first available pair of each kind."""
    async with open_client(replace(config.client_settings(searches=False), attempts=ATTEMPTS), meter) as transport:
        with ThreadPoolExecutor() as pool:
            # One after the other, so that the traffic of each is known.
            return [await _first(_Reader(transport, pool), several) for several in wanted]


async def _first(reader: _Reader, several: Sequence[_Wanted]) -> _Result:
    failures: list[Missing] = []
    for one in several:
        try:
            return await reader.pair(one), one.file, failures
        except RemoteError as error:
            failures.append(_lack(one.candidate, cause_of(error).words, str(error)))
            if isinstance(error, TransientError):
                break  # the other candidates are on the same server
    return None, several[0].file, failures


class _Reader:
    """Reads pairs, one after the other."""

    def __init__(self, transport: Transport, pool: ThreadPoolExecutor) -> None:
        self.transport = transport
        self.pool = pool
        self.budget = Budget(_MEMORY)

    async def pair(self, one: _Wanted) -> Pair:
        meter, area = self.transport.meter, one.candidate.area
        requests, size = meter.requests, meter.bytes
        levels = await sources.open_levels(self.transport, one.asset)
        whole, near = smallest(levels), around(levels, area)
        return Pair(
            candidate=one.candidate,
            scene=await self._view(*whole, area),
            area=await self._view(*near, area),
            origin=origin(one.asset.href),
            requests=meter.requests - requests,
            bytes=meter.bytes - size,
        )

    async def _view(self, source: Source, window: Window, area: Area) -> View:
        inside = np.ones(window.shape, np.bool_)
        part = Cutout(window=window, inside=inside, total=window.pixels)
        (pixels,) = await raster.read(self.transport, source, [part], budget=self.budget, pool=self.pool)
        if isinstance(pixels, CorruptFile):
            raise pixels
        polygon = _outline(source, area, window)
        return View(
            data=quicklook.webp(quicklook.paint(pixels, source.layout.nodata)),
            width=window.width,
            height=window.height,
            outline=path(polygon, window.width, window.height) if polygon else "",
        )


# ---- small decisions --------------------------------------------------------------------------------------


def smallest(levels: Sequence[Source]) -> tuple[Source, Window]:
    """Return the coarsest overview, as a whole.

    Raises:
        UnsupportedLayout: even this overview has more than `MOST` pixels on a side, which would take megabytes.
    """
    found = min(levels, key=lambda level: level.layout.grid.width)
    grid = found.layout.grid
    if max(grid.width, grid.height) > MOST:
        raise UnsupportedLayout(f"no overview has at most {MOST} pixels on each side: {shown(found.asset.href)}")
    return found, Window(col=0, row=0, width=grid.width, height=grid.height)


def around(levels: Sequence[Source], area: Area) -> tuple[Source, Window]:
    """Return the finest level that shows the area with `AROUND` metres around it in at most `MOST` pixels a side.

    Raises:
        CorruptFile: the file does not cover any part of it.
    """
    for level in sorted(levels, key=lambda level: -level.layout.grid.width):
        grid = level.layout.grid
        polygon = _outline(level, area)
        if polygon is None:
            break
        margin = AROUND / math.hypot(grid.transform.a, grid.transform.d)
        west, north, east, south = polygon.bounds
        col, row = math.floor(west - margin), math.floor(north - margin)
        window = Window(
            col=col, row=row, width=math.ceil(east + margin) - col, height=math.ceil(south + margin) - row
        ).clip(grid.width, grid.height)
        if window is None:
            break
        if max(window.shape) <= MOST:
            return level, window
    raise CorruptFile(f"shows nothing of {area.name}: {shown(levels[0].asset.href)}")


def _outline(source: Source, area: Area, window: Window | None = None) -> BaseGeometry | None:
    try:
        return outline(area, source.layout.grid, window)
    except ValueError as error:
        raise CorruptFile(f"{error}: {shown(source.asset.href)}") from error
