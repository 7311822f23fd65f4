"""Windows of a square in one season, and how each asset shows them under a sky. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from s2async.sandbox.world.assets import SCL, VISUAL, Asset, Scaling
from s2async.sandbox.world.fields import Floats, Lattice
from s2async.sandbox.world.land import Bytes, Land, classes
from s2async.sandbox.world.reflectance import numbers, retrieved, seen_from_above
from s2async.sandbox.world.sky import Skies, Sky, picture


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A window under one sky."""

    window: Window
    classes: Bytes
    """SCL at the pixels of `Window.coarse`."""
    hidden: Floats
    """Opacity and shade at these pixels, from `Skies.classes`."""

    def pixels(self, asset: Asset, scaling: Scaling = Scaling.PLAIN) -> NDArray[Any]:
        """Return an asset's pixels: rows x columns (x 3 for true colour), at the pixels that fit its resolution.

        Args:
            asset: the asset.
            scaling: scaling of reflectance bands.
        """
        window = self.window
        if asset.key == SCL:
            return self.classes
        if asset.key == VISUAL:
            return picture(window.colours, self.hidden, self.classes)
        if not asset.is_reflectance:
            lattice, _ = window.at(asset.metres)
            return retrieved(asset, window.land.relief(lattice), self.classes)
        return numbers(self.reflectance(asset), self.classes, scaling)

    def reflectance(self, asset: Asset) -> Floats:
        """Return the reflectance in a band, rows x columns, including pixels outside the swath."""
        window = self.window
        lattice, cover = window.at(asset.metres)
        return seen_from_above(asset.key, cover, lattice, window.land.grain, window.month, self.hidden)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A window without its sky."""

    land: Land
    month: float
    """0 is the start of January, 12 that of the next."""
    fine: Lattice
    """Pixels of the window."""
    cover: Bytes
    """Cover of these pixels, from `Land.cover`."""
    coarse: Lattice
    """The pixels at which its sky is computed: twice as large, or the same."""
    ground: Bytes
    """SCL of the ground at the coarse pixels."""
    colours: Bytes
    """True colour of the ground at the fine pixels."""

    @classmethod
    def of(cls, land: Land, fine: Lattice, cover: Bytes, coarse: Lattice, month: float) -> Window:
        """Return a window, from its ground."""
        step = fine.size // coarse.size
        return cls(
            land=land,
            month=month,
            fine=fine,
            cover=cover,
            coarse=coarse,
            ground=classes(month)[cover[::step, ::step]],
            colours=land.picture(cover, fine, month),
        )

    def under(self, skies: Skies, sky: Sky) -> View:
        """Return the window under a sky."""
        found, hidden = skies.classes(sky, self.coarse, self.ground)
        return View(window=self, classes=found, hidden=hidden)

    def at(self, metres: int) -> tuple[Lattice, Bytes]:
        """Return the pixels for an asset of a resolution, and their cover.

        Only assets of the finest resolution get the fine pixels.
        """
        if metres == 10:
            return self.fine, self.cover
        step = self.fine.size // self.coarse.size
        return self.coarse, self.cover[::step, ::step]
