"""The pictures of a report's pairs: right pixels, few requests, counted, kept; a report does not need them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.io import MemoryFile
from shapely import Polygon

from s2async.cog import grid, tiff
from s2async.cog.source import Source
from s2async.config.model import Config
from s2async.errors import CorruptFile, UnsupportedLayout
from s2async.models import Area, Asset, Use
from s2async.net.editions import Edition
from s2async.report import scenery
from s2async.report.data import Watched, looks
from s2async.report.scene_pairs import Candidates, Kind
from s2async.report.scenery import Scenery
from s2async.state.reader import Ledger
from s2async.text import size
from tests.support import worlds
from tests.support.worlds import Stage

BLUE = worlds.day(2, clouded=frozenset({"North", "Tall"}), cloud=12.0)
GREY = worlds.day(4, clouded=frozenset({"Wide", "South"}), cloud=66.0)
LEFT_OUT = "--offline leaves them out"
DAYS = [worlds.day(0, cloud=1.0), BLUE, GREY, worlds.day(6, cloud=50.0)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), DAYS)


@dataclass
class Made:
    config: Config
    candidates: Candidates
    stage: Stage
    folder: Path

    def fetch(self, *, offline: bool = False, tell: Callable[[str], None] = lambda _: None) -> Scenery:
        with Ledger.read(self.config.run.state) as state:
            return scenery.fetch(state, self.config, self.candidates, self.folder, offline=offline, tell=tell)


@pytest.fixture
def made(tmp_path: Path, stage: Stage) -> Made:
    return ran(tmp_path, stage)


def ran(folder: Path, stage: Stage, **sections: Any) -> Made:
    path = worlds.write_config(folder, stage.sandbox, **{"clouds": {"min_area_valid": 0}} | sections)
    config = worlds.run(path, stage.sandbox).config
    return Made(config=config, candidates=candidates_of(config), stage=stage, folder=folder / "kept")


def candidates_of(config: Config) -> Candidates:
    candidates, selection = Candidates(), config.selection()
    with Ledger.read(config.run.state) as state:
        for area in state.areas():
            rows = state.job_rows(selection, area=area)
            candidates.add(Watched(area=area, looks=tuple(looks(rows, config.clouds.classes))))
    return candidates


def asked(stage: Stage, since: int = 0) -> list[Any]:
    return [entry for entry in stage.sandbox.log(since=since) if entry.kind == "cogs"]


def last(stage: Stage) -> int:
    log = stage.sandbox.log()
    return log[-1].n if log else 0


def seen(data: bytes) -> NDArray[Any]:
    with MemoryFile(data) as file, file.open(driver="WEBP") as raster:
        return np.asarray(raster.read()[:3]).astype(int)


def test_the_scene_and_the_area_with_two_kilometres_around_it(made: Made) -> None:
    found = made.fetch()
    assert [pair.candidate.kind for pair in found.pairs] == [Kind.CLEAR, Kind.COVERED]
    assert [pair.candidate.look.item for pair in found.pairs] == [GREY.id, BLUE.id]
    assert not found.missing
    for pair in found.pairs:
        assert pair.candidate.area.name in {Kind.CLEAR: ("North", "Tall", "Rim"), Kind.COVERED: ("North", "Tall")}[
            pair.candidate.kind
        ]  # fmt: skip
        with rasterio.open(made.stage.world.folder / "cogs" / pair.candidate.look.item / "TCI.tif") as raster:
            whole = raster.read().astype(int)
        east, south = np.array(worlds.SHAPES[pair.candidate.area.name]).T
        left, right = max(0, math.floor(east.min() / 10 - 200)), min(512, math.ceil(east.max() / 10 + 200))
        top, bottom = max(0, math.floor(south.min() / 10 - 200)), min(512, math.ceil(south.max() / 10 + 200))
        assert np.abs(seen(pair.scene.data) - whole).mean() < 6
        # a corner on the edge of a pixel may lie on either side of it
        left, top = (
            start - (start > 0 and size > end - start)
            for start, end, size in ((left, right, pair.area.width), (top, bottom, pair.area.height))
        )
        near = seen(pair.area.data)
        assert abs(pair.area.width - right + left) <= 1
        assert abs(pair.area.height - bottom + top) <= 1
        shifts = [(y, x) for y in (top, top + 1) for x in (left, left + 1)]
        parts = [whole[:, y : y + pair.area.height, x : x + pair.area.width] for y, x in shifts]
        assert min(np.abs(near - part).mean() for part in parts if part.shape == near.shape) < 6
        points = [(x / 10 - left, y / 10 - top) for x, y in worlds.SHAPES[pair.candidate.area.name]]
        drawn = [tuple(map(float, point.split())) for point in pair.area.outline[1:-1].split("L")]
        gap = Polygon(points).symmetric_difference(Polygon(drawn)).area
        assert gap < 0.02 * Polygon(points).area


def test_what_is_fetched_is_counted_and_only_once(made: Made) -> None:
    before = last(made.stage)
    found = made.fetch()
    log = asked(made.stage, before)
    assert {entry.path.rsplit("/", 1)[-1] for entry in log} == {"TCI.tif"}
    assert sum(traffic.requests for traffic in found.traffic) == len(log)
    assert sum(traffic.bytes for traffic in found.traffic) == sum(entry.bytes for entry in log)
    assert {traffic.stage for traffic in found.traffic} == {"report"}
    assert {traffic.use for traffic in found.traffic} <= {Use.USEFUL, Use.WASTED}
    assert sum(pair.requests for pair in found.pairs) == len(log)
    assert sum(pair.bytes for pair in found.pairs) == sum(entry.bytes for entry in log)

    before = last(made.stage)
    again = made.fetch()
    assert not asked(made.stage, before)
    assert again.pairs == found.pairs
    assert not again.traffic


def test_what_is_kept_in_vain_is_fetched_anew(made: Made) -> None:
    first = made.fetch()
    damages = [b"", b"{}", b"no JSON", b'{"scene": 1, "area": 2, "requests": 1, "bytes": 1}', None]
    for damage in damages:
        kept = sorted(made.folder.glob("*.json"))
        assert len(kept) == 2
        if damage is None:
            kept[0].unlink()
        else:
            kept[0].write_bytes(damage)
        before = last(made.stage)
        again = made.fetch()
        assert again.pairs == first.pairs
        assert len({entry.path for entry in asked(made.stage, before)}) == 1
    json.loads(kept[0].read_bytes())


@pytest.mark.slow
def test_a_file_that_is_gone_is_replaced_by_the_next_most_candidates(tmp_path: Path) -> None:
    days = [worlds.day(2, cloud=70.0), worlds.day(4, cloud=60.0)]
    with Stage(worlds.World(tmp_path / "world", days)) as stage:
        made = ran(tmp_path, stage, areas={"North": worlds.polygon("North")})
        (stage.world.folder / "cogs" / days[0].id / "TCI.tif").unlink()
        (pair,) = made.fetch().pairs
        assert pair.candidate.look.item == days[1].id
        (stage.world.folder / "cogs" / days[1].id / "TCI.tif").unlink()
        for path in made.folder.glob("*.json"):
            path.unlink()
        found = made.fetch()
        assert not found.pairs
        assert [(lack.kind, lack.item, lack.cause) for lack in found.missing] == [
            (Kind.CLEAR, one.id, "not there") for one in days
        ]
        assert all("404" in lack.reason and lack.item in lack.reason for lack in found.missing)


@pytest.mark.slow
def test_without_the_server_there_is_a_reason_and_no_error(tmp_path: Path) -> None:
    with Stage(worlds.World(tmp_path / "world", DAYS)) as stage:
        made = ran(tmp_path, stage)
    found = made.fetch()
    assert not found.pairs
    assert [(lack.kind, lack.cause) for lack in found.missing] == [
        (kind, "no answer from the server") for kind in Kind
    ]
    assert not found.traffic
    assert not made.folder.exists()


def test_what_is_fetched_and_from_where_is_told_before_the_first_request(made: Made) -> None:
    before, told = last(made.stage), list[tuple[str, int]]()
    found = made.fetch(tell=lambda text: told.append((text, len(asked(made.stage, before)))))
    ((text, requests),) = told
    assert requests == 0
    amount = size(sum(scenery.about_bytes(pair.candidate.area) for pair in found.pairs))
    assert text == f"fetching pictures of 2 scenes from {made.stage.sandbox.origin}, about {amount}; {LEFT_OUT}"
    assert {pair.origin for pair in found.pairs} == {made.stage.sandbox.origin}
    told.clear()
    again = made.fetch(tell=lambda text: told.append((text, 0)))
    assert not told, "nothing is fetched"
    assert again.pairs == found.pairs


def test_offline_nothing_is_fetched_and_kept_pictures_are_shown(made: Made) -> None:
    before, told = last(made.stage), list[str]()
    found = made.fetch(offline=True, tell=told.append)
    assert (found.pairs, found.traffic, told) == ((), (), [])
    assert [(lack.kind, lack.cause) for lack in found.missing] == [(kind, scenery.OFFLINE) for kind in Kind]
    assert not asked(made.stage, before)
    pairs = made.fetch().pairs
    min(made.folder.glob("*.json")).unlink()
    before = last(made.stage)
    again = made.fetch(offline=True, tell=told.append)
    assert len(again.pairs) == len(again.missing) == 1
    assert set(again.pairs) < set(pairs)
    assert not asked(made.stage, before)


@pytest.mark.parametrize(
    ("km", "low", "high"),
    [(1, 1.5e6, 4e6), (11, 3e6, 9e6), (30, 1e6, 5e6), (90, 1e6, 4e6)],
)
def test_the_estimate_is_that_of_the_blocks_that_a_window_touches(km: float, low: float, high: float) -> None:
    """A window of 5 km touches 1 to 4 blocks of 1.4 MB; wide areas are shown from an overview."""
    assert low < scenery.about_bytes(square(km)) < high


def test_nothing_measured_asks_for_nothing(made: Made) -> None:
    made.candidates = Candidates()
    before = last(made.stage)
    found = made.fetch()
    assert found == Scenery(pairs=(), traffic=(), missing=())
    assert not asked(made.stage, before)


# ---- which level and which window ---------------------------------------------------------------------------

HREF = "https://cogs.example/a/TCI.tif?sig=secret"


def levels(*sides: int) -> list[Source]:
    """Levels of a scene of 110 km, by their pixels a side."""
    whole = grid.Grid(
        width=10980, height=10980, transform=rasterio.Affine(10, 0, 399_960, 0, -10, 5_800_020), epsg=32633
    )
    found = []
    for side in sides:
        layout = object.__new__(tiff.Layout)
        object.__setattr__(layout, "grid", whole.resized(side, side))
        found.append(Source(asset=Asset(key="visual", href=HREF), layout=layout, edition=Edition(size=1)))
    return found


def square(km: float) -> Area:
    to_lonlat = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
    east, north, half = 450_000, 5_750_000, km * 500
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    ring = [to_lonlat.transform(east + x, north + y) for x, y in corners]
    return Area(name="a", wkb=Polygon(ring).wkb, fingerprint=f"{km:016}", folder="a")


@pytest.mark.parametrize(("km", "side"), [(1, 10980), (11, 10980), (13, 5490), (27, 5490), (30, 2745), (90, 1373)])
def test_a_wide_area_is_shown_from_an_overview(km: float, side: int) -> None:
    level, window = scenery.around(levels(10980, 5490, 2745, 1373, 687), square(km))
    assert level.layout.grid.width == side
    assert max(window.shape) <= scenery.MOST
    pixel = 109_800 / side
    assert abs(window.width * pixel - (km + 4) * 1000) <= 2 * pixel + 10


def test_the_smallest_level_is_the_scene_and_must_be_small() -> None:
    level, window = scenery.smallest(levels(10980, 1373, 5490))
    assert level.layout.grid.width == window.width == 1373
    with pytest.raises(
        UnsupportedLayout, match=r"no overview has at most 1600 pixels on each side: .*TCI\.tif"
    ) as caught:
        scenery.smallest(levels(10980))
    assert "secret" not in str(caught.value)


def test_an_area_that_the_file_does_not_show_is_told() -> None:
    far = Area(name="far", wkb=Polygon([(100, 10), (101, 10), (101, 11)]).wkb, fingerprint="f" * 16, folder="f")
    with pytest.raises(CorruptFile, match="shows nothing of far"):
        scenery.around(levels(10980, 687), far)


def test_a_file_in_an_unknown_crs_is_no_crash() -> None:
    (level,) = levels(10980)
    object.__setattr__(level.layout, "grid", replace(level.layout.grid, epsg=9999))
    with pytest.raises(CorruptFile, match=r"EPSG:9999 is not a known CRS: .*TCI\.tif"):
        scenery.around([level], square(1))
