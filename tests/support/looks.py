"""Looks at an area, for tests of a report."""

from __future__ import annotations

from datetime import date, timedelta

from shapely import box

from s2async.models import Area
from s2async.report.data import Look, Watched

AREA = Area(name="a", wkb=box(13, 52, 13.1, 52.1).wkb, fingerprint="0" * 16, folder="a")


def look(day: int, status: str, *, scene: float | None = 0.0, area: float | None = 0.0) -> Look:
    when = date(2022, 1, 1) + timedelta(days=day)
    return Look(day=when, item=f"i{day}{status}", grid="33UUU", status=status, scene_cloud=scene, area_cloud=area)


def watched(*found: Look) -> Watched:
    return Watched(area=AREA, looks=found)
