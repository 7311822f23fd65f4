"""The offset of a band of a batch's scene, by all that is known when its pixels are used."""

from __future__ import annotations

from s2async.catalog.facts import facts
from s2async.cog.tiff import Layout
from s2async.engine.scene_files import SceneFiles
from s2async.engine.tools import Settings
from s2async.output import band_tags
from s2async.reflectance.decision import Offset, decide
from s2async.reflectance.evidence import Evidence


def decided(files: SceneFiles, settings: Settings, key: str, layout: Layout, seen: Evidence) -> Offset:
    """Decide on the offset of a band by its item, its file, and the pixels that were read so far.

    Args:
        files: of the scene.
        settings: what the user says about archives.
        key: of the band.
        layout: of its file.
        seen: what the pixels show that this batch and earlier ones read.
    """
    said, stated = settings.conventions.of(files.scene), band_tags.stated(layout)
    known = facts(files.scene, key, convention_override=said, tag=stated)
    return decide(key, known, seen)
