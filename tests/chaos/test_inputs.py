"""Whatever is given: it is right, or refused in one line before the first request; a state is never replaced."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from shapely import box

from s2async.cli import status_tables
from s2async.errors import LocalError, S2AsyncError
from s2async.export import csv_table
from s2async.state.reader import Ledger
from s2async.state.writer import State
from s2async.text import safe
from tests.chaos import inputs
from tests.support import damages, hostile_inputs, shelves
from tests.support.hostile_inputs import REFUSED, RIGHT, TRACEBACK, WRONG, Case, Judged
from tests.support.states import make_area, start

pytestmark = pytest.mark.slow

# ---- polygons, names, configs -----------------------------------------------------------------------------


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize(("kind", "least"), [("polygons", 200), ("names", 60), ("configs", 80)])
def test_inputs_are_right_or_refused_in_one_line(tmp_path: Path, kind: str, least: int, every: int) -> None:
    cases: list[Case] = list(getattr(hostile_inputs, kind)())
    assert len({(case.label, tuple(case.files.items())) for case in cases}) == len(cases) >= least
    judged = [(case.label, hostile_inputs.judge(case, tmp_path / str(n))) for n, case in enumerate(cases[::every])]
    assert not [(label, found.why) for label, found in judged if found.outcome in (WRONG, TRACEBACK)]
    counts = Counter(found.outcome for _, found in judged)
    assert min(counts[RIGHT], counts[REFUSED]) >= 10 // every


PLAIN = next(hostile_inputs.polygons())


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (PLAIN, RIGHT),
        (replace(PLAIN, shapes={"P": box(13, 52, 14, 53.00001)}), WRONG),
        (replace(PLAIN, shapes={"Q": box(13, 52, 14, 53)}), WRONG),
        (replace(PLAIN, values={"clouds.max_area_cloud": 3.0}), WRONG),
        (replace(PLAIN, says="is a Point"), WRONG),
        (replace(PLAIN, files={"config.toml": ""}), WRONG),
        (replace(PLAIN, files={"config.toml": ""}, says="is not known"), WRONG),
        (replace(PLAIN, files={"config.toml": ""}, says="is missing"), REFUSED),
    ],
)
def test_what_is_not_as_it_should_be_would_be_noticed(tmp_path: Path, case: Case, outcome: str) -> None:
    assert hostile_inputs.judge(case, tmp_path / "case").outcome == outcome


@pytest.mark.parametrize(("outcome", "status"), [(RIGHT, 0), (REFUSED, 0), (WRONG, 1), (TRACEBACK, 1)])
def test_the_counts_tell_what_must_not_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: str, status: int
) -> None:
    plenty = [(kind, "case", Judged(outcome=RIGHT)) for kind in inputs.KINDS for _ in range(200)]
    monkeypatch.setattr(
        inputs, "run", lambda _: [*plenty, ("name", "odd one", Judged(outcome=outcome, why="why"))]
    )
    assert inputs.main([]) == status
    assert ("odd one: why" in capsys.readouterr().out) == bool(status)
    monkeypatch.setattr(inputs, "run", lambda _: plenty[:-1])
    monkeypatch.setattr(inputs, "LEAST", dict.fromkeys(inputs.KINDS, 200))
    assert inputs.main([]) == 1, "too few cases"


def test_a_name_is_a_text_wherever_it_goes(tmp_path: Path) -> None:
    texts = dict.fromkeys(name.strip() for name in hostile_inputs.NAMES if "\x7f" not in name)
    names = dict(hostile_inputs.places([*texts, *(name for pair in hostile_inputs.TWINS for name in pair)]))
    shelf = shelves.fill(tmp_path / "job", shapes={str(name): shape for name, shape in names.items()}, dates=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job"]
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == ["config.toml", "data"]
    folders = [path for path in shelf.output.iterdir() if path.is_dir()]
    assert len(folders) == len(names)
    with Ledger.read(shelf.settings.run.state) as state:
        csv_table.write(shelf.table(state), table := io.StringIO(newline=""))
        told = Console(file=io.StringIO(), width=1000)
        status_tables.show_status(told, state, shelf.settings, verbose=True)
    rows = list(csv.DictReader(io.StringIO(table.getvalue(), newline="")))
    assert {row["area"] for row in rows} == {f"'{name}" if name[0] in "=+-@" else name for name in map(str, names)}
    for row in rows:
        assert (shelf.output / row["path"]).is_file()
        assert not [cell for cell in row.values() if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    shown = told.file.getvalue().split("\n")  # type: ignore[attr-defined]
    assert not [line for line in shown if any(unicodedata.category(char) in ("Cc", "Cf", "Zl") for char in line)]
    assert sum(safe(str(name)) in line for name in names for line in shown) >= len(names)


# ---- states -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", damages.ALL)
def test_a_damaged_state_is_refused_or_right_and_never_replaced(tmp_path: Path, damage: str) -> None:
    found = damages.try_damage(damage, tmp_path / "job")
    assert found.outcome in (RIGHT, REFUSED), found.why


@pytest.fixture
def stranger() -> Iterator[Path]:
    """A folder that everybody may use, and a user whom the system may refuse something."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        root = os.name == "posix" and os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            for path in (folder, *folder.iterdir()):
                path.chmod(0o777)


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
@pytest.mark.parametrize(
    ("file", "mode"),
    [("state.sqlite", 0), ("state.sqlite", 0o200), ("state.sqlite", 0o400), ("state.sqlite-wal", 0),
     ("state.sqlite-wal", 0o400), ("state.sqlite.lock", 0), (".", 0), (".", 0o500)],
)  # fmt: skip
def test_a_state_that_may_not_be_read_or_written_stops_with_one_line(stranger: Path, file: str, mode: int) -> None:
    there, path, areas = stranger / "there.sqlite", stranger / "job" / "state.sqlite", [make_area("a")]
    path.parent.mkdir()
    with State.create_or_open(there) as state:
        start(state, areas)
        for end in ("", "-wal"):
            path.with_name(path.name + end).write_bytes(there.with_name(there.name + end).read_bytes())
    path.with_name(f"{path.name}.lock").touch()
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}
    (path.parent / file).chmod(mode)
    try:
        with pytest.raises(LocalError) as caught:
            State.create_or_open(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    finally:
        path.parent.chmod(0o777)
        for entry in path.parent.iterdir():
            entry.chmod(0o666)
    assert {name: (path.parent / name).read_bytes() for name in before} == before


def test_a_folder_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.mkdir()
    with pytest.raises(S2AsyncError, match=r"folder|directory"):
        State.create_or_open(path)


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(set(damages.ALL)) >= 40


def test_a_database_with_our_mark_but_other_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    State.create_or_open(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE meta")
    with pytest.raises(S2AsyncError, match="tables are missing"):
        State.create_or_open(path)
