"""The assets of generated scenes: names, resolutions and layouts, as in Earth Search v1 and its COGs. Pure.

Keys, file names, titles and sizes are those of recorded items of the collection sentinel-2-l2a; tiles are those of
its producer's COGs: 1024 pixels at 10 m, 512 at 20 m, 256 at 60 m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from s2async.sandbox.world.squares import EXTENT

SCL: Final = "scl"
VISUAL: Final = "visual"
RED: Final = "red"
_BLOCKS: Final = {10: 1024, 20: 512, 60: 256}
"""Side of a full-resolution tile in pixels, by the size of a pixel in metres."""


class Scaling(StrEnum):
    """How the digital numbers of a reflectance band stand for reflectance, and whether its file says so."""

    PLAIN = "plain"
    """Without an offset: the baseline is before 04.00, or the archive has subtracted it."""
    OFFSET = "offset"
    """With ESA's offset, which the file does not state."""
    TAGGED = "tagged"
    """With ESA's offset, and with the TIFF tags for scale and offset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """Properties of the files of one asset."""

    key: str
    """Key in items, such as ``red``."""
    file: str
    """Name of the file without its suffix, such as ``B04``."""
    title: str
    metres: int
    """Size of a pixel in metres."""
    usual: int
    """Approximate bytes of a full-resolution tile of a clear scene: the space of tiles that no area needs."""
    plain: int | tuple[int, int, int]
    """Value of all pixels of these tiles."""
    bits: int = 16
    scale: float = 0.0001
    """Reflectance of one unit, as stated in the item. Only for 16 bits."""

    @property
    def bands(self) -> int:
        """Number of bands: 1, or 3 for true colour."""
        return len(self.plain) if isinstance(self.plain, tuple) else 1

    @property
    def dtype(self) -> str:
        """Type of the pixels."""
        return f"uint{self.bits}"

    @property
    def side(self) -> int:
        """Side of the raster in pixels."""
        return EXTENT // self.metres

    @property
    def block(self) -> int:
        """Side of a full-resolution tile in pixels; those of overviews have half of it."""
        return _BLOCKS[self.metres]

    @property
    def tile(self) -> int:
        """Side of a full-resolution tile in metres."""
        return self.block * self.metres

    @property
    def is_reflectance(self) -> bool:
        """Whether its pixels are numbers that stand for reflectance."""
        return self.file.startswith("B")


def _band(key: str, file: str, title: str, metres: int, plain: int) -> Asset:
    usual = {10: 1_300_000, 20: 330_000, 60: 85_000}[metres]
    return Asset(key=key, file=file, title=title, metres=metres, usual=usual, plain=plain)


def _retrieval(key: str, file: str, title: str, plain: int) -> Asset:
    return Asset(key=key, file=file, title=title, metres=20, usual=12_000, plain=plain, scale=0.001)


ASSETS: Final[Mapping[str, Asset]] = MappingProxyType(
    {
        asset.key: asset
        for asset in (
            Asset(
                key=SCL,
                file="SCL",
                title="Scene classification map (SCL)",
                metres=20,
                usual=18_000,
                plain=4,
                bits=8,
            ),
            Asset(
                key=VISUAL,
                file="TCI",
                title="True color image",
                metres=10,
                usual=1_450_000,
                plain=(96, 108, 66),
                bits=8,
            ),
            _band(RED, "B04", "Red (band 4) - 10m", 10, 960),
            _band("green", "B03", "Green (band 3) - 10m", 10, 1080),
            _band("blue", "B02", "Blue (band 2) - 10m", 10, 660),
            _band("nir", "B08", "NIR 1 (band 8) - 10m", 10, 2900),
            _band("rededge1", "B05", "Red edge 1 (band 5) - 20m", 20, 1300),
            _band("rededge2", "B06", "Red edge 2 (band 6) - 20m", 20, 2300),
            _band("rededge3", "B07", "Red edge 3 (band 7) - 20m", 20, 2700),
            _band("nir08", "B8A", "NIR 2 (band 8A) - 20m", 20, 3000),
            _band("swir16", "B11", "SWIR 1 (band 11) - 20m", 20, 2000),
            _band("swir22", "B12", "SWIR 2 (band 12) - 20m", 20, 1200),
            _band("coastal", "B01", "Coastal aerosol (band 1) - 60m", 60, 550),
            _band("nir09", "B09", "NIR 3 (band 9) - 60m", 60, 3000),
            _retrieval("aot", "AOT", "Aerosol optical thickness (AOT)", 120),
            _retrieval("wvp", "WVP", "Water vapour (WVP)", 1500),
        )
    }
)
"""All assets that can be generated, by key."""

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {name: asset.key for asset in ASSETS.values() for name in (asset.key, asset.file)}
)
"""Keys of `ASSETS` by every name that catalogues use for them: s2async's keys, and ESA's names such as ``B04``."""
