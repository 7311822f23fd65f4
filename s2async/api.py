"""s2async from Python: run, stream and read, and their blocking counterparts.

Every function takes a configuration as a :class:`~s2async.Config`, as the path of a TOML file, or as a mapping of
the same shape. The coroutines need a running event loop, such as that of a notebook. The functions that end in
``_sync`` may be called anywhere; a running event loop is blocked until they return.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from s2async import log_file
from s2async.areas import loader as area_files
from s2async.areas.faults import Changes
from s2async.clouds.shares import cloud_percent
from s2async.cog import gdal
from s2async.cog.tiff import Layout
from s2async.config.model import Config
from s2async.engine import clusters, pipeline
from s2async.engine.clusters import Cluster
from s2async.engine.limits import RunLimits
from s2async.engine.metrics_file import MetricsFile
from s2async.engine.progress import Progress, Summary
from s2async.errors import ConfigError, CorruptFile, LocalError
from s2async.export import values as value_tables
from s2async.maintenance.guards import opened
from s2async.models import Area, Attribute, Event, JobDone, Notice, Outcome
from s2async.reflectance import convert
from s2async.reflectance.decision import QUANTIFICATION, is_reflectance
from s2async.state.reader import Ledger
from s2async.state.records import SavedRow
from s2async.text import one_line

T = TypeVar("T")

ConfigLike = Config | str | os.PathLike[str] | Mapping[str, Any]
"""A configuration, the path of one, or a mapping such as ``{"areas": "fields.geojson", "search": {...}}``."""


NAMED = 10
"""Areas that a message names, at most."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CropArray:
    """A saved crop that was read."""

    pixels: NDArray[np.generic]
    """(bands, rows, columns), of the file's dtype."""
    transform: Affine
    """From (column, row) of pixel corners to coordinates of the CRS."""
    epsg: int
    nodata: float | None
    area: str
    item: str
    asset: str
    datetime: datetime
    """Time of sensing, UTC, aware."""
    platform: str
    grid: str
    """MGRS grid square such as ``33UUU``."""
    scene_cloud: float | None
    """Cloud cover of the whole scene in per cent according to the catalogue; None when unknown."""
    area_cloud: float | None
    """Spoilt share of the area's valid pixels in per cent; None when it was not measured."""
    path: Path
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """Values of the areas' own columns, as in the areas' file; and first and last day of the area's season, if it
    has one, as ``valid_from`` and ``valid_to``."""
    scale: float | None = None
    """Value of a pixel = scale * pixel + offset: reflectance, for reflectance bands; None when unknown."""
    offset: float | None = None
    """See ``scale``; None when unknown."""
    offset_basis: str = ""
    """For reflectance bands, why the offset was chosen, such as ``flag``; else the empty string."""
    offset_doubt: str = ""
    """For reflectance bands, what contradicts the offset; the empty string when nothing does."""

    @property
    def reflectance(self) -> NDArray[np.float64]:
        """Surface reflectance (bands, rows, columns), NaN where there is no data.

        Raises:
            ConfigError: it is no crop of a reflectance band, or its offset is unknown.
        """
        if not is_reflectance(self.asset):
            raise ConfigError(f"{self.asset} is no reflectance band, such as red or nir: {self.path}")
        if self.offset is None:
            raise ConfigError(
                f"the offset of {self.path} is unknown, so its pixels mean no reflectance: say offsets = ... in "
                "the table catalog of [search], or for crops of an earlier version run s2async verify"
            )
        return convert.reflectance(self.pixels, round(self.offset * QUANTIFICATION))


# ---- settings ---------------------------------------------------------------------------------------------


def load_config(config: ConfigLike) -> Config:
    """Read and check a configuration.

    Args:
        config: a `Config`, which is returned as it is, the path of a TOML file, or a mapping. Paths in a mapping
            are relative to the current folder.

    Raises:
        ConfigError: the configuration cannot be used; one line says why.

    Example::

        config = s2async.load_config({
            "areas": "fields.geojson",
            "search": {"datetime": "2024-05-01/2024-08-31"},
            "output": {"folder": "crops", "assets": ["visual", "nir"]},
        })
    """
    if isinstance(config, Config):
        return config
    if not isinstance(config, Mapping):
        return Config.load(Path(config))
    return Config.of(config)


