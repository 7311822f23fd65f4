"""Reads a crop with the facts in its tags, and checks that a run wrote it and that it is undamaged.

A new state relies on what is read here, see :mod:`s2async.maintenance.rebuild`. Headers have no checksum, so they
are checked against the area and against the way that crops are written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s2async import files
from s2async.catalog import product_names
from s2async.clouds.rule import CloudRule
from s2async.clouds.shares import valid_percent
from s2async.cog import gdal, tiff
from s2async.cog.grid import Grid, Window
from s2async.cog.polygon_mask import cutout, outline
from s2async.cog.tiff import MAX_SIDE, Layout
from s2async.errors import CorruptFile
from s2async.models import Area, Asset, CloudMeasure, Numbers, Product, Scene
from s2async.output import band_tags, crops, geotiff, tags
from s2async.reflectance.decision import QUANTIFICATION, Basis, is_reflectance
from s2async.reflectance.evidence import Evidence
from s2async.state.serialization import namesake

_PERCENT = 0.001
"""Tolerance for percentages, which are rounded in tags."""
_EMPTY = 0.999
"""Fraction of the pixels outside the outline that must be nodata; at the edge, libraries may differ."""
_ALMOST = 0.01
"""Tolerance for an area at the edge of its crop, in pixels or metres."""
_CLASSES = 20
"""Pixel size of the scene classification in metres; the edges of Sentinel-2 scenes are multiples of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaggedCrop:
    """A crop with the facts in its tags."""

    area: Area
    scene: Scene
    measure: CloudMeasure
    product: Product
    kind: tuple[object, ...]
    """Properties that all crops of an asset share: bands, type, nodata, pixel size and grid origin."""

    @property
    def is_second(self) -> bool:
        """Whether its name is that of an item whose id also occurs in another collection."""
        return self.product.file != _name(self.scene, self.product)


def read(path: Path, places: Mapping[str, Sequence[Area]], rule: CloudRule) -> TaggedCrop:
    """Read a crop and check its tags, header and pixels.

    Args:
        path: path of the file.
        places: the areas by fingerprint; of several areas with one polygon, the first that includes a day has its
            crops.
        rule: the cloud rule.

    Raises:
        CorruptFile: the crop is not valid; the message says why.
        LocalError: the file cannot be read.
    """
    with files.local_errors("read", path):
        data = path.read_bytes()
    layout = tiff.parse(data)
    if not isinstance(layout, Layout):
        raise CorruptFile("is cut off")
    values = tags.of_layout(layout)
    try:
        scene, measured = _scene(values, layout.grid.epsg), _measure(values, rule)
        product = Product(
            asset=values["ASSET"],
            file=path.name,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            mask={"polygon": True, "none": False}[values["MASK"]],
            format=crops.FORMAT,
            epsg=layout.grid.epsg,
            numbers=_numbers(values, layout),
        )
        fingerprint = values["AREA_FINGERPRINT"]
    except (KeyError, ValueError, OverflowError):
        raise CorruptFile("does not tell what it is: no crop, or its tags are damaged") from None
    if not any(area.folder == path.parent.name for area in places.get(fingerprint, ())):
        raise CorruptFile("is a crop of another outline than its area here")
    area = next((area for area in places[fingerprint] if area.wants(scene.datetime.date())), None)
    if area is None or area.folder != path.parent.name:
        raise CorruptFile("is a crop of a day outside the season of its area here")
    if path.name not in (_name(scene, product), _second_name(scene, product)):
        raise CorruptFile(f"is a crop of {product.asset} of {scene.id}: another name would be right")
    _check_header(area, layout, whole=sum(measured.histogram) == measured.total)
    _, pixels = gdal.sound(data)
    if product.mask:
        _check_mask(area, layout, pixels)
    product = replace(product, **_shown(product, pixels))
    return TaggedCrop(area=area, scene=scene, measure=measured, product=product, kind=_kind(layout))


def _kind(layout: Layout) -> tuple[object, ...]:
    a, b, c, d, e, f = layout.grid.transform[:6]
    lattice = (round(c / a % 1, 3) % 1, round(f / e % 1, 3) % 1) if a and e else None
    return layout.bands, layout.dtype, repr(layout.nodata), (a, b, d, e), lattice


def _check_header(area: Area, layout: Layout, *, whole: bool) -> None:
    """Check the header, which has no checksum, against the area and the way that crops are written.

    Args:
        area: area of the crop.
        layout: the header.
        whole: whether the scene covers the whole area.

    Raises:
        CorruptFile: a crop of this area would have another header.
    """
    if not geotiff.is_own(layout):
        raise CorruptFile("is not written as crops are: its header is damaged, or another program wrote it anew")
    grid = layout.grid
    try:
        found, shape = cutout(area, grid), outline(area, grid)
    except ValueError as error:
        raise CorruptFile(str(error)) from error
    all_of_it = Window(col=0, row=0, width=grid.width, height=grid.height)
    if found is None or shape is None or found.window != all_of_it:
        raise CorruptFile("does not lie where its area does, pixel by pixel: its header is damaged")
    if whole and not _holds_all(area, grid, shape):
        raise CorruptFile("does not hold all of its area, as it says: its header is damaged")


