from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async import index
from s2async.errors import LocalError
from s2async.models import CloudMeasure
from s2async.records import SavedRow

CLASSES = frozenset({1, 3, 8, 9, 10})
ROW = SavedRow(
    area="Tiergarten",
    fingerprint="0123456789abcdef",
    folder="tiergarten",
    item="S2A_33UUU_20220719_0_L2A",
    collection="sentinel-2-l2a",
    datetime=datetime(2022, 7, 19, 10, 18, 5, 123000, tzinfo=UTC),
    platform="sentinel-2a",
    grid="33UUU",
    baseline="04.00",
    scene_cloud=0.000015,
    measure=CloudMeasure(histogram=(10, 0, 0, 1, 200, 0, 0, 0, 2, 0, 0, 0, 97), total=320),
    asset="visual",
    href="https://cogs.example/S2A_33UUU_20220719_0_L2A/TCI.tif",
    file="S2A_33UUU_20220719_0_L2A_visual.tif",
    bytes=123456,
    sha256="ab" * 32,
    epsg=32633,
)


def write(folder: Path, *rows: SavedRow) -> list[dict[str, str]]:
    path = index.write_csv(rows, folder, classes=CLASSES)
    assert path == folder / "overview.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_columns_are_a_contract(tmp_path: Path) -> None:
    path = index.write_csv([ROW], tmp_path, CLASSES)
    assert path.read_bytes().decode("utf-8") == (
        "area,item_id,datetime,platform,grid,epsg,scene_cloud_percent,area_cloud_percent,area_valid_percent,asset,"
        "path,file_bytes,href,processing_baseline\n"
        "Tiergarten,S2A_33UUU_20220719_0_L2A,2022-07-19T10:18:05.123000Z,sentinel-2a,33UUU,32633,0.000015,1.0000,"
        "93.7500,visual,tiergarten/S2A_33UUU_20220719_0_L2A_visual.tif,123456,"
        "https://cogs.example/S2A_33UUU_20220719_0_L2A/TCI.tif,04.00\n"
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


@given(st.lists(st.integers(0, 10**6), min_size=13, max_size=13), st.integers(0, 10**6))
def test_per_cents_are_exact_to_half_a_unit_of_the_last_place(counts: list[int], more: int) -> None:
    measured = CloudMeasure(histogram=tuple(counts), total=sum(counts) + more)
    for text, part, whole in zip(
        index._percents(measured, CLASSES),
        (sum(counts[value] for value in CLASSES), measured.valid),
        (measured.valid, measured.total),
        strict=True,
    ):
        if whole:
            error = Fraction(text) - Fraction(part * 100, whole)
            assert Fraction(-1, 20_000) < error <= Fraction(1, 20_000)
            assert len(text.partition(".")[2]) == 4
        else:
            assert text == ""


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_texts_that_look_like_formulas_are_quoted(tmp_path: Path, sign: str) -> None:
    hostile = f'{sign}HYPERLINK("x")'
    (row,) = write(
        tmp_path, replace(ROW, area=hostile, item=hostile, platform=hostile, grid=hostile, baseline=hostile)
    )
    assert {row[key] for key in ("area", "item_id", "platform", "grid", "processing_baseline")} == {f"'{hostile}"}


def test_names_with_separators_come_back(tmp_path: Path) -> None:
    name = 'a "b", c;\nd Müggelsee 🏞 \u202e x=1'
    (row,) = write(tmp_path, replace(ROW, area=name))
    assert row["area"] == name


def test_a_failure_leaves_the_old_table_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, ROW)
    before = (tmp_path / "overview.csv").read_bytes()

    def rows() -> Iterator[SavedRow]:
        yield replace(ROW, area="new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LocalError, match=r"cannot write .*overview\.csv: No space left"):
        index.write_csv(rows(), tmp_path, CLASSES)
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


def test_the_writer_has_a_name() -> None:
    assert {"csv": index.write_csv} == index.WRITERS
