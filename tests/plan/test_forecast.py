"""The plan, made before a run, against what the run then finds and costs."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from shapely import Polygon, box

from s2async.areas import loader as area_files
from s2async.cli import plan_tables
from s2async.config.example import render
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.engine.progress import Summary
from s2async.events import Event, Notice, SearchReport
from s2async.models import Area, Asset, Scene, Status
from s2async.plan import costs
from s2async.plan.costs import Experience, Range
from s2async.plan.forecast import AreaPlan, Known, Plan, Planner
from s2async.plan.survey import Surveyed, survey
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.world.make import default_folder, make_world
from s2async.state.reader import Ledger
from s2async.zonal.wanted import Variable, Wanted
from tests.support import worlds
from tests.support.worlds import Stage

DAY = timedelta(days=1)
SCENE_BOX = box(12.0, 52.0, 13.5, 53.0)
PARK = box(12.700, 52.500, 12.710, 52.505)


# ---- scenes by hand ---------------------------------------------------------------------------------------


def area(polygon: Polygon, name: str = "a") -> Area:
    return Area(name=name, wkb=polygon.wkb, fingerprint=area_files.fingerprint(polygon), folder=name)


def scene(day: int, cloud: float | None = 0.0, footprint: Polygon = SCENE_BOX, *keys: str) -> Scene:
    return Scene(
        id=f"S{day}",
        collection="c",
        version="1",
        updated="",
        datetime=datetime(2022, 1, 1, 10, tzinfo=UTC) + day * DAY,
        platform="sentinel-2a",
        grid="33UUU",
        cloud=cloud,
        epsg=32633,
        baseline="",
        generated="",
        datastrip="",
        footprint=footprint,
        assets={key: Asset(key=key, href=f"https://x/{key}") for key in keys or ("scl", "visual", "red")},
    )


def planned(
    areas: Sequence[Area],
    scenes: Sequence[Scene],
    known: dict[str, Known] | None = None,
    assets: tuple[str, ...] = ("visual",),
    experience: Experience | None = None,
    *,
    one: bool = False,
) -> Plan:
    planner = Planner(
        areas,
        assets=assets,
        mask=True,
        min_valid=95,
        experience=experience or Experience(),
        one_per_overpass=one,
    )
    for each in scenes:
        planner.add(each, areas, known or {})
    return planner.plan(searches=2, searched=1000, connections=10, bandwidth=1e7)


VALUES = Wanted(
    variables=(
        Variable(name="red", formula="red", bands=("red",)),
        Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red")),
    ),
    statistics=("mean",),
    classes=(3, 8, 9),
)


def with_values(
    scenes: Sequence[Scene],
    known: dict[str, Known] | None = None,
    assets: tuple[str, ...] = (),
    *,
    values: Wanted | None = VALUES,
    one: bool = False,
) -> Plan:
    planner = Planner(
        [area(PARK)],
        assets=assets,
        mask=True,
        min_valid=95,
        experience=Experience(),
        one_per_overpass=one,
        values=values,
        value_experience=Experience(partial(costs.chance_of_values, most=80)),
    )
    for each in scenes:
        planner.add(each, [area(PARK)], known or {})
    return planner.plan(searches=2, searched=1000, connections=10, bandwidth=1e7)


CLEAR = [scene(day, 0.0, SCENE_BOX, "scl", "visual", "red", "nir") for day in range(40)]
HAZY = [scene(day, 70.0, SCENE_BOX, "scl", "visual", "red", "nir") for day in range(40)]


def test_values_cost_their_bands_once_also_where_they_are_cut() -> None:
    plain, values = with_values(CLEAR, values=None), with_values(CLEAR)
    cut = with_values(CLEAR, values=None, assets=("red", "nir"))
    both = with_values(CLEAR, assets=("red", "nir"))
    assert values.bytes == cut.bytes == both.bytes
    assert values.requests == cut.requests == both.requests
    assert plain.bytes.high < values.bytes.low
    assert (plain.values, values.values.high) == (Range(0, 0), 40)
    assert cut.whole == both.whole == values.whole
    assert values.disk.high < cut.disk.low


def test_hazy_dates_have_values_more_often_than_crops() -> None:
    values, cut = with_values(HAZY), with_values(HAZY, values=None, assets=("red", "nir"))
    assert values.values.high > 1.2 * cut.kept.high
    assert values.values.low > cut.kept.low
    assert cut.bytes.high < values.bytes.high < with_values(CLEAR).bytes.high
    assert values.kept == cut.kept, "crops follow their own limit"


def test_of_a_new_index_only_what_is_missing_is_read() -> None:
    key = area(PARK).fingerprint
    new = Known(answered=False, clear=False, bands=frozenset(["nir"]))
    found = with_values(CLEAR, {key: new})
    assert found.values == Range(40, 40)
    one_band = with_values(CLEAR, values=None, assets=("nir",))
    scl = costs.SCL.block_bytes
    assert found.bytes.low == pytest.approx(one_band.bytes.low, rel=0.3)
    assert found.bytes.high < one_band.bytes.high + 40 * scl.high
    assert with_values(CLEAR, {key: replace(new, answered=True)}).bytes == Range(1000, 1000)


def test_of_an_overpass_one_scene_has_values() -> None:
    home = [replace(one, datatake=f"take {day}") for day, one in enumerate(CLEAR)]
    other = [replace(one, id=f"{one.id}-b", grid="32UQD", epsg=32632) for one in home]
    assert with_values([*other, *home], one=True).values == with_values(home).values
    assert with_values([*other, *home]).values.high == 80


def test_of_an_overpass_each_area_is_cut_from_the_first_scene_of_its_zone_that_holds_enough() -> None:
    """Three scenes of an overpass: the first one is of another zone, the second one holds one area only."""
    west = area(box(12.1, 52.5, 12.101, 52.501), "west")
    both, half = SCENE_BOX, box(12.5, 52.0, 13.5, 53.0)
    shapes = ((both, "32UQD"), (half, "33UUU"), (both, "33UUU"))
    scenes = [
        replace(scene(day, 0.0, shape), id=f"{day} {at}", grid=grid, datatake=f"take {day}")
        for day in range(5)
        for at, (shape, grid) in enumerate(shapes)
    ]
    planner = Planner(
        [area(PARK), west],
        assets=("visual",),
        mask=True,
        min_valid=95,
        experience=Experience(),
        one_per_overpass=True,
    )
    for each in scenes:
        planner.add(each, [area(PARK), west], {})
    counted = [(seen.measure[seen.held].tolist(), seen.zone) for seen in planner._counted()]
    assert counted == [([], 32), ([0], 33), ([1], 33)] * 5
    assert [one.kept.high for one in planned([area(PARK), west], scenes, one=True).areas] == [5, 5]


def test_the_choice_among_scenes_takes_little_memory() -> None:
    crowd = [area(box(12.7 + i / 1000, 52.5, 12.7005 + i / 1000, 52.5005), str(i)) for i in range(200)]

    def peak(days: int) -> int:
        planner = Planner(
            crowd, assets=("visual",), mask=True, min_valid=95, experience=Experience(), one_per_overpass=True
        )
        for day in range(days):
            for grid in ("32UQD", "33UUU"):
                planner.add(replace(scene(day), id=f"{day} {grid}", grid=grid, datatake=f"take {day}"), crowd, {})
        tracemalloc.start()
        try:
            planner.plan(searches=2, searched=1000, connections=10, bandwidth=1e7)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    jobs = 2 * 100 * len(crowd)
    assert peak(120) - peak(20) < 40 * jobs


def test_jobs_are_counted_by_area_and_month() -> None:
    other = area(box(12.8, 52.5, 12.81, 52.505), "b")
    found = planned([area(PARK), other], [scene(day) for day in (0, 10, 40)])
    assert [one.months for one in found.areas] == [{"2022-01": 2, "2022-02": 1}] * 2
    assert (found.jobs, found.scenes, found.answered, found.open) == (6, 3, 0, 6)


def test_nothing_found_costs_the_searches() -> None:
    found = planned([area(PARK)], [])
    assert (found.requests, found.bytes, found.jobs) == (Range(2, 2), Range(1000, 1000), 0)
    assert found.areas[0].hopeless == "no scene was found"


def test_clear_scenes_are_kept_and_dull_ones_are_not() -> None:
    clear = planned([area(PARK)], [scene(day, 0.0) for day in range(60)])
    dull = planned([area(PARK)], [scene(day, 80.0) for day in range(60)])
    assert clear.kept.high == 60
    assert clear.kept.low > 50
    assert dull.kept.high < 20
    assert dull.bytes.high < clear.bytes.high
    assert dull.requests.high < clear.requests.high
    assert clear.kept == clear.areas[0].kept


def test_of_an_overpass_one_scene_is_cut_and_all_are_measured() -> None:
    """The home zone of the park is 33; a scene of zone 32 counts where the other one does not hold the park."""
    half = box(13.2, 52.3, 13.356, 52.7)
    home = [replace(scene(day, 0.0), datatake=f"take {day}") for day in range(6)]
    other = [replace(one, id=f"{one.id}-b", grid="32UQD", epsg=32632) for one in home]
    home[5] = replace(home[5], footprint=half)
    every, single = (planned([area(PARK)], [*other, *home], one=one) for one in (False, True))
    alone = planned([area(PARK)], [*home[:5], other[5]])
    assert single.kept == alone.kept
    assert single.disk.low - alone.disk.low == pytest.approx(6 * costs.STATE_JOB.low)
    assert (every.jobs, single.jobs, single.scenes) == (12, 12, 12)
    assert alone.bytes.low < single.bytes.low < every.bytes.low
    measured = planned([area(PARK)], [*other, *home], assets=())
    assert single.bytes.low - alone.bytes.low < measured.bytes.low


def test_few_passes_make_a_wide_range() -> None:
    few, many = ([scene(day, 40.0) for day in range(count)] for count in (4, 400))
    spans = [planned([area(PARK)], scenes).kept for scenes in (few, many)]
    assert (spans[0].high - spans[0].low) / 4 > (spans[1].high - spans[1].low) / 400


def test_what_the_state_knows_costs_nothing_or_less() -> None:
    park = area(PARK)
    scenes = [scene(day) for day in range(10)]
    whole = planned([park], scenes)
    done = planned([park], scenes, {park.fingerprint: Known(answered=True, clear=True)})
    assert (done.jobs, done.answered, done.open) == (10, 10, 0)
    assert (done.requests, done.bytes) == (Range(2, 2), Range(1000, 1000))
    assert done.kept == Range(0, 0)
    ready = planned([park], scenes, {park.fingerprint: Known(answered=False, clear=True)})
    assert ready.kept == Range(10, 10), "measured and clear: nothing is left to chance"
    assert ready.bytes.low > whole.bytes.low
    assert ready.bytes.high < whole.bytes.high, "the classification is not read again"


def test_experience_makes_it_sharper() -> None:
    experience = Experience()
    for number in range(200):
        experience.add(f"s{number}", 60.0, clear=number % 2 == 0)
    scenes = [scene(day, 60.0) for day in range(200)]
    guessed, known = planned([area(PARK)], scenes), planned([area(PARK)], scenes, experience=experience)
    assert known.kept.low < 100 < known.kept.high
    assert known.kept.high - known.kept.low < guessed.kept.high - guessed.kept.low


def test_of_the_classification_whole_tiles_are_planned_wherever_an_area_ends_in_them() -> None:
    """Two areas of one column of tiles, one of them near the upper edge of its own."""
    for south in (52.99, 52.95, 52.93):
        alone = planned([area(box(12.7, south, 12.701, south + 0.001))], [scene(0)], assets=())
        assert alone.bytes == Range(1000, 1000) + costs.HEADER + costs.SCL.block_bytes
    apart = [area(box(12.7, south, 12.701, south + 0.001), str(south)) for south in (52.95, 52.5)]
    both = planned(apart, [scene(0)], assets=())
    assert both.bytes == Range(1000, 1000) + costs.HEADER + costs.SCL.block_bytes.times(2)


def test_areas_of_one_tile_share_it() -> None:
    near = [area(box(12.700 + i / 1000, 52.5, 12.7005 + i / 1000, 52.5005), str(i)) for i in range(5)]
    one, five = planned(near[:1], [scene(0)]), planned(near, [scene(0)])
    assert five.jobs == 5
    assert five.bytes.high < 1.5 * one.bytes.high


def test_areas_of_a_tile_share_it_however_many_they_are() -> None:
    crowd = [area(box(12.7 + i / 20_000, 52.5, 12.7002 + i / 20_000, 52.5002), str(i)) for i in range(1300)]
    alone, whole = planned(crowd[::26], [scene(0)]), planned(crowd, [scene(0)])
    assert whole.jobs == 26 * alone.jobs
    assert whole.bytes.high < 1.1 * alone.bytes.high
    assert whole.requests.high < 1.1 * alone.requests.high


def test_assets_cost_each_their_own_and_missing_ones_nothing() -> None:
    def of(*assets: str, keys: tuple[str, ...] = ()) -> Plan:
        return planned([area(PARK)], [scene(0, 0.0, SCENE_BOX, *keys)], assets=assets)

    assert of().bytes.high < of("visual").bytes.high < of("visual", "red").bytes.high
    assert of().disk.high < of("visual").disk.high
    assert of("scl").bytes == of().bytes, "it was read to measure"
    alone = of("visual", keys=("scl",))
    assert (alone.requests, alone.kept) == (Range(2, 2), Range(0, 0)), "not even its clouds are looked at"
    nothing = of("visual", keys=("visual",))
    assert (nothing.jobs, nothing.kept, nothing.requests) == (1, Range(0, 0), Range(2, 2))
    partly = of("visual", "red", keys=("scl", "visual"))
    assert (partly.kept, partly.bytes) == (of("visual").kept, of("visual").bytes), "one lacks, one is there"
    assert of("visual").whole == costs.SCL.file_bytes + costs.VISUAL.file_bytes


def test_areas_that_no_scene_holds_are_named_and_not_kept() -> None:
    edge, large = area(box(13.4, 52.5, 13.7, 52.6), "edge"), area(box(11.0, 51.0, 14.0, 54.0), "large")
    outside = area(box(13.505, 52.5, 13.510, 52.51), "outside")
    found = planned([area(PARK), edge, large, outside], [scene(0), scene(3)])
    told = {one.name: one.hopeless for one in found.areas}
    assert told["a"] == ""
    assert told["edge"] == "no scene holds more than 33% of it, and min_area_valid is 95 %"
    assert told["large"].startswith("no scene holds more than 1")
    assert told["outside"].startswith("no scene holds more than 0%")
    assert found.kept.high <= 2


# ---- the edge ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


def surveyed(config: Config, *, on_event: list[Event] | None = None, bandwidth: float = 12.5e6) -> Surveyed:
    areas = area_files.load(config)
    told = on_event if on_event is not None else []
    return asyncio.run(survey(config, areas, connections=64, bandwidth=bandwidth, on_event=told.append))


def test_the_plan_finds_the_jobs_of_the_run_and_writes_nothing(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    stage.sandbox.reset()
    events: list[Event] = []
    before = surveyed(config, on_event=events)
    assert {entry.kind for entry in stage.sandbox.log()} == {"search"}
    assert (before.requests, before.bytes) == (len(stage.sandbox.log()), sum(e.bytes for e in stage.sandbox.log()))
    assert {path.name for path in tmp_path.iterdir()} == {"config.toml"}
    assert any(isinstance(event, Notice) and "no cloud cover" in event.text for event in events)

    ran = worlds.run(path, stage.sandbox)
    assert before.plan.jobs == sum(ran.summary.done.values()) == 66
    assert before.plan.answered == before.experience == 0
    by_area = {one.name: one.jobs for one in before.plan.areas}
    recorded = [area for area, _ in worlds.statuses(config)]
    assert by_area == {name: recorded.count(name) for name in worlds.SHAPES}

    assert surveyed(config).plan.open == 9, "files that were not there are asked for again"
    worlds.settle(config)
    after = surveyed(config)
    assert (after.plan.jobs, after.plan.answered, after.plan.open) == (66, 66, 0)
    assert after.experience > 5
    assert after.plan.kept == Range(0, 0)


def test_what_new_settings_leave_to_do_is_seen_in_the_state(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ran = worlds.run(path, stage.sandbox)
    worlds.settle(ran.config)
    saved = [key for key, status in worlds.statuses(ran.config).items() if status == "saved"]
    more = ran.config.model_copy(
        update={"output": ran.config.output.model_copy(update={"assets": ("visual", "red")})}
    )
    found = surveyed(more).plan
    pictures = more.model_copy(update={"output": more.output.model_copy(update={"quicklook": True})})
    assert surveyed(pictures).plan.disk.low > found.disk.low
    gone = 3  # clear as well; their picture is not there, but the other band is
    assert found.open == len(saved) + gone
    assert found.kept == Range(found.open, found.open), "they are known to be clear"
    strict = ran.config.clouds.model_copy(update={"max_area_cloud": 0.0, "classes": (4, 5, 6, 9)})
    assert surveyed(ran.config.model_copy(update={"clouds": strict})).plan.open == 0, "judged without a request"


def test_a_search_that_fails_makes_it_incomplete(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 1})
    stage.sandbox.fault("code", path="search", count=None, status=400)
    try:
        found = surveyed(Config.load(path))
    finally:
        stage.sandbox.clear_faults()
    assert len(found.incomplete) == 1
    assert "a search is incomplete: North and 5 more" in shown(found)


# ---- words ------------------------------------------------------------------------------------------------


def shown(found: Surveyed, width: int = 160, *, crops: bool = True) -> str:
    out = io.StringIO()
    plan_tables.show(Console(file=out, width=width), found, connections=64, bandwidth=100, crops=crops)
    return out.getvalue()


def made(areas: tuple[AreaPlan, ...], **other: object) -> Surveyed:
    jobs = sum(one.jobs for one in areas)
    plan = Plan(
        areas=areas, scenes=159, jobs=jobs, answered=0, kept=Range(61.2, 118.7), requests=Range(812.3, 1934.0),
        bytes=Range(251e6, 1.04e9), disk=Range(31e6, 99e6), seconds=Range(20, 212), whole=Range(21e9, 52e9),
    )  # fmt: skip
    return Surveyed(plan=replace(plan, **other), searches=(), experience=0, requests=4, bytes=52_000)  # type: ignore[arg-type]


def of(name: str, months: dict[str, int], hopeless: str = "") -> AreaPlan:
    return AreaPlan(name=name, months=months, kept=Range(1, 2), hopeless=hopeless)


def test_a_plan_in_words() -> None:
    year = {f"2022-{month:02}": month for month in range(1, 13)}
    lines = [line.rstrip() for line in shown(made((of("Park", year), of("Field", year)))).splitlines()]
    assert lines[0] == "Jobs, 2022-01 to 2022-12"
    assert lines[1].split() == ["area", *plan_tables._MONTHS, "all", "kept"]
    assert lines[2].split() == ["Park", *map(str, range(1, 13)), "78", "1", "to", "2"]
    assert lines[4].split() == ["all", *map(str, range(2, 25, 2)), "156", "2", "to", "4"]
    assert lines[6:] == [
        "156 jobs: 2 areas in 159 scenes; a median of 78 jobs per area, of which 1 to 2 are kept",
        "kept        61 to 120 jobs of 156 (39% to 76%); from the cloud cover of whole scenes",
        "requests    810 to 2,000",
        "bytes       251 MB to 1.0 GB",
        "disk        31.0 MB to 99.0 MB",
        "time        20 s to 3 min 32 s with 64 connections and 100 Mbit/s",
        "instead of  21.0 GB to 52.0 GB for the whole files",
        "this plan   52.0 kB in 4 requests; nothing was written",
    ]


def test_a_plan_without_crops_keeps_nothing() -> None:
    areas = tuple(of(f"Field {number}", {"2022-05": 1}, "too large") for number in range(7))
    lines = shown(made(areas), crops=False).splitlines()
    assert lines[1].split() == ["area", "May", "all", "clear"]
    assert "clear       61 to 120 jobs of 7 (874% to 1696%); from the cloud cover of whole scenes" in map(
        str.rstrip, lines
    )
    assert "Field 0: no scene can be clear: too large" in lines
    assert lines[-1] == "and 2 more areas that no scene can show clear"
    assert not any("kept" in line for line in lines)


def test_many_areas_and_many_years_stay_a_small_table() -> None:
    months = {f"{year}-{month:02}": 1 for year in (2020, 2021) for month in range(1, 13)}
    text = shown(made(tuple(of(f"area {i:03}", months, "too large" * (i > 90)) for i in range(100))))
    rows = text.splitlines()
    assert rows[1].split() == ["area", "2020", "2021", "all", "kept"]
    assert len(rows) < 50
    assert rows[32].split()[:4] == ["and", "70", "more", "840"]
    assert rows[33].split()[:4] == ["all", "1,200", "1,200", "2,400"]
    assert "area 091: no crop can be kept: too large" in text
    assert "and 4 more areas without a possible crop" in text


def test_nothing_is_called_hopeless_while_a_search_is_incomplete() -> None:
    lost = SearchReport(label="Park", key="k", complete=False, items=0, reason="connection refused")
    found = replace(made((of("Park", {}, "no scene was found"),), kept=Range(0, 0)), searches=(lost,))
    assert "no crop can be kept" not in shown(found)
    assert "a search is incomplete: Park: connection refused" in shown(found)
    (told,) = plan_tables.as_json(found, connections=64, bandwidth=100)["areas"]
    assert told["hopeless"] == ""


def test_a_name_of_others_is_text() -> None:
    assert "\x1b" not in shown(made((of("\x1b[31m[red]x", {"2022-01": 1}, "why"),)))
    assert "[red]x: no crop can be kept: why" in shown(made((of("[red]x", {"2022-01": 1}, "why"),)))


def test_areas_of_one_name_are_told_apart_by_their_seasons() -> None:
    spring, summer = date(2022, 3, 1), date(2022, 6, 1)
    areas = (
        replace(of("Hill", {"2022-01": 1}), end=spring),
        replace(of("Hill", {"2022-06": 1}, "too small"), start=summer),
        replace(of("Mill", {"2022-06": 1}), start=summer),
    )
    text = shown(made(areas))
    assert [line.split("  ")[0] for line in text.splitlines()[2:5]] == [
        "Hill (until 2022-03-01)", "Hill (from 2022-06-01)", "Mill",
    ]  # fmt: skip
    assert "Hill (from 2022-06-01): no crop can be kept: too small" in text
    told = plan_tables.as_json(made(areas), connections=64, bandwidth=100)["areas"]
    assert [(one["name"], one.get("start"), one.get("end")) for one in told] == [
        ("Hill", None, "2022-03-01"), ("Hill", "2022-06-01", None), ("Mill", "2022-06-01", None),
    ]  # fmt: skip


def test_nothing_found_has_no_table() -> None:
    assert shown(made((of("Park", {}),), kept=Range(0, 0))).startswith(
        "0 jobs: 1 area in 159 scenes\nkept        0 jobs"
    )


# ---- the demo's year --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Year:
    """A plan of the nine parks' year, and the run that followed it."""

    plan: Plan
    summary: Summary
    kept: int
    disk: int
    whole: int


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    world = make_world(default_folder())
    folder = tmp_path_factory.mktemp("year")
    with start(world.folder) as sandbox:
        yield _year(folder, sandbox)


