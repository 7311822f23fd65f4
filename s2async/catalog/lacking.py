"""Detects selected assets that no scene offers: a wrong key (B04 for red), or a catalogue without COGs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from s2async.alarms import advice, named
from s2async.causes import Cause
from s2async.models import Scene
from s2async.reasons import counted


class Lacking:
    """Determines, scene by scene, which of the selected assets no scene offers in a readable form.

    Args:
        keys: keys of the assets to crop.
        measured: keys of the assets that the cloud rule needs.
        valued: keys of the bands that values need.
    """

    def __init__(self, keys: Iterable[str], *, measured: Collection[str], valued: Collection[str] = ()) -> None:
        wanted = dict.fromkeys((*measured, *keys))
        self._measured = frozenset(measured)
        self._wanted = frozenset(wanted)
        self._never: dict[str, Counter[Cause]] = {key: Counter() for key in dict.fromkeys((*wanted, *valued))}
        """Number of scenes by cause, for each key that no scene has offered."""
        self._scenes = 0
        self._there: set[str] = set()
        self._texts: dict[Cause, str] = {}
        """Text of one reason for each cause."""
        self._forbidden: set[str] = set()

    def add(self, scene: Scene) -> None:
        """Add a scene."""
        self._scenes += 1
        self._there |= scene.assets.keys()
        for key in [key for key in self._never if key in scene.assets]:
            del self._never[key]
        for key, causes in self._never.items():
            reason = scene.absent.get(key)
            causes[reason.cause if reason else Cause.NO_ASSET] += 1
            if reason and reason.cause is Cause.SCHEME:
                self._texts.setdefault(reason.cause, reason.text)
            if reason and reason.host:
                self._forbidden.add(reason.host)

    @property
    def keys(self) -> tuple[str, ...]:
        """Assets that no scene offers; empty before the first scene."""
        return tuple(self._never) if self._scenes else ()

    @property
    def scenes(self) -> int:
        """Number of scenes that were added."""
        return self._scenes

    @property
    def place(self) -> tuple[str, str]:
        """Section and key of the setting to correct.

        This is the catalogue for assets that the cloud rule needs, otherwise the output or the values.
        """
        if self._never.keys() & self._measured:
            return "search", "catalog"
        return ("output", "assets") if self._never.keys() & self._wanted else ("values", "bands")

    @property
    def told(self) -> str:
        """A sentence about the missing assets; empty if no asset is missing, or there are no scenes."""
        if not self.keys:
            return ""
        found = "the scene found" if self._scenes == 1 else f"any of {self._scenes} scenes"
        nowhere = [key for key, causes in self._never.items() if causes.keys() == {Cause.NO_ASSET}]
        told = []
        if nowhere:
            what = "is no asset" if len(nowhere) == 1 else "are no assets"
            told.append(f"{' and '.join(nowhere)} {what} of {found}; there are: {named(self._there)}")
        alike: dict[str, list[str]] = {}
        for key, causes in self._never.items():
            if key not in nowhere:
                why = self._texts.get(cause := next(iter(causes)), cause.words)
                alike.setdefault(counted(causes) if len(causes) > 1 else why, []).append(key)
        for why, keys in alike.items():
            told.append(f"{' and '.join(keys)} cannot be read in {found}: {why}")
        return "; ".join(told)

    @property
    def advice(self) -> str:
        """Advice to the user about the missing assets."""
        causes = Counter[Cause]()
        for found in self._never.values():
            causes.update(found)
        del causes[Cause.NO_ASSET]
        return advice(causes, self._there, sorted(self._forbidden)) if causes else "correct the key"
