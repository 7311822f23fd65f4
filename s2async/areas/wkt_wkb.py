"""Geometries as text: WKT, EWKT, and WKB or EWKB in hexadecimal digits, one by one or by the thousand. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.text import one_line

_EWKT: Final = re.compile(r"\s*SRID\s*=\s*([0-9]{1,6})\s*;", re.IGNORECASE)
_HEX: Final = re.compile(r"\s*(?:\\x|0x)?(0[01](?:[0-9a-f]{2}){4,})\s*", re.IGNORECASE)
"""WKB in hexadecimal digits; psql writes ``\\x`` before binary columns. The first byte is the byte order."""
_SLICE: Final = 1_000
"""Number of strings that are parsed at once. Between them, other threads get the interpreter lock."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Geometries:
    """Geometries that were parsed from n strings."""

    shapes: NDArray[np.object_]
    """n geometries without SRID; None if the string is empty or cannot be read."""
    srids: list[int | None]
    """EPSG codes stated by EWKT and EWKB."""
    unreadable: dict[int, str]
    """Why a string (number from 0) cannot be read, and what to do: the end of a message."""
    closed: dict[int, BaseGeometry]
    """The geometries of unreadable strings whose rings were not closed, with closed rings."""


def parsed(texts: Sequence[str]) -> Geometries:
    """Parse strings, each of which is WKT, EWKT, or WKB or EWKB in hexadecimal digits, or empty."""
    shapes: NDArray[np.object_] = np.full(len(texts), None, dtype=object)
    srids: list[int | None] = [None] * len(texts)
    wkts: dict[int, str] = {}
    wkbs: dict[int, bytes] = {}
    for number, text in enumerate(texts):
        if not text or text.isspace():
            continue
        if text.lstrip()[0] in "\\01" and (binary := _HEX.fullmatch(text)):
            wkbs[number] = bytes.fromhex(binary[1])
        elif stated := _EWKT.match(text):
            srids[number] = int(stated[1])
            wkts[number] = text[stated.end() :]
        else:
            wkts[number] = text
    with np.errstate(all="ignore"):
        for texts_of, parse in ((wkts, shapely.from_wkt), (wkbs, shapely.from_wkb)):
            numbers, raws = list(texts_of), np.array(list(texts_of.values()), object)
            for start in range(0, len(numbers), _SLICE):
                some = slice(start, start + _SLICE)
                try:
                    shapes[numbers[some]] = parse(raws[some], on_invalid="ignore")
                except NotImplementedError:  # curves: a single one makes the whole slice fail
                    for number, raw in zip(numbers[some], raws[some].tolist(), strict=True):
                        if not why_unreadable(raw):
                            shapes[number] = parse(raw)
    for number in wkbs:
        if srid := max(0, int(shapely.get_srid(shapes[number]))):  # -1 if there is no geometry
            srids[number] = srid
            shapes[number] = shapely.set_srid(shapes[number], 0)
    unreadable: dict[int, str] = {}
    closed: dict[int, BaseGeometry] = {}
    written: dict[int, str | bytes] = {**wkts, **wkbs}
    for number, raw in written.items():
        if shapes[number] is None:
            unreadable[number] = why_unreadable(raw)
            if (shape := with_closed_rings(raw)) is not None:
                closed[number] = shape
    return Geometries(shapes=shapes, srids=srids, unreadable=unreadable, closed=closed)


def why_unreadable(raw: str | bytes) -> str:
    """Return why WKT or WKB cannot be read, and what to do: the end of a message; empty if it can be read."""
    try:
        with np.errstate(all="ignore"):
            shapely.from_wkt(raw) if isinstance(raw, str) else shapely.from_wkb(raw)
    except (ShapelyError, NotImplementedError, ValueError, TypeError) as error:
        return explained(str(error))
    return ""


def explained(message: str) -> str:
    """Explain why GEOS refuses a geometry, and what to do."""
    if "closed" in message:
        return "a ring is not closed; repeat its first point at its end"
    if "number of points" in message:
        return "a ring has fewer than three different points; give them, and the first again at the end"
    if any(word in message.lower() for word in ("nonlinear", "curve", "circular")):
        return "curves cannot be used; convert them to straight lines"
    message = one_line(" ".join(message.split(": ", 1)[-1].split()), 100)
    return f"cannot be read ({message}); write POLYGON ((lon lat, lon lat, ...)) or a GeoJSON Polygon"


def with_closed_rings(raw: str | bytes) -> BaseGeometry | None:
    """Parse WKT or WKB whose rings are not closed, and close each ring by repeating its first point.

    Returns:
        The geometry without SRID; None if there is another fault.
    """
    try:
        with np.errstate(all="ignore"):
            if isinstance(raw, str):
                shape = shapely.from_wkt(raw, on_invalid="fix")
            else:
                shape = shapely.from_wkb(raw, on_invalid="fix")
    except NotImplementedError:  # curves
        return None
    return None if shape is None else shapely.set_srid(shape, 0)


def closed_ring(positions: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Return a ring of positions (x, y, ...) that ends where it begins, with an additional position if needed."""
    ring = list(positions)
    if ring and list(ring[0][:2]) != list(ring[-1][:2]):
        ring.append(ring[0])
    return ring
