"""What an item says about the offset of its reflectance bands, for `reflectance.decision`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Conventions:
    """What the user says about the archives of the collections that a state has items of.

    A state may have items of several catalogues, one after the other: what is said of one archive does not hold
    for the items of another.
    """

    present: Convention | None = None
    """Of the present catalogue; None to conclude it from hrefs."""
    collections: Mapping[str, Convention | None] = field(default_factory=dict)
    """The last one of each collection that was searched."""

    def of(self, scene: Scene) -> Convention | None:
        """What the user says about the archive of an item; that of the present catalogue by default."""
        return self.collections.get(scene.collection, self.present)

    def noted(self, collection: str, convention: Convention | None) -> Conventions:
        """With what is said of the present catalogue."""
        return Conventions(present=convention, collections={**self.collections, collection: convention})

    def text(self) -> str:
        """As JSON, for the state."""
        said = {name: known or "" for name, known in sorted(self.collections.items())}
        return json.dumps({"present": self.present or "", "collections": said})

    @classmethod
    def of_text(cls, text: str) -> Conventions:
        """What `text` returned; of anything else, nothing is known."""
        try:
            found = json.loads(text)
            said = {str(name): _convention(known) for name, known in found["collections"].items()}
            return cls(present=_convention(found["present"]), collections=said)
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


def _convention(text: str) -> Convention | None:
    return Convention(text) if text else None
