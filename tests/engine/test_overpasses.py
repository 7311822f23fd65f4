"""One crop of an overpass: runs over items of two UTM zones, compared with runs that keep all of them."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from shapely import box
from shapely.geometry import mapping

from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.engine.waiting import Waiting
from s2async.errors import HostParked
from s2async.events import JobDone, Notice
from s2async.models import Outcome, Status
from s2async.sandbox.truth import oracle
from tests.support import worlds
from tests.support.kills import kill_after
from tests.support.worlds import Item, Ran, Stage

pytestmark = pytest.mark.slow

HOME, OTHER = 32633, 32632
ONE = {"overlaps": "one"}
NORTH = {"North": worlds.polygon("North")}


def take(number: int, square: str, *, seconds: float = 0.0, **item: Any) -> Item:
    """An item of the overpass of a day: of square 33UUU or 32UQD, in their zones; all name the datatake."""
    when = datetime(2022, 1, 1, 10, 20, 30, tzinfo=UTC) + timedelta(days=number)
    return Item(
        id=item.pop("id", f"S2A_{square}_{when:%Y%m%d}_0_L2A"),
        when=when + timedelta(seconds=seconds),
        epsg=HOME if square.startswith("33") else OTHER,
        start=when - timedelta(minutes=10),
        **{"datatake": True, **item},
    )


def pair(number: int, home: Mapping[str, Any] = {}, other: Mapping[str, Any] = {}) -> list[Item]:
    return [take(number, "33UUU", **home), take(number, "32UQD", seconds=4, **other)]


EVERYWHERE = frozenset(worlds.SHAPES)


def year() -> list[Item]:
    """Overpasses of every kind."""
    return [
        *pair(0),
        *pair(3, home={"empty_metres": 1500.0}),
        *pair(6, other={"empty_metres": 1500.0}),
        *pair(9, home={"empty_metres": 1500.0}, other={"empty_metres": 3000.0}),
        *pair(12, home={"lacks": frozenset({"visual"})}),
        *pair(15, home={"lacks": frozenset({"scl"})}),
        *pair(18, other={"lacks": frozenset({"visual"})}),
        *pair(21, home={"clouded": EVERYWHERE}, other={"clouded": EVERYWHERE}),
        *pair(24, home={"clouded": frozenset({"Wide"})}, other={"clouded": frozenset({"Wide"})}),
        *pair(27, home={"jp2": True}),
        take(30, "32UQD"),
        take(33, "33UUU"),
        # two datastrips of one pass, each with its part of the square
        *pair(36, home={"empty_metres": 2000.0, "datastrip": "S20220206T102025"}),
        take(36, "33UUU", id="S2A_33UUU_20220206_1_L2A", seconds=9, datastrip="S20220206T102040"),
        # processed twice
        *pair(39, home={"baseline": "04.00", "clouded": EVERYWHERE}),
        take(39, "33UUU", id="S2A_33UUU_20220209_1_L2A", baseline="05.09"),
        *pair(42, home={"datatake": False}, other={"datatake": False}),
        *pair(45, home={"clouded": EVERYWHERE}),  # the other classification says that it is clear
        *pair(48, other={"clouded": EVERYWHERE}),
    ]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), year())


def overpass(item: str) -> str:
    """The day, which no two overpasses of these worlds share."""
    return item[10:18]


def index(config: Config) -> list[tuple[str, str, str]]:
    """Area, item and EPSG code of each row of the index."""
    rows = worlds.query(
        config.run.state,
        "SELECT p.file, p.epsg FROM products p JOIN jobs j ON j.id = p.job WHERE j.status = 'saved'",
    )
    codes = {file: str(epsg) for file, epsg in rows}
    with (config.output.folder / "overview.csv").open(encoding="utf-8", newline="") as table:
        return sorted(
            (row["area"], row["item_id"], codes[Path(row["path"]).name]) for row in csv.DictReader(table)
        )


def by_overpass(config: Config) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Item and EPSG code of the crops of the index, by area and overpass."""
    found = defaultdict(list)
    for area, item, epsg in index(config):
        found[area, overpass(item)].append((item, epsg))
    return dict(found)


