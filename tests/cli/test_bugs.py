"""What nobody foresaw: one line, exit code 70, a file for the report, and no secret in either."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import s2async
from s2async.cli import bugs, heartbeat, main
from s2async.config import model
from s2async.errors import LocalError, TransientError
from tests.support import worlds
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow

CANARY = "hunter2canary"
SECRETS = {
    "HTTPS_PROXY": f"http://anna:{CANARY}1#x@127.0.0.1:8807",
    "no_proxy": "example.org",
    "CDSE_TOKEN": f"{CANARY}-token",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}/key",
    "HOME": "/home/anna",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in range(0, 8, 2)])


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files of bugs go."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    return tmp_path / "state-home" / "s2async" / "bugs"


Ended = tuple[int, str, str]


@pytest.fixture
def s2(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """The command in this process, to its exit code."""

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main([str(argument) for argument in arguments])
        out, error = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in out + error
        return ended.value.code, out, error

    return run


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        hidden = CANARY  # the value of a variable, which nobody writes down
        assert hidden
        raise error

    return fail


def the_file(kept: Path) -> str:
    (path,) = kept.iterdir()
    return path.read_text("utf-8")


def start(broken: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which finds some modules in a folder first."""
    return subprocess.run(
        [sys.executable, "-m", "s2async", "run", "nowhere.toml"],
        env={**os.environ, **environment, "PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
        timeout=200,
        cwd=Path(__file__).parents[2],
    )


# ---- commands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "status", "plan", "verify", "report"])
def test_a_bug_is_one_line_and_a_file(
    s2: Callable[..., Ended], kept: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(model.Config, "load", failing(KeyError("odd")))
    code, out, said = s2(command, "c.toml")
    (path,) = kept.iterdir()
    assert (code, out) == (70, "")
    assert said == f"s2async: this is a bug: KeyError: 'odd'; details are in {path}; please report it\n"
    text = the_file(kept)
    assert text.startswith(f"s2async {s2async.__version__}, ")
    assert f"Python {sys.version.split()[0]} on " in text
    assert "Traceback (most recent call last)" in text
    assert "in failing" in text or "in fail" in text
    assert CANARY not in text
    assert path.stat().st_mode & 0o077 == 0, "only its owner reads it"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x\ny\x1b[31m"),
        RecursionError(),
        ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
        AssertionError(),
        asyncio.CancelledError(),
        NotImplementedError("\ud800"),
    ],
)
def test_every_kind_of_bug_is_one_line(
    s2: Callable[..., Ended], kept: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(model.Config, "load", failing(error))
    code, out, said = s2("-q", "run", "c.toml")
    assert (code, out, said.count("\n")) == (70, "", 1)
    assert said.startswith(f"s2async: this is a bug: {type(error).__name__}")
    assert "\x1b" not in said
    assert the_file(kept)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (MemoryError(), 6, "out of memory"),
        (OSError(errno.EMFILE, "Too many open files"), 6, "ulimit -n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/y"),
            6,
            "this machine stopped the command (Permission denied",
        ),
        (RuntimeError("can't start new thread"), 6, "starts no more threads"),
        (LocalError("no disk"), 6, "no disk"),
        (TransientError("no net"), 3, "no net"),
    ],
)
def test_what_is_no_bug_is_not_called_one(
    s2: Callable[..., Ended], kept: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, says: str
) -> None:
    monkeypatch.setattr(model.Config, "load", failing(error))
    ended, out, said = s2("run", "c.toml")
    assert (ended, out, said.count("\n")) == (code, "", 1)
    assert says in said
    assert "bug" not in said
    assert not kept.exists()


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interruption_stays_one(
    s2: Callable[..., Ended], kept: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(model.Config, "load", failing(error))
    ended, out, said = s2("run", "c.toml")
    assert (ended, out, said.strip()) == (code, "", "")
    assert not kept.exists()


def test_without_the_best_place_for_the_file_it_goes_to_another(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "numpy.py").write_text("1 / 0")
    places = {"XDG_STATE_HOME": str(tmp_path / "broken" / "numpy.py"), "TMPDIR": str(tmp_path)}
    done = start(tmp_path / "broken", **places)
    (path,) = tmp_path.glob("s2async-bug-*")
    assert (done.returncode, done.stderr.count("\n")) == (70, 1)
    assert f"details are in {path}; " in done.stderr


def test_without_any_place_for_the_file_the_bug_is_told(
    s2: Callable[..., Ended], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.Config, "load", failing(KeyError("odd")))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", failing(OSError(errno.EROFS, "Read-only file system")))
        code, _, said = s2("run", "c.toml")
    assert code == 70
    assert said.startswith("s2async: this is a bug: KeyError: 'odd'; the details could not be written to a file; ")
    assert said.endswith("; please report it\n")
    assert said.count("\n") == 1


def test_only_the_newest_files_stay(kept: Path) -> None:
    kept.mkdir(parents=True)
    old = [kept / f"s2async-bug-20200101T0000{number:02}-1.txt" for number in range(bugs.KEPT + 5)]
    for path in old:
        path.touch()
    (kept / "notes.txt").touch()
    new = bugs.keep(ValueError("x"))
    assert new is not None
    assert set(kept.iterdir()) == {new, kept / "notes.txt", *old[-bugs.KEPT + 1 :]}


# ---- secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"invalid literal for int() with base 10: '{CANARY}1'",
        f"cannot parse http://anna:{CANARY}1#x@127.0.0.1:8807",
        f"cannot connect to http://someone:{CANARY}@host:1/path",
        f"https://a.test/f.tif?sig={CANARY}&se=2024: 403",
        f"GET /f.tif?token={CANARY} failed",
        f"headers: Authorization: Bearer {CANARY}.abc",
        f"Proxy-Authorization: Basic {CANARY}==",
        f"the key {CANARY}/key and the token {CANARY}-token",
    ],
)
def test_no_secret_of_a_text_is_told_or_kept(kept: Path, text: str) -> None:
    error = ValueError(text)
    error.add_note(text)
    error.__cause__ = OSError(text)
    line, code = bugs.tell(error, SECRETS)
    assert code == 70
    assert CANARY not in line
    assert "\n" not in line
    found = the_file(kept)
    assert "ValueError" in found
    assert CANARY not in found


