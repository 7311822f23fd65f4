"""Areas, scenes and answers for tests of the state, and the steps that a run takes with it."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from shapely import box

from s2async.causes import Cause, Lack
from s2async.clouds.rule import judge_each
from s2async.models import Area, Asset, BatchResult, CloudMeasure, Job, Outcome, Product, Scene, Selection, Status
from s2async.state import database
from s2async.state.reader import Ledger
from s2async.state.records import Cursor
from s2async.state.statuses import Judge
from s2async.state.writer import State

VISUAL = Selection(assets=("visual",), mask=True, format="gtiff")
CLEAR = CloudMeasure(histogram=(0, 0, 0, 0, 250, *[0] * 8), total=250)
CLOUDS = CloudMeasure(histogram=(0, 0, 0, 0, 100, 0, 0, 0, 0, 150, 0, 0, 0), total=250)
EMPTY = CloudMeasure(histogram=(0,) * 13, total=250)


def judge(measured: CloudMeasure) -> Status | None:
    if not measured.valid:
        return Status.NODATA
    return Status.CLOUDY if measured.histogram[9] else None


def each(judge: Callable[[CloudMeasure], Status | None]) -> Judge:
    """Judge measurements one by one, as `clouds.rule.CloudRule.verdicts` judges many."""
    return partial(judge_each, judge)


@functools.cache
def _empty() -> bytes:
    """A state without rows. Creating one runs every migration, and each of them waits for the disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.sqlite")
        State.create_or_open(path).close()
        return path.read_bytes()


def new_state(path: Path) -> State:
    """Open a state as a first run does, but from a copy of an empty one; `test_database` tests creating one."""
    path.write_bytes(_empty())
    return State.create_or_open(path)


def make_area(name: str, *, folder: str | None = None, key: str | None = None) -> Area:
    fingerprint = hashlib.sha256((key or name).encode()).hexdigest()[:16]
    return Area(name=name, wkb=box(13, 52, 13.1, 52.1).wkb, fingerprint=fingerprint, folder=folder or name)


def make_scene(
    name: str = "S2A_33UUU_20220101_0_L2A",
    *,
    version: str = "v1",
    updated: str = "2022-01-02T00:00:00Z",
    minutes: float = 0,
    baseline: str = "04.00",
    assets: Sequence[str] = ("scl", "visual"),
    host: str = "https://cogs.example",
    datastrip: str = "",
    datatake: str = "",
) -> Scene:
    return Scene(
        id=name,
        collection="sentinel-2-l2a",
        version=version,
        updated=updated,
        datetime=datetime(2022, 1, 1, 10, 0, 0, 123456, tzinfo=UTC) + timedelta(minutes=minutes),
        platform="sentinel-2a",
        grid="33UUU",
        cloud=12.5,
        epsg=32633,
        baseline=baseline,
        generated="",
        datastrip=datastrip,
        footprint=box(12, 51, 14, 53),
        assets={key: Asset(key=key, href=f"{host}/{name}/{key.upper()}.tif") for key in assets},
        absent={},
        datatake=datatake,
    )


def make_product(job: Job, asset: str = "visual", *, mask: bool = True, kind: str = "gtiff") -> Product:
    file = f"{job.scene.id}_{asset}.tif"
    sha256 = hashlib.sha256(f"{job.id} {file}".encode()).hexdigest()
    return Product(asset=asset, file=file, bytes=1000, sha256=sha256, mask=mask, format=kind, epsg=32633)


def saved(job: Job, *assets: str) -> Outcome:
    products = tuple(make_product(job, asset) for asset in assets or ("visual",))
    return Outcome(job=job, status=Status.SAVED, measure=CLEAR, products=products)


def cloudy(job: Job) -> Outcome:
    return Outcome(job=job, status=Status.CLOUDY, measure=CLOUDS)


def failed(job: Job, *, transient: bool = False, measure: CloudMeasure | None = None) -> Outcome:
    return Outcome(job=job, status=Status.FAILED, reason="timed out", transient=transient, measure=measure)


def lack(asset: str, cause: Cause = Cause.NOT_THERE) -> Lack:
    """That an asset is missing, or for other causes that it failed in a way that may pass."""
    gone = cause in (Cause.NOT_THERE, Cause.JPEG2000, Cause.NO_ASSET)
    return Lack(
        asset=asset, cause=cause, text=cause.words, host="https://cogs.example", missing=gone, transient=not gone
    )


def missing(
    job: Job, *assets: str, measure: CloudMeasure | None = None, cause: Cause = Cause.NOT_THERE
) -> Outcome:
    lacks = tuple(lack(asset, cause) for asset in assets or ("visual",))
    reason = f"{lacks[0].asset}: {cause.words}"
    return Outcome(job=job, status=Status.MISSING, reason=reason, measure=measure, cause=cause, lacks=lacks)


def record(state: State, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        state.record(BatchResult(outcomes=(outcome,)), [])


def start(state: State, areas: Sequence[Area], selection: Selection = VISUAL) -> dict[tuple[str, str], int]:
    """What a run does before its first request."""
    state.sync_areas(areas)
    state.commit_folders()
    changes = state.update_statuses(each(judge), selection)
    state.begin_run("{}", "1.0")
    return changes


def add(
    state: State, scene: Scene, areas: Sequence[Area], selection: Selection = VISUAL, *, newest: bool = True
) -> list[Job]:
    return [*state.add_scene(scene, areas, replace(selection, newest_only=newest))]


def open_jobs(state: State, limit: int = 500, *, selection: Selection = VISUAL, newest: bool = True) -> list[Job]:
    found: list[Job] = []
    cursor: Cursor | None = None
    while True:
        page, cursor = state.open_jobs(replace(selection, newest_only=newest), cursor, limit)
        found += page
        if cursor is None:
            return found


@contextmanager
def read_while(path: Path, write: Callable[[], None], *, after: str) -> Iterator[Ledger]:
    """A state that is open for reading, while a run writes it each time after a statement was read."""

    class Slow(Ledger):
        def _each(self, statement: str, values: Any = ()) -> Iterator[Any]:
            yield from super()._each(statement, values)
            if statement == after:
                write()

    with closing(database.open_for_reading(path)) as db:
        yield Slow(path, db)


def steps_of(state: State, work: Callable[[], object]) -> int:
    """What some work costs in the state: hundreds of instructions of SQLite's virtual machine."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    state._db.set_progress_handler(count, 100)
    work()
    state._db.set_progress_handler(None, 0)
    return steps


A, B, C = make_area("a"), make_area("b"), make_area("c")
