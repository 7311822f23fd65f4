"""A year of generated scenes in both collections of Earth Search, with flags that lie, against the truth."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from s2async.catalog.facts import facts
from s2async.config.model import Config
from s2async.models import Scene
from s2async.reflectance.convert import reflectance
from s2async.reflectance.decision import UNSETTLED, Basis, Convention, Offset, decide
from s2async.reflectance.evidence import Evidence
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.truth import oracle
from s2async.sandbox.world.archives import C1, L2A
from s2async.sandbox.world.assets import Scaling
from tests.support import worlds
from tests.support.seasons import BANDS, FIELDS, PERIOD, Year, agrees

pytestmark = pytest.mark.slow

NAMED = {L2A: Convention.EARTH_SEARCH, C1: Convention.ESA}
"""What a configuration can say of the archives."""


@dataclass(frozen=True)
class Cell:
    """One band of one item, decided with what is known of its archive and with the pixels of some areas."""

    scene: Scene
    key: str
    archive: bool
    """Whether the archive is known."""
    scaling: Scaling
    offset: Offset
    proof: bool
    """Whether the pixels prove that there is no offset."""
    right: bool


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    folder = tmp_path_factory.mktemp("year")
    yield Year.made(folder / "world")
    shutil.rmtree(folder)  # hundreds of MB


@pytest.fixture(scope="module")
def served(year: Year) -> Iterator[Sandbox]:
    with start(year.world.folder) as sandbox:
        yield sandbox


# ---- decisions --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells(year: Year) -> list[Cell]:
    return [cell for scene in year.scenes() if "red" in scene.assets for cell in cells_of(year, scene)]


def cells_of(year: Year, scene: Scene) -> Iterator[Cell]:
    """All bands of an item, with the pixels of both fields and with those of the small one."""
    there = [key for key in BANDS if year.world.local(scene.assets[key].href).exists()]
    read = {(key, field): year.window(scene, key, field) for key in there for field in FIELDS}
    scaling = year.truth.record(scene.collection, scene.id).scaling
    for fields in (tuple(FIELDS), ("small",)):
        evidence = sum((Evidence.of(read[key, field][0]) for key in there for field in fields), Evidence())
        for key in there:
            for archive in (True, False):
                known = facts(
                    scene,
                    key,
                    convention_override=NAMED[scene.collection] if archive else None,
                    tag=read[key, fields[0]][1],
                )
                offset = decide(key, known, evidence)
                right = offset.dn is not None and all(
                    agrees(reflectance(dn, offset.dn), true) for dn, _, true in (read[key, f] for f in fields)
                )
                yield Cell(scene, key, archive, scaling, offset, evidence.proves_none, right)


def is_early(scene: Scene) -> bool:
    return UNSETTLED[0] <= scene.datetime < UNSETTLED[1]


def test_reflectance_is_right_or_named(cells: list[Cell]) -> None:
    """No wrong reflectance is silent."""
    assert Counter(cell.right for cell in cells if cell.offset.is_certain).keys() == {True}
    doubtful = [cell for cell in cells if not cell.offset.is_certain]
    assert doubtful
    for cell in doubtful:
        assert cell.offset.basis in (Basis.DOUBTFUL, Basis.UNKNOWN) or cell.offset.doubt


def test_where_the_table_can_know_it_does(cells: list[Cell]) -> None:
    """What is doubted are files of early 2022 without a true flag; of unknown archives, files that say nothing."""
    for cell in cells:
        scene, old = cell.scene, cell.scene.baseline < "04.00"
        if cell.archive and scene.collection == L2A:
            knows = old or scene.subtracted is True or not is_early(scene) or cell.proof
        elif cell.archive:
            knows = True
        else:
            knows = old or cell.scaling is Scaling.TAGGED or cell.proof
        assert cell.offset.is_certain == knows, cell


def test_every_row_of_the_table_decides_some_files(cells: list[Cell]) -> None:
    """All cells by what is known and what the file is: archive, numbers, flag, basis, and whether it is right."""
    plain, offset, tagged = Scaling.PLAIN, Scaling.OFFSET, Scaling.TAGGED
    rows = Counter((c.archive, c.scaling, c.scene.subtracted, c.offset.basis, c.right) for c in cells)
    assert rows == {
        (True, tagged, None, Basis.TAG, True): 1340,
        (True, plain, False, Basis.BASELINE, True): 330,
        (True, plain, True, Basis.FLAG, True): 550,
        (True, plain, False, Basis.BUCKET, True): 220,
        (True, plain, None, Basis.BUCKET, True): 210,
        (True, plain, False, Basis.PIXELS, True): 5,
        (True, plain, False, Basis.DOUBTFUL, False): 25,
        (True, offset, False, Basis.DOUBTFUL, True): 30,
        (True, offset, None, Basis.DOUBTFUL, True): 30,
        # of an archive that is not known
        (False, tagged, None, Basis.TAG, True): 1340,
        (False, plain, False, Basis.BASELINE, True): 330,
        (False, plain, True, Basis.PIXELS, True): 105,
        (False, plain, False, Basis.PIXELS, True): 50,
        (False, plain, None, Basis.PIXELS, True): 50,
        (False, plain, True, Basis.UNKNOWN, False): 445,
        (False, plain, False, Basis.UNKNOWN, False): 200,
        (False, plain, None, Basis.UNKNOWN, False): 160,
        (False, offset, False, Basis.UNKNOWN, False): 30,
        (False, offset, None, Basis.UNKNOWN, False): 30,
    }
    assert sum(rows.values()) == 5480


def test_pixels_alone_prove_no_offset_where_there_is_one(cells: list[Cell]) -> None:
    assert not any(cell.proof for cell in cells if cell.scaling is not Scaling.PLAIN)
    assert {cell.proof for cell in cells if cell.scaling is Scaling.PLAIN} == {True, False}


def test_ndvi_of_one_overpass_is_the_same_in_both_collections(year: Year) -> None:
    """Where offsets are ignored, the same picture has two NDVI; by the decision it has one."""
    ndvi: dict[tuple[str, str], dict[str, float]] = {}
    for scene in year.scenes():
        if "red" not in scene.assets or not all(
            year.world.local(scene.assets[key].href).exists() for key in ("red", "nir")
        ):
            continue
        means = []
        for key in ("red", "nir"):
            dn, tag, _ = year.window(scene, key, "wide")
            offset = decide(
                key, facts(scene, key, convention_override=NAMED[scene.collection], tag=tag), Evidence.of(dn)
            )
            if not offset.is_certain or not dn.all():
                break
            means.append(reflectance(dn, offset.dn or 0).mean())
        else:
            red, nir = means
            ndvi.setdefault((scene.acquisition, scene.datastrip), {})[scene.collection] = (nir - red) / (nir + red)
    pairs = [found for found in ndvi.values() if len(found) == 2]
    assert len(pairs) > 40
    for found in pairs:
        assert found[L2A] == pytest.approx(found[C1], abs=1e-5)
    assert np.ptp([found[C1] for found in pairs]) > 0.3, "the season shows"


# ---- acquisitions -----------------------------------------------------------------------------------------


def write_config(
    folder: Path,
    sandbox: Sandbox,
    collection: str,
    *,
    period: tuple[date, date] = PERIOD,
    offsets: str | None = None,
    **output: Any,
) -> Path:
    """A configuration that saves whatever has data; ``offsets`` is what it says of the archive."""
    catalog: dict[str, Any] = {"url": sandbox.api, "collection": collection, "assets": {"scl": "scl"}}
    if offsets:
        catalog["offsets"] = offsets
    days = "/".join(map(str, period))
    return worlds.write_config(
        folder,
        sandbox,
        areas=FIELDS,
        search={"catalog": catalog, "datetime": days, "max_scene_cloud": 100},
        clouds={"max_area_cloud": 100, "min_area_valid": 0},
        output=output,
    )


def index(config: Config) -> list[dict[str, str]]:
    with (config.output.folder / "overview.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(year: Year, *collections: str) -> set[tuple[str, str]]:
    """Area and item of the crops that count, by brute force: the best readable item of each datastrip."""
    strips: defaultdict[str, list[Scene]] = defaultdict(list)
    for scene in year.scenes():
        if scene.collection in collections and "scl" in scene.assets:
            strips[scene.datastrip].append(scene)
    found = set()
    for editions in strips.values():
        best = max(editions, key=lambda scene: (scene.baseline, scene.generated, scene.id))
        path = year.world.local(best.assets["scl"].href)
        for area, polygon in FIELDS.items():
            share = oracle.plain_cloud_percent(path, polygon) if path.exists() else None
            if share is not None and not np.isnan(share):
                found.add((area, best.id))
    return found


def test_no_edition_counts_twice_and_both_halves_of_a_pass_count(
    year: Year, served: Sandbox, tmp_path: Path
) -> None:
    """Also when the same datatakes come from the other collection into the same state."""
    for known in ((L2A,), (L2A, C1)):
        config = worlds.run(write_config(tmp_path, served, known[-1], assets=["red"]), served).config
        rows = index(config)
        counted = [(row["area"], row["item_id"]) for row in rows]
        assert len(counted) == len(set(counted))
        assert set(counted) == expected(year, *known)
        acquisitions = {scene.id: scene.acquisition for scene in year.scenes()}
        passes = Counter((area, acquisitions[item]) for area, item in counted)
        halves = {area for (area, _), count in passes.items() if count == 2}
        assert set(passes.values()) == {1, 2}
        assert halves, "an area on the edge of two datastrips has a crop of each"


# ---- crops ------------------------------------------------------------------------------------------------

NOT_CERTAIN = ("doubtful", "unknown")
WINTER = (date(2022, 1, 1), date(2022, 4, 30))
"""Before, in and after the weeks in which files of one collection are of both kinds."""


@dataclass(frozen=True)
class Shown:
    """What GDAL shows of a crop of a reflectance band."""

    basis: str
    scaling: Scaling
    """Of the scene's file."""
    offset: float
    right: bool
    """Whether number * scale + offset is the true reflectance in every pixel of the area."""


