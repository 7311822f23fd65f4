"""Folder names: a short name for each area that is valid on every system. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final

MAX_BYTES: Final = 80
"""Maximum length of a folder name in UTF-8 (file systems allow 255 bytes; paths also contain item and asset
names)."""

HASH_DIGITS: Final = 10

_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{device}{digit}" for device in ("com", "lpt") for digit in "0123456789"]
)
"""Names that Windows reserves for devices, with any suffix ("Naming Files, Paths, and Namespaces")."""

_FILES: Final = re.compile(
    r"\.(csv|db|geojson|html|json|lock|parquet|part|sqlite[0-9]?(-shm|-wal|-journal)?|tiff?)$"
)
"""Suffixes of other files that may be in the same folder."""

_SIMPLE: Final = re.compile(rf"[0-9A-Za-z_][0-9A-Za-z_-]{{0,{MAX_BYTES - 1}}}")
"""Names that are valid folder names, unless Windows reserves them: a quick test for most names."""


def folder_name(name: str) -> str:
    """Return a folder name: letters and digits of any script, ``-``, ``_`` and inner dots; spaces become ``_``.

    If anything else had to be changed, or the name is reserved, a hash of the name is appended. The result is NFC
    and has at most 80 bytes in UTF-8.
    """
    if _SIMPLE.fullmatch(name) and name.lower() not in _DEVICES:
        return name
    plain = _plain(name)
    return plain if _is_safe(name, plain) else _hashed(name)


def folder_names(names: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """Return a different folder for each name, even on systems that ignore case or Unicode normalisation.

    If the folders of several names would clash, all of them get a hash, so the result does not depend on the
    order.

    Args:
        names: distinct names.
        taken: names of files in the same folder.
    """
    folders = {name: folder_name(name) for name in names}
    blocked = {clash_key(name) for name in taken}
    while True:
        keys = [clash_key(folder) for folder in folders.values()]
        if len(set(keys)) == len(keys) and blocked.isdisjoint(keys):
            return folders
        same = defaultdict(list)
        for name, key in zip(folders, keys, strict=True):
            same[key].append(name)
        clashing = [
            name
            for key, group in same.items()
            if len(group) > 1 or key in blocked
            for name in group
            if folders[name] != _hashed(name)
        ]
        if not clashing:
            return folders
        folders |= {name: _hashed(name) for name in clashing}


def _plain(name: str) -> str:
    text = re.sub(r"[ \u00a0\u2000-\u200a\u202f\u205f\u3000]+", "_", unicodedata.normalize("NFC", name.strip()))
    return "".join(char if char in "-_." or unicodedata.category(char)[0] in "LMN" else "\0" for char in text)


def _is_safe(name: str, plain: str) -> bool:
    return (
        bool(plain)
        and "\0" not in plain
        and plain[0] not in "-."
        and plain[-1] != "."
        and unicodedata.category(plain[0])[0] != "M"
        and len(plain.encode()) <= MAX_BYTES
        and not _is_reserved(plain)
        and name == name.strip()
    )


def _is_reserved(plain: str) -> bool:
    return _is_device(plain) or bool(_FILES.search(plain.casefold()))


def _is_device(plain: str) -> bool:
    return unicodedata.normalize("NFKC", plain).casefold().split(".")[0] in _DEVICES


def _hashed(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
    stem = re.sub("\0+", "_", _plain(name)).strip("-._") or "area"
    if _is_device(stem) or unicodedata.category(stem[0])[0] == "M":
        stem = f"_{stem}"
    room = MAX_BYTES - HASH_DIGITS - 1
    stem = stem.encode()[:room].decode(errors="ignore")
    return f"{stem}-{digest}"


def clash_key(folder: str) -> str:
    """Return a key that is equal for names that some file system treats as the same."""
    if folder.isascii():
        return folder.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folder).casefold())
