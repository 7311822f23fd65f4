"""What the collections list of the same datatakes, and what their items say about the offset."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN
from s2async.sandbox.world.archives import C1, COLLECTIONS, L2A, Record, records
from s2async.sandbox.world.assets import Scaling
from s2async.sandbox.world.items import make_item
from s2async.sandbox.world.passes import takes
from s2async.sandbox.world.squares import squares_of

YEARS = takes(2022, (900.0, 1100.0), period=(date(2020, 1, 1), date(2023, 12, 31)))
(SQUARE,) = [square for square in squares_of([shapely.Point(13.4, 52.5).buffer(0.01)]) if square.name == "33UUU"]


def item_of(record: Record) -> dict[str, Any]:
    return make_item(
        record,
        SQUARE,
        np.full((10, 10), 4, dtype=np.uint8),
        footprint=shapely.box(13, 52, 14, 53),
        projection="proj:epsg",
        keys=("scl", "visual", "red", "aot"),
    )


def test_an_honest_archive_flags_what_it_has_taken_off() -> None:
    listed = records(YEARS, [L2A])
    assert [record.take for record in listed] == YEARS
    assert {(record.scaling, record.flag, record.take.baseline >= "04.00") for record in listed} == {
        (Scaling.PLAIN, False, False),
        (Scaling.PLAIN, True, True),
    }


def test_lies_are_those_that_were_measured() -> None:
    """True is never wrong; False and no flag may mean both, and mean the offset in early 2022 only."""
    start, end = datetime(2022, 1, 25, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC)
    listed = records(YEARS, [L2A], lying=True)
    kinds: Counter[tuple[str, bool | None, Scaling]] = Counter()
    for record in listed:
        take = record.take
        if take.edition:
            assert (record.flag, record.scaling) == (True, Scaling.PLAIN)
            continue
        time = "old" if take.baseline < "04.00" else "early" if start <= take.time < end else "later"
        kinds[time, record.flag, record.scaling] += 1
    plain, offset = Scaling.PLAIN, Scaling.OFFSET
    assert kinds.keys() == {
        ("old", False, plain),
        ("early", True, plain),
        ("early", False, plain),
        ("early", False, offset),
        ("early", None, offset),
        ("later", True, plain),
        ("later", False, plain),
        ("later", None, plain),
    }
    assert min(kinds.values()) >= 2


def test_c1_has_each_datastrip_once_and_no_baseline_below_5() -> None:
    listed = records(YEARS, [C1], lying=True)
    assert {record.take.strip for record in listed} == {take.strip for take in YEARS}
    assert len({record.item_id(SQUARE) for record in listed}) == len(listed)
    assert {(record.scaling, record.flag) for record in listed} == {(Scaling.TAGGED, None)}
    assert min(record.take.baseline for record in listed) == "05.00"
    for record in listed:
        old = record.take.time < datetime(2022, 1, 25, tzinfo=UTC)
        assert (record.take.baseline == "05.00") == old


@pytest.mark.slow
def test_items_of_both_collections_are_read_as_one_acquisition() -> None:
    both = [to_scene(item_of(record), KNOWN["earth-search"]) for record in records(YEARS, COLLECTIONS)]
    datatakes = {name: {s.acquisition for s in both if s.collection == name} for name in COLLECTIONS}
    assert "" not in datatakes[L2A]
    assert datatakes[L2A] == datatakes[C1]
    products = Counter(scene.version for scene in both)
    assert 2 in products.values(), "the same processing in both collections has one product name"


def test_items_say_what_real_ones_say_of_the_offset() -> None:
    """The item's offset tells the baseline alone; C1 has no flag, no sequence and no JPEG 2000."""
    for record in records(YEARS, COLLECTIONS, lying=True):
        item = item_of(record)
        told = item["assets"]["red"]["raster:bands"][0] if "red" in item["assets"] else {}
        if told:
            assert told["offset"] == (-0.1 if record.take.baseline >= "04.00" else 0)
            assert item["assets"]["aot"]["raster:bands"][0]["offset"] == 0
        properties = item["properties"]
        assert properties.get("earthsearch:boa_offset_applied") is record.flag
        assert ("s2:sequence" in properties) == (record.collection == L2A)
        assert any(key.endswith("-jp2") for key in item["assets"]) == (record.collection == L2A)
        assert f"/collections/{record.collection}/" in item["links"][0]["href"]


def test_ids_of_c1_are_those_of_recorded_items(real_data: Path) -> None:
    page = json.loads((real_data / "stac/items/v1-c1-13TDE-10-dates.json").read_bytes())
    recorded, (ours, *_) = page["features"][0], records(YEARS, [C1])
    item = item_of(ours)
    start = item["properties"]["s2:datastrip_id"].rsplit("_S", 1)[1][:15]
    assert item["id"] == f"S2{item['properties']['platform'][-1].upper()}_T33UUU_{start}_L2A"
    theirs = recorded["properties"]
    assert recorded["id"].split("_")[2] in theirs["s2:datastrip_id"]
    kept = {"s2:datatake_id", "s2:datastrip_id", "s2:product_uri", "s2:processing_baseline", "s2:generation_time"}
    assert kept <= item["properties"].keys() & theirs.keys()
    assert "earthsearch:boa_offset_applied" not in item["properties"].keys() | theirs.keys()


@pytest.mark.parametrize("name", COLLECTIONS)
def test_ids_hold_in_one_collection_only(name: str) -> None:
    ids = [record.item_id(SQUARE) for record in records(YEARS, COLLECTIONS) if record.collection == name]
    assert len(ids) == len(set(ids))
