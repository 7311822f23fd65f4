"""Seasons, areas that share a polygon, and areas that are edited between runs, whenever these are killed."""

from __future__ import annotations

import asyncio
import csv
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import shapely
from click.testing import CliRunner, Result

import s2async
from s2async.areas import loader as area_files
from s2async.areas.folders import clash
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.errors import ConfigError
from s2async.events import JobDone, Notice
from s2async.maintenance import rebuild, verify
from s2async.models import Area
from s2async.sandbox.server.journal import LogEntry
from s2async.state.writer import State
from tests.support import worlds
from tests.support.states import VISUAL
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow

SHAPES = ("North", "Wide", "Tall", "South")
NAMES = ("Hill", "Mill", "Kiln")
DAYS = (0, 4, 9, 14, 20)
ITEMS = {f"S2A_33UUU_202201{day + 1:02}_0_L2A": date(2022, 1, day + 1) for day in DAYS}
SEASONS = (
    (None, None),
    (None, None),
    (date(2022, 1, 1), date(2022, 1, 9)),
    (date(2022, 1, 10), date(2022, 1, 31)),
    (date(2022, 1, 5), date(2022, 1, 5)),
    (None, date(2022, 1, 10)),
    (date(2022, 1, 15), None),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    days = [worlds.day(day, clouded=frozenset({"North", "Tall"} if day == 4 else ())) for day in DAYS]
    yield from worlds.staged(tmp_path_factory.mktemp("world"), days)


@pytest.fixture(scope="module")
def outlines() -> dict[str, Area]:
    """An area for each shape; places take its polygon."""
    tables = [{"name": name, "wkt": worlds.polygon(name).wkt} for name in SHAPES]
    return {area.name: area for area in area_files.load(Config.of({"areas": tables}))}


class KilledError(BaseException):
    """Ends a run where a signal would."""


@dataclass
class Project:
    """A configuration whose areas change, and what its runs have answered and requested so far."""

    folder: Path
    stage: Stage
    answered: set[tuple[str, str]] = field(default_factory=set)
    """Fingerprint and item of each recorded job."""
    headers: Counter[str] = field(default_factory=Counter)
    """Requests for the header of each file."""

    def __post_init__(self) -> None:
        self.config = Config.load(worlds.write_config(self.folder, self.stage.sandbox))

    def run(self, areas: Sequence[Area]) -> tuple[list[LogEntry], set[tuple[str, str]], list[str]]:
        """Run; returns requests for files, jobs done, and notices."""
        sandbox = self.stage.sandbox
        before, done, notices = sandbox.log(), set[tuple[str, str]](), list[str]()

        def note(event: object) -> None:
            if isinstance(event, JobDone):
                key = event.outcome.job.area.fingerprint, event.outcome.job.scene.id
                assert key not in self.answered, "nothing is read twice"
                self.answered.add(key)
                done.add(key)
            elif isinstance(event, Notice):
                notices.append(event.text)

        summary = asyncio.run(pipeline.run(self.config, areas, on_event=note))
        assert summary.clean
        log = [entry for entry in sandbox.log(since=before[-1].n if before else 0) if entry.kind == "cogs"]
        return log, done, notices

    def index(self) -> tuple[str, dict[str, bytes]]:
        """The index, and the bytes of each crop that it lists."""
        folder = self.config.output.folder
        text = (folder / "overview.csv").read_text(encoding="utf-8")
        paths = sorted({line.split(",")[10] for line in text.splitlines()[1:]})
        return text, {path: (folder / path).read_bytes() for path in paths}

    def faults(self) -> set[str]:
        """What is wrong with recorded crops, also with those of areas that have left."""
        with State.create_or_open(self.config.run.state) as state:
            return {verify.fault(crop, self.config.output.folder) for crop in state.stored_crops(VISUAL)} - {""}


def place(outline: Area, name: str, start: date | None = None, end: date | None = None, **columns: Any) -> Area:
    return replace(outline, name=name, folder=name, start=start, end=end, attributes=columns)


def wanted(areas: Sequence[Area]) -> set[tuple[str, str]]:
    return {(area.fingerprint, item) for area in areas for item, day in ITEMS.items() if area.wants(day)}


def edited(areas: Sequence[Area], outlines: dict[str, Area], chance: random.Random) -> list[Area]:
    """The areas after one to three random edits that leave a valid configuration."""
    for _ in range(chance.randint(1, 3)):
        while True:
            new = list(areas)
            at = chance.randrange(len(new)) if new else 0
            what = chance.choice(["add", "move", "rename", "remove", "season", "column", "order"])
            outline, name = outlines[chance.choice(SHAPES)], chance.choice(NAMES)
            start, end = chance.choice(SEASONS)
            if what == "add":
                new.insert(at, place(outline, name, start, end, crop="rye"))
            elif what == "remove" and len(new) > 1:
                del new[at]
            elif what == "move":
                new[at] = replace(new[at], wkb=outline.polygon.wkb, fingerprint=outline.fingerprint)
            elif what == "rename":
                new[at] = replace(new[at], name=name, folder=name)
            elif what == "season":
                new[at] = replace(new[at], start=start, end=end)
            elif what == "column":
                new[at] = replace(new[at], attributes={"crop": "barley", "plot": chance.randint(1, 9)})
            else:
                chance.shuffle(new)
            if new and not clash(new):
                areas = new
                break
    return list(areas)


def killing(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Kill whatever happens next after so many renames of files and transactions of areas and answers."""
    left = steps

    def counted(plain: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return plain(*args, **kwargs)

        return step

    for name in ("sync_areas", "park_folders", "note_tags", "commit_folders", "record"):
        patch.setattr(State, name, counted(getattr(State, name)))
    patch.setattr(Path, "replace", counted(Path.replace))


# ---- seasons ------------------------------------------------------------------------------------------------


def rows(project: Project) -> list[tuple[str, str, str]]:
    """Area, day of January and path of each row of the index."""
    text, _ = project.index()
    found = [line.split(",") for line in text.splitlines()[1:]]
    return [(row[0], row[1][16:18], row[10]) for row in found]


def test_jobs_lie_in_the_season_only(tmp_path: Path, stage: Stage, outlines: dict[str, Area]) -> None:
    project = Project(tmp_path, stage)
    winter = place(outlines["North"], "Hill", date(2022, 1, 5), date(2022, 1, 15))
    log, done, _ = project.run([winter])
    assert {item[16:18] for _, item in done} == {"05", "10", "15"}
    assert {entry.path.split("/")[2][16:18] for entry in log} == {"05", "10", "15"}
    assert [day for _, day, _ in rows(project)] == ["10", "15"], "clouds on the fifth"

    log, done, (text,) = project.run([replace(winter, start=date(2022, 1, 15), end=None)])
    assert {item[16:18] for _, item in done} == {"21"}
    assert text.startswith("1 area has another season")
    assert [day for _, day, _ in rows(project)] == ["15", "21"]
    log, done, _ = project.run([winter])
    assert not log
    assert [day for _, day, _ in rows(project)] == ["10", "15"]


def test_one_name_may_have_another_outline_in_every_season(
    tmp_path: Path, stage: Stage, outlines: dict[str, Area]
) -> None:
    """They share a folder, and each day belongs to one of them."""
    project = Project(tmp_path, stage)
    first = place(outlines["North"], "Hill", None, date(2022, 1, 10), crop="rye")
    second = place(outlines["South"], "Hill", date(2022, 1, 11), None, crop="oats")
    project.run([first, second])
    assert [(name, day, path.split("/")[0]) for name, day, path in rows(project)] == [
        ("Hill", day, "Hill") for day in ("01", "10", "15", "21")
    ]
    with State.create_or_open(project.config.run.state) as state:
        found = [(row.fingerprint, row.attributes["crop"]) for row in state.saved_rows(VISUAL)]
        assert found == [(first.fingerprint, "rye")] * 2 + [(second.fingerprint, "oats")] * 2
        assert {(row.fingerprint, row.attributes["valid_from"], row.attributes["valid_to"])
                for row in state.job_rows(VISUAL)} == {
            (first.fingerprint, None, date(2022, 1, 10)), (second.fingerprint, date(2022, 1, 11), None),
        }  # fmt: skip
        counts = state.counts(VISUAL)
        assert [(area.name, dict(area.by_status)) for area in counts.areas] == [
            ("Hill", {"saved": 2, "cloudy": 1}),
            ("Hill", {"saved": 2}),
        ]
        assert counts.total == {"saved": 4, "cloudy": 1}
        assert {area.start: area.attributes["crop"] for area in state.areas()} == {
            None: "rye",
            second.start: "oats",
        }

    split = replace(second, name="Mill", folder="Mill")
    log, _, (text,) = project.run([first, split])
    assert not log
    assert text.endswith(": Hill is now Mill")
    assert [(name, day, path.split("/")[0]) for name, day, path in rows(project)] == [
        ("Hill", "01", "Hill"),
        ("Hill", "10", "Hill"),
        ("Mill", "15", "Mill"),
        ("Mill", "21", "Mill"),
    ]
    assert not project.faults()


def test_areas_of_one_polygon_share_jobs_and_crops(
    tmp_path: Path, stage: Stage, outlines: dict[str, Area]
) -> None:
    project = Project(tmp_path / "project", stage)
    field = place(outlines["South"], "Mill", plot=1)
    spring = place(outlines["South"], "Hill", None, date(2022, 1, 9), plot=2)
    alone, _, _ = Project(tmp_path / "alone", stage).run([field])
    log, done, _ = project.run([field, spring])
    assert len(done) == len(ITEMS)
    assert len(log) == len(alone)
    assert rows(project) == [
        *(("Hill", day, f"Mill/S2A_33UUU_202201{day}_0_L2A_visual.tif") for day in ("01", "05")),
        *(("Mill", day, f"Mill/S2A_33UUU_202201{day}_0_L2A_visual.tif") for day in ("01", "05", "10", "15", "21")),
    ]
    with State.create_or_open(project.config.run.state) as state:
        counts = state.counts(VISUAL)
        assert [sum(area.by_status.values()) for area in counts.areas] == [2, 5]
        assert counts.total == {"saved": 5}, "a job counts once"

    log, _, _ = project.run([spring, field])
    assert not log
    folders = {(name, day): path.split("/")[0] for name, day, path in rows(project)}
    assert folders == {
        **dict.fromkeys([("Hill", "01"), ("Hill", "05"), ("Mill", "01"), ("Mill", "05")], "Hill"),
        **dict.fromkeys([("Mill", "10"), ("Mill", "15"), ("Mill", "21")], "Mill"),
    }, "the first of the configuration has the crops"
    assert not project.faults()


def test_a_search_is_as_long_as_the_seasons(tmp_path: Path, stage: Stage, outlines: dict[str, Area]) -> None:
    project = Project(tmp_path, stage)
    project.run([place(outlines["South"], "Mill", date(2022, 1, 9), date(2022, 1, 16))])
    with State.create_or_open(project.config.run.state) as state:
        (report,) = state.searches()
    assert (report.label, report.items) == ("Mill, 2022-01-09/2022-01-16", 2)


def test_a_rebuilt_state_knows_whose_crops_lie_in_a_shared_folder(
    tmp_path: Path, stage: Stage, outlines: dict[str, Area]
) -> None:
    areas = [
        place(outlines["North"], "Hill", None, date(2022, 1, 10)),
        place(outlines["South"], "Hill", date(2022, 1, 11)),
        place(outlines["South"], "Mill", None, date(2022, 1, 9)),
        place(outlines["North"], "Kiln"),
    ]
    project = Project(tmp_path, stage)
    project.run(areas)
    index, config = project.index(), project.config
    for suffix in ("", "-wal", "-shm"):
        config.run.state.with_name(config.run.state.name + suffix).unlink(missing_ok=True)
    elsewhere = config.output.folder / "Mill" / "S2A_33UUU_20220121_0_L2A_visual.tif"
    elsewhere.write_bytes((config.output.folder / "Hill" / elsewhere.name).read_bytes())
    made = rebuild.rebuild(config, areas, config.cloud_rule(), config.selection(), "1.0")
    assert made.known == len(index[1])
    ((path, why),) = made.strange
    assert path == elsewhere
    assert "is a crop of a day outside the season of its area here" in why
    project.answered.clear()
    log, _, _ = project.run(areas)
    assert {entry.path.rpartition("/")[2] for entry in log} == {"SCL.tif"}, "of what was cloudy"
    assert project.index() == index


# ---- columns ------------------------------------------------------------------------------------------------


def test_other_columns_alone_read_nothing_and_change_the_tables(
    tmp_path: Path, stage: Stage, outlines: dict[str, Area]
) -> None:
    project = Project(tmp_path, stage)
    project.run([place(outlines["South"], "Mill", crop="rye", plot=None)])
    before = stage.sandbox.log()[-1].n
    log, done, notices = project.run([place(outlines["South"], "Mill", crop="barley", plot=8, path="lane")])
    assert (log, done) == ([], set())
    assert notices == ["the columns of 1 area have changed: the tables follow, and nothing is read again"]
    assert {entry.kind for entry in stage.sandbox.log(since=before)} == {"search"}
    with (project.config.output.folder / "overview.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert {(row["crop"], row["plot"], row["area_path"], row["path"][:5]) for row in found} == {
        ("barley", "8", "lane", "Mill/")
    }
    for crop in s2async.read(project.config):
        assert dict(crop.attributes) == {"crop": "barley", "plot": 8, "path": "lane"}


# ---- removed areas ------------------------------------------------------------------------------------------


def prune(path: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["prune", str(path), "--removed", *options])


def test_what_belongs_to_no_area_is_removed_when_asked_for(tmp_path: Path, stage: Stage) -> None:
    shapes = {name: worlds.polygon(name) for name in SHAPES}
    path = worlds.write_config(tmp_path, stage.sandbox, areas=shapes)
    worlds.run(path, stage.sandbox)
    assert prune(path).output == "nothing to remove\n"
    two = {"North": shapes["North"], "Mill": shapes["South"]}
    worlds.write_config(tmp_path, stage.sandbox, areas=two)
    refused = prune(path, "--yes")
    assert isinstance(refused.exception, ConfigError)
    assert "not those of the last run" in str(refused.exception)
    ran = worlds.run(path, stage.sandbox)
    folder = ran.config.output.folder
    index, before = (folder / "overview.csv").read_bytes(), worlds.crops(ran.config)
    (folder / "Wide" / "notes.txt").write_text("mine")
    worlds.write_config(tmp_path, stage.sandbox, areas=shapes)
    worlds.run(path, stage.sandbox)
    CliRunner().invoke(cli, ["export", str(path), "--format", "stac"], catch_exceptions=False)
    assert {item.parent.name for item in folder.glob("*/*.json")} == {"North", "Wide", "Tall", "South"}
    worlds.write_config(tmp_path, stage.sandbox, areas=two)
    worlds.run(path, stage.sandbox)
    dry = prune(path, "--dry-run")
    folders = re.findall(r"(?m)^(\w+)/: (\d) crops \([\d.]+ kB\)$", dry.output)
    assert folders == [("Tall", "4"), ("Wide", "5")]
    assert ".tif" not in dry.output
    files = [line for line in prune(path, "--dry-run", "-v").output.splitlines() if line.endswith(".tif")]
    assert len(files) == len({*files}) == 9
    assert "9 crops" in dry.output
    assert "10 jobs that belong to no area any more would be removed" in dry.output
    unasked = prune(path)
    assert "add --yes" in str(unasked.exception)
    assert worlds.crops(ran.config) == before
    assert "9 crops" in prune(path, "--yes").output
    assert {crop.parent.name for crop in worlds.crops(ran.config)} == {"North", "Mill"}
    assert not (folder / "Tall").exists()
    items = sorted(f"./{item.relative_to(folder)}" for item in folder.glob("*/*.json"))
    linked = json.loads((folder / "collection.json").read_bytes())["links"]
    assert items == sorted(link["href"] for link in linked if link["rel"] == "item")
    assert {item.split("/")[1] for item in items} == {"North", "Mill"}
    assert [file.name for file in (folder / "Wide").iterdir()] == ["notes.txt"]
    assert (folder / "overview.csv").read_bytes() == index
    assert {area for area, _ in worlds.jobs(ran.config)} == {"North", "Mill"}
    assert prune(path, "--yes").output == "nothing to remove\n"
    again = worlds.run(path, stage.sandbox)
    assert not again.cogs
    assert (folder / "overview.csv").read_bytes() == index
    worlds.write_config(tmp_path, stage.sandbox, areas=shapes)
    back = worlds.run(path, stage.sandbox)
    assert back.summary.done == {"saved": 9, "cloudy": 1}, "what was removed is read anew"


def test_a_changed_crop_of_a_removed_area_stays(tmp_path: Path, stage: Stage) -> None:
    shapes = {name: worlds.polygon(name) for name in ("North", "South")}
    path = worlds.write_config(tmp_path, stage.sandbox, areas=shapes)
    first = worlds.run(path, stage.sandbox)
    worlds.write_config(tmp_path, stage.sandbox, areas={"North": shapes["North"]})
    worlds.run(path, stage.sandbox)
    mine = next(crop for crop in worlds.crops(first.config) if crop.parent.name == "South")
    mine.write_bytes(b"mine")
    done = prune(path, "--yes")
    assert "has 4 bytes instead of" in done.output
    assert "4 crops" in done.output
    assert mine.read_bytes() == b"mine"


def test_days_outside_the_seasons_of_a_file_are_removed_when_asked_for(tmp_path: Path, stage: Stage) -> None:
    """Areas of a GeoJSON file: one name with two outlines, and a season that is shortened."""

    def run(*seasons: tuple[str, str, str]) -> worlds.Ran:
        features = [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(worlds.polygon(shape)),
                "properties": {"name": "Hill", "valid_from": first, "valid_to": last, "crop": crop},
            }
            for (shape, first, last), crop in zip(seasons, ("rye", "oats"), strict=True)
        ]
        (tmp_path / "fields.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return worlds.run(path, stage.sandbox)

    path = worlds.write_config(tmp_path, stage.sandbox, areas=None)
    text = re.sub(r"(?m)^areas = .*$", 'areas = "fields.geojson"', path.read_text())
    path.write_text(text)
    run(("North", "2022-01-01", "2022-01-10"), ("South", "2022-01-11", "2022-01-31"))
    ran = run(("North", "2022-01-10", "2022-01-10"), ("South", "2022-01-11", "2022-01-31"))
    assert not ran.cogs
    with (ran.config.output.folder / "overview.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["path"][:5], row["item_id"][16:18], row["crop"]) for row in found] == [
        ("Hill/", "10", "rye"), ("Hill/", "15", "oats"), ("Hill/", "21", "oats")
    ]  # fmt: skip
    assert [(row["valid_from"], row["valid_to"]) for row in found] == [
        ("2022-01-10", "2022-01-10"), *[("2022-01-11", "2022-01-31")] * 2
    ]  # fmt: skip
    assert len(worlds.crops(ran.config)) == 4
    assert "1 crop " in prune(path, "--yes").output
    assert [crop.name[16:18] for crop in worlds.crops(ran.config)] == ["10", "15", "21"]


# ---- any edit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["park_folders", "note_tags", "commit_folders"])
def test_a_run_killed_while_all_crops_move_is_finished_by_the_next(
    tmp_path: Path, stage: Stage, outlines: dict[str, Area], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Not one crop is where the state says; and by then the areas are others again."""
    project = Project(tmp_path / "project", stage)
    project.run([place(outlines["South"], "Mill")])

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(State, step, kill)
        with pytest.raises(KilledError):
            project.run([place(outlines["South"], "Hill")])
    areas = [place(outlines["South"], "Kiln")]
    log, _, notices = project.run(areas)
    assert not log
    assert [text.rpartition(": ")[2] for text in notices] == ["Hill is now Kiln"]
    fresh = Project(tmp_path / "fresh", stage)
    fresh.run(areas)
    assert project.index() == fresh.index()
    folders = {path.name for path in project.config.output.folder.glob("[!.]*") if path.is_dir()}
    assert folders == {"Kiln"}


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 20))]
)
def test_any_sequence_of_edits_and_kills_gives_the_index_of_a_fresh_run(
    tmp_path: Path, stage: Stage, outlines: dict[str, Area], seed: int
) -> None:
    chance = random.Random(seed)
    project = Project(tmp_path / "project", stage)
    areas = [place(outlines["North"], "Hill"), place(outlines["South"], "Mill", *SEASONS[2])]
    killed = False
    for step in range(6):
        for _ in range(chance.choice([0, 0, 1, 2])):
            with pytest.MonkeyPatch.context() as patch:
                killing(chance.randrange(12), patch)
                try:
                    project.run(areas)
                except KilledError:
                    killed = True
            if chance.random() < 0.5:
                areas = edited(areas, outlines, chance)
        missing = wanted(areas) - project.answered
        log, done, notices = project.run(areas)
        assert done == missing
        assert {entry.path.split("/")[2] for entry in log} == {item for _, item in missing}
        # crops that a killed run has written and not recorded may lie where others are to be
        assert killed or not [text for text in notices if "overwritten" in text]
        assert not project.faults()
        fresh = Project(tmp_path / f"fresh{step}", stage)
        fresh.run(areas)
        assert project.index() == fresh.index()
        areas = edited(areas, outlines, chance)
    with State.create_or_open(project.config.run.state) as state:
        state.forget_removed()
        assert state.removed_jobs() == 0
