"""The data of a report, computed from rows of the state. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby, pairwise
from typing import Final

from s2async.clouds.shares import cloud_percent
from s2async.models import Area, Status, Traffic
from s2async.report.series import Curve
from s2async.state.records import OPEN, JobRow, RunRow, SavedRow, WholeFiles

ORDER: Final = (*(str(status) for status in Status), OPEN)
"""Statuses of jobs by priority: the calendar shows the first of these if a day has several observations."""
POINTS: Final = 3000
"""Maximum number of points of a scatter plot that are stored individually."""
SCENE_AXIS: Final = "cloud of the whole scene, %"
AREA_AXIS: Final = "cloud inside the area, %"
"""Labels of the axes of the scatter plot."""
VISUAL: Final = "visual"
COLOURS: Final = (("red", "green", "blue"), ("B04", "B03", "B02"), ("B04_10m", "B03_10m", "B02_10m"))
"""Asset keys of red, green and blue, as catalogues name them."""
CELL: Final = 2
"""Size in per cent of the cells in which points are counted if there are more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """An observation, which is one job: an area in a scene."""

    day: date
    """Sensing day, UTC."""
    item: str
    grid: str
    """MGRS tile of the scene; the empty string if unknown."""
    status: str
    """A `models.Status`, or ``open``."""
    scene_cloud: float | None
    """Cloud cover in per cent."""
    area_cloud: float | None
    """Per cent of the area's valid pixels that are cloudy; None if no pixels are valid, or it was not measured."""
    asset: str = ""
    """Asset key of the crop to show, or the keys of red, green and blue; the empty string if there is no crop."""
    path: str = ""
    """Path of that crop, relative to the output folder, with forward slashes."""
    more: tuple[str, ...] = ()
    """Paths of the crops of green and blue, if `path` is the crop of red and all three form the image."""
    crops: int = 0
    """Number of saved crops: one for each asset."""

    @property
    def is_clear(self) -> bool:
        """Whether the area is clear; also True if one asset failed but the crop of another is saved."""
        return bool(self.path) or self.status == Status.SAVED


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """An area with all its observations."""

    area: Area
    looks: tuple[Look, ...]
    """Observations in chronological order."""
    curves: tuple[Curve, ...] = ()
    """Curves of its values, without variables that have no values."""

    @property
    def valued_days(self) -> int:
        """Number of days with a value."""
        return len({value.day for curve in self.curves for value in curve.values})

    @property
    def counts(self) -> Counter[str]:
        """Number of jobs by status."""
        return Counter(look.status for look in self.looks)

    @property
    def days_by_status(self) -> Counter[str]:
        """Number of days by status.

        Each day counts once, by the observation that the calendar shows; clear days as saved.
        """
        clear = {look.day for look in self.looks if look.is_clear}
        return Counter(
            str(Status.SAVED) if day in clear else several[0].status for day, several in self.days().items()
        )

    @property
    def span(self) -> tuple[date, date] | None:
        """First and last day of all observations; None if there are no observations."""
        return (self.looks[0].day, self.looks[-1].day) if self.looks else None

    @property
    def clear_days(self) -> list[date]:
        """Days on which the area was clear, oldest first."""
        return sorted({look.day for look in self.looks if look.is_clear})

    @property
    def longest_gap(self) -> tuple[date, date] | None:
        """The two consecutive clear days that are furthest apart; None if there are fewer than two."""
        return max(pairwise(self.clear_days), key=lambda pair: pair[1] - pair[0], default=None)

    def days(self) -> dict[date, list[Look]]:
        """Return the observations by day; those of a day are in the order of `ORDER`."""
        found: dict[date, list[Look]] = {}
        for look in self.looks:
            found.setdefault(look.day, []).append(look)
        for several in found.values():
            several.sort(key=lambda look: ORDER.index(look.status))
        return found


def looks(rows: Iterable[JobRow], classes: Collection[int], assets: Sequence[str] = ()) -> Iterator[Look]:
    """Convert rows of one area to observations.

    A job has a row for each of its crops; the observation refers to the crops that `_chosen` selects.

    Args:
        rows: rows as `state.reader.Ledger.job_rows` yields them.
        classes: SCL classes that count as cloud.
        assets: assets in the order of the configuration.
    """
    for _, several in groupby(rows, key=lambda row: (row.collection, row.item)):
        group = list(several)
        row = group[0]
        crops = [row for row in group if isinstance(row, SavedRow)]
        chosen = _chosen(crops, assets)
        paths = [f"{crop.folder}/{crop.file}" for crop in chosen]
        yield Look(
            day=row.datetime.date(),
            item=row.item,
            grid=row.grid,
            status=str(row.status),
            scene_cloud=row.scene_cloud,
            area_cloud=cloud_percent(row.measure, classes) if row.measure else None,
            asset=", ".join(crop.asset for crop in chosen),
            path=paths[0] if paths else "",
            more=tuple(paths[1:]),
            crops=len(crops),
        )


