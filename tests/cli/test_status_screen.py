"""``status`` on a screen of 24 lines and 80 columns: whatever the number of areas, and whatever is wrong."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from s2async.areas.faults import Changes, Remark
from s2async.causes import Cause
from s2async.cli import status, status_tables
from s2async.config.model import Config
from s2async.events import SearchReport
from s2async.models import Area, BatchResult, Status, Traffic, Use
from s2async.state.reader import Ledger
from s2async.state.records import AreaCounts
from s2async.state.writer import State
from tests.support.states import cloudy, failed, make_area, make_scene, missing, saved
from tests.support.values import measure, valued

ROWS, COLUMNS = 24, 80


def written(
    folder: Path, areas: list[Area], *, scenes: int = 3, wrong: bool = False, values: bool = False
) -> Config:
    """A state with an answer for each area and scene.

    Args:
        folder: of the output and the state.
        areas: of the jobs.
        scenes: number of them.
        wrong: whether the answers are of every kind of trouble.
        values: whether values are wanted, and no crops.
    """
    config = Config.of(
        {
            "areas": [{"name": "a", "wkt": "POLYGON ((13 52, 13.1 52, 13.1 52.1, 13 52))"}],
            "output": {"folder": str(folder), **({"assets": []} if values else {})},
            "run": {"state": str(folder / "state.sqlite")},
            **({"values": {"indices": ["NDVI", "EVI"]}} if values else {}),
        }
    )
    wanted = config.wanted_values()
    with State.create_or_open(config.run.state) as state:
        state.sync_areas(areas)
        state.commit_folders()
        state.begin_run("{}", "0")
        for number in range(scenes):
            keys = ("scl", "visual", *(wanted.bands if wanted else ()))
            scene = make_scene(f"S2A_33UUU_2022010{number}_0_L2A", minutes=number * 1440 * 5, assets=keys)
            outcomes = []
            for index, job in enumerate(state.add_scene(scene, areas, config.selection())):
                kind = index % 5 if wrong else 0
                if kind == 0 and wanted:
                    outcomes.append(valued(job, wanted, status=Status.SAVED, measured=measure()))
                elif kind == 0:
                    outcomes.append(saved(job))
                elif kind == 1:
                    outcomes.append(cloudy(job))
                elif kind == 2:
                    outcomes.append(missing(job, "scl"))
                elif kind == 3:
                    cause = list(Cause)[number % len(Cause)]
                    reason = f"visual: the server answers 503: https://cogs.example/{'long/' * 40}{index}.tif"
                    outcomes.append(replace(failed(job), reason=reason, cause=cause))
            traffic = [Traffic(stage="tiles", asset="visual", use=Use.USEFUL, requests=1234, bytes=10**9)]
            state.record(BatchResult(outcomes=tuple(outcomes)), traffic, ("scl",), wanted)
        for number in range(20):
            bad = wrong and number % 2
            reason = f"the server answers {500 + number}" if bad else ""
            label = f"Area number {number} and 999 more, 2022-01-01/2022-03-31"
            state.record_search(
                SearchReport(label=label, key=str(number), complete=not bad, items=3, reason=reason)
            )
        if wrong:
            remarks = tuple(
                Remark(place=f"fields.gpkg: {n}", name=f"f{n}", text="crosses itself") for n in range(500)
            )
            state.note_changes(Changes(skipped=remarks, repaired=remarks))
        state.end_run("finished")
    return config


def areas(count: int, name: str = "field {}") -> list[Area]:
    return [make_area(name.format(f"{number:06}"), folder=f"f{number}") for number in range(count)]


def shown(config: Config, rows: int = ROWS, **how: object) -> list[str]:
    out = io.StringIO()
    screen = Console(file=out, width=COLUMNS, height=rows, force_terminal=True, color_system=None, highlight=False)
    with Ledger.read(config.run.state) as state:
        status_tables.show_status(screen, state, config, **how)  # type: ignore[arg-type]
    return out.getvalue().splitlines()


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return written(tmp_path_factory.mktemp("state"), areas(300), scenes=9, wrong=True)


def test_nine_areas_are_all_shown(tmp_path: Path) -> None:
    lines = shown(written(tmp_path, areas(9)))
    assert len(lines) < ROWS
    assert lines[0] == "27 jobs (one area in one scene) of 9 areas"
    assert lines[1] == "  27 saved"
    assert sum(line.startswith("field 00000") for line in lines) == 9
    assert "searches    20 of 20 complete in the last run" in lines


def test_many_areas_fill_the_screen_and_no_more(tmp_path: Path) -> None:
    config = written(tmp_path, areas(1000), scenes=1)
    for rows in (ROWS, 50):
        lines = shown(config, rows)
        assert len(lines) == rows - 1
        listed = sum(line.startswith("field 00") for line in lines)
        assert lines[-1] == f"and {1000 - listed:,} more areas: s2async status --areas CONFIG"


def test_without_crops_it_tells_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = written(tmp_path / "fields", areas(9), values=True)
    lines = shown(config)
    assert "values      a run that ends writes fields/values.csv" in lines
    (tmp_path / "fields" / "values.csv").touch()
    lines = shown(config)
    assert len(lines) < ROWS
    assert max(map(cell_len, lines)) <= COLUMNS
    assert lines[:2] == ["27 jobs (one area in one scene) of 9 areas", "  27 clear"]
    assert lines[2:4] == [
        "values      fields/values.csv",
        "rows        54 for 27 dates with values (one area in one scene)",
    ]
    assert sum(line.startswith("field ") for line in lines) == 9
    (head,) = [line for line in lines if line.startswith("area ")]
    assert head.split()[1] == "clear"
    assert not any(word in "\n".join(lines) for word in ("crop", "saved", "index"))
    everything = "\n".join(shown(config, verbose=True))
    assert "the 27 clear jobs" not in everything
    assert not any(word in everything for word in ("crop", "saved", "index"))
    with Ledger.read(config.run.state) as state:
        told = status.to_json(state, config)["values"]
    assert (told["table"], told["dates"], told["rows"]) == (str(tmp_path / "fields" / "values.csv"), 27, 54)


def test_with_values_whatever_is_wrong_it_fits(tmp_path: Path) -> None:
    config = written(tmp_path, areas(300), scenes=9, wrong=True, values=True)
    lines = shown(config, changed="the areas differ from those of the last run: " + "x" * 500)
    assert len(lines) <= ROWS - 1
    assert max(map(cell_len, lines)) <= COLUMNS
    assert "rows        1,080 for 540 dates with values (one area in one scene)" in lines
    assert sum(line.startswith("field ") for line in lines) >= 1


def test_whatever_is_wrong_it_fits(troubled: Config) -> None:
    lines = shown(troubled, changed="the areas differ from those of the last run: " + "x" * 500)
    assert len(lines) <= ROWS - 1
    assert max(map(cell_len, lines)) <= COLUMNS
    text = "\n".join(lines)
    assert "2,700 jobs (one area in one scene) of 300 areas" in text
    assert "540 failed" in text
    assert "more remarks: s2async status -v CONFIG" in text
    assert "searches    10 of 20 complete in the last run" in text
    assert "more areas: s2async status --areas CONFIG" in text
    listed = [line for line in lines if line.startswith("field ")]
    assert listed
    assert all(line.split()[7] == "9" for line in listed), "those with failed jobs come first"
    assert any(line.startswith("failed  field 000003  S2A_33UUU_20220100_0_L2A  visual: the") for line in lines)
    assert "more failed jobs: s2async status -v CONFIG" in text


def test_on_a_small_screen_the_totals_remain(troubled: Config) -> None:
    lines = shown(troubled, 12)
    assert len(lines) <= 12
    assert lines[0].startswith("2,700 jobs")


def test_names_of_any_width_keep_the_columns(tmp_path: Path) -> None:
    lines = shown(written(tmp_path, areas(3, "公園" * 40 + "\x1b[31m{}")))
    rows = [line for line in lines if line.startswith("公園")]
    assert len(rows) == 3
    assert all(cell_len(line) <= COLUMNS and "\x1b" not in line and "..." in line for line in rows)


def test_everything_is_an_option_away(troubled: Config) -> None:
    text = "\n".join(shown(troubled, verbose=True))
    assert all(f"field {number:06}" in text for number in range(300))
    assert text.count("failed  field") == 540
    assert text.count("searches are incomplete") + text.count("a search is incomplete") == 10
    assert "500 areas were left out" in text
    out = io.StringIO()
    with Ledger.read(troubled.run.state) as state:
        status_tables.show_areas(Console(file=out, width=80), state, troubled)
    head, *lines = out.getvalue().splitlines()
    assert head.split() == ["area", "saved", "cloudy", "nodata", "outside", "missing", "failed", "open"]
    assert [line.split()[1] for line in lines] == [f"{number:06}" for number in range(300)]
    assert lines[3].split()[2:] == ["0", "0", "0", "0", "0", "9", "0"]


def test_json_says_what_it_leaves_out(troubled: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.read(troubled.run.state) as state:
        whole = status.to_json(state, troubled)
        monkeypatch.setattr(status, "MOST_LISTED", 100)
        some = status.to_json(state, troubled)
    assert whole["omitted"] == {"problems": 0, "lacking": 0}
    assert len(whole["problems"]) == 1080
    assert some["problems"] == whole["problems"][:100]
    assert some["omitted"]["problems"] == 980
    assert some["omitted"]["lacking"] == len(whole["lacking"]) - 100
    assert some["jobs"] == whole["jobs"]


def test_areas_with_most_failed_jobs_come_first() -> None:
    found = [
        AreaCounts(name=n, by_status=c)
        for n, c in (("a", {"open": 9}), ("b", {"missing": 1}), ("c", {"failed": 1}))
    ]
    assert [area.name for area in sorted(found, key=status_tables._gravity)] == ["c", "b", "a"]
    assert status_tables._gravity(replace(found[0], by_status={})) == (0, 0, 0)
