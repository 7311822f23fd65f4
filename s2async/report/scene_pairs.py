"""Two pairs of pictures that say why the cloud of a scene says little of a small area in it. Pure.

A cloudy scene over a clear area, and a blue one over a covered area: each the whole scene beside the area.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from heapq import nlargest
from typing import Final

from shapely.geometry.base import BaseGeometry

from s2async.models import Area, Status
from s2async.report.data import Look, Watched
from s2async.report.markup import Markup, element

SPARE: Final = 3
"""Candidates of a kind: the file of the first may be gone."""
SMALLEST: Final = 0.05
"""Share of a picture's longer side: a smaller area is marked by a square of this size, or nobody would see it."""
RED: Final = "#e8112d"


class Kind(StrEnum):
    """What a pair shows."""

    CLEAR = "clear"
    """The area is clear, the scene is mostly cloud."""
    COVERED = "covered"
    """The area is covered, the scene is mostly clear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A look at an area that may be shown."""

    kind: Kind
    area: Area
    look: Look

    @property
    def gap(self) -> float:
        """Per cent by which the scene misleads."""
        return abs((self.look.scene_cloud or 0) - (self.look.area_cloud or 0))


@dataclass(kw_only=True, slots=True)
class Telling:
    """The looks that tell most: those with the largest difference between scene and area."""

    found: dict[Kind, list[Candidate]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    """At most `SPARE` of each kind, the most telling first."""

    def add(self, watched: Watched) -> None:
        """Take in the looks at one area: only those with an answer of the classification, and a scene's cloud."""
        for look in watched.looks:
            kind = kind_of(look)
            if kind is not None:
                several = [*self.found[kind], Candidate(kind=kind, area=watched.area, look=look)]
                self.found[kind] = nlargest(SPARE, several, key=_order)


def kind_of(look: Look) -> Kind | None:
    """What a look would show; None when it would show nothing."""
    if look.scene_cloud is None or look.area_cloud is None or look.scene_cloud == look.area_cloud:
        return None
    if look.is_clear and look.scene_cloud > look.area_cloud:
        return Kind.CLEAR
    if look.status == Status.CLOUDY and look.scene_cloud < look.area_cloud:
        return Kind.COVERED
    return None


def _order(candidate: Candidate) -> tuple[float, str, str]:
    """The same choice from the same rows, in whatever order they come."""
    return candidate.gap, candidate.look.item, candidate.area.fingerprint


# ---- pictures ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A picture with the area in it."""

    data: bytes
    """WebP."""
    width: int
    height: int
    outline: str
    """Path of the area in columns and rows, in the words of SVG."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The whole scene, and the area in it."""

    candidate: Candidate
    scene: View
    area: View
    requests: int
    """That fetching them took, when they were fetched."""
    bytes: int


def path(polygon: BaseGeometry, width: int, height: int) -> str:
    """A polygon in columns and rows as a path; of one that is too small to be seen a square around its middle."""
    west, north, east, south = polygon.bounds
    least = SMALLEST * max(width, height)
    if max(east - west, south - north) < least:
        x = min(max((west + east - least) / 2, 0), width - least)
        y = min(max((north + south - least) / 2, 0), height - least)
        return f"M{x:.1f} {y:.1f}h{least:.1f}v{least:.1f}h{-least:.1f}Z"
    parts = getattr(polygon, "geoms", [polygon])
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return "".join(f"M{'L'.join(f'{x:.1f} {y:.1f}' for x, y in ring.coords[:-1])}Z" for ring in rings)


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnPair:
    """A pair as a page shows it."""

    scene: Markup
    area: Markup
    day: date
    scene_cloud: str
    """Per cent."""
    area_cloud: str
    """Per cent."""
    name: str
    """Name of the area."""
    item: str


def draw(pair: Pair) -> DrawnPair:
    """Draw the two images of a pair, and prepare its caption."""
    look = pair.candidate.look
    return DrawnPair(
        scene=_view(pair.scene, f"The whole scene of {look.day}, the area marked in red"),
        area=_view(pair.area, f"The area with 2 km around it on {look.day}"),
        day=look.day,
        scene_cloud=f"{look.scene_cloud or 0:.0f}",
        area_cloud=f"{look.area_cloud or 0:.0f}",
        name=pair.candidate.area.name,
        item=look.item,
    )


def _view(view: View, label: str) -> Markup:
    source = f"data:image/webp;base64,{base64.b64encode(view.data).decode()}"
    return element(
        "svg",
        element("image", href=source, width=view.width, height=view.height),
        element(
            "path", d=view.outline, fill="none", stroke=RED, stroke_width=2, vector_effect="non-scaling-stroke"
        ),
        viewBox=f"0 0 {view.width} {view.height}",
        class_="view",
        role="img",
        aria_label=label,
    )
