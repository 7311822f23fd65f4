"""Maps as inline SVG, in an equirectangular projection that is true to scale at the centre. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, cos, floor, log10, radians
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s2async.cog.grid import Grid
from s2async.geo import KM_PER_DEGREE, turned, unprojected
from s2async.report.markup import Markup, element, join
from s2async.text import degrees

_WIDE: Final = 480.0
_LOWEST, _HIGHEST = 200.0, 420.0
_EDGE: Final = 0.08
"""Margin, relative to the size of the box."""
_SMALL: Final = 4.0
"""Areas that would be smaller than this in both directions are drawn as a dot."""
_CROWD: Final = 500
"""If there are more areas than this, dots are smaller."""
_LETTER: Final = 6.9
"""Approximate width of a letter, used to keep labels from overlapping."""
_ROOM_OF_NAMES: Final = 14.0
"""Space above and below the areas for their names."""
_STEPS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; east is beyond 180 if the box crosses the antimeridian."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """An area on the map."""

    name: str
    polygon: BaseGeometry
    """In lon/lat."""
    label: str
    """Text that is shown when the pointer is on the area."""
    href: str
    """URL of its section or page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """The footprint of an MGRS tile on the map."""

    name: str
    polygon: BaseGeometry
    """In lon/lat."""
    label: str


def outline(grid: Grid) -> BaseGeometry:
    """Return the edge of a raster in lon/lat, in one piece: longitudes go beyond 180 at the antimeridian."""
    x0, y0, x1, y1 = grid.bounds
    edge = shapely.segmentize(shapely.box(x0, y0, x1, y1), abs(x1 - x0) / 8)

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = unprojected(xy, grid.epsg).T
        return np.column_stack([lon[0] + turned(lon - lon[0]), lat])

    return shapely.transform(edge, move)


def around(boxes: Sequence[Box], centre: float) -> Box:
    """Return the box around boxes, each moved by multiples of 360 degrees to be nearest to a longitude."""
    found = np.asarray(boxes, dtype=float)
    middle = (found[:, 0] + found[:, 2]) / 2
    turns = centre + turned(middle - centre) - middle
    west, east = (found[:, 0] + turns).min(), (found[:, 2] + turns).max()
    return float(west), float(found[:, 1].min()), float(east), float(found[:, 3].max())


def draw(box: Box, spots: Sequence[Spot], outlines: Sequence[Outline], *, names: bool, label: str) -> Markup:
    """Draw a map.

    Args:
        box: the part of the world to show; a margin is added.
        spots: areas; very small ones are drawn as dots.
        outlines: footprints of MGRS tiles.
        names: if True, label the areas, otherwise the outlines; labels for which there is no room are left out.
        label: text alternative for screen readers.
    """
    view = _View(box, _ROOM_OF_NAMES if names else 0.0)
    labels = _Labels(view)
    # Labels are placed in this order, and a later one must not cover an earlier one.
    scale, graticule = _scale_bar(view, labels), list(_graticule(view, labels))
    return element(
        "svg",
        element("rect", width=_WIDE, height=view.height, class_="sea"),
        graticule,
        [_outline(view, shown) for shown in outlines],
        _spots(view, spots),
        _spot_names(view, labels, spots) if names else _outline_names(view, labels, outlines),
        scale,
        viewBox=f"0 0 {_WIDE:.0f} {view.height:.0f}",
        class_="map",
        role="img",
        aria_label=label,
    )


