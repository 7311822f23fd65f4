"""Machines that let a program have little: a run does less at once, or says in one line what it needs."""

from __future__ import annotations

import errno
import os
import shutil
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from s2async import means
from s2async.config.example import EXAMPLE
from s2async.config.model import Config
from s2async.errors import LocalError
from s2async.means import Means, Work
from s2async.net.connections import BUNDLES
from tests.support import worlds
from tests.support.worlds import Ran, Stage

resource = pytest.importorskip("resource")
MB = 1 << 20


def also(*values: object) -> Iterator[Any]:
    """Parameters like those of the usual lane, in the long one. A tuple is for several names."""
    sets = (value if isinstance(value, tuple) else (value,) for value in values)
    return (pytest.param(*some, marks=pytest.mark.long) for some in sets)


USUAL = Work(connections=64, threads=4, writers=4, memory=48 * MB)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    items = [worlds.day(number) for number in range(0, 32, 2)]
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items, delay=30)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Ran:
    return worlds.run(config_in(tmp_path_factory.mktemp("calm"), stage), stage.sandbox)


def config_in(folder: Path, stage: Stage) -> Path:
    return worlds.write_config(folder, stage.sandbox, network={"connections": 64})


def limited(
    *arguments: object, code: str = "", cwd: Path | None = None, **limits: tuple[int, int] | int | Path
) -> tuple[int, str, str]:
    """The command in a process with limits of its own: ``RLIMIT_...`` as soft and hard, or both in one.

    Paths are variables of its environment.
    """
    variables = {name: str(path) for name, path in limits.items() if isinstance(path, Path)}

    def lower() -> None:
        for name, limit in limits.items():
            if isinstance(limit, Path):
                continue
            pair = (limit, limit) if isinstance(limit, int) else limit
            resource.setrlimit(getattr(resource, name), pair)

    start = ["-c", textwrap.dedent(code)] if code else ["-m", "s2async"]
    done = subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        preexec_fn=lower,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | variables,
        timeout=200,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def refusal(ended: tuple[int, str, str]) -> str:
    code, out, said = ended
    assert (code, out) == (6, ""), said
    (line,) = said.splitlines()
    return line


# ---- decisions --------------------------------------------------------------------------------------------


def test_without_limits_a_run_does_what_is_wanted() -> None:
    assert means.fit(USUAL, Means()) == USUAL
    assert means.told(USUAL, USUAL) == ""


@pytest.mark.parametrize(("files", "connections"), [(36, 5), (56, 15), (27, 1), (28, 1), (29, 2)])
def test_few_files_are_shared_out(files: int, connections: int) -> None:
    """12 of its own, 2 for each of 2 threads, 9 for a writer, and 2 for each connection."""
    found = means.fit(USUAL, Means(files=files))
    assert found == Work(connections=connections, threads=2, writers=1, memory=48 * MB)
    assert f"{connections} connections instead of 64" in means.told(USUAL, found)


def test_many_hosts_and_quicklooks_take_more_files() -> None:
    assert means.fit(USUAL, Means(files=64), hosts=5).connections == 13
    assert means.fit(USUAL, Means(files=64), files_written=16).connections == 15


def test_what_is_wanted_is_never_exceeded() -> None:
    wanted = Work(connections=3, threads=1, writers=4, memory=16 * MB)
    found = means.fit(wanted, Means(files=50, space=72 * MB, stack=2 * MB))
    assert found == Work(connections=3, threads=1, writers=1, memory=16 * MB)