def _year(folder: Path, sandbox: Sandbox) -> Year:
    path = folder / "config.toml"
    path.write_text(render(catalog_url=sandbox.api, origin=sandbox.origin))
    config = Config.load(path)
    plan = surveyed(config, bandwidth=1e9).plan
    summary = asyncio.run(pipeline.run(config, area_files.load(config)))
    with Ledger.read(config.run.state) as state:
        whole = state.whole_files(config.selection()).all.bytes
    files = [path for path in config.output.folder.rglob("*") if path.is_file()]
    return Year(
        plan=plan,
        summary=summary,
        kept=summary.done[Status.SAVED],
        disk=sum(path.stat().st_size for path in files),
        whole=whole,
    )


@pytest.mark.long
def test_the_demos_year_costs_what_its_plan_said(year: Year) -> None:
    """Exactly as many jobs, and images, requests, bytes and disk within the ranges that were told before."""
    assert year.plan.jobs == sum(year.summary.done.values())
    told = {
        "kept": (year.plan.kept, year.kept),
        "requests": (year.plan.requests, year.summary.requests),
        "bytes": (year.plan.bytes, year.summary.bytes),
        "disk": (year.plan.disk, year.disk),
        "whole files": (year.plan.whole, year.whole),
    }
    assert {name: (said, was) for name, (said, was) in told.items() if not said.low <= was <= said.high} == {}


@pytest.mark.long
def test_the_ranges_say_something(year: Year) -> None:
    """A range of everything would hold all runs."""
    for said, factor in ((year.plan.kept, 3), (year.plan.requests, 4), (year.plan.bytes, 8), (year.plan.disk, 8)):
        assert 1 < said.high / said.low < factor
    assert year.plan.seconds.low < year.plan.seconds.high
