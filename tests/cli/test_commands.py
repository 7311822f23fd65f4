"""What a user can type: help texts, exit codes, shell completion, and what each of these loads."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

import s2async
from s2async import errors
from s2async.cli import bugs
from s2async.cli.commands import EXIT_CODES, cli
from tests.support.lanes import few_quick, slow
from tests.support.shelves import fill

LIBRARIES = {
    *("aiohttp", "asyncio", "filelock", "isal", "matplotlib", "numpy", "pyarrow", "pydantic", "pyogrio", "pyproj"),
    *("pystac", "pystac_client", "rasterio", "requests", "rich", "shapely", "sqlite3", "ssl", "tenacity"),
    *("urllib3", "xarray", "yarl"),
}
"""Top-level modules that take more than a moment to import."""


def loaded(folder: Path, arguments: Sequence[object], **environment: str) -> tuple[set[str], str]:
    """The libraries that a command imports in a process of its own, and its output."""
    file = folder / "modules.json"
    script = (
        "import atexit, json, sys; from pathlib import Path; from s2async.__main__ import main\n"
        f"atexit.register(lambda: Path({str(file)!r}).write_text(json.dumps(list(sys.modules))))\n"
        "sys.argv[0] = 's2async'\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert not done.stderr
    return LIBRARIES & {name.partition(".")[0] for name in json.loads(file.read_text())}, done.stdout


# ---- what is loaded ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", few_quick([["--help"], ["--version"], *([name, "--help"] for name in cli.commands)], 2)
)
def test_help_loads_no_library(tmp_path: Path, arguments: list[str]) -> None:
    libraries, out = loaded(tmp_path, arguments)
    assert out.startswith(("Usage: s2async", "s2async, version"))
    assert libraries == set()


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("s2async st", ["status"]),
        ("s2async -q run x.toml --new", ["--new-state"]),
        *slow(
            ("s2async r", ["rebuild", "report", "retry", "run"]),
            ("s2async status --j", ["--json"]),
            ("s2async export x.toml --format geo", ["geojson"]),
        ),
    ],
)
def test_shell_completion_loads_no_library(tmp_path: Path, words: str, completions: list[str]) -> None:
    asked = {"_S2ASYNC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    libraries, out = loaded(tmp_path, [], **asked)
    assert [line.removeprefix("plain,") for line in out.splitlines()] == completions
    assert libraries == set()


@pytest.mark.parametrize(("option", "drawing"), [((), {"rich"}), (("--json",), set())])
@pytest.mark.slow
def test_status_loads_what_settings_and_a_state_need(
    tmp_path: Path, option: tuple[str, ...], drawing: set[str]
) -> None:
    shelf = fill(tmp_path)
    with contextlib.closing(sqlite3.connect(shelf.settings.run.state)) as db, db:
        db.execute("UPDATE runs SET started = '2100-01-01T00:00:00+00:00'")  # areas are read if edited since then
    libraries, out = loaded(tmp_path, ["status", shelf.config, *option])
    assert "saved" in out
    assert libraries <= {"numpy", "pydantic", "sqlite3", "yarl"} | drawing
    assert drawing <= libraries


# ---- help texts -------------------------------------------------------------------------------------------


def help_of(*command: str) -> str:
    return CliRunner().invoke(cli, [*command, "--help"]).output


def test_help_lists_every_command() -> None:
    shown = help_of()
    assert [*cli.commands] == [
        *(
            "init",
            "check",
            "run",
            "plan",
            "status",
            "retry",
            "export",
            "report",
            "verify",
            "prune",
            "rebuild",
            "demo",
        ),
        "sandbox",
    ]
    for name in cli.commands:
        (line,) = re.findall(rf"(?m)^  {name} +(.+)$", shown)
        assert not line.endswith("..."), "the first sentence is short enough to be shown whole"


@pytest.mark.parametrize("name", cli.commands)
def test_each_command_has_an_example_and_no_synonym_of_crop(name: str) -> None:
    shown = help_of(name)
    assert re.search(rf"(?m)^  Example: s2async {name}\b", shown)
    assert not re.search(r"picture|image|product", shown, re.IGNORECASE)


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == f"s2async, version {s2async.__version__}\n"


# ---- exit codes -------------------------------------------------------------------------------------------


def codes(text: str, row: str) -> list[str]:
    return [code for match in re.finditer(row, text) for code in match[1].split(", ")]


def test_help_and_readme_list_the_same_exit_codes() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    table = readme.partition("| code | meaning |")[2].partition("\n\n")[0]
    told = codes(EXIT_CODES, r"(?m)^  (\d+(?:, \d+)*) ")
    assert told == codes(table, r"(?m)^\| (\d+(?:, \d+)*) \|")
    kinds = [errors.S2AsyncError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {str(kind.exit_code) for kind in kinds} | {"0", str(bugs.EXIT), "130", "143"} == set(told)
    for line in EXIT_CODES.replace("\b", "").splitlines():
        assert line in help_of()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError, 2),
        (errors.AreaError, 2),
        (errors.RemoteError, 3),
        (errors.TransientError, 3),
        (errors.StateInUse, 4),
        (errors.StateError, 5),
        (errors.StateDamaged, 5),
        (errors.LocalError, 6),
    ],
)
def test_each_kind_of_error_has_its_code(error: type[errors.S2AsyncError], code: int) -> None:
    assert error("x").exit_code == code