def _holds_all(area: Area, grid: Grid, shape: BaseGeometry) -> bool:
    """Return whether a crop can be from a scene whose classification covers the whole area.

    At the edge of a scene, the outline may extend beyond the crop as long as no pixel centre of the classification
    lies in this part: by less than half a pixel, or with a sliver.

    Args:
        area: area of the crop.
        grid: grid of the crop.
        shape: the area in columns and rows of the grid.
    """
    left, top, right, bottom = shape.bounds
    beyond = left < -_ALMOST, top < -_ALMOST, right > grid.width + _ALMOST, bottom > grid.height + _ALMOST
    if not any(beyond):
        return True
    west, north, east, south = grid.bounds
    edges = [side for side, is_beyond in zip((west, north, east, south), beyond, strict=True) if is_beyond]
    if any(abs(side - round(side / _CLASSES) * _CLASSES) > _ALMOST for side in edges):
        return False  # no scene ends here
    across, down = math.ceil((east - west) / _CLASSES), math.ceil((north - south) / _CLASSES)
    start = west if beyond[0] else east - across * _CLASSES, north if beyond[1] else south + down * _CLASSES
    transform = Affine(_CLASSES, 0, start[0], 0, -_CLASSES, start[1])
    found = cutout(area, Grid(width=across, height=down, transform=transform, epsg=grid.epsg))
    return found is not None and found.total == np.count_nonzero(found.inside)


def _check_mask(area: Area, layout: Layout, pixels: NDArray[np.generic]) -> None:
    """Check that a masked crop is nodata outside the outline.

    Raises:
        CorruptFile: it is not.
    """
    found = cutout(area, layout.grid)
    outside = pixels[:, ~found.inside] if found else pixels
    nodata = np.nan if layout.nodata is None else layout.nodata
    empty = np.isnan(outside) if math.isnan(nodata) else outside == np.asarray(nodata).astype(outside.dtype)
    if outside.size and empty.mean() < _EMPTY:
        raise CorruptFile("is not empty outside its area: its header is damaged")


def _numbers(values: Mapping[str, str], layout: Layout) -> Numbers | None:
    """Return what a crop of a reflectance band says about its DN; None for a crop of an earlier version.

    Raises:
        ValueError: its tags are damaged.
    """
    asset = values["ASSET"]
    numbers = band_tags.read(values) if is_reflectance(asset) else None
    if numbers and band_tags.scaling(asset, numbers, layout) != (layout.scales, layout.offsets):
        raise ValueError("its scale and offset contradict its tags")
    return numbers


def _shown(product: Product, pixels: NDArray[np.generic]) -> dict[str, Any]:
    """Return what a crop shows about its band's offset, and what its source file states, if its tags say so."""
    numbers = product.numbers
    if numbers is None:
        return {}
    stated = (numbers.offset or 0) / QUANTIFICATION if numbers.basis == Basis.TAG else None
    evidence = None if numbers.subtracted else Evidence.of(pixels)  # pixels below zero are lost
    return {"evidence": evidence, "stated": stated}


def _name(scene: Scene, product: Product) -> str:
    return crops.file_name(scene.id, product.asset)


def _second_name(scene: Scene, product: Product) -> str:
    """Return its name if an item of another collection has the same id."""
    return crops.file_name(namesake(scene.id, scene.collection), product.asset)


def _measure(values: Mapping[str, str], rule: CloudRule) -> CloudMeasure:
    tag = crops.histogram_tag(rule.name)
    if tag not in values and any(key.endswith(crops.histogram_tag("")) for key in values):
        raise CorruptFile("was measured by another cloud rule: a run measures its area again")
    counts = tuple(map(int, values[tag].split()))
    total = int(values["AREA_PIXELS"])
    if len(counts) != rule.bins or min(counts) < 0 or not sum(counts) <= total < MAX_SIDE**2:
        raise ValueError("no histogram of an area")
    measured = CloudMeasure(histogram=counts, total=total, rule=rule.name)
    said = float(values.get("VALID_PERCENT", "nan"))
    if abs(said - (valid_percent(measured) or 0)) > _PERCENT:
        raise ValueError("its numbers contradict each other")
    return measured


def _scene(values: Mapping[str, str], epsg: int) -> Scene:
    """Return the item of a crop, with the facts that its tags and its id contain.

    A search no longer returns an item that a better edition has replaced. Satellite and square, which tell the
    other items of its acquisition and overpass, are therefore taken from the id.

    Args:
        values: the tags.
        epsg: EPSG code of the crop, which is that of the item.
    """
    name, sensed = values["ITEM_ID"], datetime.fromisoformat(values["DATETIME"])
    if sensed.tzinfo is None:
        raise ValueError("no zone of time")
    return Scene(
        id=name,
        collection=values["COLLECTION"],
        version=values["ITEM_VERSION"],
        updated="",
        datetime=sensed.astimezone(UTC),
        platform=product_names.platform(name),
        grid=product_names.square(name),
        cloud=None,
        epsg=epsg,
        baseline=values.get(band_tags.BASELINE, ""),
        generated="",
        datastrip=product_names.datastrip("", name),
        footprint=None,
        assets={values["ASSET"]: Asset(key=values["ASSET"], href=values["HREF"])},
        subtracted=True if values.get(band_tags.BASIS) == Basis.FLAG else None,
    )
