from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from s2async.export.columns import COLUMNS, JOB_COLUMNS, TYPED_COLUMNS, Table, percent, values
from s2async.models import CloudMeasure
from tests.support.rows import CLASSES, CLOUDY, ROW


def test_a_saved_crop_by_column() -> None:
    told = values(ROW, CLASSES)
    assert told == {
        "area": "Tiergarten",
        "item_id": "S2A_33UUU_20220719_0_L2A",
        "datetime": ROW.datetime,
        "platform": "sentinel-2a",
        "grid": "33UUU",
        "epsg": 32633,
        "scene_cloud_percent": 0.000015,
        "area_cloud_percent": Decimal("1.0000"),
        "area_valid_percent": Decimal("93.7500"),
        "asset": "visual",
        "path": "tiergarten/S2A_33UUU_20220719_0_L2A_visual.tif",
        "file_bytes": 123456,
        "href": "https://cogs.example/S2A_33UUU_20220719_0_L2A/TCI.tif",
        "processing_baseline": "04.00",
        "offset": 0,
        "offset_basis": "rule",
        "area_fingerprint": "0123456789abcdef",
        "collection": "sentinel-2-l2a",
        "sha256": "ab" * 32,
        "area_pixels": 320,
        "scl_histogram": (10, 0, 0, 1, 200, 97, 0, 0, 2, 0, 0, 0, 0),
        "status": "saved",
        "reason": None,
    }
    assert set(told) == {*COLUMNS, *TYPED_COLUMNS, *JOB_COLUMNS}


def test_a_job_without_a_crop_has_its_measure_and_its_status() -> None:
    told = values(replace(CLOUDY, reason="why"), CLASSES)
    crops_own = ("epsg", "asset", "path", "file_bytes", "href", "sha256", "offset", "offset_basis")
    assert [told[column] for column in crops_own] == [None] * 8
    assert (told["status"], told["reason"]) == ("cloudy", "why")
    assert told["area_cloud_percent"] == Decimal("1.0000")


def test_what_is_unknown_is_none() -> None:
    bare = replace(ROW, platform="", grid="", baseline="", href="", scene_cloud=None, measure=None)
    told = values(bare, CLASSES)
    unknown = {column for column, value in told.items() if value is None} - {"reason"}
    assert unknown == {
        "platform", "grid", "processing_baseline", "href", "scene_cloud_percent", "area_cloud_percent",
        "area_valid_percent", "area_pixels", "scl_histogram",
    }  # fmt: skip
    empty = CloudMeasure(histogram=(5, *[0] * 12), total=5)
    no_data = values(replace(ROW, measure=empty), CLASSES)
    assert (no_data["area_cloud_percent"], no_data["area_valid_percent"]) == (None, Decimal("0.0000"))
    no_pixel = values(replace(ROW, measure=CloudMeasure(histogram=(0,) * 13, total=0)), CLASSES)
    assert (no_pixel["area_cloud_percent"], no_pixel["area_valid_percent"]) == (None, None)


def test_the_columns_of_all_jobs_tell_what_became_of_them() -> None:
    some, everything = Table(rows=(), classes=CLASSES), Table(rows=(), all=True, classes=CLASSES)
    assert everything.columns == (*some.columns, "status", "reason")
    assert tuple(everything.typed_columns) == (*some.typed_columns, "status", "reason")
    assert set(some.columns) < set(some.typed_columns)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_per_cents_are_exact_to_half_a_unit_of_the_last_place(one: int, other: int) -> None:
    part, whole = sorted((one, other))
    found = percent(part, whole)
    if whole:
        assert found is not None
        assert Fraction(-1, 20_000) < Fraction(found) - Fraction(part * 100, whole) <= Fraction(1, 20_000)
        assert len(str(found).partition(".")[2]) == 4
    else:
        assert found is None
