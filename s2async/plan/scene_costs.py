"""Estimates what a run requests, receives and saves for one scene. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from s2async.plan import costs
from s2async.plan.block_layout import RasterKey, Rasters
from s2async.plan.costs import NOTHING, FileKind, Range


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenScene:
    """A scene with jobs to do. Areas are given by their index in the list of all areas."""

    raster_key: RasterKey
    when: tuple[object, ...]
    """Satellite and day: scenes with the same value show the same weather."""
    cloud: float | None
    measure: NDArray[np.intp]
    """Areas that have not been measured yet, in the order of the run."""
    held: NDArray[np.bool_]
    """Whether the scene covers enough of each of these areas."""
    clear: NDArray[np.intp]
    """Areas that were measured as clear."""
    uncut: Mapping[str, NDArray[np.intp]]
    """Clear areas that lack a crop, keyed by asset."""
    assets: tuple[str, ...]
    """Selected assets that the scene has."""
    bands: tuple[str, ...]
    """Bands needed for values that the scene has."""
    valueless: Mapping[str, NDArray[np.intp]]
    """Measured areas that need a band for their values, keyed by band."""
    overpass: object
    """Equal for scenes of one overpass."""
    zone: int | None
    """Number of its UTM zone; None if unknown."""
    unread: int
    """1 if no run has read any of its files; 0 if their headers may be known."""

    def only(self, counts: NDArray[np.bool_]) -> OpenScene:
        """Return the scene without the areas for which another scene of its overpass counts.

        Args:
            counts: (areas,) whether this scene counts, for all areas.
        """
        return replace(
            self,
            held=self.held & counts[self.measure],
            clear=self.clear[counts[self.clear]],
            uncut={asset: places[counts[places]] for asset, places in self.uncut.items()},
            valueless={band: places[counts[places]] for band, places in self.valueless.items()},
        )


class SceneCosts:
    """Estimates the costs of scenes.

    Args:
        rasters: rasters of all scenes.
        measured: keys of the assets that the cloud rule measures.
        quicklook: whether a small image is saved with each crop.
    """

    def __init__(self, rasters: Rasters, *, measured: Sequence[str], quicklook: bool) -> None:
        self._rasters = rasters
        self._measured = measured
        self._quicklook = quicklook

    def reading(self, seen: OpenScene, chance: Range, with_values: Range) -> tuple[Range, Range]:
        """Estimate requests and bytes of one scene, from the chances that an area is clear and has values."""
        requests = size = NOTHING
        for kind in map(costs.kind_of, self._measured if len(seen.measure) else ()):
            blocks = self._rasters.blocks(seen.raster_key, kind.side, seen.measure)
            # Includes headers of the assets that are measured; those of other assets are counted in `_cutting`.
            requests = requests + Range(blocks.runs + seen.unread, len(blocks.shares) + 1)
            size = size + kind.block_bytes.times(len(blocks.shares)) + costs.HEADER.times(seen.unread, 1)
        again = all_of(seen.valueless)
        for kind in map(costs.kind_of, self._measured if len(again) else ()):  # to determine clear pixels again
            blocks = self._rasters.blocks(seen.raster_key, kind.side, again)
            requests = requests + Range(blocks.runs, len(blocks.shares) + 1)
            size = size + kind.block_bytes.times(len(blocks.shares)) + costs.HEADER.times(0, 1)
        for band in seen.bands:
            asked, read = self._cutting(seen, costs.kind_of(band), seen.measure[seen.held], with_values)
            requests, size = requests + asked, size + read
            both = np.union1d(seen.valueless[band], seen.uncut.get(band, seen.valueless[band]))
            asked, read = self._cutting(seen, costs.kind_of(band), both, Range(1, 1))
            requests, size = requests + asked, size + read
        for asset in seen.assets:
            if asset not in self._measured and asset not in seen.bands:
                asked, read = self._cutting(seen, costs.kind_of(asset), seen.measure[seen.held], chance)
                requests, size = requests + asked, size + read
        for asset, uncut in seen.uncut.items():
            if asset in seen.bands:
                continue
            asked, read = self._cutting(seen, costs.kind_of(asset), uncut, Range(1, 1))
            requests, size = requests + asked, size + read
        return requests, size

    def crops(self, seen: OpenScene, chance: Range) -> Range:
        """Estimate the bytes on disk of one scene's crops."""
        total = NOTHING
        for asset in seen.assets:
            kind = costs.kind_of(asset)
            each = kind.density.times(costs.CROP.low, costs.CROP.high).times(1 / kind.metres**2)
            for places, share in ((seen.measure[seen.held], chance), (seen.uncut[asset], Range(1, 1))):
                metres = self._rasters.metres(seen.raster_key, places)
                total = total + each.times(metres * share.low, metres * share.high)
                total = total + costs.CROP_FILE.times(len(places) * share.low, len(places) * share.high)
                if self._quicklook:
                    pixels = min(metres / kind.metres**2, len(places) * costs.QUICKLOOK_PIXELS)
                    total = total + costs.QUICKLOOK.times(pixels * share.low, pixels * share.high)
        return total

    def _cutting(
        self, seen: OpenScene, kind: FileKind, places: NDArray[np.intp], chance: Range
    ) -> tuple[Range, Range]:
        """Estimate requests and bytes for reading one asset for several areas.

        The lower bound assumes that the areas are clear all together or not at all. The upper bound assumes that
        they are clear independently of each other; more blocks are then read, because fewer areas share them.
        """
        if not len(places):
            return NOTHING, NOTHING
        blocks = self._rasters.blocks(seen.raster_key, kind.side, places)
        largest = sum(shares[0] for shares in blocks.shares)
        opened = Range(chance.low * seen.unread, _any(chance.high, len(places)))
        asked = Range(
            chance.low * blocks.runs, costs.SECOND * sum(_any(chance.high, len(s)) for s in blocks.shares)
        )
        rows = Range(chance.low * largest, sum(_largest_share(chance.high, shares) for shares in blocks.shares))
        read = rows.times(kind.block_bytes.low * costs.MARGIN.low, kind.block_bytes.high * costs.MARGIN.high)
        return opened + asked, read + opened.times(costs.HEADER.low, costs.HEADER.high)


def dates(seen: OpenScene, with_values: Range) -> Range:
    """Estimate how many areas of a scene get values."""
    held, known = int(seen.held.sum()), len(all_of(seen.valueless))
    return Range(held * with_values.low + known, held * with_values.high + known)


def all_of(places: Mapping[str, NDArray[np.intp]]) -> NDArray[np.intp]:
    """Return all places of a mapping, each once."""
    found: NDArray[np.intp] = np.unique(np.concatenate([np.zeros(0, np.intp), *places.values()]))
    return found


def _any(chance: float, count: int) -> float:
    """Compute the chance that at least one of ``count`` independent events happens."""
    return float(1 - (1 - chance) ** count)


def _largest_share(chance: float, shares: Sequence[float]) -> float:
    """Compute the mean of the largest needed share, if each share (largest first) is needed with this chance."""
    total, none = 0.0, 1.0
    for share in shares:
        total += share * chance * none
        none *= 1 - chance
    return total
