"""States that were damaged, and what must become of them: right, or refused in one line, and never replaced."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Final

from s2async.errors import S2AsyncError
from s2async.state.writer import State
from tests.support.hostile_inputs import REFUSED, RIGHT, WRONG, Judged
from tests.support.states import VISUAL, add, each, judge, make_area, make_scene, start

AREAS: Final = [make_area(f"area {number}") for number in range(60)]


def cut(part: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * part)]


def fixed(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


def pages(seed: int) -> Callable[[bytes], bytes]:
    """Some random pages but the first are overwritten."""

    def work(data: bytes) -> bytes:
        chance, torn = random.Random(seed), bytearray(data)
        for _ in range(3):
            at = 4096 * chance.randrange(1, len(data) // 4096)
            torn[at : at + 4096] = chance.randbytes(4096)
        return bytes(torn)

    return work


def head(at: int, new: bytes) -> Callable[[bytes], bytes]:
    """Bytes of the file's header are others."""
    return lambda data: data[:at] + new + data[at + len(new) :]


FOREIGN = {
    "zeros": b"\0" * 8192,
    "text": b"a text\n",
    "gzip": b"\x1f\x8b\x08\0",
    "zip": b"PK\x03\x04",
    "tiff": b"II*\0\x08\0\0\0",
    "one byte": b"S",
    "name of the format alone": b"SQLite format 3\0",
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    **{name: fixed(content) for name, content in FOREIGN.items()},
    **{f"garbage {seed}": fixed(random.Random(seed).randbytes(9000)) for seed in range(4)},
    **{f"first {part:.0%}": cut(part) for part in (0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)},
    **{f"pages {seed}": pages(seed) for seed in range(14)},
    "newer": head(60, (99).to_bytes(4, "big")),
    "no version": head(60, bytes(4)),
    "negative version": head(60, b"\xff" * 4),
    "another program's": head(68, b"GPKG"),
    "nobody's": head(68, bytes(4)),
    "page size": head(16, b"\0\1"),
    "journal of the future": head(18, b"\x09\x09"),
}


JOURNALS: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": fixed(b""),
    "half": cut(0.5),
    "all but a byte": lambda data: data[:-1],
    "garbage": lambda data: random.Random(5).randbytes(len(data)),
    "a flipped bit": lambda data: data[:9000] + bytes([data[9000] ^ 1]) + data[9001:],
    "text": fixed(b"a text\n"),
}
ALL: Final = (
    *DAMAGES,
    *(f"journal: {damage}{and_index}" for damage, and_index in product(JOURNALS, ("", ", index gone"))),
)
"""All that `try_damage` takes."""


def try_damage(damage: str, folder: Path) -> Judged:
    """Damage a state in a folder of its own, open it, and look at what it says.

    Args:
        damage: one of `ALL`.
        folder: does not exist yet.
    """
    folder.mkdir()
    path = folder / "state.sqlite"
    if damage in DAMAGES:
        right = {len(AREAS)}
        _damage_file(path, DAMAGES[damage])
    else:
        right = {len(AREAS) // 2, len(AREAS)}
        name, _, and_index = damage.removeprefix("journal: ").partition(", ")
        _damage_journal(path, JOURNALS[name], index_too=bool(and_index))
    before = path.read_bytes()
    try:
        with State.create_or_open(path) as state:
            state.update_statuses(each(judge), VISUAL)
            jobs = state.counts(VISUAL).total["open"]
    except S2AsyncError as error:
        line = str(error)
        if "\n" in line or str(path) not in line:
            return Judged(outcome=WRONG, why=f"not one line that names the file: {line!r}")
        if path.read_bytes() != before:
            return Judged(outcome=WRONG, why="refused, but changed")
        return Judged(outcome=REFUSED, why=line)
    return Judged(outcome=RIGHT) if jobs in right else Judged(outcome=WRONG, why=f"tells {jobs} jobs")


def _damage_file(path: Path, how: Callable[[bytes], bytes]) -> None:
    with State.create_or_open(path) as state:
        start(state, AREAS)
        add(state, make_scene(), AREAS)
    path.write_bytes(how(path.read_bytes()))


def _damage_journal(path: Path, how: Callable[[bytes], bytes | None], *, index_too: bool) -> None:
    """As after a kill, and a hand that tidies up: what was last is lost and done again, and nothing is made up."""
    there = path.with_name("there.sqlite")
    with State.create_or_open(there) as state:
        start(state, AREAS)
        add(state, make_scene(), AREAS[: len(AREAS) // 2])
    with State.create_or_open(there) as state:
        start(state, AREAS)
        add(state, make_scene(), AREAS)
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).write_bytes(there.with_name(there.name + end).read_bytes())
    journal = path.with_name(f"{path.name}-wal")
    left = how(journal.read_bytes())
    journal.unlink()
    if left is not None:
        journal.write_bytes(left)
    if index_too:
        path.with_name(f"{path.name}-shm").unlink()