@pytest.mark.parametrize("spare", [0, 3, 21])
def test_little_space_is_shared_out(spare: int) -> None:
    """32 MiB of its own, stacks, a quarter for each connection, and one and a half times its memory."""
    least = 32 + 7 * 2 + 8 // 4 + 24
    found = means.fit(USUAL, Means(space=(least + spare) * MB, stack=2 * MB))
    assert found == Work(connections=8, threads=2, writers=1, memory=(16 + spare * 2 // 3) * MB)
    assert "MB of tiles in memory instead of 50" in means.told(USUAL, found)


def test_too_little_is_told_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"RLIMIT_NOFILE": 30, "RLIMIT_AS": 300 * 10**6}
    monkeypatch.setattr(means, "_limit", limits.get)
    with pytest.raises(LocalError, match="only 30 files may be open at once, and this run needs 34: raise"):
        means.fit(USUAL, Means(files=23))
    with pytest.raises(LocalError, match=r"may have 300 MB of addresses, and needs 30\d MB: raise the limit"):
        means.fit(USUAL, Means(space=70 * MB, stack=2 * MB))


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] as OpenSSL says it")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory; lower memory"),
        (OSError(errno.EMFILE, "x"), "too many open files; raise the limit (ulimit -n)"),
        (OSError(errno.ENFILE, "x"), "close other programs"),
        (OSError(errno.ENOMEM, "x"), "out of memory"),
        (RuntimeError("can't start new thread"), "starts no more threads"),
        (ImportError("x.so: failed to map segment from shared object"), "too little memory to load"),
        (tls_error("LIBRARY_HAS_NO_CIPHERS"), "TLS cannot be set up ([SSL: LIBRARY_HAS_NO_CIPHERS]"),
        (tls_error("MALLOC_FAILURE"), "too little memory (ulimit -v)"),
    ],
)
def test_what_ran_short_is_told(error: Exception, says: str) -> None:
    with pytest.raises(LocalError) as caught, means.told_short():
        raise error
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"),
        OSError(errno.ENOENT, "x"),
        KeyboardInterrupt(),
        ValueError(),
        SyntaxError("x"),
        ImportError("cannot import name 'x'"),
        ssl.SSLCertVerificationError(errno.ENOMEM, "not of the system, whatever the number"),
    ],
)
def test_all_else_stays_what_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, means.told_short():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [SystemError("x"), SyntaxError("expected ':'")])
def test_what_compilers_and_libraries_say_without_memory(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(means, "_limit", {"RLIMIT_AS": 300 * 10**6}.get)
    with pytest.raises(LocalError, match="out of memory"), means.told_short():
        raise error


# ---- open files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [*also(64), 40])
def test_with_few_files_a_run_asks_for_less_at_once(tmp_path: Path, stage: Stage, calm: Ran, files: int) -> None:
    path = config_in(tmp_path, stage)
    code, _, said = limited("run", path, RLIMIT_NOFILE=files)
    assert code == 0, said
    assert "this machine lets a program have little: " in said
    assert " connections instead of 64" in said
    assert worlds.result(Config.load(path)) == worlds.result(calm.config)


def test_few_files_are_no_failure_to_be_told_when_quiet(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    path = config_in(tmp_path, stage)
    assert limited("-q", "run", path, RLIMIT_NOFILE=48) == (0, "", "")
    assert worlds.result(Config.load(path)) == worlds.result(calm.config)


def test_a_soft_limit_is_raised(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    path = config_in(tmp_path, stage)
    code, _, said = limited("run", path, RLIMIT_NOFILE=(20, 2000))
    assert code == 0
    assert "instead of" not in said
    assert worlds.result(Config.load(path)) == worlds.result(calm.config)


@pytest.mark.parametrize("files", [30, *also(20, 12), 8])
def test_with_too_few_files_nothing_is_begun(tmp_path: Path, stage: Stage, files: int) -> None:
    path = config_in(tmp_path, stage)
    stage.sandbox.reset()
    line = refusal(limited("run", path, RLIMIT_NOFILE=files))
    assert line.startswith(f"s2async: only {files} files may be open at once, and ")
    assert "raise the limit (ulimit -n)" in line
    assert not stage.sandbox.log()
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_commands_that_need_little_work_with_few_files(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    for arguments in (("--help",), ("init", tmp_path / "new.toml"), ("status", calm.config.file)):
        code, out, said = limited(*arguments, RLIMIT_NOFILE=24)
        assert (code, said) == (0, "")
        assert out


UNFITTED = """
    import sys
    from s2async import means
    means.fit = lambda wanted, *_, **__: wanted
    {more}
    from s2async.__main__ import main
    main()
"""
"""The command, which does not look at the limits before it begins."""


def goes_on(path: Path, stage: Stage, calm: Ran) -> None:
    """Whatever stopped a run: no job has failed, and the next run does the rest."""
    config = Config.load(path)
    assert "failed" not in worlds.statuses(config).values()
    assert worlds.run(path, stage.sandbox).summary.clean
    assert worlds.result(config) == worlds.result(calm.config)
    assert not list(path.parent.rglob("*.part"))


@pytest.mark.parametrize("files", [18, *also(26, 40)])
def test_files_that_run_out_meanwhile_stop_a_run_in_order(
    tmp_path: Path, stage: Stage, calm: Ran, files: int
) -> None:
    path = config_in(tmp_path, stage)
    code = UNFITTED.format(more="means.LEAST_FILES = 0")
    line = refusal(limited("-q", "run", path, code=code, RLIMIT_NOFILE=files))
    assert line.startswith("s2async: ")
    assert "open files" in line
    goes_on(path, stage, calm)


# ---- addresses and threads --------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit addresses")


@linux
def test_with_400_mb_of_addresses_a_run_is_whole_or_refused(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    """Which of them hangs on how large the libraries are; those of Linux, x86-64 and Python 3.11 need 323 MB."""
    path = config_in(tmp_path, stage)
    code, out, said = limited("run", path, RLIMIT_AS=400 * 10**6)
    if code == 6:
        assert "MB of addresses, and needs " in refusal((code, out, said))
    else:
        assert code == 0, said
        assert worlds.result(Config.load(path)) == worlds.result(calm.config)
    assert limited("-q", "run", path, RLIMIT_AS=1200 * 10**6) == (0, "", "")


@linux
@pytest.mark.parametrize("megabytes", [*also(100), 200, *also(300)])
def test_with_less_nothing_is_begun(tmp_path: Path, stage: Stage, megabytes: int) -> None:
    path = config_in(tmp_path, stage)
    stage.sandbox.reset()
    line = refusal(limited("run", path, RLIMIT_AS=megabytes * 10**6))
    assert "addresses" in line or "memory" in line
    assert "ulimit -v" in line
    assert not stage.sandbox.log()
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@linux
def test_memory_that_runs_out_meanwhile_stops_a_run_in_order(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    """Between what is needed to load the libraries and what a run asks for: they may die of it, or it gets far."""
    path = config_in(tmp_path, stage)
    code = UNFITTED.format(more="")
    for megabytes in (266, 282):
        ended = limited("-q", "run", path, code=code, RLIMIT_AS=megabytes * MB)
        if ended[0] > 0 and ended[2].startswith("s2async: "):  # else a library ended the process itself
            assert ended[0] == 6, ended
            assert len(ended[2].splitlines()) == 1
    goes_on(path, stage, calm)


@linux
@pytest.mark.long
@pytest.mark.parametrize(
    ("limit", "amounts"),
    [("RLIMIT_AS", [megabytes * MB for megabytes in range(255, 421, 20)]), ("RLIMIT_NOFILE", range(16, 65, 12))],
)
def test_whatever_there_is_a_run_is_whole_or_ends_in_one_line(
    tmp_path: Path, stage: Stage, calm: Ran, limit: str, amounts: Sequence[int]
) -> None:
    path = config_in(tmp_path, stage)
    for amount in amounts:
        limits: dict[str, Any] = {limit: amount}
        ended = limited("-q", "run", path, **limits)
        assert ended == (0, "", "") or refusal(ended).startswith("s2async: "), amount
        if ended[0] == 0:
            assert worlds.result(Config.load(path)) == worlds.result(calm.config), amount
            shutil.rmtree(path.with_name("config-data"))


UNSAFE = """
    openssl_conf = all
    [all]
    alg_section = one
    [one]
    default_properties = fips=yes
"""
"""Settings of OpenSSL with which it has no ciphers, as it says without memory too."""


@pytest.mark.parametrize("command", ["run", "status"])
def test_tls_that_cannot_be_set_up_is_told(tmp_path: Path, stage: Stage, command: str) -> None:
    """Importing the network libraries fails then, and for `status`, which needs none, the first hash."""
    (tmp_path / "openssl.cnf").write_text(textwrap.dedent(UNSAFE))
    path = config_in(tmp_path, stage)
    told = refusal(limited(command, path, OPENSSL_CONF=tmp_path / "openssl.cnf"))
    if "[SSL" in told:  # OpenSSL 3 as Python's own builds have it
        assert told.startswith("s2async: TLS cannot be set up ([SSL: LIBRARY_HAS_NO_CIPHERS]")
    assert "ulimit -v" in told
    assert not path.with_name("config-data").exists()


FAILING = """
    import ssl
    import aiohttp
    from s2async.__main__ import main
    aiohttp.TCPConnector.__init__ = lambda *_, **__: {fails}
    main()
"""
"""The command where connections cannot be set up."""


CANNOT = {
    "ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata='x')": "TLS cannot be set up (",
    "(_ for _ in ()).throw(MemoryError())": "out of memory",
    "(_ for _ in ()).throw(OSError(24, 'x'))": "too many open files",
    "(_ for _ in ()).throw(ImportError('_ssl.so: cannot allocate memory'))": "too little memory to load",
}
"""What a run says, by what fails in it."""
_FIRST, *_OTHERS = CANNOT


@pytest.mark.parametrize("fails", [_FIRST, *also(*_OTHERS)])
def test_connections_that_cannot_be_set_up_stop_a_run_in_order(
    tmp_path: Path, stage: Stage, calm: Ran, fails: str
) -> None:
    path, says = config_in(tmp_path, stage), CANNOT[fails]
    assert says in refusal(limited("-q", "run", path, code=FAILING.format(fails=fails)))
    goes_on(path, stage, calm)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "content"),
    [("run", None), *also(("plan", b""), ("plan", None), ("run", b""), ("run", b"\0garbage"))],
)
def test_certificates_that_cannot_be_used_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, content: bytes | None
) -> None:
    """OpenSSL would pass over them, and every server seem to lie about its name."""
    variable = {"run": "SSL_CERT_FILE", "plan": "REQUESTS_CA_BUNDLE"}[command]
    why = "cannot be read (No such file" if content is None else "holds no valid certificates"
    certificates, path = tmp_path / "company.pem", tmp_path / "config.toml"
    if content is not None:
        certificates.write_bytes(content)
    path.write_text(EXAMPLE)
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)
    variables: dict[str, Any] = {variable: certificates}
    code, out, said = limited(command, path, **variables)
    assert (code, out) == (2, ""), said
    assert said.splitlines()[-1].startswith(f"s2async: {variable} names {certificates}, which {why}")
    assert not (tmp_path / "data").exists()


def test_certificates_are_not_looked_at_where_no_server_has_any(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    path = config_in(tmp_path, stage)
    assert limited("-q", "run", path, SSL_CERT_FILE=tmp_path / "none") == (0, "", "")
    assert worlds.result(Config.load(path)) == worlds.result(calm.config)


FEW_THREADS = """
    import threading
    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    plain, left = getattr(threading, name), [{count}]
    def start(*more, **named):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        return plain(*more, **named)
    setattr(threading, name, start)
    from s2async.__main__ import main
    main()
"""
"""The command on a machine with few threads. Python 3.13 has another name for what starts them."""


@pytest.mark.parametrize("count", [*also(0, 1), 2])
def test_threads_that_cannot_be_started_stop_a_run_in_order(
    tmp_path: Path, stage: Stage, calm: Ran, count: int
) -> None:
    path = config_in(tmp_path, stage)
    line = refusal(limited("-q", "run", path, code=FEW_THREADS.format(count=count)))
    assert "starts no more threads" in line
    goes_on(path, stage, calm)


@linux
def test_a_small_stack_is_made_larger(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    path = config_in(tmp_path, stage)
    assert limited("-q", "run", path, RLIMIT_STACK=(128 << 10, 8 * MB)) == (0, "", "")
    assert worlds.result(Config.load(path)) == worlds.result(calm.config)


@pytest.mark.slow
@linux
def test_a_block_without_room_says_nothing_of_the_file() -> None:
    """GDAL says that it is the file that cannot be read: a job would fail for good."""
    code = """
        import resource
        import numpy as np
        from rasterio.io import MemoryFile
        from s2async.cog import gdal as decode
        from s2async.cog.grid import Window
        side = 5008
        with MemoryFile() as memory:
            kind = dict(compress="LZW", tiled=True, blockxsize=side, blockysize=side, crs="EPSG:32633")
            with memory.open(driver="GTiff", width=side, height=side, count=1, dtype="uint8", **kind) as raster:
                raster.write(np.ones((1, side, side), "uint8"))
            data = bytes(memory.getbuffer())
        window = Window(col=0, row=0, width=side, height=side)
        decode.read(data, [Window(col=0, row=0, width=1, height=1)])
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        said = []
        for more in range(0, 128, 4):
            resource.setrlimit(resource.RLIMIT_AS, (size + (more << 20), -1))
            try:
                decode.read(data, [window])
                said.append("read")
            except MemoryError as error:
                said.append("memory" if error.__cause__ is None else "memory, says GDAL")
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        print(*sorted(set(said)), sep="|")
    """
    code_, out, said = limited(code=code)
    assert code_ == 0, said
    kinds = out.strip().split("|")
    assert kinds[-1] == "read"
    assert "memory" in kinds[0]


def test_a_run_from_python_looks_at_the_limits_too(tmp_path: Path, stage: Stage) -> None:
    code = """
        import sys, s2async
        try:
            s2async.run_sync(sys.argv[1])
        except s2async.LocalError as error:
            print(error)
    """
    _, out, said = limited(config_in(tmp_path, stage), code=code, RLIMIT_NOFILE=26)
    assert out.startswith("only 26 files may be open at once, and this run needs "), said


# ---- standard streams -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of Unix")
@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", *also(">&- 2>&-", "2>&-", "<&-")])
def test_closed_streams_are_no_place_for_files(tmp_path: Path, stage: Stage, calm: Ran, closed: str) -> None:
    """The next file that is opened would get the number of standard error, and whatever is printed there."""
    path = config_in(tmp_path, stage)
    command = f'"{sys.executable}" -m s2async run "{path}" {closed}'
    assert subprocess.run(["sh", "-c", command], timeout=200, capture_output=True).returncode == 0
    assert worlds.result(Config.load(path)) == worlds.result(calm.config)


def test_streams_that_are_closed_become_the_null_device() -> None:
    code = """
        import os, sys
        os.close(0), os.close(2)
        sys.stdin = sys.stderr = None
        from s2async import means
        means.prepare()
        print("lost", file=sys.stderr)
        print([os.path.samestat(os.fstat(n), os.stat(os.devnull)) for n in (0, 1, 2)], sys.stdin.read() == "")
    """
    assert limited(code=code)[:2] == (0, "[True, False, True] True\n")
