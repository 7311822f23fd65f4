"""Which folder the crops of each area live in, when the areas of a configuration change. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from s2async.models import Area, FolderMove


def parking(fingerprint: str) -> str:
    """The name under which an area's folder waits while others move."""
    return f".moving-{fingerprint}"


def plan_moves(known: Mapping[str, str], wanted: Mapping[str, Area]) -> list[FolderMove]:
    """The moves after which every wanted area has the folder that it wants.

    A known area that is not wanted keeps its folder, unless a wanted one takes it: then it gets its fingerprint as
    a suffix. A new area whose folder is still another's comes out of the parking place, where nothing lies.
    Folders that differ in case only are one, as they are on some systems.

    Args:
        known: Present folder by fingerprint.
        wanted: Areas of the configuration by fingerprint.
    """
    taken = {area.folder.casefold() for area in wanted.values()}
    held = {folder.casefold() for folder in known.values()}
    moves = []
    for key, folder in known.items():
        if key in wanted:
            new = wanted[key].folder
        elif folder.casefold() in taken:
            new = _spare(folder, key, taken | held)
        else:
            new = folder
        if new != folder:
            moves.append(FolderMove(fingerprint=key, old=folder, new=new))
    for key, area in wanted.items():
        if key not in known and area.folder.casefold() in held:
            moves.append(FolderMove(fingerprint=key, old=parking(key), new=area.folder))
    return moves


def _spare(folder: str, fingerprint: str, taken: set[str]) -> str:
    name = f"{folder}-{fingerprint[:10]}"
    while name.casefold() in taken:
        name += "-"
    return name
