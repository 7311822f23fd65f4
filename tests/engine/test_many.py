"""Many areas of one scene: what they get is what each would get alone, and what rasterio finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2async.clouds import scl
from s2async.cog import polygon_mask, tiles
from s2async.engine import many
from s2async.engine.many import Histograms, Places
from s2async.errors import CorruptFile
from s2async.masks import drawing
from s2async.masks.store import Plans
from s2async.models import BatchResult, Job, Status
from s2async.sandbox.truth import oracle
from tests.support import worlds
from tests.support.batches import ITEM, Served
from tests.support.fault_server import FaultServer
from tests.support.layouts import Made
from tests.support.layouts import tiff as made_tiff
from tests.support.small_fields import FIELDS, fields
from tests.support.streams import layout_of

# ---- where they lie, and what lies in them ------------------------------------------------------------------


BIG = Made(
    name="many",
    width=900,
    height=700,
    options={"tiled": True, "blockxsize": 128, "blockysize": 64, "compress": "deflate"},
)


def test_places_are_those_of_each_area_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "LARGEST_PIXELS", 100 * 100)
    layout = layout_of(made_tiff(BIG))
    areas = fields(layout.grid)
    found = many.cutouts(Plans(None), areas, layout.grid)
    places = Places.of(Plans(None), areas, layout)
    assert 0 < np.count_nonzero(places.skipped) < 30, "some are left to the other way"
    assert [one is None for one in found] == [index < 2 for index in range(FIELDS)]
    for area, one in zip(areas, found, strict=True):
        alone = polygon_mask.cutout(area, layout.grid)
        if one is None or alone is None:
            assert one is alone
            continue
        assert (one.window, one.total) == (alone.window, alone.total)
        np.testing.assert_array_equal(one.inside, alone.inside)


def test_the_rows_of_blocks_and_the_histograms_are_those_of_the_masks() -> None:
    layout = layout_of(made_tiff(BIG))
    areas, pixels = fields(layout.grid), np.minimum(BIG.pixels, 15)
    places, cutouts = Places.of(Plans(None), areas, layout), many.cutouts(Plans(None), areas, layout.grid)
    inside = [one for one in cutouts if one is not None]
    assert places.rows_under() == tiles.rows_under(
        layout, [one.window for one in inside], [one.inside for one in inside]
    )
    histograms = Histograms(places, scl.BINS)
    for block in range(layout.across * layout.down):
        window = tiles.window_of(layout, block)
        histograms.take(window, pixels[:, window.row :, window.col :][:, : window.height, : window.width])
    for one, total, counts in zip(cutouts, places.totals.tolist(), histograms.counts.tolist(), strict=True):
        if one is None:
            assert not any(counts)
            continue
        window = one.window
        under = pixels[:, window.row : window.row + window.height, window.col : window.col + window.width]
        assert tuple(counts) == scl.measure(under, one.inside, one.total).histogram
        assert total == one.total


def test_the_windows_that_touch_a_damaged_block_are_named() -> None:
    layout = layout_of(made_tiff(BIG))
    areas = fields(layout.grid)
    places, error = Places.of(Plans(None), areas, layout), CorruptFile("is damaged")
    block = layout.across * 3 + 2
    rows, columns = (192, 256), (256, 384)
    expected = {
        index
        for index, one in enumerate(many.cutouts(Plans(None), areas, layout.grid))
        if one
        and one.window.row < rows[1]
        and one.window.row + one.window.height > rows[0]
        and one.window.col < columns[1]
        and one.window.col + one.window.width > columns[0]
    }
    assert expected
    assert Histograms(places, scl.BINS).touching({block: error}) == dict.fromkeys(expected, error)


# ---- a batch of them ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    return worlds.World(tmp_path_factory.mktemp("world"), [ITEM])


def jobs_of(served: Served, mode: str = "well", **query: Any) -> list[Job]:
    one = served.jobs(mode, **query)[0]
    areas = fields(layout_of(served.tci.read_bytes()).grid)
    return [replace(one, id=number, area=area) for number, area in enumerate(areas, 1)]


def answers(result: BatchResult) -> dict[str, tuple[object, ...]]:
    return {
        one.job.area.name: (one.status, one.measure, one.reason, *(crop.sha256 for crop in one.products))
        for one in result.outcomes
    }


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["deflate", "lzw"])
def test_a_batch_of_many_gives_what_each_area_gets_alone(
    tmp_path: Path, server: FaultServer, world: worlds.World, codec: str
) -> None:
    served = Served(server, world, codec)
    [together] = served.process(tmp_path / "together", [jobs_of(served)])
    alone = served.process(tmp_path / "alone", [[job] for job in jobs_of(served)])
    found = answers(together)
    assert found == {name: one for result in alone for name, one in answers(result).items()}
    assert {status for status, *_ in found.values()} == {Status.SAVED, Status.CLOUDY, Status.OUTSIDE}
    assert [one.job.id for one in together.outcomes] == [*range(1, FIELDS + 1)]
    for one in together.outcomes:
        if one.status is Status.SAVED:
            path = tmp_path / "together" / one.job.area.folder / one.products[0].file
            assert not oracle.crop_differs(path, served.tci, one.job.area.polygon)


@pytest.mark.slow
def test_of_many_areas_those_over_a_damaged_block_fail_and_no_other(
    tmp_path: Path, server: FaultServer, world: worlds.World
) -> None:
    served = Served(server, world)
    [sound] = served.process(tmp_path / "sound", [jobs_of(served)])
    layout = layout_of(served.scl.read_bytes())
    places = Places.of(Plans(None), fields(layout.grid), layout)
    block = next(iter(places.rows_under()))
    over = Histograms(places, scl.BINS).touching({block: CorruptFile("")})
    at, size = int(layout.block_offsets[block]), int(layout.block_counts[block])
    torn = jobs_of(served, "spoilt", at=at + size // 4, size=40, seed=5, how="random", often=1000)
    [result] = served.process(tmp_path / "torn", [torn])
    failed = {index for index, one in enumerate(result.outcomes) if one.status is Status.FAILED}
    assert failed == over.keys()
    assert all("block" in result.outcomes[index].reason for index in failed)
    kept = {name for name, (status, *_) in answers(result).items() if status is not Status.FAILED}
    assert {name: answers(sound)[name] for name in kept} == {name: answers(result)[name] for name in kept}