def _chosen(crops: Sequence[SavedRow], assets: Sequence[str]) -> list[SavedRow]:
    """Choose the crops to show: true colour, or red, green and blue, or the first asset of the configuration."""
    by_asset = {crop.asset: crop for crop in crops}
    for several in ((VISUAL,), *COLOURS):
        if all(asset in by_asset for asset in several):
            return [by_asset[asset] for asset in several]
    order = {asset: number for number, asset in enumerate(assets)}
    return sorted(crops, key=lambda crop: order.get(crop.asset, len(order)))[:1]


@dataclass(frozen=True, slots=True)
class Point:
    """An examined job in the scatter plot."""

    scene: float
    area: float
    """Cloud cover of scene and area, in per cent."""
    status: str
    label: str


@dataclass(kw_only=True, slots=True)
class Scatter:
    """Cloud cover of scene and area for every examined job: as points, or as counts if there are many."""

    points: list[Point] = field(default_factory=list)
    """All points if there are at most `POINTS`; otherwise empty."""
    cells: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Number of points by column and row of a grid of `CELL` per cent."""
    misjudged: Counter[str] = field(default_factory=Counter)
    """Number of jobs that the cloud cover of the scene alone would misjudge, by kind; see `add`."""

    def add(self, watched: Watched) -> None:
        """Add the observations with a cloud cover of both scene and area."""
        for look in watched.looks:
            if look.scene_cloud is None or look.area_cloud is None:
                continue
            self.cells[_cell(look.scene_cloud), _cell(look.area_cloud)] += 1
            clear = look.is_clear
            self.misjudged["clear under clouds"] += clear and look.scene_cloud >= 50
            self.misjudged["clear"] += clear
            self.misjudged["covered under blue"] += look.area_cloud >= 50 and look.scene_cloud <= 20
            self.misjudged["blue"] += look.scene_cloud <= 20
            if self.count <= POINTS:
                told = f"scene {look.scene_cloud:.1f} %, area {look.area_cloud:.1f} %"
                label = f"{watched.area.name}, {look.day}: {told}"
                status = str(Status.SAVED) if clear else look.status
                self.points.append(Point(look.scene_cloud, look.area_cloud, status, label))
        if self.count > POINTS:
            self.points.clear()

    @property
    def count(self) -> int:
        """Number of points."""
        return self.cells.total()

    @property
    def extreme(self) -> int:
        """Number of points in the lowest and the highest row of cells: almost clear and almost cloudy areas."""
        return sum(count for (_, row), count in self.cells.items() if row in (0, 100 // CELL - 1))


def _cell(percent: float) -> int:
    return min(int(percent // CELL), 100 // CELL - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A part of the bytes of the whole files."""

    kind: str
    """``skipped``, ``window`` or ``moved``."""
    bytes: int
    percent: float
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """The bytes of the whole files, compared with what was downloaded."""

    whole: int
    """Bytes of SCL and the requested assets of all items with a job."""
    skipped: int
    """Part of these: the requested assets of items in which no area was clear."""
    moved: int
    """Bytes downloaded in all requests."""
    files: int
    """Number of whole files."""
    estimated: int
    """Number of these whose size is estimated as the median of the known sizes."""
    unknown: int
    """Number of files whose size cannot be estimated; they are not included in ``whole``."""

    @property
    def window(self) -> int:
        """Bytes saved by reading only the windows under the areas; negative if whole files would be smaller."""
        return self.whole - self.skipped - self.moved

    def shares(self) -> tuple[Share, ...]:
        """Split the bytes of the whole files into three parts. ``whole`` must not be 0."""
        parts = (
            ("skipped", self.skipped, "not downloaded: no area was clear in the scene"),
            ("window", self.window, "not downloaded: outside the windows under the areas"),
            ("moved", self.moved, "downloaded"),
        )
        return tuple(
            Share(kind=kind, bytes=count, percent=100 * count / self.whole, words=words)
            for kind, count, words in parts
        )


def saving(every: WholeFiles, classification: WholeFiles, moved: int) -> Saving:
    """Compare what was downloaded with whole files.

    Args:
        every: whole files of SCL and the requested assets.
        classification: whole files of SCL only. They are needed for all scenes, even to skip the cloudy ones.
        moved: bytes downloaded.
    """
    skipped = (every.all.bytes - every.saved.bytes) - (classification.all.bytes - classification.saved.bytes)
    return Saving(
        whole=every.all.bytes,
        skipped=max(0, skipped),
        moved=moved,
        files=every.all.files,
        estimated=every.all.estimated,
        unknown=every.all.unknown,
    )


def run_seconds(runs: Sequence[RunRow]) -> tuple[float, int]:
    """Return the total duration of all finished runs in seconds, and the number of others (killed or running)."""
    spans = [datetime.fromisoformat(run.ended) - datetime.fromisoformat(run.started) for run in runs if run.ended]
    return sum(span.total_seconds() for span in spans), len(runs) - len(spans)


def total(traffic: Sequence[Traffic]) -> tuple[int, int]:
    """Return the total requests and bytes of all kinds."""
    return sum(entry.requests for entry in traffic), sum(entry.bytes for entry in traffic)
