"""s2async from Python: the same answers as the command's, in loops and without, and crops as arrays."""

from __future__ import annotations

import ast
import asyncio
import pkgutil
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

import s2async
from s2async.api.loop_thread import LoopThread
from s2async.errors import ConfigError, CorruptFile, LocalError, StateInUse
from s2async.events import Event, JobDone, Notice
from s2async.models import Outcome
from s2async.state.writer import State
from tests.support import worlds
from tests.support.worlds import Stage

README = Path(__file__).parents[2] / "README.md"
JOBS = 18
"""Six areas in three items."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    items = [worlds.day(0), worlds.day(2, clouded=frozenset(worlds.SHAPES)), worlds.day(4)]
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items)


@pytest.fixture
def path(tmp_path: Path, stage: Stage) -> Path:
    """A config that has not been run."""
    return worlds.write_config(tmp_path, stage.sandbox)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Path:
    """One that has."""
    made = worlds.write_config(tmp_path_factory.mktemp("ran"), stage.sandbox)
    worlds.run(made, stage.sandbox)
    return made


def counted(path: Path) -> dict[str, int]:
    found = list(worlds.statuses(s2async.load_config(path)).values())
    return {status: found.count(status) for status in sorted(set(found))}


# ---- names ------------------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_of_it_but_its_version() -> None:
    script = "import sys, s2async; print([m for m in sys.modules if m.startswith('s2async.') or m == 'numpy'])"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        == b"['s2async._version']\n"
    )


def test_every_public_name_is_there_and_says_what_it_is_for() -> None:
    names = set(s2async.__all__)
    assert names >= {"Config", "Area", "run", "stream", "read", "open", "run_sync", "stream_sync"}
    assert names <= set(dir(s2async))
    for name in names - {"__version__"}:
        found = getattr(s2async, name)
        assert found.__doc__, name
        if found.__module__.startswith(("s2async.api.", "s2async.cube")) and not isinstance(found, type):
            assert "Example::" in found.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = s2async.nonsense


def test_no_module_has_a_public_name() -> None:
    """Loaded, it would stand in the package in place of what is meant."""
    assert not {module.name for module in pkgutil.iter_modules(s2async.__path__)} & set(s2async.__all__)


def test_types_are_told_to_checkers() -> None:
    """What is loaded late and what a type checker sees are the same names."""
    tree = ast.parse(Path(s2async.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = [alias for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    seen = {alias.asname or alias.name for alias in imported}
    assert seen == set(s2async.__all__) - {"__version__"}


# ---- settings ---------------------------------------------------------------------------------------------


def test_a_config_comes_as_a_path_a_mapping_or_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    config = s2async.load_config(path)
    assert s2async.load_config(str(path)) == s2async.load_config(config) == config
    assert s2async.load_config(tomllib.loads(path.read_text())).model_dump() == config.model_dump()
    assert [area.name for area in s2async.load_areas(config)] == list(worlds.SHAPES)


def test_a_mapping_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^config: \[clouds\] max_cloud: is not known; did you mean .*\?$"):
        s2async.load_config({"areas": "a.geojson", "clouds": {"max_cloud": 3}})
    with pytest.raises(ConfigError, match="no such file"):
        s2async.load_config("nowhere.toml")


# ---- running ----------------------------------------------------------------------------------------------


def test_run_does_what_the_command_does(path: Path, ran: Path) -> None:
    events: list[object] = []
    summary = asyncio.run(s2async.run(path, on_event=events.append))
    assert summary.clean
    assert sum(summary.done.values()) == len([e for e in events if isinstance(e, JobDone)]) == JOBS
    assert worlds.result(s2async.load_config(path)) == worlds.result(s2async.load_config(ran))


@pytest.mark.slow
def test_other_tasks_go_on_while_areas_are_read(tmp_path: Path) -> None:
    bow = "POLYGON ((15 52, 16 53, 16 52, 15 53, 15 52))"
    (tmp_path / "a.csv").write_text("\n".join(["name,wkt", *(f'P\x07{n},"{bow}"' for n in range(2_000))]))
    turns, threads = 0, set[int]()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        task = asyncio.create_task(others())
        try:
            await s2async.run(
                {"areas": str(tmp_path / "a.csv")}, on_event=lambda _: threads.add(threading.get_ident())
            )
        finally:
            task.cancel()

    with pytest.raises(ConfigError, match="2,000 of 2,000 areas"):
        asyncio.run(both())
    assert turns > 10, "a loop that is held up until all is read has two turns"
    assert threads == {threading.get_ident()}, "events come in the thread of the loop"


def test_bytes_and_seconds_end_a_run_and_a_stream(path: Path) -> None:
    summary = s2async.run_sync(path, max_bytes=1)
    assert (summary.limit, summary.clean) == ("bytes", True)
    assert summary.bytes > 0
    assert list(s2async.stream_sync(path, max_seconds=1e-9)) == []
    assert 0 < len(list(s2async.stream_sync(path, max_bytes=1 << 40, max_seconds=3600))) <= JOBS
    with pytest.raises(ConfigError, match="limit of bytes"):
        s2async.run_sync(path, max_bytes=0)


def test_some_areas_and_some_jobs(path: Path) -> None:
    north = [area for area in s2async.load_areas(path) if area.name == "North"]
    assert sum(s2async.run_sync(path, areas=north, limit=2).done.values()) == 2
    assert sum(s2async.run_sync(path, areas=north).done.values()) == 1
    assert counted(path) == {"cloudy": 1, "saved": 2}
    with pytest.raises(ConfigError, match="areas is empty"):
        s2async.run_sync(path, areas=[])


def test_outcomes_are_streamed_and_the_state_knows_them(path: Path) -> None:
    async def main() -> list[Outcome]:
        return [outcome async for outcome in s2async.stream(path)]

    outcomes = asyncio.run(main())
    told = {(one.job.area.name, one.job.scene.id): str(one.status) for one in outcomes}
    assert len(outcomes) == JOBS
    assert told == worlds.statuses(s2async.load_config(path))


def test_places_in_doubt_are_an_event_and_a_warning(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, crs="EPSG:4004")
    events: list[Event] = []
    with pytest.warns(s2async.PlaceWarning, match="6 of 6 areas may be hundreds of metres off"):
        summary = asyncio.run(s2async.run(path, on_event=events.append))
    assert summary.clean
    (notice,) = [event for event in events if isinstance(event, Notice) and event.grave]
    assert "may be hundreds of metres off" in notice.text


def test_leaving_the_stream_stops_the_run_in_order(path: Path) -> None:
    async def main() -> int:
        async with aclosing(s2async.stream(path)) as outcomes:
            async for _ in outcomes:
                break
        return len([task for task in asyncio.all_tasks() if not task.done()])

    assert asyncio.run(main()) == 1, "nothing but the main task goes on"
    before = counted(path)
    assert before
    assert s2async.run_sync(path).left == 0
    assert sum(counted(path).values()) == JOBS


def test_what_goes_wrong_is_raised_where_one_waits(path: Path) -> None:
    async def streamed(outcomes: AsyncGenerator[Outcome, None]) -> None:
        async for _ in outcomes:
            pass

    async def inside() -> None:
        s2async.run_sync(path)

    with State.create_or_open(s2async.load_config(path).run.state):
        for attempt in (
            lambda: asyncio.run(streamed(s2async.stream(path))),
            lambda: list(s2async.stream_sync(path)),
            lambda: s2async.run_sync(path),
            lambda: asyncio.run(inside()),
        ):
            with pytest.raises(StateInUse):
                attempt()


# ---- blocking twins ---------------------------------------------------------------------------------------


def test_twins_work_without_a_loop_and_inside_of_one(path: Path, tmp_path: Path, stage: Stage) -> None:
    other = worlds.write_config(tmp_path, stage.sandbox, name="other")

    async def inside() -> tuple[int, int]:
        seen = len(list(s2async.stream_sync(other)))
        return seen, sum(s2async.run_sync(other).done.values())

    assert sum(s2async.run_sync(path).done.values()) == JOBS
    assert list(s2async.stream_sync(path)) == []
    assert asyncio.run(inside()) == (JOBS, 0)
    assert counted(path) == counted(other)
    assert [thread.name for thread in threading.enumerate() if thread.name == "s2async"] == []


def test_leaving_a_blocking_stream_stops_its_run(path: Path) -> None:
    outcomes = s2async.stream_sync(path)
    assert next(outcomes).job.area.name in worlds.SHAPES
    outcomes.close()
    assert [thread.name for thread in threading.enumerate() if thread.name == "s2async"] == []
    State.create_or_open(s2async.load_config(path).run.state).close()


def test_an_interrupt_while_a_twin_waits_inside_a_loop_stops_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    thread = LoopThread(work)
    join = thread._thread.join

    def interrupted() -> None:
        monkeypatch.setattr(thread._thread, "join", join)
        raise KeyboardInterrupt

    monkeypatch.setattr(thread._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        thread.result()
    assert stopped.is_set()


# ---- reading ----------------------------------------------------------------------------------------------


def test_crops_are_read_as_they_lie_on_the_disk(ran: Path) -> None:
    config = s2async.load_config(ran)
    crops = list(s2async.read(ran))
    assert {crop.path for crop in crops} == set(config.output.folder.rglob("*.tif"))
    assert [crop.area for crop in crops] == sorted(crop.area for crop in crops)
    for crop in crops:
        with rasterio.open(crop.path) as raster:
            assert np.array_equal(crop.pixels, raster.read())
            assert (crop.transform, crop.epsg) == (raster.transform, raster.crs.to_epsg())
            assert (crop.nodata, crop.pixels.dtype.name) == (raster.nodata, raster.dtypes[0])
            tags = raster.tags()
        assert (crop.item, crop.asset, crop.area) == (tags["ITEM_ID"], tags["ASSET"], tags["AREA"])
        assert crop.datetime.isoformat() == tags["DATETIME"]
        assert f"{crop.area_cloud:.4f}" == tags["CLOUD_PERCENT"]
        assert crop.scene_cloud == 10.0


def test_crops_by_area_item_and_asset(ran: Path) -> None:
    north = list(s2async.read(ran, area="North"))
    assert [crop.item for crop in north] == ["S2A_33UUU_20220101_0_L2A", "S2A_33UUU_20220105_0_L2A"]
    assert [crop.area for crop in s2async.read(ran, item=north[0].item)] == ["North", "South", "Tall", "Wide"]
    assert list(s2async.read(ran, item="Nothing")) == []


def test_names_that_do_not_exist_are_told(ran: Path) -> None:
    with pytest.raises(ConfigError, match="'redd' is neither configured nor saved; saved are crops of: visual"):
        next(s2async.read(ran, asset="redd"))
    with pytest.raises(ConfigError, match=r"no area of the name 'Nowhere'; there are: 'North', 'Wide', .*'South'"):
        next(s2async.read(ran, area="Nowhere"))
    with pytest.raises(ConfigError, match=r"area is \['North'\]: give one area"):
        next(s2async.read(ran, area=["North"]))  # type: ignore[arg-type]


def test_crops_that_cannot_be_read_are_named(path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing has been run yet"):
        next(s2async.read(path))
    s2async.run_sync(path)
    crop = next(s2async.read(path))
    crop.path.write_bytes(crop.path.read_bytes()[:-400])
    with pytest.raises(CorruptFile, match=re.escape(str(crop.path))):
        next(s2async.read(path))
    crop.path.unlink()
    with pytest.raises(LocalError, match=re.escape(str(crop.path))):
        next(s2async.read(path))


# ---- README -----------------------------------------------------------------------------------------------


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def of_this_program(code: str) -> bool:
    """Whether an example calls s2async; the others open its results with other programs."""
    return "import s2async" in code


async def inside_a_loop(code: str) -> None:
    """As a notebook runs a cell."""
    found = eval(compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), {})
    if found is not None:
        await found


def outside_of_any(code: str) -> None:
    """As a script: what waits is put into a coroutine of its own."""
    try:
        compile(code, "README.md", "exec")
    except SyntaxError:
        asyncio.run(inside_a_loop(code))
    else:
        exec(code, {})


def test_the_examples_of_the_readme(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each as a script and as a notebook's cell, in a folder with a config of the name that they use."""
    found = [*filter(of_this_program, blocks(README.read_text("utf-8")))]
    assert found, "README.md has no example in Python"
    printed: list[int] = []
    for way in ("script", "notebook"):
        folder = tmp_path / way
        made = worlds.write_config(folder, stage.sandbox, name="fields")
        monkeypatch.chdir(folder)
        for code in found:
            if "stream(" in code:  # it tells what is new
                (made.with_name("fields-data") / "state.sqlite").unlink(missing_ok=True)
            outside_of_any(code) if way == "script" else asyncio.run(inside_a_loop(code))
            printed.append(len(capsys.readouterr().out.splitlines()))
    assert 0 not in printed
    assert printed[: len(found)] == printed[len(found) :]


