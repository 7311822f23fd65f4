"""Which folder holds the crops of each area when the areas of a configuration change. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from s2async.models import Area, FolderMove


def parking(fingerprint: str) -> str:
    """Temporary name of an area's folder while others move."""
    return f".moving-{fingerprint}"


def plan_moves(known: Mapping[str, str], wanted: Mapping[str, Area]) -> list[FolderMove]:
    """Plan the moves that give every area of the configuration its folder.

    A known area that is not in the configuration keeps its folder, unless another area needs that: then its
    fingerprint is appended to the name. A new area whose folder still belongs to another area moves from its
    parking name, under which nothing exists. Names that differ only in case are the same, as on some file systems.

    Args:
        known: present folder by fingerprint.
        wanted: areas of the configuration by fingerprint.
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
