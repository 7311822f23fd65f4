"""Runs with values: one item of each overpass has them, they are right, and nothing is read twice."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2async.events import JobDone
from s2async.models import Outcome, Status
from s2async.sandbox.truth import values as truth
from s2async.zonal.wanted import AreaValues
from tests.support import worlds
from tests.support.kills import kill_after
from tests.support.worlds import Item, Ran, Stage

pytestmark = pytest.mark.slow

HOME, OTHER = 32633, 32632
CLASSES = (6, 9)
"""A third of the pixels is of class 6, so some areas are clear for crops and others are not."""
CLOUDS = {"classes": list(CLASSES), "max_area_cloud": 33.3}
STATISTICS = ("mean", "stdev", "median", "p10", "p90", "min", "max")
VALUES: dict[str, Any] = {"bands": ["red"], "indices": []}
OWN = {"name": "OWN", "formula": "red * 2 / (red + 1)"}
EVERYWHERE = frozenset(worlds.SHAPES)


def take(number: int, square: str, *, seconds: float = 0.0, **item: Any) -> Item:
    when = datetime(2022, 1, 1, 10, 20, 30, tzinfo=UTC) + timedelta(days=number)
    return Item(
        id=f"S2A_{square}_{when:%Y%m%d}_0_L2A",
        when=when + timedelta(seconds=seconds),
        epsg=HOME if square.startswith("33") else OTHER,
        start=when - timedelta(minutes=10),
        datatake=True,
        **item,
    )


def pair(number: int, home: Mapping[str, Any] = {}, other: Mapping[str, Any] = {}) -> list[Item]:
    return [take(number, "33UUU", **home), take(number, "32UQD", seconds=4, **other)]


def items() -> list[Item]:
    return [
        *pair(0),
        *pair(3, home={"empty_metres": 1500.0}),
        *pair(6, home={"lacks": frozenset({"red"})}),
        *pair(9, home={"clouded": EVERYWHERE}),
        *pair(12, home={"clouded": EVERYWHERE}, other={"clouded": EVERYWHERE}),
        *pair(15, home={"lacks": frozenset({"scl"})}),
        take(18, "33UUU", baseline="03.00"),
        take(21, "32UQD", clouded=frozenset({"Wide"})),
    ]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items())


def config(folder: Path, stage: Stage, *, name: str = "values", **more: Any) -> Path:
    sections: dict[str, Any] = {"clouds": CLOUDS, "output": {"assets": []}, "values": VALUES}
    catalog = {
        "url": stage.sandbox.api,
        "collection": "sentinel-2-l2a",
        "assets": {"scl": "scl"},
        "offsets": "none",
    }
    sections["search"] = {"catalog": catalog, **more.pop("search", {})}
    for section, keys in more.items():
        sections[section] = {**sections.get(section, {}), **keys} if keys is not None else None
    if sections["values"] is None:
        del sections["values"]
    return worlds.write_config(folder, stage.sandbox, name=name, **sections)


def outcomes(ran: Ran) -> list[Outcome]:
    return [event.outcome for event in ran.events if isinstance(event, JobDone)]


def values_of(ran: Ran) -> dict[tuple[str, str], AreaValues]:
    """The values of a run by area and item."""
    return {
        (outcome.job.area.name, outcome.job.scene.id): result
        for outcome in outcomes(ran)
        for result in outcome.results
        if isinstance(result, AreaValues)
    }


def check(stage: Stage, ran: Ran) -> dict[tuple[str, str], AreaValues]:
    """Compare the values of a run with the plain way on the local files, and return them."""
    found = values_of(ran)
    recorded = worlds.jobs(ran.config)
    for (area, item), one in found.items():
        place = stage.world.folder / "cogs" / item
        # the area as it was read: its corners lie on corners of pixels, where the last digit of a number decides
        look = truth.look(place / "SCL.tif", {"red": place / "B04.tif"}, recorded[area, item].polygon)
        assert look is not None
        counts, statistics = truth.summary(look, CLASSES, ["red"], None, STATISTICS)
        assert [*one.counts] == counts
        np.testing.assert_allclose(one.statistics, statistics, rtol=1e-9, atol=1e-12)
    return found


def by_day(found: Mapping[tuple[str, str], AreaValues]) -> dict[tuple[str, str], list[str]]:
    days: dict[tuple[str, str], list[str]] = defaultdict(list)
    for area, item in found:
        days[area, item[10:18]].append(item)
    return dict(days)


def accepted(ran: Ran, most: float) -> set[tuple[str, str]]:
    """Areas and items whose recorded histogram has few spoilt pixels, and enough valid ones."""
    found = set()
    for key, job in worlds.jobs(ran.config).items():
        if job.histogram and job.total:
            valid = sum(job.histogram[1:12])
            spoilt = sum(job.histogram[number] for number in CLASSES)
            if valid >= 0.95 * job.total and spoilt * 100 <= most * valid:
                found.add(key)
    return found


def test_one_item_of_each_overpass_has_values_and_they_are_right(tmp_path: Path, stage: Stage) -> None:
    ran = worlds.run(config(tmp_path, stage), stage.sandbox)
    assert ran.summary.left == 0
    found = check(stage, ran)
    days = by_day(found)
    assert all(len(chosen) == 1 for chosen in days.values())
    there = {(area, item[10:18]) for area, item in accepted(ran, 80)}
    # of one overpass the item that counts may be clear, and have no red band
    assert days.keys() | {(area, "20220107") for area in EVERYWHERE} >= there >= days.keys()
    assert any(day == "20220107" for _, day in days), "the other item counts where both are cloudy"
    statuses = worlds.statuses(ran.config)
    assert {statuses[key] for key in found} == {"saved", "cloudy"}
    assert Counter(outcome.status for outcome in outcomes(ran)) == Counter(statuses.values())
    home = {item for area, item in found if item.startswith("S2A_33")}
    assert {item[10:18] for item in home} == {"20220101", "20220104", "20220119"}


def test_each_file_is_read_once_and_a_second_run_reads_nothing(tmp_path: Path, stage: Stage) -> None:
    measured = worlds.run(
        config(tmp_path, stage, name="measured", search={"overlaps": "one"}, values=None), stage.sandbox
    )
    path = config(tmp_path, stage)
    ran = worlds.run(path, stage.sandbox)
    scl = {path: number for path, number in ran.paths.items() if path.endswith("SCL.tif")}
    assert scl == {path: number for path, number in measured.paths.items() if path.endswith("SCL.tif")}
    assert {path.split("/")[0] for path in ran.paths if path.endswith("B04.tif")} <= {
        *(item for _, item in values_of(ran)),
        "S2A_33UUU_20220107_0_L2A",
    }
    worlds.settle(ran.config)
    again = worlds.run(path, stage.sandbox)
    assert again.cogs == []
    assert again.summary.done == {}


def test_values_come_later_to_a_state_of_crops_and_its_crops_stay(tmp_path: Path, stage: Stage) -> None:
    plain = config(tmp_path, stage, output={"assets": ["visual"]}, search={"overlaps": "one"}, values=None)
    before = worlds.run(plain, stage.sandbox)
    worlds.settle(before.config)
    ran = worlds.run(config(tmp_path, stage, output={"assets": ["visual"]}), stage.sandbox)
    alone = worlds.run(config(tmp_path, stage, name="alone", output={"assets": ["visual"]}), stage.sandbox)
    assert values_of(ran) == values_of(alone)
    assert {path[10:] for path in ran.paths if path[10:18] != "20220107"} == {
        f"{item[10:]}/{name}.tif"
        for _, item in values_of(ran)
        for name in ("SCL", "B04")
        if "20220107" not in item
    }
    assert worlds.statuses(ran.config) == worlds.statuses(alone.config)


def test_other_limits_ask_only_for_dates_that_they_add(tmp_path: Path, stage: Stage) -> None:
    few = worlds.run(config(tmp_path, stage, values={"max_area_cloud": 33.3}), stage.sandbox)
    worlds.settle(few.config)
    more = worlds.run(config(tmp_path, stage), stage.sandbox)
    added = check(stage, more)
    assert added
    assert added.keys().isdisjoint(values_of(few))
    lacking = {item.id for item in stage.world.items.values() if "red" in item.lacks}
    assert {path.split("/")[0] for path in more.paths} <= {item for _, item in added} | lacking
    fewer = worlds.run(config(tmp_path, stage, values={"max_area_cloud": 33.3}), stage.sandbox)
    assert fewer.cogs == []


def test_a_band_that_fails_is_read_by_the_next_run(tmp_path: Path, stage: Stage) -> None:
    usual = worlds.run(config(tmp_path, stage, name="usual"), stage.sandbox)
    stage.sandbox.fault("code", path="33UUU_20220101.*B04", status=500, count=None)
    patience = {"attempts": 1, "patience": 2.0}
    torn = worlds.run(config(tmp_path, stage, network=patience), stage.sandbox)
    lost = values_of(usual).keys() - values_of(torn).keys()
    assert {item for _, item in lost} == {"S2A_33UUU_20220101_0_L2A"}
    assert {worlds.statuses(torn.config)[key] for key in lost} == {"failed"}
    stage.sandbox.clear_faults()
    healed = worlds.run(config(tmp_path, stage, network=patience), stage.sandbox)
    assert values_of(torn) | values_of(healed) == values_of(usual)
    assert worlds.statuses(healed.config) == worlds.statuses(usual.config)
    assert worlds.query(healed.config.run.state, "SELECT asset FROM absences WHERE NOT missing") == []


def test_all_items_have_values_where_all_count(tmp_path: Path, stage: Stage) -> None:
    ran = worlds.run(config(tmp_path, stage, search={"overlaps": "all"}), stage.sandbox)
    found = check(stage, ran)
    lacking = {item.id for item in stage.world.items.values() if "red" in item.lacks}
    assert found.keys() == {key for key in accepted(ran, 80) if key[1] not in lacking}
    assert Status.DUPLICATE not in ran.summary.done


@pytest.mark.long
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    chosen = random.Random(2)
    with Stage(worlds.World(tmp_path / "world", items()), delay=10) as stage:
        more = {"output": {"assets": ["red", "visual"]}, "values": {"bands": ["red"], "indices": [OWN]}}
        calm = worlds.run(config(tmp_path, stage, name="calm", **more), stage.sandbox)
        path = config(tmp_path, stage, name="torn", **more)
        kills = sum(kill_after(path, stage.sandbox, chosen.randint(1, 12)) for _ in range(10))
        assert kills >= 3
        torn = worlds.run(path, stage.sandbox)
        if torn.summary.left:  # on a slow machine an overpass may wait
            torn = worlds.run(path, stage.sandbox)
        tables = [ran.config.output.folder / "values.csv" for ran in (calm, torn)]
        rows = [sorted(table.read_text().splitlines()) for table in tables]
        assert rows[0] == rows[1]
        assert len(set(rows[1])) == len(rows[1]) > 10
        assert worlds.result(torn.config)["crops"] == worlds.result(calm.config)["crops"]