def test_the_example_of_the_readme_with_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Crops joined to the fields, and a mean NDVI per date, from files as a run leaves them."""
    geopandas = pytest.importorskip("geopandas")
    (code,) = (code for code in blocks(README.read_text("utf-8")) if "overview.csv" in code)
    profile = {"driver": "GTiff", "width": 2, "height": 1, "count": 1, "dtype": "uint16", "nodata": 0}
    (tmp_path / "fields" / "North").mkdir(parents=True)
    rows = []
    for day, red, nir in (("2024-06-01", [1000, 0], [3000, 0]), ("2024-06-11", [1000, 2000], [1000, 6000])):
        for asset, values in (("red", red), ("nir", nir)):
            path = f"North/S2A_{day}_{asset}.tif"
            with rasterio.open(tmp_path / "fields" / path, "w", **profile) as crop:
                crop.write(np.array([[values]], "uint16"))
            rows.append(f"North,S2A_{day},{day}T10:00:00Z,{asset},{path},04.00")
    table = "area,item_id,datetime,asset,path,processing_baseline\n" + "\n".join(rows) + "\n"
    (tmp_path / "fields" / "overview.csv").write_text(table)
    square = shapely.box(13, 52, 13.01, 52.01)
    geopandas.GeoDataFrame({"name": ["North"]}, geometry=[square], crs="OGC:CRS84").to_file(
        tmp_path / "fields.gpkg"
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert capsys.readouterr().out.split() == ["2024-06-01", "0.5", "2024-06-11", "0.25"]
    joined = names["fields"]
    assert isinstance(joined, geopandas.GeoDataFrame)
    assert joined[["name", "asset"]].values.tolist() == [["North", asset] for asset in ("red", "nir") * 2]


@pytest.mark.slow
def test_the_examples_of_the_readme_with_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve for each field, and the largest NDVI joined to the fields, from a table as a run writes it."""
    geopandas = pytest.importorskip("geopandas")
    pytest.importorskip("matplotlib").use("agg")
    curve, join = (code for code in blocks(README.read_text("utf-8")) if "ndvi" in code)
    rows = [
        ("North", "2024-06-01", "NDVI", 0.5, 100),
        ("North", "2024-06-11", "NDVI", 0.7, 95),
        ("North", "2024-06-21", "NDVI", 0.9, 40),
        ("South", "2024-06-01", "NDVI", 0.2, 100),
        ("South", "2024-06-01", "red", 0.8, 100),
    ]
    table = "".join(f"{area},{day}T10:00:00Z,{name},{mean},{clear}\n" for area, day, name, mean, clear in rows)
    (tmp_path / "fields").mkdir()
    (tmp_path / "fields" / "values.csv").write_text(f"area,datetime,name,mean,clear_percent\n{table}")
    squares = [shapely.box(13, 52, 13.01, 52.01), shapely.box(13.1, 52, 13.11, 52.01)]
    fields = geopandas.GeoDataFrame({"name": ["North", "South"]}, geometry=squares, crs="OGC:CRS84")
    fields.to_file(tmp_path / "fields.gpkg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(curve, names)
    assert (tmp_path / "ndvi.png").read_bytes().startswith(b"\x89PNG")
    assert names["ndvi"].groupby("area")["mean"].max().to_dict() == {"North": 0.7, "South": 0.2}
    exec(join, names)
    names["plt"].close("all")
