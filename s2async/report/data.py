"""What a report tells, worked out from the rows of the state. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby, pairwise
from typing import Final

from s2async.clouds import cloud_percent
from s2async.models import Area, Status, Traffic
from s2async.state.records import OPEN, JobRow, RunRow, SavedRow, WholeFiles

ORDER: Final = (*(str(status) for status in Status), OPEN)
"""All that may have become of a job, the most telling first: of several looks at one day the first one counts."""
POINTS: Final = 3000
"""Most points of a scatter that are told one by one."""
SCENE_AXIS: Final = "cloud of the whole scene, %"
AREA_AXIS: Final = "cloud inside the area, %"
"""Labels of the axes of the scatter plot."""
CELL: Final = 2
"""Per cent: side of the cells that more points are counted in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One job: one area in one scene."""

    day: date
    """Of sensing, UTC."""
    item: str
    grid: str
    """Grid square of the scene; the empty string when unknown."""
    status: str
    """Of `models.Status`, or ``open``."""
    scene_cloud: float | None
    """Per cent."""
    area_cloud: float | None
    """Spoilt share of the area's valid pixels in per cent; None when there are none, or nothing was measured."""
    asset: str = ""
    """Of the crop to be shown; the empty string when there is none."""
    path: str = ""
    """Of that crop, relative to the output folder, with forward slashes."""

    @property
    def is_clear(self) -> bool:
        """Whether the area was seen clear: also where an asset failed, while the crop of another is there."""
        return bool(self.path) or self.status == Status.SAVED


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """An area and all looks at it."""

    area: Area
    looks: tuple[Look, ...]
    """By time."""

    @property
    def counts(self) -> Counter[str]:
        """Jobs by status."""
        return Counter(look.status for look in self.looks)

    @property
    def span(self) -> tuple[date, date] | None:
        """First and last day of all looks; None where there is none."""
        return (self.looks[0].day, self.looks[-1].day) if self.looks else None

    @property
    def clear_days(self) -> list[date]:
        """Days on which the area was seen clear, oldest first."""
        return sorted({look.day for look in self.looks if look.is_clear})

    @property
    def longest_gap(self) -> tuple[date, date] | None:
        """Neighbouring clear days that are furthest apart; None where there are not two."""
        return max(pairwise(self.clear_days), key=lambda pair: pair[1] - pair[0], default=None)

    def days(self) -> dict[date, list[Look]]:
        """Looks by day, the most telling of each day first."""
        found: dict[date, list[Look]] = {}
        for look in self.looks:
            found.setdefault(look.day, []).append(look)
        for several in found.values():
            several.sort(key=lambda look: ORDER.index(look.status))
        return found


def looks(rows: Iterable[JobRow], classes: Collection[int]) -> Iterator[Look]:
    """Rows of one area to looks; a job has a row for each of its crops, of which the picture is shown.

    Args:
        rows: As `state.reader.Ledger.job_rows` gives them.
        classes: SCL classes that spoil a picture.
    """
    for _, several in groupby(rows, key=lambda row: (row.collection, row.item)):
        group = list(several)
        row = group[0]
        crops = [row for row in group if isinstance(row, SavedRow)]
        crop = next((crop for crop in crops if crop.asset == "visual"), crops[0] if crops else None)
        yield Look(
            day=row.datetime.date(),
            item=row.item,
            grid=row.grid,
            status=str(row.status),
            scene_cloud=row.scene_cloud,
            area_cloud=cloud_percent(row.measure, classes) if row.measure else None,
            asset=crop.asset if crop else "",
            path=f"{crop.folder}/{crop.file}" if crop else "",
        )


@dataclass(frozen=True, slots=True)
class Point:
    """An examined job of the scatter."""

    scene: float
    area: float
    """Both in per cent."""
    status: str
    label: str


@dataclass(kw_only=True, slots=True)
class Scatter:
    """Cloud of the scene against cloud of the area in every examined job: points, or counts once they are many."""

    points: list[Point] = field(default_factory=list)
    """All points while there are at most `POINTS`; else none."""
    cells: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Points by column and row of a grid of `CELL` per cent."""
    misjudged: Counter[str] = field(default_factory=Counter)
    """What a look at the scene alone would have got wrong; see `add`."""

    def add(self, watched: Watched) -> None:
        """Take in the measured looks at an area whose scenes have a cloud cover."""
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
        """All points."""
        return self.cells.total()

    @property
    def extreme(self) -> int:
        """Points in the lowest and the uppermost row of cells: areas that are all but clear or all but covered."""
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
    """Where the bytes of the whole files are that were not moved."""

    whole: int
    """Bytes of SCL and the wanted assets of all items with a job."""
    skipped: int
    """Of these the wanted assets of items of which no area was clear."""
    moved: int
    """Bytes that came over the wire, all requests together."""
    files: int
    """Whole files."""
    estimated: int
    """Of these, files whose size is the median of the known ones."""
    unknown: int
    """Files whose size is not known at all; not in ``whole``."""

    @property
    def window(self) -> int:
        """Bytes saved by reading only what lies under the areas; negative where whole files would be less."""
        return self.whole - self.skipped - self.moved

    def shares(self) -> tuple[Share, ...]:
        """Split the bytes of the whole files into three parts. ``whole`` must not be 0."""
        parts = (
            ("skipped", self.skipped, "skipped, because no area was clear in the scene"),
            ("window", self.window, "not read, because only the window under the areas was"),
            ("moved", self.moved, "moved"),
        )
        return tuple(
            Share(kind=kind, bytes=count, percent=100 * count / self.whole, words=words)
            for kind, count, words in parts
        )


def saving(every: WholeFiles, classification: WholeFiles, moved: int) -> Saving:
    """Compare what was moved with whole files.

    Args:
        every: Of SCL and the wanted assets.
        classification: Of SCL alone, which whoever skips cloudy scenes has to fetch of all of them.
        moved: Bytes that came over the wire.
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
    """Seconds of all runs that ended, and how many did not (killed, or still going on)."""
    spans = [datetime.fromisoformat(run.ended) - datetime.fromisoformat(run.started) for run in runs if run.ended]
    return sum(span.total_seconds() for span in spans), len(runs) - len(spans)


def total(traffic: Sequence[Traffic]) -> tuple[int, int]:
    """Requests and bytes of all kinds together."""
    return sum(entry.requests for entry in traffic), sum(entry.bytes for entry in traffic)
