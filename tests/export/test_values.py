"""The table of values: its columns, as CSV, Parquet and rows, long and wide."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import s2async
from s2async.cli import status
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.export import csv_table, values_csv
from s2async.export import values as value_tables
from s2async.models import Attribute, BandEvidence, BatchResult, Job, Outcome, Status
from s2async.reflectance.evidence import Evidence
from s2async.state.reader import Ledger
from s2async.state.writer import State
from s2async.zonal.wanted import AreaValues
from tests.support.lanes import few_quick
from tests.support.states import add, make_area, make_scene
from tests.support.values import ALL, measure, numbers

NAMES = ('=Park, "the large"', "b", "Müggelsee")
SETTINGS = """
areas = "fields.geojson"
[output]
assets = []
folder = "out"
[run]
state = "out/state.sqlite"
[values]
bands = ["red"]
indices = ["ndvi", { name = "MY", formula = "(nir - red) / (nir + red + 0.5)" }]
statistics = ["mean", "p10", "min"]
"""


@dataclass(frozen=True)
class Filled:
    """A state with values of three areas on two dates."""

    config: Path
    jobs: Mapping[tuple[str, str], Job]
    values: Mapping[tuple[str, str, str], AreaValues]
    """By area, item and name."""

    @property
    def settings(self) -> Config:
        return Config.load(self.config)

    @property
    def output(self) -> Path:
        return self.settings.output.folder


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    path = tmp_path / "fields.toml"
    path.write_text(SETTINGS, "utf-8")
    (tmp_path / "out").mkdir()
    settings = Config.load(path)
    wanted, selection = settings.wanted_values(), settings.selection()
    assert wanted is not None
    own: dict[str, Attribute] = {"crop": "rye", "count": 7, "planted": date(2022, 4, 1)}
    areas = [
        replace(make_area(name), folder=f"f{n}", attributes=own | {"count": n}) for n, name in enumerate(NAMES)
    ]
    jobs: dict[tuple[str, str], Job] = {}
    values: dict[tuple[str, str, str], AreaValues] = {}
    with State.create_or_open(settings.run.state) as state:
        state.sync_areas(areas)
        state.commit_folders()
        state.begin_run("{}", "1.0")
        state.note_output(settings.output.folder)
        for number in range(2):
            host = "https://sentinel-cogs.s3.us-west-2.amazonaws.com"  # where the offset was subtracted
            scene = make_scene(f"S{number}", minutes=14_400 * number, assets=ALL, baseline="05.09", host=host)
            scene = replace(scene, subtracted=True)
            for job in add(state, scene, areas, selection):
                none_valid: dict[str, Any] = {"counts": (4, 4, 0, 0, 0), "statistics": (math.nan,) * 3}
                changed = none_valid if job.area.name == "b" else {}
                some = {one.name: numbers(job, one, wanted, **changed) for one in wanted.variables}
                seen = [BandEvidence(asset=band, evidence=Evidence(9, 9, 0)) for band in wanted.bands]
                outcome = Outcome(job=job, status=Status.SAVED, measure=measure(), results=(*some.values(), *seen))
                state.record(BatchResult(outcomes=(outcome,)), [], wanted=wanted)
                jobs[job.area.name, scene.id] = job
                values |= {(job.area.name, scene.id, name): one for name, one in some.items()}
        state.end_run("finished")
    return Filled(path, jobs, values)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=False)


COLUMNS = [
    *("area", "area_fingerprint", "crop", "area_count", "planted"),
    *("date", "datetime", "platform", "tile", "item", "collection", "baseline", "name"),
    *("count", "data_count", "clear_percent", "valid_count", "undefined", "mean", "p10", "min"),
    *("offset", "offset_basis"),
]


def test_the_long_table_has_a_row_for_each_area_date_and_name(filled: Filled) -> None:
    result = call(filled.config, "--values", "--format", "csv", "-o", "-")
    text = result.stdout
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.startswith(",".join(COLUMNS) + "\n")
    assert [(row["area"].lstrip("'"), row["item"], row["name"]) for row in rows] == [
        (area, item, name) for area in sorted(NAMES) for item in ("S0", "S1") for name in ("red", "NDVI", "MY")
    ]
    for row in rows:
        area = row["area"].lstrip("'")
        one = filled.values[area, row["item"], row["name"]]
        assert row["mean"] == ("" if area == "b" else repr(one.statistics[0]))
        assert row["count"] == str(int(one.counts[0]))
        assert float(row["clear_percent"]) == 100 * one.counts[2] / one.counts[1]
    assert rows[0] | {"mean": "", "p10": "", "min": "", "clear_percent": "", "area_fingerprint": ""} == {
        "area": '\'=Park, "the large"',
        "area_fingerprint": "",
        "crop": "rye",
        "area_count": "0",
        "planted": "2022-04-01",
        "date": "2022-01-01",
        "datetime": "2022-01-01T10:00:00.123456Z",
        "platform": "sentinel-2a",
        "tile": "33UUU",
        "item": "S0",
        "collection": "sentinel-2-l2a",
        "baseline": "05.09",
        "name": "red",
        "count": "400",
        "data_count": "400",
        "clear_percent": "",
        "valid_count": "290",
        "undefined": "10",
        "mean": "",
        "p10": "",
        "min": "",
        "offset": "0",
        "offset_basis": "unknown",
    } | {"offset_basis": rows[0]["offset_basis"]}


def test_the_wide_table_has_a_row_for_each_area_and_date(filled: Filled) -> None:
    call(filled.config, "--values", "--wide", "--format", "csv")
    text = (filled.output / "values-wide.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 6
    for row in rows:
        area = row["area"].lstrip("'")
        for name in ("red", "NDVI", "MY"):
            one = filled.values[area, row["item"], name]
            assert row[f"{name}_min"] == ("" if area == "b" else repr(one.statistics[2]))
            assert row[f"{name}_valid_count"] == str(int(one.counts[3]))
        assert row["offset"] == "0"


@pytest.mark.parametrize("wide", [[], ["--wide"]])
def test_parquet_says_the_same_with_types(filled: Filled, wide: list[str]) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = filled.output / f"values{'-wide' * bool(wide)}.parquet"
    result = call(filled.config, "--values", "--format", "parquet", *wide)
    assert result.output == f"wrote {path}: {6 if wide else 18} rows\n"
    table = pq.read_table(path)
    assert table.equals(s2async.values(filled.config, wide=bool(wide)))
    types = {field.name: field.type for field in table.schema}
    assert (types["area"], types["date"], types["count"]) == (pa.string(), pa.date32(), pa.int64())
    assert (types["datetime"], types["area_count"]) == (pa.timestamp("us", tz="UTC"), pa.int64())
    assert (types["offset"], types["planted"]) == (pa.int32(), pa.date32())
    name = "NDVI_mean" if wide else "mean"
    found = table.to_pylist()
    assert [row[name] is None for row in found] == [row["area"] == "b" for row in found]
    if not wide:
        for row in found:
            one = filled.values[row["area"], row["item"], row["name"]]
            assert row["area"] == "b" or (row["mean"], row["p10"], row["min"]) == one.statistics


def test_other_programs_read_the_tables(filled: Filled) -> None:
    duckdb = pytest.importorskip("duckdb")
    pandas = pytest.importorskip("pandas")
    geopandas = pytest.importorskip("geopandas")
    call(filled.config, "--values", "--format", "parquet")
    call(filled.config, "--values", "--format", "csv")
    query = "SELECT avg(mean) FROM '{}' WHERE name = 'NDVI' AND mean IS NOT NULL"
    paths = [filled.output / f"values.{kind}" for kind in ("csv", "parquet")]
    expected = [
        one.statistics[0] for (area, _, name), one in filled.values.items() if name == "NDVI" and area != "b"
    ]
    for path in paths:
        assert duckdb.sql(query.format(path)).fetchall()[0][0] == pytest.approx(sum(expected) / len(expected))
    typed, text = pandas.read_parquet(paths[1]), pandas.read_csv(paths[0], dtype={"baseline": str})
    assert typed["mean"].equals(text["mean"])
    assert typed["name"].tolist() == text["name"].tolist()
    fields = geopandas.GeoDataFrame({"name_of": NAMES}, geometry=geopandas.points_from_xy([1, 2, 3], [1, 2, 3]))
    joined = fields.merge(typed, left_on="name_of", right_on="area")
    assert (len(joined), joined.geometry.notna().all()) == (18, True)
    curve = typed[typed.name == "NDVI"].pivot(index="date", columns="area", values="mean")
    assert curve.shape == (2, 3)


def test_without_pyarrow_there_are_typed_rows(filled: Filled) -> None:
    with Ledger.read(filled.settings.run.state) as state:
        rows = list(value_tables.value_rows(value_tables.table(state, filled.settings)))
    assert len(rows) == 18
    first = rows[0]
    one = filled.values[NAMES[0], "S0", "red"]
    assert (first.area, first.name, first.date, first.offset) == (NAMES[0], "red", date(2022, 1, 1), 0)
    assert first.statistics == dict(zip(("mean", "p10", "min"), one.statistics, strict=True))
    assert first.attributes["crop"] == "rye"
    assert {row.statistics["mean"] for row in rows if row.area == "b"} == {None}


@pytest.mark.parametrize("rows", few_quick([1, 2, 3, 4, 7], 2))
@pytest.mark.parametrize("wide", [False, True])
def test_parts_of_a_page_make_the_same_table(
    filled: Filled, rows: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = text_of(filled, wide=wide)
    assert whole.count("\n") > 6
    monkeypatch.setattr(values_csv, "ROWS", rows)
    assert text_of(filled, wide=wide) == whole


def text_of(filled: Filled, *, wide: bool) -> str:
    with Ledger.read(filled.settings.run.state) as state, io.StringIO() as file:
        values_csv.write_csv(value_tables.table(state, filled.settings, wide=wide), file)
        return file.getvalue()


def test_one_area_can_be_read(filled: Filled) -> None:
    pytest.importorskip("pyarrow")
    table = s2async.values(filled.config, area="b")
    assert set(table.column("area").to_pylist()) == {"b"}
    with pytest.raises(ConfigError, match="no area of the name 'c'"):
        s2async.values(filled.config, area="c")


def test_status_counts_the_values(filled: Filled) -> None:
    with Ledger.read(filled.settings.run.state) as state:
        found = status.to_json(state, filled.settings)["values"]
    assert {key: found[key] for key in ("dates", "rows", "scenes")} == {"dates": 6, "rows": 18, "scenes": 2}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--format", "csv", "--wide"], "--wide is about values: add --values"),
        (["--format", "stac", "--values"], "stac holds no values: choose csv or parquet"),
        (["--format", "geojson", "--values"], "geojson holds no values: choose csv or parquet"),
        (["--format", "csv", "--values", "--all"], "leave out --all"),
        (["--format", "parquet", "--values", "-o", "-"], "cannot be written to standard output"),
    ],
)
def test_what_does_not_go_together_is_refused(filled: Filled, arguments: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        call(filled.config, *arguments)


def test_a_configuration_without_values_says_what_to_add(filled: Filled) -> None:
    filled.config.write_text(filled.config.read_text("utf-8").partition("[values]")[0], "utf-8")
    with pytest.raises(ConfigError, match=r"add \[values\]"):
        call(filled.config, "--values", "--format", "csv")


def test_a_cell_is_read_back_as_it_was() -> None:
    texts: list[Any] = ['a,"b"', "a\rb", " x ", "", None, 7, True, date(2022, 1, 1)]
    line = ",".join(map(csv_table.cell_text, texts))
    (row,) = csv.reader(io.StringIO(line, newline=""))
    assert row == ['a,"b"', "a\rb", " x ", "", "", "7", "true", "2022-01-01"]


@given(st.lists(st.sampled_from([0.0, -0.0, math.nan, 0.1, 7.0, -1000.0]) | st.floats(allow_infinity=False)))
def test_numbers_become_the_text_that_each_has_by_itself(numbers: list[float]) -> None:
    column = np.array(numbers * 5, np.float64)
    for kind, text in (("float64", repr), ("int64", "{:.0f}".format)):
        expected = ["" if math.isnan(number) else text(number) for number in column.tolist()]
        assert values_csv._number_texts(column, kind) == expected  # type: ignore[arg-type]
