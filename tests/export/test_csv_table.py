from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.errors import LocalError
from s2async.export import csv_table
from s2async.export.columns import Table, own_columns
from s2async.models import CloudMeasure
from s2async.state.records import SavedRow
from tests.support.rows import CLASSES, CLOUDY, ROW

TEXT = st.sampled_from(
    ["a", "a/b-c.tif", "=a", "ä,b", 'q"', "x\ry", "x\n", "", " b", "https://u:p@c.example/a?b=c#d"]
)


def write(folder: Path, *rows: SavedRow) -> list[dict[str, str]]:
    path = csv_table.write_csv(rows, folder, classes=CLASSES)
    assert path == folder / "overview.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_columns_are_a_contract(tmp_path: Path) -> None:
    path = csv_table.write_csv([ROW], tmp_path, CLASSES)
    assert path.read_bytes().decode("utf-8") == (
        "area,item_id,datetime,platform,grid,epsg,scene_cloud_percent,area_cloud_percent,area_valid_percent,asset,"
        "path,file_bytes,href,processing_baseline,offset,offset_basis\n"
        "Tiergarten,S2A_33UUU_20220719_0_L2A,2022-07-19T10:18:05.123000Z,sentinel-2a,33UUU,32633,0.000015,1.0000,"
        "93.7500,visual,tiergarten/S2A_33UUU_20220719_0_L2A_visual.tif,123456,"
        "https://cogs.example/S2A_33UUU_20220719_0_L2A/TCI.tif,04.00,0,rule\n"
    )


def test_no_crop_is_a_table_of_no_rows(tmp_path: Path) -> None:
    assert write(tmp_path) == []
    assert (tmp_path / "overview.csv").read_text("utf-8").count("\n") == 1


def test_what_is_unknown_is_empty(tmp_path: Path) -> None:
    nothing = CloudMeasure(histogram=(5, *[0] * 12), total=5)
    unknown, empty = write(tmp_path, replace(ROW, scene_cloud=None, measure=None), replace(ROW, measure=nothing))
    assert [unknown[key] for key in ("scene_cloud_percent", "area_cloud_percent", "area_valid_percent")] == [
        ""
    ] * 3
    assert [empty[key] for key in ("area_cloud_percent", "area_valid_percent")] == ["", "0.0000"]


def test_all_jobs_have_a_status_and_a_reason() -> None:
    text = io.StringIO()
    lines = [ROW, replace(CLOUDY, measure=None), replace(CLOUDY, status="failed", reason="=timed out")]
    assert csv_table.write(Table(rows=lines, all=True, classes=CLASSES), text) == 3
    found = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert [(row["status"], row["reason"]) for row in found] == [
        ("saved", ""),
        ("cloudy", ""),
        ("failed", "'=timed out"),
    ]
    assert [row["asset"] for row in found] == ["visual", "", ""]
    assert [row["area_cloud_percent"] for row in found] == ["1.0000", "", "1.0000"]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_texts_that_look_like_formulas_are_quoted(tmp_path: Path, sign: str) -> None:
    hostile = f'{sign}HYPERLINK("x")'
    (row,) = write(
        tmp_path, replace(ROW, area=hostile, item=hostile, platform=hostile, grid=hostile, baseline=hostile)
    )
    assert {row[key] for key in ("area", "item_id", "platform", "grid", "processing_baseline")} == {f"'{hostile}"}


@pytest.mark.parametrize("name", ['a "b", c;\nd Müggelsee 🏞 \u202e x=1', "a\rb", "a\r\nb", "a\r", "a\n", '"'])
def test_names_with_separators_come_back(tmp_path: Path, name: str) -> None:
    (row,) = write(tmp_path, replace(ROW, area=name))
    assert row["area"] == name


def test_a_failure_leaves_the_old_table_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, ROW)
    before = (tmp_path / "overview.csv").read_bytes()

    def rows() -> Iterator[SavedRow]:
        yield replace(ROW, area="new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LocalError, match=r"cannot write .*overview\.csv: No space left"):
        csv_table.write_csv(rows(), tmp_path, CLASSES)
    assert [path.name for path in tmp_path.iterdir()] == ["overview.csv"]
    assert (tmp_path / "overview.csv").read_bytes() == before


def test_a_full_disk_at_the_last_moment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalError, match="No space left"):
        write(tmp_path, ROW)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"overview\.csv"):
        write(tmp_path / "gone", ROW)


def test_what_a_killed_run_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".overview.csv.part").write_text("half")
    assert len(write(tmp_path, ROW, ROW)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["overview.csv"]


@given(
    st.lists(
        st.builds(
            replace,
            st.just(ROW),
            area=TEXT,
            item=TEXT,
            platform=TEXT,
            folder=TEXT,
            file=TEXT,
            href=TEXT,
            asset=st.sampled_from(["visual", "=b04"]),
            epsg=st.sampled_from([32633, 32632]),
            scene_cloud=st.sampled_from([None, 0.0, -0.0, 1.0, 1e-7, 55.5]),
            measure=st.sampled_from([None, ROW.measure, CloudMeasure(histogram=(5, *[0] * 12), total=5)]),
            offset=st.sampled_from([None, 0, -1000]),
            offset_basis=st.sampled_from(["", "rule"]),
            attributes=st.sampled_from([{"n": 1, "text": "a,b"}, {"n": 1.5}, {}, {"n": True}]),
        ),
        max_size=8,
    )
)
def test_lines_of_crops_are_those_that_all_their_cells_give(rows: list[SavedRow]) -> None:
    table = Table(rows=rows, classes=CLASSES, own=own_columns(row.attributes for row in rows))
    plain, text = io.StringIO(newline=""), io.StringIO(newline="")
    csv_table.write(table, text)
    lines = csv.writer(csv_table._Lines(plain), lineterminator="\r\n")
    lines.writerow(table.columns)
    for row in rows:
        values = table.values(row)
        lines.writerow([csv_table._cell(values[column]) for column in table.columns])
    assert text.getvalue() == plain.getvalue()