def shown(year: Year, config: Config, *, harmonised: bool) -> list[Shown]:
    scenes = {scene.id: scene for scene in year.scenes()}
    found = []
    for row in sorted(index(config), key=lambda row: (row["item_id"], row["asset"])):
        scene, key = scenes[row["item_id"]], row["asset"]
        with rasterio.open(config.output.folder / row["path"]) as crop:
            dn, tags, place = crop.read(1), crop.tags(), crop.transform
            (scale,), (offset,) = crop.scales, crop.offsets
            size = crop.shape
        with rasterio.open(year.world.local(scene.assets[key].href)) as file:
            column, top = ~file.transform * (place.c, place.f)
        true = year.true(scene.collection, scene.id, key, Window(round(column), round(top), *size[::-1]))
        if harmonised:
            true = np.where(np.isnan(true), np.nan, np.maximum(true, 0.0001))
        true[dn == 0] = np.nan  # beyond the polygon
        assert tags["OFFSET_BASIS"] == row["offset_basis"]
        found.append(
            Shown(
                basis=row["offset_basis"],
                scaling=year.truth.record(scene.collection, scene.id).scaling,
                offset=offset,
                right=agrees(np.where(dn == 0, np.nan, dn * scale + offset), true),
            )
        )
    return found


@pytest.mark.parametrize(("collection", "offsets"), [(L2A, "earth-search"), (C1, "esa"), (L2A, None), (C1, None)])
def test_crops_show_the_true_reflectance_or_say_that_they_may_not(
    year: Year, served: Sandbox, tmp_path: Path, collection: str, offsets: str | None
) -> None:
    """By the tags alone, as rasterio reads them; published and, from the same crops, harmonised."""
    for kind in ("published", "harmonised"):
        path = write_config(
            tmp_path,
            served,
            collection,
            period=WINTER,
            offsets=offsets,
            assets=["red", "swir22"],
            reflectance=kind,
        )
        ran = worlds.run(path, served)
        crops = shown(year, ran.config, harmonised=kind == "harmonised")
        assert len(crops) > 100
        for crop in crops:
            assert crop.right or crop.basis in NOT_CERTAIN, crop
        if kind == "harmonised":
            assert not any(re.search(r"/B\d\d\.tif$", path) for path in ran.paths), "nothing is read again"
            assert {crop.offset for crop in crops if crop.basis not in NOT_CERTAIN} == {0}
        bases = Counter((crop.basis, crop.scaling, crop.right) for crop in crops)
        assert bases.keys() == BASES[collection, offsets]


_P, _O, _T = Scaling.PLAIN, Scaling.OFFSET, Scaling.TAGGED
BASES = {
    (L2A, "earth-search"): {
        ("baseline", _P, True),
        ("flag", _P, True),
        ("bucket", _P, True),
        ("pixels", _P, True),
        ("doubtful", _P, False),
        ("doubtful", _O, True),
    },
    (C1, "esa"): {("tag", _T, True)},
    (L2A, None): {("baseline", _P, True), ("pixels", _P, True), ("unknown", _P, False), ("unknown", _O, False)},
    (C1, None): {("tag", _T, True)},
}
"""What decides, on what files, and whether it is right: by collection and by what the configuration says."""
