"""The offset of a band in a batch's scene, derived from all that is known when its pixels are used."""

from __future__ import annotations

from s2async.catalog.facts import facts
from s2async.cog.tiff import Layout
from s2async.engine.scene_files import SceneFiles
from s2async.engine.tools import Settings
from s2async.output import band_tags
from s2async.reflectance.decision import Offset, decide
from s2async.reflectance.evidence import Evidence


def decided(files: SceneFiles, settings: Settings, key: str, layout: Layout, seen: Evidence) -> Offset:
    """Decide on the offset of a band from its item, its file, and the pixels that have been read so far.

    Args:
        files: the files of the scene.
        settings: settings of the batch, including what the user says about archives.
        key: asset key of the band.
        layout: layout of the band's file.
        seen: evidence from the pixels that this batch and earlier batches have read.
    """
    said, stated = settings.conventions.of(files.scene, key), band_tags.stated(layout)
    known = facts(files.scene, key, convention_override=said, tag=stated)
    return decide(key, known, seen)