def load_areas(config: ConfigLike) -> list[Area]:
    """Load the areas of a configuration; some of them can be passed to `run`.

    A mapping works too: ``load_areas({"areas": [{"name": "North", "wkt": "POLYGON ((...))"}]})``.

    A `PlaceWarning` is issued for areas that may be misplaced because of their CRS.

    Raises:
        ConfigError: the configuration or an area cannot be used.

    Example::

        big = [area for area in s2async.load_areas("fields.toml") if area.polygon.area > 1e-4]
        s2async.run_sync("fields.toml", areas=big)
    """
    return area_files.load(load_config(config))


# ---- running ----------------------------------------------------------------------------------------------


async def run(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
    metrics: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Search, check, crop and save, and go on where an earlier run of the same state stopped.

    When it is cancelled, the run stops normally, and its results are kept.

    Args:
        config: settings.
        areas: some of `load_areas`, or others; those of the configuration by default. They become the areas of the
            state: jobs of other areas wait for a run with these areas, and until then their crops are on disk, but
            neither in the index nor known to `read` and `status`. To process many areas in parts, use a state and
            an output folder for each part, or all areas and a ``limit``.
        limit: maximum number of jobs to process.
        max_bytes: bytes received by this run after which it starts nothing new; work in progress is finished, so
            that somewhat more may be received.
        max_seconds: seconds after which it starts nothing new; work in progress is finished.
        new_state: start a new state even if the disk with the state of earlier runs is not mounted.
        executor: ``local``, the default, or ``dask`` to have the workers of a Dask cluster read and cut.
        scheduler: address of its scheduler, such as ``tcp://10.0.0.5:8786``, a scheduler file (``*.json``), or
            ``dask://local?workers=4`` for a cluster of this machine that the run starts and ends; the latter, with
            a worker for each core, by default.
        send_crops: workers send crops to this process, which writes them: they need not see the output folder.
        metrics: file to which metrics for Prometheus are written every few seconds and at the end.
        on_event: called with every event, in the event loop's thread.

    Returns:
        How the run ended. ``summary.clean`` is true when no job has failed, every search is complete and there is
        no alarm; ``summary.alarms`` says why next to nothing could be read, and what to do.

    Raises:
        ConfigError: the configuration, the areas or a limit cannot be used; or the state or the output folder
            belongs to another job, or is on a disk that is not mounted.
        StateInUse, StateError: the state cannot be used.
        LocalError: this machine stopped the run; it can be resumed.
        ClusterError: the Dask cluster does not answer, or no longer; the run can be resumed.
        HostParked: a server gave no answer within the patience of the configuration; the run can be resumed.

    Example::

        summary = await s2async.run("fields.toml")
        print(summary.done, summary.bytes)
    """
    cluster = clusters.chosen(executor, scheduler, send_crops=send_crops)
    kept = None
    if metrics is not None:
        kept = MetricsFile(Path(metrics), _name(config), lambda text: on_event(Notice(text=text, grave=True)))
    try:
        summary = await _run(
            load_config(config),
            areas,
            RunLimits(jobs=limit, bytes=max_bytes, seconds=max_seconds),
            cluster=cluster,
            new_state=new_state,
            metrics=kept,
            on_event=on_event,
        )
    except BaseException as error:
        if kept:
            kept.fail(error)
        raise
    if kept:
        kept.end(summary.exit_code)
    return summary


async def _run(
    settings: Config,
    areas: Sequence[Area] | None,
    limits: RunLimits,
    *,
    cluster: Cluster | None,
    new_state: bool,
    metrics: MetricsFile | None,
    on_event: Callable[[Event], None],
) -> Summary:
    """See `run`."""

    def on_notice(notice: Notice) -> None:
        area_files.warn(notice)
        on_event(notice)

    changes = None
    if areas is None:
        wanted, changes = await _examined(settings, on_notice)
    else:
        wanted = list(areas)
    if not wanted:
        raise ConfigError("areas is empty: nothing would be left in the index; pass at least one area")
    progress = Progress()
    keeping = None
    if metrics:
        metrics.progress = progress
        keeping = asyncio.create_task(metrics.keep())
    try:
        with log_file.writing(settings.run.log):
            return await pipeline.run(
                settings,
                wanted,
                cluster=cluster,
                limits=limits,
                changes=changes,
                new_state=new_state,
                progress=progress,
                on_event=on_event,
            )
    finally:
        if keeping:
            keeping.cancel()


def _name(config: ConfigLike) -> str:
    """What names a configuration in metrics: its file, or else its state."""
    if isinstance(config, Mapping):
        config = load_config(config)
    if isinstance(config, Config):
        return str((config.file or config.run.state).absolute())
    return str(Path(config).absolute())


async def _examined(config: Config, on_notice: Callable[[Notice], None]) -> tuple[list[Area], Changes]:
    """Load the areas of a configuration in a thread, so that the event loop goes on with its other tasks."""
    notices: list[Notice] = []
    try:
        loaded = await asyncio.to_thread(area_files.examine, config, notices.append)
    finally:
        for notice in notices:
            on_notice(notice)
    return loaded.areas, loaded.changes


async def stream(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
) -> AsyncGenerator[Outcome, None]:
    """Run, and yield each outcome as soon as it is recorded: of saved crops, and also of cloudy areas.

    When the loop is left early, the run stops normally. Outcomes that are not taken yet wait in memory, about 1 kB
    each.

    Args:
        config: settings.
        areas: as for `run`.
        limit: maximum number of jobs to process.
        max_bytes: bytes received by this run after which it starts nothing new; work in progress is finished, so
            that somewhat more may be received.
        max_seconds: seconds after which it starts nothing new; work in progress is finished.
        new_state: start a new state even if the disk with the state of earlier runs is not mounted.
        executor: as for `run`.
        scheduler: as for `run`.
        send_crops: as for `run`.

    Raises:
        ConfigError, StateError, LocalError, ClusterError, HostParked: as for `run`, after all outcomes.

    Example::

        async for outcome in s2async.stream("fields.toml"):
            if outcome.status == "saved":
                print(outcome.job.area.name, outcome.job.scene.datetime)
    """
    done = asyncio.Queue[Outcome | None]()

    def on_event(event: Event) -> None:
        if isinstance(event, JobDone):
            done.put_nowait(event.outcome)

    running = asyncio.create_task(
        run(
            config,
            areas=areas,
            limit=limit,
            max_bytes=max_bytes,
            max_seconds=max_seconds,
            new_state=new_state,
            executor=executor,
            scheduler=scheduler,
            send_crops=send_crops,
            on_event=on_event,
        )
    )
    running.add_done_callback(lambda _: done.put_nowait(None))
    try:
        while (outcome := await done.get()) is not None:
            yield outcome
        running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def run_sync(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
    metrics: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Like `run`, but blocks until the run has ended. Ctrl-C stops the run normally.

    Inside a running event loop, as in a notebook, the run has a thread of its own, which calls ``on_event``.

    Example::

        summary = s2async.run_sync("fields.toml", limit=20)
    """
    return _waited_for(
        lambda: run(
            config,
            areas=areas,
            limit=limit,
            max_bytes=max_bytes,
            max_seconds=max_seconds,
            new_state=new_state,
            executor=executor,
            scheduler=scheduler,
            send_crops=send_crops,
            metrics=metrics,
            on_event=on_event,
        )
    )


def stream_sync(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
) -> Generator[Outcome, None, None]:
    """Like `stream`, but for a plain ``for`` loop. The run has a thread of its own.

    Example::

        for outcome in s2async.stream_sync("fields.toml"):
            print(outcome.status, outcome.job.area.name)
    """
    found = queue.SimpleQueue[Outcome | None]()

    async def work() -> None:
        try:
            streamed = stream(
                config,
                areas=areas,
                limit=limit,
                max_bytes=max_bytes,
                max_seconds=max_seconds,
                new_state=new_state,
                executor=executor,
                scheduler=scheduler,
                send_crops=send_crops,
            )
            async with aclosing(streamed) as outcomes:
                async for outcome in outcomes:
                    found.put(outcome)
        finally:
            found.put(None)

    thread = _LoopThread(work)
    try:
        while (outcome := found.get()) is not None:
            yield outcome
    except BaseException:
        thread.cancel()
        raise
    thread.result()


# ---- reading ----------------------------------------------------------------------------------------------


def read(
    config: ConfigLike, *, area: str | None = None, item: str | None = None, asset: str | None = None
) -> Iterator[CropArray]:
    """Yield the saved crops as arrays, by area, then time. Only the local disk is read, one crop after another.

    Args:
        config: settings of a run that has ended or is going on.
        area: name of the only area to read.
        item: id of the only item to read.
        asset: key of the only asset to read.

    Raises:
        ConfigError: the configuration cannot be used, there was no run yet, the state or the output folder
            belongs to another job, the last run had no such area, no such asset is configured or saved, or an
            argument is a list.
        StateError: the state cannot be used.
        LocalError: a crop is missing or cannot be read.
        CorruptFile: a crop is damaged.

    Example::

        for crop in s2async.read("fields.toml", area="North field", asset="visual"):
            print(crop.datetime, crop.pixels.shape, crop.area_cloud, crop.attributes)
    """
    check_single(area=area, item=item, asset=asset)
    settings = load_config(config)
    spoilt, found = settings.cloud_rule().spoilt, False
    with opened(settings) as ledger:
        for row in ledger.saved_rows(settings.selection(), area=area):
            if item in (None, row.item) and asset in (None, row.asset):
                found = True
                path = settings.output.folder / row.folder / row.file
                yield _read_crop(path, row, spoilt)
        if not found:
            _check_known(ledger, settings, area, asset)


def values(config: ConfigLike, *, area: str | None = None, wide: bool = False) -> Any:
    """Read the values of all areas: a row for each area, date, and band or index, by area, then time.

    Args:
        config: settings of a run that has ended or is going on, with ``[values]``.
        area: name of the only area to read.
        wide: a row for each area and date instead, with columns such as ``NDVI_mean``; needs pyarrow.

    Returns:
        A pyarrow table, whose ``to_pandas()`` is a data frame; without pyarrow (extra ``parquet``), a list of
        `ValueRow`.

    Raises:
        ConfigError: the configuration cannot be used or asks for no values, there was no run yet, the state or the
            output folder belongs to another job, or the last run had no such area.
        StateError: the state cannot be used.

    Example::

        table = s2async.values("fields.toml").to_pandas()
        ndvi = table[table.name == "NDVI"].pivot(index="date", columns="area", values="mean")
    """
    check_single(area=area)
    settings = load_config(config)
    with opened(settings) as ledger:
        found = value_tables.table(ledger, settings, wide=wide, area=area)
        if area is not None:
            _check_known(ledger, settings, area, None)
        try:
            from s2async.export import values_arrow
        except ImportError:
            if wide:
                raise ConfigError("wide = True needs pyarrow: pip install 's2async[parquet]'") from None
            return list(value_tables.value_rows(found))
        return values_arrow.read(found)


def check_single(**arguments: object) -> None:
    """Check that arguments are texts or None.

    Raises:
        ConfigError: one of them is a list or the like.
    """
    for name, value in arguments.items():
        if not (value is None or isinstance(value, str)):
            raise ConfigError(f"{name} is {one_line(repr(value))}: give one {name} as a text, such as 'A'")


def saved_assets(ledger: Ledger, settings: Config, area: str | None = None) -> list[str]:
    """Keys of the assets with saved crops, of one area or of all, in alphabetical order."""
    return sorted({row.asset for row in ledger.saved_rows(settings.selection(), area=area)})


def _check_known(ledger: Ledger, settings: Config, area: str | None, asset: str | None) -> None:
    """Check the names with which no crop was found.

    Raises:
        ConfigError: there is no such area, or no such asset is configured or saved.
    """
    areas = list(dict.fromkeys(place.name for place in ledger.places()))
    if area is not None and area not in areas:
        shown = ", ".join(map(repr, areas[:NAMED])) + ", ..." * (len(areas) > NAMED)
        raise ConfigError(f"the last run had no area of the name {area!r}; there are: {shown or 'none'}")
    if asset is None or asset in settings.output.assets or asset in saved_assets(ledger, settings):
        return
    raise ConfigError(
        f"the asset {asset!r} is neither configured nor saved; {saved_words(ledger, settings, area)}"
    )


def saved_words(ledger: Ledger, settings: Config, area: str | None) -> str:
    """Say which assets are saved, of one area or of all."""
    saved, whose = saved_assets(ledger, settings, area), f"of area {area!r} " if area else ""
    return f"saved {whose}are crops of: {', '.join(saved)}" if saved else f"no crop {whose}is saved"


def _read_crop(path: Path, row: SavedRow, spoilt: Collection[int]) -> CropArray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LocalError(
            f"cannot read the crop {path}: {error.strerror}; s2async verify opens it again"
        ) from error
    try:
        layout, pixels = gdal.whole(data)
    except CorruptFile as error:
        raise CorruptFile(f"the crop {path} {error}; try s2async verify") from error
    return CropArray(
        pixels=pixels,
        transform=layout.grid.transform,
        epsg=layout.grid.epsg,
        nodata=layout.nodata,
        area=row.area,
        item=row.item,
        asset=row.asset,
        datetime=row.datetime,
        platform=row.platform,
        grid=row.grid,
        scene_cloud=row.scene_cloud,
        area_cloud=cloud_percent(row.measure, spoilt) if row.measure else None,
        path=path,
        attributes=row.attributes,
        **_numbers(row, layout),
    )


def _numbers(row: SavedRow, layout: Layout) -> dict[str, Any]:
    """Scale and offset of a crop: of a reflectance band by the state, else as its file says."""
    if not is_reflectance(row.asset):
        return {"scale": layout.scales[0], "offset": layout.offsets[0]}
    about = {"offset_basis": row.offset_basis, "offset_doubt": row.doubt}
    if row.offset is None:
        return about
    return about | {"scale": convert.SCALE, "offset": row.offset / QUANTIFICATION}


# ---- waiting ----------------------------------------------------------------------------------------------


def _waited_for(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do some work and return its result.

    Without a running event loop, this thread does it, so that Ctrl-C interrupts it; else another thread does.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    result: T = _LoopThread(work).result()
    return result


class _LoopThread:
    """A thread with an event loop for one coroutine."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._outcome: tuple[Any, BaseException | None] = (None, None)
        self._begun = threading.Event()
        self._task: asyncio.Task[Any] | None = None
        self._thread = threading.Thread(target=self._main, args=[work], name="s2async", daemon=True)
        self._thread.start()
        self._begun.wait()

    def _main(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def main() -> Any:
            self._task = asyncio.current_task()
            self._begun.set()
            return await work()

        try:
            self._outcome = asyncio.run(main()), None
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._outcome = None, error
        finally:
            self._begun.set()

    def result(self) -> Any:
        """Wait for the result of the work, or raise its error. An interrupt while waiting cancels the work."""
        try:
            self._thread.join()
        except BaseException:
            self.cancel()
            raise
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def cancel(self) -> None:
        """Cancel the work, and wait until it has stopped."""
        if self._task is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        self._thread.join()
