"""Two pairs of images that show why the cloud cover of a scene says little about a small area in it. Pure.

One pair shows a clear area in a cloudy scene, the other a cloudy area in a clear scene, each next to its scene.
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
"""Number of candidates of each kind, because the file of the first may be missing."""
SMALLEST: Final = 0.05
"""Share of an image's longer side. Smaller areas are marked by a square of this size, to be visible."""
RED: Final = "#e8112d"


class Kind(StrEnum):
    """What a pair shows."""

    CLEAR = "clear"
    """The area is clear even though the scene is cloudier."""
    COVERED = "covered"
    """The area is cloudy even though the scene is clearer."""

    @property
    def words(self) -> str:
        """What a pair of this kind shows, in words."""
        return "a clear area in a cloudy scene" if self is Kind.CLEAR else "a cloudy area in a clear scene"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An observation of an area that may become a pair."""

    kind: Kind
    area: Area
    look: Look

    @property
    def gap(self) -> float:
        """Difference between the cloud cover of the scene and of the area, in per cent."""
        return abs((self.look.scene_cloud or 0) - (self.look.area_cloud or 0))


@dataclass(kw_only=True, slots=True)
class Candidates:
    """The observations with the largest difference between scene and area."""

    by_kind: dict[Kind, list[Candidate]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    """At most `SPARE` of each kind, the largest difference first."""

    def add(self, watched: Watched) -> None:
        """Add the observations of one area. Those without a cloud cover of both scene and area are ignored."""
        for look in watched.looks:
            kind = kind_of(look)
            if kind is not None:
                several = [*self.by_kind[kind], Candidate(kind=kind, area=watched.area, look=look)]
                self.by_kind[kind] = nlargest(SPARE, several, key=_order)


def kind_of(look: Look) -> Kind | None:
    """Return what an observation would show; None if the scene is not misleading."""
    if look.scene_cloud is None or look.area_cloud is None or look.scene_cloud == look.area_cloud:
        return None
    if look.is_clear and look.scene_cloud > look.area_cloud:
        return Kind.CLEAR
    if look.status == Status.CLOUDY and look.scene_cloud < look.area_cloud:
        return Kind.COVERED
    return None


def _order(candidate: Candidate) -> tuple[float, str, str]:
    """Return a sort key without ties, so that the choice does not depend on the order of the rows."""
    return candidate.gap, candidate.look.item, candidate.area.fingerprint


# ---- images -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An image with the outline of an area."""

    data: bytes
    """WebP."""
    width: int
    height: int
    outline: str
    """SVG path of the area, in columns and rows of the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Images of the whole scene and of the area in it."""

    candidate: Candidate
    scene: View
    area: View
    origin: str
    """Server from which the images come."""
    requests: int
    """Number of requests when the images were downloaded; likewise `bytes`."""
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A scene that was not available for a pair; there are several if there were several candidates."""

    kind: Kind
    """Kind of the missing pair."""
    item: str
    cause: str
    """Why, in one or two words, for counting."""
    reason: str
    """Why, in one line."""


def path(polygon: BaseGeometry, width: int, height: int) -> str:
    """Convert a polygon in columns and rows to an SVG path; a small polygon to a square around its centre."""
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
    """A pair as shown on a page."""

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
