"""What the report reads from the state: values as curves, in the order of the areas."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapely import box

from s2async.export.values import asking
from s2async.report import queries
from s2async.state import value_pages
from s2async.state.reader import Ledger
from tests.support.lanes import few_quick
from tests.support.shelves import fill

SHAPES = {name: box(13 + 0.02 * at, 52, 13.01 + 0.02 * at, 52.01) for at, name in enumerate("abcde")}


@pytest.mark.parametrize("page_bytes", [1, 1 << 20])
@pytest.mark.parametrize("unvalued", few_quick(["cd", "", "a", "e", "abcde"], 2))
def test_each_area_has_its_own_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unvalued: str, page_bytes: int
) -> None:
    """Also where values come an area at a time, and areas without any are left out."""
    monkeypatch.setattr(value_pages, "PAGE_BYTES", page_bytes)
    shelf = fill(tmp_path, shapes=SHAPES, assets=(), indices=["NDVI", "NDWI"], unvalued=list(unvalued))
    with Ledger.read(shelf.settings.run.state) as state:
        areas = list(state.areas())
        stored = state.value_pages(asking(shelf.settings))
        expected = {
            (page.places[place].name, ("NDVI", "NDWI")[variable], page.items[item].datetime.date()): (
                mean,
                clear / data,
            )
            for page in stored
            for place, item, variable, mean, (_, data, clear, *_) in zip(
                page.place, page.item, page.variable, page.statistics[:, 0], page.counts, strict=True
            )
        }
        found = {
            (watched.area.name, curve.name, value.day): (value.value, value.clear / 100)
            for watched in queries.watched_areas(state, shelf.settings, areas)
            for curve in watched.curves
            for value in curve.values
        }
    assert found == expected
    assert {area for area, _, _ in found} == set("abcde") - set(unvalued)
    assert len(found) == 4 * (5 - len(unvalued))


def test_without_values_there_are_no_curves(tmp_path: Path) -> None:
    shelf = fill(tmp_path, assets=())
    with Ledger.read(shelf.settings.run.state) as state:
        areas = list(state.areas())
        found = list(queries.watched_areas(state, shelf.settings, areas))
    assert [watched.curves for watched in found] == [()] * len(areas)