def test_what_is_no_secret_stays() -> None:
    text = "scl: /home/anna/fields.toml: https://a.test/x.tif of example.org at 127.0.0.1"
    assert bugs.without_secrets(text, {"HOME": "/home/anna", "no_proxy": "example.org"}) == text


# ---- what nobody waits for --------------------------------------------------------------------------------


def while_running(monkeypatch: pytest.MonkeyPatch, disturb: Callable[[], object]) -> None:
    """Do something in the loop's thread as soon as a run goes on."""
    plain = heartbeat.watch

    async def watch(on_beat: Callable[[float], None]) -> None:
        disturb()
        await plain(on_beat)

    monkeypatch.setattr(heartbeat, "watch", watch)


def in_a_callback(error: BaseException) -> None:
    asyncio.get_running_loop().call_soon(failing(error))


def in_a_task(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    asyncio.get_running_loop().create_task(fail())


def in_a_thread(error: BaseException) -> None:
    thread = threading.Thread(target=failing(error))
    thread.start()
    thread.join()


def in_a_finalizer(error: BaseException) -> None:
    class Sick:
        __del__ = failing(error)

    Sick()
    gc.collect()


WHERE = [in_a_callback, in_a_task, in_a_thread, in_a_finalizer]


@pytest.mark.parametrize("where", WHERE)
def test_a_bug_beside_a_run_is_told_at_its_end(
    s2: Callable[..., Ended],
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stage: Stage,
    where: Callable[[BaseException], None],
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    while_running(monkeypatch, lambda: where(LookupError(f"https://u:{CANARY}@a.test/")))
    code, out, said = s2("-q", "run", path)
    gc.collect()
    assert (code, out, said.count("\n")) == (70, "", 1)
    assert said.startswith("s2async: this is a bug: LookupError: https://a.test/; details are in ")
    assert CANARY not in the_file(kept)
    assert not worlds.faults_of(model.Config.load(path), stage.world), "the run itself did what it should"
    assert "open" not in worlds.statuses(model.Config.load(path)).values()


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(
    "error", [ConnectionResetError(errno.ECONNRESET, "x"), MemoryError(), TransientError("x")]
)
def test_what_a_connection_says_that_nobody_uses_is_no_bug(
    s2: Callable[..., Ended],
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stage: Stage,
    where: Callable[[BaseException], None],
    error: Exception,
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    while_running(monkeypatch, lambda: where(error))
    assert s2("-q", "run", path) == (0, "", "")
    assert not kept.exists()


def test_who_listens_leaves_everything_as_it_was() -> None:
    logger = logging.getLogger("asyncio")
    before = threading.excepthook, sys.unraisablehook, logger.propagate, list(logger.handlers)
    with bugs.Watch().listening():
        assert threading.excepthook is not before[0]
    assert (threading.excepthook, sys.unraisablehook, logger.propagate, list(logger.handlers)) == before


# ---- while everything is loaded ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "statement", "code", "says"),
    [
        (
            "rasterio",
            "raise ImportError('no libgdal')",
            70,
            "this is a bug: ImportError: no libgdal; details are in ",
        ),
        ("numpy", "1 / 0", 70, "this is a bug: ZeroDivisionError: division by zero; "),
        (
            "rasterio",
            "raise ImportError('libgdal.so: failed to map segment from shared object')",
            6,
            "too little memory",
        ),
        ("shapely", "raise MemoryError", 6, "out of memory"),
        ("aiohttp", "raise OSError(24, 'Too many open files')", 6, "ulimit -n"),
        ("pydantic", "raise KeyboardInterrupt", 130, ""),
        ("click", "raise KeyboardInterrupt", 130, ""),
        ("click", "raise OSError(24, 'Too many open files')", 6, "ulimit -n"),
        ("click", "1 / 0", 70, "this is a bug: ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_while_it_is_loaded(
    tmp_path: Path, kept: Path, broken: str, statement: str, code: int, says: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{broken}.py").write_text(statement)
    done = start(tmp_path / "broken")
    assert (done.returncode, done.stdout) == (code, "")
    said = done.stderr.lstrip("\n")  # click ends the line on which the terminal shows ^C
    assert said.count("\n") == bool(says)
    assert said.startswith("s2async: " if says else "")
    assert says in done.stderr
    assert kept.exists() == (code == 70)