class _View:
    """Converts degrees to units of the drawing.

    Args:
        box: see `draw`.
        room: number of units to keep free above and below.
    """

    def __init__(self, box: Box, room: float) -> None:
        west, south, east, north = box
        self.lon, self.lat = (west + east) / 2, (south + north) / 2
        self.squeeze = max(0.05, cos(radians(self.lat)))
        across, up = max((east - west) * self.squeeze, 1e-4), max(north - south, 1e-4)
        margin = 1 + 2 * _EDGE
        self.height = min(_HIGHEST, max(_LOWEST, _WIDE * up / across + 2 * room))
        self.scale = min(_WIDE / across, (self.height - 2 * room) / up) / margin

    def place(self, lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert coordinates in lon/lat to x and y."""
        x = turned(lonlat[:, 0] - self.lon) * self.squeeze * self.scale + _WIDE / 2
        return np.column_stack([x, (self.lat - lonlat[:, 1]) * self.scale + self.height / 2])

    def shape(self, polygon: BaseGeometry) -> BaseGeometry:
        """Convert a polygon to units of the drawing, without details that are too fine to be visible."""
        return shapely.simplify(shapely.transform(polygon, self.place), 0.2)


class _Labels:
    """Places labels so that they do not overlap.

    Args:
        view: the view that the labels must stay inside.
    """

    def __init__(self, view: _View) -> None:
        self._view = view
        self._taken: list[Box] = []

    def place(self, text: str, *, at: Sequence[tuple[float, float]], class_: str) -> Markup:
        """Draw text at the first position that is free; draw nothing if none is.

        Args:
            text: the label.
            at: possible positions, each the middle of the base line.
            class_: class in the style sheet.
        """
        half = _LETTER * len(text) / 2 + 3
        for x, y in at:
            box = (x - half, y - 13, x + half, y + 4)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= _WIDE and box[3] <= self._view.height
            if inside and not any(_overlap(box, other) for other in self._taken):
                self._taken.append(box)
                return element("text", text, x=x, y=y, text_anchor="middle", class_=class_)
        return Markup()


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _path(shape: BaseGeometry) -> str:
    rings = [ring for part in shapely.get_parts(shape) for ring in (part.exterior, *part.interiors)]
    return "".join(
        "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in shapely.get_coordinates(ring)[:-1]) + "Z" for ring in rings
    )


def _spots(view: _View, spots: Sequence[Spot]) -> Iterator[Markup]:
    dots: set[tuple[int, int]] = set()
    size = 2.4 if len(spots) <= _CROWD else 1.3
    for spot in spots:
        shape = view.shape(spot.polygon)
        left, top, right, bottom = shape.bounds
        told = element("title", f"{spot.name}: {spot.label}")
        if max(right - left, bottom - top) >= _SMALL:
            drawn = element("path", told, d=_path(shape))
        else:
            x, y = (left + right) / 2, (top + bottom) / 2
            if (round(x), round(y)) in dots:  # it would cover another dot
                continue
            dots.add((round(x), round(y)))
            drawn = element("circle", told, cx=x, cy=y, r=size)
        yield element("a", drawn, href=spot.href, class_="spot")


def _spot_names(view: _View, labels: _Labels, spots: Sequence[Spot]) -> Iterator[Markup]:
    for spot in spots:
        left, top, right, bottom = view.shape(spot.polygon).bounds
        half = _LETTER * len(spot.name) / 2
        x, y = min(max((left + right) / 2, half + 2), _WIDE - half - 2), (top + bottom) / 2 + 4
        at = [(x, top - 6), (x, bottom + 15), (right + half + 5, y), (left - half - 5, y)]
        yield labels.place(spot.name, at=at, class_="name")


def _outline(view: _View, shown: Outline) -> Markup:
    return element(
        "path",
        element("title", f"{shown.name}: {shown.label}"),
        d=_path(view.shape(shown.polygon)),
        class_="scenes",
    )


def _outline_names(view: _View, labels: _Labels, outlines: Sequence[Outline]) -> Iterator[Markup]:
    for shown in outlines:
        left, top, right, bottom = view.shape(shown.polygon).bounds
        half = _LETTER * len(shown.name) / 2
        at = [(x, y) for y in (top + 24, bottom - 18) for x in (left + half + 14, right - half - 14)]
        yield labels.place(shown.name, at=at, class_="name")


def _graticule(view: _View, labels: _Labels) -> Iterator[Markup]:
    across, up = _WIDE / view.scale / view.squeeze, view.height / view.scale
    step = next((step for step in _STEPS if max(across, up) / step <= 5), _STEPS[-1])
    decimals = max(0, -floor(log10(step)))
    for lon in _multiples(view.lon - across / 2, view.lon + across / 2, step):
        x = (lon - view.lon) * view.squeeze * view.scale + _WIDE / 2
        told = degrees(turned(lon), "WE", decimals=decimals, sign="°")
        yield element("path", d=f"M{x:.1f} 0V{view.height:.1f}", class_="rule")
        yield labels.place(told, at=[(x, view.height - 7)], class_="faint")
    for lat in _multiples(view.lat - up / 2, view.lat + up / 2, step):
        y = (view.lat - lat) * view.scale + view.height / 2
        yield element("path", d=f"M0 {y:.1f}H{_WIDE}", class_="rule")
        told = degrees(lat, "SN", decimals=decimals, sign="°")
        yield labels.place(told, at=[(_LETTER * len(told) / 2 + 4, y - 5)], class_="faint")


def _multiples(start: float, end: float, step: float) -> list[float]:
    return [number * step for number in range(ceil(start / step), floor(end / step) + 1)]


def _scale_bar(view: _View, labels: _Labels) -> Markup:
    most = _WIDE / 4 / view.scale * KM_PER_DEGREE
    size = 10.0 ** floor(log10(most))
    km = next(factor * size for factor in (5, 2, 1) if factor * size <= most)
    width, right, y = km / KM_PER_DEGREE * view.scale, _WIDE - 10, view.height - 27
    told = f"{km:g} km" if km >= 1 else f"{km * 1000:g} m"
    line = element("path", d=f"M{right - width:.1f} {y - 4}V{y}H{right}V{y - 4}", class_="scale")
    return join([line, labels.place(told, at=[(right - width / 2, y - 6)], class_="faint")])
