"""Values of the areas of one scene: equal to the plain way, read once, and what becomes of jobs without them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import shapely

from s2async.cog.memory import Budget
from s2async.engine import fine_places
from s2async.models import BandEvidence, BatchResult, Job, Status
from s2async.reflectance.decision import Convention
from s2async.reflectance.evidence import Evidence
from s2async.sandbox.truth import oracle
from s2async.zonal.wanted import VALUES, Wanted
from tests.support.fault_server import FaultServer
from tests.support.small_fields import fields
from tests.support.value_scenes import ALL, CLASSES, NDVI, ValueScene, band, values_of

pytestmark = pytest.mark.slow

ONLY_NDVI = replace(ALL, variables=(NDVI,))


@pytest.fixture
def scene(server: FaultServer) -> ValueScene:
    return ValueScene(server)


def jobs_of(scene: ValueScene, number: int = 60) -> list[Job]:
    return scene.jobs(fields(scene.grid, 60)[:number])


def statuses(result: BatchResult) -> dict[int, Status]:
    return {outcome.job.id: outcome.status for outcome in result.outcomes}


def with_values(result: BatchResult) -> set[int]:
    return {outcome.job.id for outcome in result.outcomes if values_of(outcome)}


def accepted(result: BatchResult, limit: float = 0.8) -> set[int]:
    """The jobs whose histogram has so few spoilt pixels, and enough valid ones."""
    found = set()
    for outcome in result.outcomes:
        if measured := outcome.measure:
            spoilt = sum(measured.histogram[number] for number in oracle.BAD_CLASSES)
            if measured.valid and measured.valid >= 0.5 * measured.total and spoilt <= limit * measured.valid:
                found.add(outcome.job.id)
    return found


# ---- the numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("convention", "offset"), [(Convention.NONE, 0), (Convention.ESA, -1000)])
def test_values_of_many_areas_are_those_of_the_plain_way(
    tmp_path: Path, server: FaultServer, convention: Convention, offset: int
) -> None:
    scene = ValueScene(server, convention)
    result = scene.process(tmp_path, jobs_of(scene))
    assert with_values(result) == accepted(result)
    assert Counter(statuses(result).values())[Status.CLOUDY] > 5, "some are too cloudy for crops alone"
    assert with_values(result) > {job for job, status in statuses(result).items() if status is Status.SAVED}
    for outcome in result.outcomes:
        if outcome.job.id in with_values(result):
            scene.check(outcome, offset=offset)


def test_few_areas_have_the_same_values_as_many(tmp_path: Path, scene: ValueScene) -> None:
    jobs = jobs_of(scene)
    together = scene.process(tmp_path, jobs)
    few = [scene.process(tmp_path, jobs[start : start + 10]) for start in range(0, 60, 10)]
    for one, other in zip(together.outcomes, (o for r in few for o in r.outcomes), strict=True):
        assert (one.status, one.measure, values_of(one)) == (other.status, other.measure, values_of(other))
    alone = scene.process(tmp_path, jobs[:20], alone=True)
    for one, other in zip(alone.outcomes, together.outcomes, strict=False):
        assert (one.status, one.measure, values_of(one)) == (other.status, other.measure, values_of(other))


def test_evidence_of_offsets_comes_with_each_band_that_was_read(tmp_path: Path, scene: ValueScene) -> None:
    result = scene.process(tmp_path, jobs_of(scene))
    for outcome in result.outcomes:
        found = {seen.asset: seen for seen in outcome.results if isinstance(seen, BandEvidence)}
        if outcome.job.id not in with_values(result):
            assert not found
            continue
        assert found.keys() == {"red", "nir", "swir16", "coastal"}
        crop = oracle.plain_crop(scene.path("red"), outcome.job.area.polygon)
        assert crop is not None
        valid = crop.pixels[crop.pixels > 0]
        assert found["red"].evidence.pixels == len(valid)
        assert found["red"].evidence.dark == (valid < 800).sum()


def test_pixels_that_are_read_again_do_not_decide_twice(tmp_path: Path, server: FaultServer) -> None:
    scene = ValueScene(server, Convention.UNKNOWN)
    known = Evidence(10_000_000, 10_001)
    for evidence, offset in ((None, None), (known, 0)):
        result = scene.process(tmp_path, jobs_of(scene), ONLY_NDVI, evidence=evidence)
        found = {one.offsets for outcome in result.outcomes for one in values_of(outcome).values()}
        assert found == {(offset, offset)}


# ---- what is read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [60, 9])
def test_each_file_is_read_once(tmp_path: Path, scene: ValueScene, number: int) -> None:
    jobs = jobs_of(scene, number)
    measured = scene.process(tmp_path / "measured", jobs, None)
    alone = scene.bytes_of("scl")
    scene.process(tmp_path / "cut", [one.job for one in measured.outcomes], None, assets=("red", "nir"))
    cut = {key: scene.bytes_of(key) for key in ("red", "nir")}
    # the same limit for values as for crops
    scene.process(tmp_path / "values", jobs, ONLY_NDVI, limit=20)
    assert {key: scene.bytes_of(key) for key in ("red", "nir")} == pytest.approx(cut, rel=0.01)
    assert scene.bytes_of("scl") == alone
    assert set(scene.asked()) == {"scl", "red", "nir"}


@pytest.mark.parametrize("number", [60, 9])
def test_bands_that_are_cut_too_are_read_once_and_cropped_as_ever(
    tmp_path: Path, scene: ValueScene, number: int
) -> None:
    jobs = jobs_of(scene, number)
    plain = scene.process(tmp_path / "plain", jobs, None, assets=("red", "swir16"))
    plain_bytes = scene.bytes_of("red"), scene.bytes_of("swir16")
    alone = scene.process(tmp_path / "alone", jobs, limit=20)
    both = scene.process(tmp_path / "both", jobs, limit=20, assets=("red", "swir16"))
    assert (scene.bytes_of("red"), scene.bytes_of("swir16")) == pytest.approx(plain_bytes, rel=0.01)
    for one, cropped, valued in zip(both.outcomes, plain.outcomes, alone.outcomes, strict=True):
        assert one.status == cropped.status
        assert {crop.sha256 for crop in one.products} == {crop.sha256 for crop in cropped.products}
        assert values_of(one) == values_of(valued)
    # some have their values, and lack crops alone
    known = [replace(one.job, measure=one.measure, valued=frozenset(values_of(one))) for one in alone.outcomes]
    mixed = scene.process(
        tmp_path / "mixed", [known[index] if index % 2 else job for index, job in enumerate(jobs)], limit=20,
        assets=("red", "swir16"),
    )  # fmt: skip
    for index, (one, other) in enumerate(zip(mixed.outcomes, both.outcomes, strict=True)):
        assert (one.status, len(one.products)) == (other.status, len(other.products))
        assert {crop.sha256 for crop in one.products} == {crop.sha256 for crop in other.products}
        assert values_of(one) == ({} if index % 2 else values_of(other))


def test_only_what_is_lacking_is_computed(tmp_path: Path, scene: ValueScene) -> None:
    first = scene.process(tmp_path, jobs_of(scene), ONLY_NDVI, assets=("red",))
    known = [
        replace(
            one.job,
            measure=one.measure,
            saved=frozenset(crop.asset for crop in one.products),
            valued=frozenset(values_of(one)),
        )
        for one in first.outcomes
        if one.status is not Status.OUTSIDE
    ]
    again = scene.process(tmp_path, known, ONLY_NDVI, assets=("red",))
    assert scene.asked() == []
    assert statuses(again).items() <= statuses(first).items()
    more = scene.process(tmp_path, known, assets=("red",))
    assert set(scene.asked()) == {"scl", "red", "nir", "swir16", "coastal"}, "bands of those that lack are all"
    new = replace(ALL, variables=(NDVI, band("coastal")))
    more = scene.process(tmp_path, known, new, assets=("red",))
    assert set(scene.asked()) == {"scl", "coastal"}
    assert with_values(more) == with_values(first)
    assert all(values_of(one).keys() <= {new.key(new.variables[1])} for one in more.outcomes)
    assert statuses(more) == statuses(again)


def test_clear_pixels_travel_with_a_job_that_was_only_measured(tmp_path: Path, scene: ValueScene) -> None:
    whole = scene.process(tmp_path, jobs_of(scene))
    measured = scene.process(tmp_path, jobs_of(scene), measuring=True)
    assert {job.id for job in measured.undecided} == with_values(whole)
    assert all(job.clear_pixels is not None for job in measured.undecided)
    rest = scene.process(tmp_path, measured.undecided)
    assert "scl" not in scene.asked()
    found = {one.job.id: (one.status, values_of(one)) for one in rest.outcomes}
    assert found == {one.job.id: (one.status, values_of(one)) for one in whole.outcomes if one.job.id in found}
    again = scene.process(tmp_path, [replace(job, clear_pixels=None) for job in measured.undecided])
    assert "scl" in scene.asked()
    assert found == {one.job.id: (one.status, values_of(one)) for one in again.outcomes}


def test_batches_that_hold_memory_do_not_wait_for_more_of_it(tmp_path: Path, scene: ValueScene) -> None:
    whole = scene.process(tmp_path, jobs_of(scene))
    measured = [replace(one.job, measure=one.measure) for one in whole.outcomes if values_of(one)]
    again = scene.process(tmp_path, measured, flats=Budget(1))
    assert "scl" in scene.asked()
    assert [*map(values_of, again.outcomes)] == [*filter(None, map(values_of, whole.outcomes))]


# ---- what cannot be had -----------------------------------------------------------------------------------


def test_values_of_other_bands_are_there_when_one_is_missing(tmp_path: Path, scene: ValueScene) -> None:
    usual = scene.process(tmp_path / "usual", jobs_of(scene), assets=("red",))
    jobs = scene.jobs(fields(scene.grid), {"nir": ("code", {"status": 404})})
    result = scene.process(tmp_path / "less", jobs, assets=("red",))
    assert statuses(result) == statuses(usual)
    keys = {ALL.key(variable) for variable in ALL.variables if "nir" not in variable.bands}
    for one, before in zip(result.outcomes, usual.outcomes, strict=True):
        assert values_of(one) == {key: found for key, found in values_of(before).items() if key in keys}
        assert [lack.asset for lack in one.lacks] == (["nir"] if values_of(before) else [])
        if one.status is Status.SAVED:
            assert one.reason.startswith("without nir")


def test_a_band_that_fails_leaves_its_jobs_to_the_next_run(tmp_path: Path, scene: ValueScene) -> None:
    usual = scene.process(tmp_path / "usual", jobs_of(scene))
    jobs = scene.jobs(fields(scene.grid), {"nir": ("code", {"status": 403})})
    result = scene.process(tmp_path / "less", jobs)
    for one, before in zip(result.outcomes, usual.outcomes, strict=True):
        if values_of(before):
            assert (one.status, one.transient) == (Status.FAILED, True)
            assert values_of(one).items() < values_of(before).items()
        else:
            assert one.status is before.status
    retried = [
        replace(one.job, measure=one.measure, lacks=one.lacks, valued=frozenset(values_of(one)))
        for one in result.outcomes
    ]
    scene_now = {job.id: job.scene for job in jobs_of(scene)}
    again = scene.process(
        tmp_path / "again",
        [
            replace(job, scene=scene_now[job.id], lacks=tuple(replace(lack, again=True) for lack in job.lacks))
            for job in retried
        ],
    )
    assert statuses(again) == statuses(usual)
    for one, less, before in zip(again.outcomes, result.outcomes, usual.outcomes, strict=True):
        assert values_of(one) | values_of(less) == values_of(before)


@pytest.mark.parametrize(("code", "status"), [(404, None), (403, Status.FAILED)])
def test_a_classification_that_is_gone_takes_values_alone(
    tmp_path: Path, scene: ValueScene, code: int, status: Status | None
) -> None:
    usual = scene.process(tmp_path / "usual", jobs_of(scene), None)
    jobs = scene.jobs(fields(scene.grid), {"scl": ("code", {"status": code})})
    known = [
        replace(job, measure=one.measure) for job, one in zip(jobs, usual.outcomes, strict=True) if one.measure
    ]
    result = scene.process(tmp_path / "gone", known, ONLY_NDVI, assets=("red",))
    for one in result.outcomes:
        before = usual.outcomes[one.job.id - 1].status
        needed = one.job.id in accepted(result)
        assert one.status == (status or before if needed else before)
        assert [lack.asset for lack in one.lacks] == (["scl"] if needed else [])
        assert len(one.products) == (before is Status.SAVED)
        assert not values_of(one)


def test_a_scene_without_the_bands_is_measured_and_cropped(tmp_path: Path, scene: ValueScene) -> None:
    usual = scene.process(tmp_path / "usual", jobs_of(scene), None, assets=("red",))
    jobs = [
        replace(job, scene=replace(job.scene, assets={key: job.scene.assets[key] for key in ("scl", "red")}))
        for job in jobs_of(scene)
    ]
    result = scene.process(tmp_path / "less", jobs, ONLY_NDVI, assets=("red",))
    assert statuses(result) == statuses(usual)
    assert not with_values(result)
    # without any file for crops, values keep a scene going, and without files for both it is given up
    jobs = [replace(job, scene=replace(job.scene, assets={"scl": job.scene.assets["scl"]})) for job in jobs]
    gone = scene.process(tmp_path / "none", jobs, ONLY_NDVI, assets=("red",))
    assert set(statuses(gone).values()) == {Status.MISSING}
    assert scene.asked() == []


def test_an_area_that_is_too_large_has_a_reason_and_its_crops(
    tmp_path: Path, scene: ValueScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(scene, 8)
    usual = scene.process(tmp_path / "usual", jobs, ONLY_NDVI, assets=("red",))
    monkeypatch.setattr(fine_places, "LARGEST", 10)
    result = scene.process(tmp_path / "large", jobs, ONLY_NDVI, assets=("red",))
    assert statuses(result) == statuses(usual)
    assert not with_values(result)
    for one, before in zip(result.outcomes, usual.outcomes, strict=True):
        assert {crop.sha256 for crop in one.products} == {crop.sha256 for crop in before.products}
        assert [lack.asset for lack in one.lacks] == ([VALUES] if values_of(before) else [])
        if one.status is Status.SAVED and values_of(before):
            assert "too large" in one.reason


def test_of_many_areas_those_over_a_damaged_block_fail_and_no_other(tmp_path: Path, scene: ValueScene) -> None:
    usual = scene.process(tmp_path / "usual", jobs_of(scene), ONLY_NDVI)
    at, size = scene.block_under("nir", next(one.job for one in usual.outcomes if values_of(one)))
    damage = {"at": at, "size": size, "seed": 5, "how": "random", "often": 1000}
    jobs = scene.jobs(fields(scene.grid), {"nir": ("spoilt", damage)})
    result = scene.process(tmp_path / "torn", jobs, ONLY_NDVI)
    failed = {one.job.id for one in result.outcomes if one.status is Status.FAILED}
    assert failed
    assert failed < with_values(usual)
    for one, before in zip(result.outcomes, usual.outcomes, strict=True):
        if one.job.id not in failed:
            assert (one.status, values_of(one)) == (before.status, values_of(before))
        else:
            assert not values_of(one)
            assert "block" in one.reason


# ---- by coverage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [60, 9])
def test_values_by_coverage_are_those_of_exactextract(tmp_path: Path, scene: ValueScene, number: int) -> None:
    exactextract = pytest.importorskip("exactextract", reason="the extra coverage is not installed")
    wanted = Wanted(
        variables=(band("red"), band("swir16"), NDVI),
        statistics=("mean", "stdev", "min", "max"),
        classes=CLASSES,
        weights="coverage",
    )
    result = scene.process(tmp_path, jobs_of(scene, number), wanted)
    assert with_values(result) == accepted(result)
    west, north, east, south = scene.grid.bounds
    for variable in wanted.variables:
        values = scene.values(variable)
        raster = exactextract.raster.NumPyRasterSource(
            values, xmin=west, ymin=south, xmax=east, ymax=north, nodata=-9
        )
        for outcome in result.outcomes:
            if one := values_of(outcome).get(wanted.key(variable)):
                shape = oracle.project(outcome.job.area.polygon, "EPSG:32633")
                feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
                (found,) = exactextract.exact_extract(raster, [feature], ["count", "mean", "stdev", "min", "max"])
                counts = found["properties"]
                assert one.counts[3] == pytest.approx(counts["count"], rel=1e-6, abs=1e-6)
                if one.counts[3]:
                    expected = [counts[name] for name in ("mean", "stdev", "min", "max")]
                    assert one.statistics == pytest.approx(expected, abs=1e-6)
