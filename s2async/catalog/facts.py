"""What an item says about the offset of its reflectance bands, for `reflectance.decision`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from s2async.models import Scene
from s2async.reflectance import decision
from s2async.reflectance.decision import Convention, Facts


def facts(
    scene: Scene, key: str, *, convention_override: Convention | None = None, tag: float | None = None
) -> Facts:
    """Collect what is known about one file of a scene.

    Args:
        scene: the item.
        key: our key of the asset.
        convention_override: what the user says about the archive; None to conclude it from the file's URL.
        tag: offset in reflectance that the TIFF states; None when it states none or was not read.
    """
    asset = scene.assets.get(key)
    known = decision.convention(asset.href) if asset else Convention.UNKNOWN
    offsets = scene.offsets
    return Facts(
        convention=known if convention_override is None else convention_override,
        baseline=decision.baseline(scene.baseline),
        subtracted=scene.subtracted,
        sensed=scene.datetime,
        tag=tag,
        stated=offsets.get(key) if isinstance(offsets, Mapping) else offsets,
    )
