"""The seams of a job's work: another cloud rule, and another kind of step, through the worker and its outcomes."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from s2async.causes import Cause
from s2async.clouds.rule import AreaPixels, CloudRule, judge_each
from s2async.config.model import Config
from s2async.engine import worker
from s2async.engine.step import Bench, StepKind, each_asset
from s2async.engine.tools import ToolSettings, open_tools
from s2async.errors import CorruptFile
from s2async.means import Work
from s2async.models import Asset, Batch, BatchResult, CloudMeasure, Job, Outcome, Status
from s2async.net.client import ClientSettings
from s2async.sandbox.truth import oracle
from tests.support import batches, worlds
from tests.support.settings import RULE, settings_in
from tests.support.states import make_scene
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow

ITEM = worlds.day(1, clouded=frozenset({"South"}))
FILES = {"scl": "SCL", "visual": "TCI", "red": "B04"}


@dataclass(frozen=True, slots=True)
class DarkRule:
    """A band of one number: an area is clear when at most half of its valid pixels are bright."""

    name: ClassVar[str] = "dark"
    assets: ClassVar[tuple[str, ...]] = ("red",)
    bins: ClassVar[int] = 4
    """No data, dark, bright, and values that mean nothing."""
    spoilt: ClassVar[frozenset[int]] = frozenset({2})

    bright: int = ITEM.seed + 450
    """The band grows from the north-west to the south-east."""

    def check(self, asset: str, bands: int, dtype: str) -> str:
        return "" if (asset, bands, dtype) == ("red", 1, "uint16") else f"not a band: {bands} x {dtype}"

    def highest(self, asset: str) -> int | None:
        return None

    def measure(self, found: Mapping[str, AreaPixels], /) -> CloudMeasure:
        look = found["red"]
        values = look.pixels[0][look.inside]
        edges = [0, 1, self.bright, 10_000, 1 << 16]
        counts, _ = np.histogram(values, edges)
        return CloudMeasure(histogram=tuple(counts.tolist()), total=look.total, rule=self.name)

    def verdict(self, measured: CloudMeasure, /) -> Status | None:
        assert measured.rule == self.name
        if measured.valid == 0:
            return Status.NODATA
        return Status.CLOUDY if measured.histogram[2] * 2 > measured.valid else None

    def verdicts(self, histograms: NDArray[np.int64], totals: NDArray[np.int64], /) -> NDArray[np.uint8]:
        return judge_each(self.verdict, histograms, totals, self.name)

    def is_held(self, pixels: int, total: int, /) -> bool:
        return pixels * 2 >= total


class PickyRule(DarkRule):
    """Measures nothing."""

    def check(self, asset: str, bands: int, dtype: str) -> str:
        return f"not what was promised: {bands} x {dtype}"


class BothRule:
    """Two assets: clear is what the classification calls clear and the band calls dark."""

    name = "both"
    assets = ("scl", "red")
    bins = 3
    spoilt = frozenset({1})

    def check(self, asset: str, bands: int, dtype: str) -> str:
        return (RULE if asset == "scl" else DarkRule()).check(asset, bands, dtype)

    def highest(self, asset: str) -> int | None:
        return RULE.highest(asset)

    def measure(self, found: Mapping[str, AreaPixels], /) -> CloudMeasure:
        assert found.keys() == {"scl", "red"}
        clear = not RULE.verdict(RULE.measure(found)) and not DarkRule().verdict(DarkRule().measure(found))
        total = found["scl"].total
        return CloudMeasure(histogram=(0, 0 if clear else total, 0), total=total, rule=self.name)

    def verdict(self, measured: CloudMeasure, /) -> Status | None:
        return Status.CLOUDY if measured.histogram[1] else None

    def verdicts(self, histograms: NDArray[np.int64], totals: NDArray[np.int64], /) -> NDArray[np.uint8]:
        return judge_each(self.verdict, histograms, totals, self.name)

    def is_held(self, pixels: int, total: int, /) -> bool:
        return pixels == total


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [ITEM])


def jobs_of(stage: Stage, *, without: str = "") -> list[Job]:
    place = f"{stage.sandbox.origin}/cogs/{ITEM.id}"
    assets = {key: Asset(key=key, href=f"{place}/{name}.tif") for key, name in FILES.items() if key != without}
    scene = replace(make_scene(ITEM.id), assets=assets)
    return [Job(id=number, area=area, scene=scene) for number, area in enumerate(batches.areas(), 1)]


def process(
    stage: Stage,
    folder: Path,
    jobs: Sequence[Job],
    rule: CloudRule,
    *,
    assets: tuple[str, ...] = ("visual",),
    steps: Sequence[StepKind] = worker.STEPS,
) -> BatchResult:
    settings = settings_in(folder, rule=rule, assets=assets)
    assert pickle.loads(pickle.dumps(settings)).assets == assets
    client = ClientSettings(origins=(stage.sandbox.origin,), connections=4)
    how = ToolSettings(client=client, work=Work(connections=4, threads=2, writers=1, memory=1 << 24))

    async def main() -> BatchResult:
        async with open_tools(how) as tools:
            batch = Batch(scene=jobs[0].scene, jobs=tuple(jobs))
            return await worker.process(batch, settings, tools, steps=steps)

    return asyncio.run(main())


def statuses(result: BatchResult) -> dict[str, Status]:
    return {outcome.job.area.name: outcome.status for outcome in result.outcomes}


def values_inside(source: Path, outcome: Outcome) -> NDArray[Any]:
    """The pixels of the area that hold data, as `rasterio.mask` finds them in the local file."""
    crop = oracle.plain_crop(source, outcome.job.area.polygon)
    assert crop is not None
    found: NDArray[Any] = crop.pixels[crop.pixels > 0]
    return found


def bright_share(stage: Stage, outcome: Outcome, bright: int) -> float:
    """Share of bright pixels among the valid ones."""
    source = stage.world.folder / "cogs" / ITEM.id / "B04.tif"
    values = values_inside(source, outcome)
    valid = values[(values > 0) & (values < 10_000)]
    return float((valid >= bright).mean())


# ---- another rule -----------------------------------------------------------------------------------------


def test_another_rule_decides_by_its_own_asset_and_its_measurement_bears_its_name(
    tmp_path: Path, stage: Stage
) -> None:
    rule = DarkRule()
    result = process(stage, tmp_path, jobs_of(stage), rule)
    shares = {outcome.job.area.name: bright_share(stage, outcome, rule.bright) for outcome in result.outcomes}
    expected = {name: Status.CLOUDY if share > 0.5 else Status.SAVED for name, share in shares.items()}
    assert statuses(result) == expected
    assert set(expected.values()) == {Status.CLOUDY, Status.SAVED}, "the test is worth something"
    paths = {entry.path.rpartition("/")[2] for entry in stage.sandbox.log()}
    assert paths == {"B04.tif", "TCI.tif"}, "the classification is not read"
    for outcome in result.outcomes:
        measured = outcome.measure
        assert measured is not None
        assert measured.rule == "dark"
        assert measured.histogram[2] / measured.valid == pytest.approx(shares[outcome.job.area.name])
        for product in outcome.products:
            with rasterio.open(tmp_path / outcome.job.area.folder / product.file) as crop:
                tags = crop.tags()
            assert tags["DARK_HISTOGRAM"] == " ".join(map(str, measured.histogram))
            assert float(tags["CLOUD_PERCENT"]) == pytest.approx(shares[outcome.job.area.name] * 100, abs=1e-4)
            assert "SCL_HISTOGRAM" not in tags


def test_what_another_rule_measured_is_measured_again(tmp_path: Path, stage: Stage) -> None:
    by_scl = process(stage, tmp_path, jobs_of(stage), RULE, assets=())
    known = [replace(outcome.job, measure=outcome.measure) for outcome in by_scl.outcomes]
    stage.sandbox.reset()
    assert statuses(process(stage, tmp_path, known, RULE, assets=())) == statuses(by_scl)
    assert stage.sandbox.log() == []
    by_band = process(stage, tmp_path, known, DarkRule(), assets=())
    assert {outcome.measure.rule for outcome in by_band.outcomes if outcome.measure} == {"dark"}
    assert {entry.path.rpartition("/")[2] for entry in stage.sandbox.log()} == {"B04.tif"}


def test_jobs_that_lack_an_asset_of_the_rule_are_missing(tmp_path: Path, stage: Stage) -> None:
    result = process(stage, tmp_path, jobs_of(stage, without="red"), DarkRule())
    assert set(statuses(result).values()) == {Status.MISSING}
    assert {(lack.asset, lack.cause) for outcome in result.outcomes for lack in outcome.lacks} == {
        ("red", Cause.NO_ASSET)
    }
    assert stage.sandbox.log() == []


def test_a_file_that_the_rule_cannot_measure_is_damaged(tmp_path: Path, stage: Stage) -> None:
    result = process(stage, tmp_path, jobs_of(stage), PickyRule())
    assert set(statuses(result).values()) == {Status.FAILED}
    assert all(outcome.cause is Cause.DAMAGED for outcome in result.outcomes)
    assert all("not what was promised: 1 x uint16" in outcome.reason for outcome in result.outcomes)


def test_a_rule_may_need_two_assets(tmp_path: Path, stage: Stage) -> None:
    by_scl = statuses(process(stage, tmp_path / "scl", jobs_of(stage), RULE))
    by_band = statuses(process(stage, tmp_path / "band", jobs_of(stage), DarkRule()))
    stage.sandbox.reset()
    by_both = process(stage, tmp_path / "both", jobs_of(stage), BothRule())
    clear = {name for name in by_scl if by_scl[name] == by_band[name] == Status.SAVED}
    assert statuses(by_both) == {name: Status.SAVED if name in clear else Status.CLOUDY for name in by_scl}
    assert {entry.path.rpartition("/")[2] for entry in stage.sandbox.log()} == {"SCL.tif", "TCI.tif", "B04.tif"}
    stage.sandbox.fault("code", path="B04", count=None, status=404)
    lacking = process(stage, tmp_path / "lacking", jobs_of(stage), BothRule())
    assert set(statuses(lacking).values()) == {Status.MISSING}
    assert all([lack.asset for lack in outcome.lacks] == ["red"] for outcome in lacking.outcomes)


def recorded_statuses(config: Config) -> dict[str, str]:
    statement = "SELECT places.name, jobs.status FROM jobs JOIN places ON places.area = jobs.area"
    return dict(worlds.query(config.run.state, statement))


def test_a_run_with_another_rule_is_recorded_and_not_measured_again(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    with monkeypatch.context() as patch:
        patch.setattr(Config, "cloud_rule", lambda _: DarkRule())
        first = worlds.run(path, stage.sandbox)
        recorded = recorded_statuses(first.config)
        dark, bright = dict.fromkeys(("North", "Wide"), "saved"), dict.fromkeys(("Tall", "Rim", "South"), "cloudy")
        assert recorded == {**dark, **bright, "Beyond": "outside"}
        assert not [path for path in first.paths if path.endswith("SCL.tif")]
        assert worlds.query(first.config.run.state, "SELECT DISTINCT asked FROM answers") == [("dark",)]
        again = worlds.run(path, stage.sandbox)
        assert not again.cogs, "judged by what the state holds"
        assert recorded_statuses(first.config) == recorded
    by_scl = worlds.run(path, stage.sandbox)
    assert {file.split("/")[-1] for file in by_scl.paths} >= {"SCL.tif"}
    plain = worlds.run(worlds.write_config(tmp_path / "plain", stage.sandbox), stage.sandbox)
    assert recorded_statuses(by_scl.config) == recorded_statuses(plain.config)
    assert not [file for file in by_scl.paths if file.endswith("B04.tif")]


# ---- another kind of step ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mean:
    """A kind of result."""

    asset: str
    value: float


class Means:
    """A kind of step: the mean of a band under each clear area, without a crop."""

    assets = ("red",)

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def run(self) -> None:
        await each_asset(self, self._bench.files)

    def wanting(self, asset: str) -> list[Job]:
        return [job for job in self._bench.endings.open() if job.id not in self._bench.endings.results]

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        files, results = self._bench.files, self._bench.endings.results
        source = await files.source(asset)
        places = await files.cutouts(source, jobs)
        inside = [(job, place) for job, place in zip(jobs, places, strict=True) if place is not None]
        async with files.pixels(source, inside) as parts:
            for job, part in parts:
                value = float(part.pixels[0][part.cutout.inside].mean())
                results[job.id] = [Mean(asset=asset.key, value=value)]


def test_another_kind_of_step_adds_its_results_to_the_outcomes(tmp_path: Path, stage: Stage) -> None:
    usual = process(stage, tmp_path / "usual", jobs_of(stage), RULE)
    steps = (*worker.STEPS, Means)
    result = process(stage, tmp_path / "more", jobs_of(stage), RULE, steps=steps)
    assert statuses(result) == statuses(usual)
    source = stage.world.folder / "cogs" / ITEM.id / "B04.tif"
    for outcome, before in zip(result.outcomes, usual.outcomes, strict=True):
        assert outcome.products == before.products
        if outcome.status is Status.SAVED:
            (mean,) = outcome.results
            assert isinstance(mean, Mean)
            values = values_inside(source, outcome)
            assert mean.value == pytest.approx(float(values.mean()))
        else:
            assert outcome.results == (), "nothing is read of what is not clear"


def test_a_step_whose_asset_cannot_be_read_leaves_the_others_theirs(tmp_path: Path, stage: Stage) -> None:
    class Broken(Means):
        async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
            raise CorruptFile("no numbers")

    result = process(stage, tmp_path, jobs_of(stage), RULE, steps=(*worker.STEPS, Broken))
    saved = [outcome for outcome in result.outcomes if outcome.status is Status.SAVED]
    assert len(saved) == 4
    assert all(outcome.products and not outcome.results for outcome in saved)
