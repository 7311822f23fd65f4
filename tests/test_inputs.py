"""What is wrong with a state is told in one line, and nothing of it is replaced."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from s2async.errors import S2AsyncError
from s2async.state import State
from tests.states import VISUAL, add, judge, make_area, make_scene, start


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


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused_or_right_and_never_replaced(tmp_path: Path, damage: str) -> None:
    path, areas = tmp_path / "state.sqlite", [make_area(f"area {number}") for number in range(60)]
    with State.create_or_open(path) as state:
        start(state, areas)
        add(state, make_scene(), areas)
    data = DAMAGES[damage](path.read_bytes())
    path.write_bytes(data)
    try:
        with State.create_or_open(path) as state:
            state.rejudge(judge, VISUAL)
            jobs = state.counts().total["open"]
    except S2AsyncError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert str(path) in str(error)  # noqa: PT017
        assert path.read_bytes() == data
    else:
        assert jobs == len(areas)


def test_a_folder_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.mkdir()
    with pytest.raises(S2AsyncError, match=r"folder|directory"):
        State.create_or_open(path)


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(DAMAGES) >= 40


def test_a_database_with_our_mark_but_other_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    State.create_or_open(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE meta")
    with pytest.raises(S2AsyncError, match="tables are missing"):
        State.create_or_open(path)