def both(folder: Path, stage: Stage, **more: Any) -> tuple[Ran, Ran]:
    """The same job with all items, and with one of each overpass."""
    every = worlds.run(worlds.write_config(folder, stage.sandbox, name="all", **more), stage.sandbox)
    path = worlds.write_config(folder, stage.sandbox, name="one", **more | {"search": one(stage)})
    return every, worlds.run(path, stage.sandbox)


def one(stage: Stage, **more: Any) -> dict[str, Any]:
    return {**ONE, **more}


def shares(job: oracle.RecordedJob) -> tuple[float, float]:
    """Share of pixels without data, and share of spoilt ones among the others."""
    assert job.histogram
    assert job.total
    valid = sum(job.histogram[1:-1])
    return 1 - valid / job.total, sum(job.histogram[number] for number in (1, 3, 8, 9, 10)) / valid


# ---- what counts --------------------------------------------------------------------------------------------


def test_one_crop_of_each_overpass_and_none_is_lost(tmp_path: Path, stage: Stage) -> None:
    every, best = both(tmp_path, stage)
    assert every.summary.left == best.summary.left == 0
    kept, all_of_them = by_overpass(best.config), by_overpass(every.config)
    assert kept.keys() == all_of_them.keys()
    assert max(map(len, all_of_them.values())) == 2
    jobs = worlds.jobs(every.config)
    for (area, day), crops in kept.items():
        (crop,) = crops
        assert crop in all_of_them[area, day]
        rivals = {item: jobs[area, item] for item, _ in all_of_them[area, day]}
        wanted = min(rivals, key=lambda item: (not item.startswith("S2A_33"), *shares(rivals[item]), item))
        assert crop[0] == wanted
    assert worlds.faults_of(best.config, stage.world) == []
    assert Counter(worlds.statuses(best.config).values())["duplicate"] > 20


def test_only_items_that_count_are_read_beyond_their_classification(tmp_path: Path, stage: Stage) -> None:
    every, best = both(tmp_path, stage)
    files = {name: {path for path in ran.paths if path.endswith(name)} for name in ("SCL.tif",) for ran in [every]}
    assert {path for path in best.paths if path.endswith("SCL.tif")} == files["SCL.tif"]
    counted = {item for _, item, _ in index(best.config)}
    asked = {path.split("/")[0] for path in best.paths if path.endswith("TCI.tif")}
    lacking = {item.id for item in stage.world.items.values() if "visual" in item.lacks}
    assert asked <= counted | lacking
    state = worlds.query(best.config.run.state, "SELECT sum(requests), sum(bytes) FROM traffic")[0]
    assert state == (len(best.log), best.bytes) == (best.summary.requests, best.summary.bytes)
    assert best.bytes < every.bytes
    assert best.summary.done == Counter(worlds.statuses(best.config).values())
    assert Counter(e.outcome.status for e in best.events if isinstance(e, JobDone)) == best.summary.done
    assert best.progress.found == sum(best.summary.done.values())


def test_switching_asks_only_for_crops_that_are_lacking(tmp_path: Path, stage: Stage) -> None:
    every, best = both(tmp_path, stage)
    worlds.settle(every.config)
    worlds.settle(best.config)
    path = worlds.write_config(tmp_path, stage.sandbox, name="all", search=one(stage))
    fewer = worlds.run(path, stage.sandbox)
    assert fewer.cogs == []
    assert index(fewer.config) == index(best.config)
    again = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="all"), stage.sandbox)
    assert again.cogs == []
    more = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="one"), stage.sandbox)
    assert more.cogs
    assert not [path for path in more.paths if path.endswith("SCL.tif")]
    assert index(more.config) == index(again.config)
    worlds_apart = worlds.result(more.config), worlds.result(again.config)
    assert worlds_apart[0]["crops"] == worlds_apart[1]["crops"]


