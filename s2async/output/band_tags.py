"""What crops of reflectance bands say about their DN: GDAL's scale and offset, and tags of s2async. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from s2async.cog.tiff import Layout
from s2async.models import Numbers
from s2async.reflectance import decision
from s2async.reflectance.convert import SCALE
from s2async.reflectance.decision import Basis

OFFSET: Final = "OFFSET_DN"
BASIS: Final = "OFFSET_BASIS"
REMOVED: Final = "OFFSET_REMOVED"
BASELINE: Final = "PROCESSING_BASELINE"
KIND: Final = "REFLECTANCE"
NAMES: Final = frozenset({OFFSET, BASIS, REMOVED, BASELINE, KIND})
"""Names of all tags that `tags` writes."""
UNKNOWN: Final = "unknown"
RETRIEVAL_SCALE: Final = 0.001
"""Value of one DN of aerosol thickness (``aot``), and of water vapour in centimetres (``wvp``)."""
_RETRIEVALS: Final = ("aot", "wvp")

Scaling = tuple[tuple[float, ...], tuple[float, ...]]
"""Scale and offset of each band of a file."""


def kind_tag(harmonised: bool) -> str:
    """Return the value of a crop's tag ``REFLECTANCE``."""
    return "harmonised" if harmonised else "published"


def tags(numbers: Numbers) -> dict[str, str]:
    """Return the tags of a crop of a reflectance band."""
    left = None if numbers.offset is None else numbers.offset - numbers.subtracted
    return {
        KIND: kind_tag(numbers.harmonised),
        OFFSET: UNKNOWN if left is None else str(left),
        BASIS: numbers.basis,
        BASELINE: numbers.baseline,
        **({REMOVED: str(numbers.subtracted)} if numbers.harmonised else {}),
    }


def read(found: Mapping[str, str]) -> Numbers | None:
    """Return what the tags of a crop say; None for a crop without such tags.

    Raises:
        ValueError: tags are missing, or they have values that no crop has.
    """
    there = {key: text for key, text in found.items() if key in NAMES}
    if not there:
        return None
    offset, removed = there.get(OFFSET, ""), int(there.get(REMOVED, "0"))
    numbers = Numbers(
        offset=None if offset == UNKNOWN else int(offset) + removed,
        basis=str(Basis(there.get(BASIS, ""))),
        baseline=there.get(BASELINE, ""),
        harmonised=there.get(KIND) == kind_tag(True),
    )
    if tags(numbers) != there or numbers.offset not in (None, 0, decision.OFFSET):
        raise ValueError(f"no crop says {there}")
    return numbers


def scaling(asset: str, numbers: Numbers | None, layout: Layout) -> Scaling:
    """Return scale and offset of each band of a crop: value = DN * scale + offset.

    Args:
        asset: key of the asset.
        numbers: what its DN mean; None if it is not a reflectance band.
        layout: layout of the source file, whose own scale and offset are kept for other assets, and for floats,
            which are not DN.

    Returns:
        Scale and offset; scale 1 and offset 0, which files do not store, if the meaning is unknown.
    """
    if layout.dtype.startswith("float"):
        return layout.scales, layout.offsets
    if numbers is None:
        plain = set(layout.scales) == {1.0} and not any(layout.offsets)
        if plain and decision.plain_key(asset) in _RETRIEVALS:
            return (RETRIEVAL_SCALE,) * layout.bands, (0.0,) * layout.bands
        return layout.scales, layout.offsets
    if numbers.offset is None:
        return (1.0,) * layout.bands, (0.0,) * layout.bands
    offset = (numbers.offset - numbers.subtracted) / decision.QUANTIFICATION
    return (SCALE,) * layout.bands, (offset,) * layout.bands


def stated(layout: Layout) -> float | None:
    """Return the offset in reflectance that a file of a reflectance band states; None if it states none."""
    scale, offset = layout.scales[0], layout.offsets[0]
    if (scale, offset) == (1.0, 0.0) or not scale:
        return None
    return offset / scale * SCALE
