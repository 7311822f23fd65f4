"""Collects what is known about the offset of reflectance bands of an item, for `reflectance.decision`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from s2async.catalog.providers import Catalog
from s2async.models import Scene
from s2async.reflectance import decision
from s2async.reflectance.decision import Convention, Facts


def facts(
    scene: Scene, key: str, *, convention_override: Convention | None = None, tag: float | None = None
) -> Facts:
    """Collect what is known about one file of a scene.

    Args:
        scene: the item.
        key: this program's key of the asset.
        convention_override: convention of the archive according to the user; None to infer it from the file's URL.
        tag: offset in reflectance that the TIFF states; None if it states none or was not read.
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
    """The user's settings for the archives of the collections whose items a state contains.

    A state may contain items of several catalogues that were used one after the other: the setting for one archive
    does not apply to items of another.
    """

    present: Convention | None = None
    """Convention of the current catalogue; None to infer it from hrefs."""
    collections: Mapping[str, Convention | None] = field(default_factory=dict)
    """The latest convention of each collection that was searched."""
    mirrors: Mapping[str, Convention] = field(default_factory=dict)
    """Conventions of known buckets by the URL that stands for each; see `Catalog.mirrors`."""

    def of(self, scene: Scene, key: str) -> Convention | None:
        """Return the user's convention for the archive of a file; by default, that of the current catalogue.

        Args:
            scene: the item.
            key: our key of the asset.
        """
        said = self.collections.get(scene.collection, self.present)
        if said is not None or key not in scene.assets:
            return said
        href = scene.assets[key].href
        urls = [url for url in self.mirrors if href.startswith(f"{url}/")]
        return self.mirrors[max(urls, key=len)] if urls else None

    def noted(self, catalog: Catalog) -> Conventions:
        """Return these conventions, with those of the current catalogue and its buckets for former ones."""
        return Conventions(
            present=catalog.offsets,
            collections={**self.collections, catalog.collection: catalog.offsets},
            mirrors={**self.mirrors, **catalog.mirrors},
        )

    def text(self) -> str:
        """Return the conventions as JSON, for the state."""
        said = {name: known or "" for name, known in sorted(self.collections.items())}
        mirrors = {"mirrors": dict(sorted(self.mirrors.items()))} if self.mirrors else {}
        return json.dumps({"present": self.present or "", "collections": said, **mirrors})

    @classmethod
    def of_text(cls, text: str) -> Conventions:
        """Parse what `text` returned; return empty conventions for any other text."""
        try:
            found = json.loads(text)
            said = {str(name): _convention(known) for name, known in found["collections"].items()}
            mirrors = {str(url): Convention(known) for url, known in found.get("mirrors", {}).items()}
            return cls(present=_convention(found["present"]), collections=said, mirrors=mirrors)
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


def _convention(text: str) -> Convention | None:
    return Convention(text) if text else None