def test_a_second_run_reads_nothing(tmp_path: Path, stage: Stage) -> None:
    _, best = both(tmp_path, stage)
    worlds.settle(best.config)
    again = worlds.run(tmp_path / "one.toml", stage.sandbox)
    assert again.cogs == []
    assert again.summary.done == {}
    assert index(again.config) == index(best.config)


@pytest.mark.parametrize("queue", [1, 3, 1000])
def test_the_bound_of_the_queue_changes_nothing(tmp_path: Path, stage: Stage, queue: int) -> None:
    _, best = both(tmp_path, stage)
    path = worlds.write_config(tmp_path, stage.sandbox, name="small", search=ONE, run={"queue": queue})
    assert index(worlds.run(path, stage.sandbox).config) == index(best.config)


# ---- values -------------------------------------------------------------------------------------------------


def with_values(stage: Stage) -> dict[str, Any]:
    catalog = {"url": stage.sandbox.api, "collection": "sentinel-2-l2a", "assets": {"scl": "scl"}}
    search = one(stage, catalog=catalog | {"offsets": "none"})
    return {"search": search, "values": {"bands": ["red"], "indices": []}}


def dates(config: Config) -> dict[tuple[str, str], list[str]]:
    """The items of the table of values, by area and overpass."""
    found = defaultdict(list)
    with (config.output.folder / "values.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            found[row["area"], overpass(row["item"])].append(row["item"])
    return dict(found)


def test_each_overpass_has_the_values_of_one_item_also_where_crops_cannot_be_had(
    tmp_path: Path, stage: Stage
) -> None:
    at_once = worlds.run(worlds.write_config(tmp_path, stage.sandbox, **with_values(stage)), stage.sandbox)
    found = dates(at_once.config)
    assert max(map(len, found.values())) == 1
    assert {found[key] == [item] for key, crops in by_overpass(at_once.config).items() for item, _ in crops} == {
        True
    }, "the one that has the crop"
    plain = worlds.run(
        worlds.write_config(tmp_path, stage.sandbox, name="later", search=with_values(stage)["search"]),
        stage.sandbox,
    )
    worlds.settle(plain.config)
    later = worlds.run(
        worlds.write_config(tmp_path, stage.sandbox, name="later", **with_values(stage)), stage.sandbox
    )
    assert later.summary.left == 0
    assert dates(later.config) == found
    assert worlds.statuses(later.config) == worlds.statuses(at_once.config)
    again = worlds.run(tmp_path / "later.toml", stage.sandbox)
    assert (again.cogs, again.summary.done) == ([], {})


# ---- harmonised crops ---------------------------------------------------------------------------------------


def test_crops_that_are_harmonised_only_when_the_run_ends_count_at_once(tmp_path: Path, stage: Stage) -> None:
    """The offset of scenes of early 2022 is in doubt, so their bands are cut as published at first."""
    catalog = {"url": stage.sandbox.api, "collection": "sentinel-2-l2a", "assets": {"scl": "scl"}}
    search = one(stage, catalog=catalog | {"offsets": "earth-search"})
    found = []
    for reflectance in ("published", "harmonised"):
        output = {"assets": ["red"], "folder": f"{reflectance}-data", "reflectance": reflectance}
        ran = worlds.run(
            worlds.write_config(tmp_path, stage.sandbox, name=reflectance, search=search, output=output),
            stage.sandbox,
        )
        found.append((worlds.statuses(ran.config), index(ran.config), ran.summary.left, len(ran.cogs)))
    assert found[0] == found[1]
    assert any("into" in event.text for event in ran.events if isinstance(event, Notice)), "some are in doubt"


# ---- failures -----------------------------------------------------------------------------------------------


def test_jobs_that_a_server_left_unmeasured_are_not_kept_in_mind(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be all jobs of a run whose server is given up at its beginning."""
    kept, put = list[Outcome](), Waiting.put

    def watched(self: Waiting, outcome: Outcome) -> None:
        kept.append(outcome)
        put(self, outcome)

    monkeypatch.setattr(Waiting, "put", watched)
    stage.sandbox.fault("code", path="/cogs/", status=503, retry_after=3600, count=None)
    path = worlds.write_config(tmp_path, stage.sandbox, search=one(stage))
    with pytest.raises(HostParked, match="more than patience"):
        worlds.run(path, stage.sandbox)
    assert kept == []


def test_jobs_of_an_overpass_that_may_have_crashed_a_run_are_worked_on_once(tmp_path: Path, stage: Stage) -> None:
    _, best = both(tmp_path, stage)
    worlds.settle(best.config)
    with worlds.writing(best.config) as db:
        worlds.forget_answers(db)
        db.execute("INSERT INTO suspects (job, deaths) SELECT id, 0 FROM jobs WHERE status = 'open'")
    again = worlds.run(tmp_path / "one.toml", stage.sandbox)
    assert index(again.config) == index(best.config)
    told = Counter(event.outcome.job.id for event in again.events if isinstance(event, JobDone))
    assert set(told.values()) == {1}
    ranges = Counter((entry.path, entry.range) for entry in again.cogs)
    assert max(ranges.values()) == 1


def test_an_item_that_fails_delays_its_overpass_to_the_next_run_and_no_longer(tmp_path: Path) -> None:
    with Stage(worlds.World(tmp_path / "world", pair(0))) as stage:
        path = worlds.write_config(
            tmp_path, stage.sandbox, areas=NORTH, search=ONE, network={"attempts": 1, "patience": 2.0}
        )
        stage.sandbox.fault("code", path="33UUU.*SCL", status=500, count=None)
        first = worlds.run(path, stage.sandbox)
        assert worlds.statuses(first.config) == {
            ("North", "S2A_33UUU_20220101_0_L2A"): "failed",
            ("North", "S2A_32UQD_20220101_0_L2A"): "open",
        }
        assert first.summary.left == 1
        assert index(first.config) == []
        second = worlds.run(path, stage.sandbox)
        assert second.paths["S2A_32UQD_20220101_0_L2A/SCL.tif"] == 0, "it was measured before"
        assert [item for _, item, _ in index(second.config)] == ["S2A_32UQD_20220101_0_L2A"]
        stage.sandbox.clear_faults()
        third = worlds.run(path, stage.sandbox)
        assert [item for _, item, _ in index(third.config)] == ["S2A_33UUU_20220101_0_L2A"]
        assert worlds.statuses(third.config)["North", "S2A_32UQD_20220101_0_L2A"] == "duplicate"
        assert len(worlds.crops(third.config)) == 2, "the other crop stays on disk"


def test_crops_that_fail_delay_it_too_and_then_the_next_best_counts(tmp_path: Path) -> None:
    with Stage(worlds.World(tmp_path / "world", pair(0))) as stage:
        path = worlds.write_config(
            tmp_path, stage.sandbox, areas=NORTH, search=ONE, network={"attempts": 1, "patience": 2.0}
        )
        stage.sandbox.fault("code", path="33UUU.*TCI", status=500, count=None)
        first = worlds.run(path, stage.sandbox)
        assert index(first.config) == []
        second = worlds.run(path, stage.sandbox)
        assert [item for _, item, _ in index(second.config)] == ["S2A_32UQD_20220101_0_L2A"]
        stage.sandbox.clear_faults()
        third = worlds.run(path, stage.sandbox)
        assert [item for _, item, _ in index(third.config)] == ["S2A_33UUU_20220101_0_L2A"]


def test_after_a_rebuild_one_crop_counts_again_once_a_search_has_told_the_overpasses(tmp_path: Path) -> None:
    """The tags of crops name no overpass, and a crop that counts no longer stays on disk."""
    with Stage(worlds.World(tmp_path / "world", pair(0))) as stage:
        path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
        worlds.run(path, stage.sandbox)
        path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH, search=ONE)
        before = worlds.run(path, stage.sandbox)
        assert [item for _, item, _ in index(before.config)] == ["S2A_33UUU_20220101_0_L2A"]
        before.config.run.state.unlink()
        assert CliRunner().invoke(cli, ["rebuild", str(path)]).exit_code == 0
        after = worlds.run(path, stage.sandbox)
        assert index(after.config) == index(before.config)
        assert worlds.statuses(after.config) == worlds.statuses(before.config)
        again = worlds.run(path, stage.sandbox)
        assert (again.cogs, again.summary.left, index(again.config)) == ([], 0, index(before.config))


@pytest.mark.parametrize(("former", "better"), [("0", "1"), ("1", "0")])
def test_an_edition_that_comes_later_takes_the_place_of_its_former_one(
    tmp_path: Path, former: str, better: str
) -> None:
    """Whichever id comes first: both pictures are alike, and the id decides among items that are no editions.

    Also after a rebuild: searches no longer return the former one, whose crops stay on disk.
    """
    world = worlds.World(
        tmp_path / "world", [take(0, "33UUU", id=f"S2A_33UUU_20220101_{former}_L2A", baseline="04.00")]
    )
    with Stage(world) as stage:
        path = worlds.write_config(tmp_path, stage.sandbox, search=ONE)
        before = worlds.run(path, stage.sandbox)
        areas = {area for area, *_ in index(before.config)}
        assert len(areas) == 4
        world.put(take(0, "33UUU", id=f"S2A_33UUU_20220101_{better}_L2A", baseline="05.09"))
        stage.restart()
        after = worlds.run(path, stage.sandbox)
        expected = sorted((area, f"S2A_33UUU_20220101_{better}_L2A", str(HOME)) for area in areas)
        assert index(after.config) == expected
        assert worlds.faults_of(after.config, world) == []
        after.config.run.state.unlink()
        assert CliRunner().invoke(cli, ["rebuild", str(path)]).exit_code == 0
        rebuilt = worlds.run(path, stage.sandbox)
        assert len(worlds.crops(rebuilt.config)) == 8
        assert index(rebuilt.config) == expected


def test_areas_on_both_sides_of_180_degrees_keep_what_one_search_finds(tmp_path: Path) -> None:
    """A catalogue that compares degrees in the plane returns an unwrapped footprint on one side only."""
    world = worlds.World(tmp_path / "world", [take(0, "33UUU")])
    listed = world.folder / "items.jsonl"
    item = json.loads(listed.read_text())
    item["geometry"], item["bbox"] = mapping(box(179.5, -17.5, 180.5, -16.5)), [179.5, -17.5, 180.5, -16.5]
    listed.write_text(json.dumps(item))
    areas = {"East": box(179.95, -17, 179.96, -16.99), "West": box(-179.96, -17, -179.95, -16.99)}
    with Stage(world) as stage:
        ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox, areas=areas, search=ONE), stage.sandbox)
    assert {area for area, _ in worlds.statuses(ran.config)} == {"East", "West"}


# ---- arrivals and kills ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 8))])
def test_items_that_come_over_three_runs_with_kills_leave_the_same_index(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    items = year()
    with Stage(worlds.World(tmp_path / "world", items), delay=10) as stage:
        calm = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="calm", search=ONE), stage.sandbox)
        arrivals = {item.id: chosen.randrange(3) for item in items}
        path = worlds.write_config(tmp_path, stage.sandbox, name="torn", search=ONE)
        killed = 0
        for number in range(3):
            stage.world.items = {item.id: item for item in items if arrivals[item.id] <= number}
            stage.restart()
            for _ in range(2):
                killed += kill_after(path, stage.sandbox, chosen.randint(1, 60))
            worlds.run(path, stage.sandbox)
        assert killed
        torn = worlds.run(path, stage.sandbox)
        if torn.summary.left or torn.summary.done.get(Status.FAILED):  # on a slow machine: an overpass may wait
            torn = worlds.run(path, stage.sandbox)
        assert not torn.summary.left
        assert Status.FAILED not in worlds.statuses(torn.config).values()
        assert index(torn.config) == index(calm.config)
        assert worlds.faults_of(torn.config, stage.world) == []
