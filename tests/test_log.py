"""What a run logs, and how it comes into the file: as JSON lines, without secrets."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import s2async
from s2async import log_file
from s2async.cli import main
from s2async.errors import ConfigError
from s2async.log import JsonLines, context, log
from s2async.net import retries
from s2async.sandbox.server.process import start as start_server
from s2async.text import without_secrets
from tests.support import worlds
from tests.support.worlds import Item, Stage

CANARY = "hunter2canary"
LOGGER = logging.getLogger("s2async.net")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def ask(*arguments: object) -> object:
    with pytest.raises(SystemExit) as ended:
        main.main([str(argument) for argument in arguments])
    return ended.value.code


# ---- records ----------------------------------------------------------------------------------------------


def test_an_event_is_a_plain_record_with_its_fields_as_attributes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "s2async"), context(item="S2A_1"):
        log(LOGGER, logging.INFO, "retry", {"host": "https://a.test", "try": 2, "status": None, "reason": ""})
        log(LOGGER, logging.DEBUG, "request", {"host": "https://a.test"})
    (record,) = caplog.records
    assert record.getMessage() == "retry item=S2A_1 host=https://a.test try=2"
    assert vars(record).items() >= {"event": "retry", "item": "S2A_1", "host": "https://a.test", "try": 2}.items()
    assert not hasattr(record, "status")


def test_events_that_concern_more_than_the_task_have_no_fields_of_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "s2async"), context(item="S2A_1"):
        log(LOGGER, logging.INFO, "parked", {"host": "https://a.test"}, inherit=False)
    assert caplog.records[0].getMessage() == "parked host=https://a.test"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.test/x.tif?sig=hunter2canary&se=1", "https://a.test/x.tif?..."),
        ("timed out: https://me:hunter2canary@a.test/x.tif#hunter2canary", "timed out: https://a.test/x.tif?..."),
        ("GET /x.tif?sig=hunter2canary", "GET /x.tif?..."),
        (
            "the proxy http://user:hunter2canary@proxy.test:3128/ answers 407",
            "the proxy http://proxy.test:3128/ answers 407",
        ),
        ("Authorization: Bearer hunter2canary", "Authorization: Bearer ***"),
        ("proxy-authorization: basic aHVudGVyMmNhbmFyeQ==", "proxy-authorization: basic ***"),
        ("nothing? secret here", "nothing? secret here"),
    ],
)
def test_texts_lose_their_secrets(text: str, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    assert without_secrets(text) == expected
    with caplog.at_level(logging.INFO, "s2async"):
        log(LOGGER, logging.INFO, "notice", {"reason": text, "deep": {"list": [text]}})
    line = json.loads(JsonLines().format(caplog.records[0]))
    assert (line["reason"], line["deep"]) == (expected, {"list": [expected]})
    assert CANARY not in str(vars(caplog.records[0])) + caplog.text


def test_a_line_holds_what_json_and_one_line_can_hold(caplog: pytest.LogCaptureFixture) -> None:
    fields = {"area": "Zoo\n\x1b[2J\u202e\u2028", "wait": float("inf"), "seconds": 0.123456, "path": Path("a")}
    with caplog.at_level(logging.INFO, "s2async"):
        log(LOGGER, logging.WARNING, "odd", fields)
    text = JsonLines().format(caplog.records[0])
    assert text.isascii()
    assert text.isprintable()
    found = json.loads(text)
    assert datetime.fromisoformat(found.pop("ts")).utcoffset() == timedelta(0)
    assert found == {
        "level": "WARNING",
        "logger": "s2async.net",
        "event": "odd",
        "area": fields["area"],
        "wait": "inf",
        "seconds": 0.1235,
        "path": "a",
    }


def test_a_program_that_asked_for_no_log_sees_none() -> None:
    code = "from s2async.log import log; import logging as l; log(l.getLogger('s2async.net'), l.ERROR, 'odd', {})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout + ran.stderr == ""


# ---- the file ---------------------------------------------------------------------------------------------


def test_the_file_is_added_to_and_holds_what_its_level_says(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    for level in (logging.INFO, logging.DEBUG):
        with log_file.writing(path, level=level):
            log(LOGGER, logging.INFO, "retry", {"level_is": level})
            log(LOGGER, logging.DEBUG, "request", {"level_is": level})
        log(LOGGER, logging.ERROR, "outside", {})
    assert [(line["event"], line["level_is"]) for line in lines(path)] == [
        ("retry", 20),
        ("retry", 10),
        ("request", 10),
    ]
    assert not LOGGER.isEnabledFor(logging.DEBUG)


def test_the_file_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "MAX_BYTES", 2000)
    with log_file.writing(tmp_path / "run.log"):
        for number in range(100):
            log(LOGGER, logging.INFO, "retry", {"number": number})
    names = ["run.log.4", "run.log.3", "run.log.2", "run.log.1", "run.log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    numbers = [line["number"] for name in names for line in lines(tmp_path / name)]
    assert numbers == list(range(numbers[0], 100)), "the newest, in order"
    assert all((tmp_path / name).stat().st_size <= 2000 for name in names)


def test_secrets_of_the_environment_are_masked(tmp_path: Path) -> None:
    with log_file.writing(tmp_path / "run.log", secrets=[CANARY]):
        log(LOGGER, logging.INFO, "odd", {"reason": f"password {CANARY} was refused"})
    assert lines(tmp_path / "run.log")[0]["reason"] == "password *** was refused"


def test_a_disk_that_is_too_slow_costs_events_and_not_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file takes nothing until all events are logged: those beyond the queue's room are counted."""
    free, said = threading.Event(), list[str]()
    emit = log_file._File.emit

    def slow(self: log_file._File, record: logging.LogRecord) -> None:
        assert free.wait(200)
        emit(self, record)

    monkeypatch.setattr(log_file, "QUEUED", 10)
    monkeypatch.setattr(log_file._File, "emit", slow)
    with log_file.writing(tmp_path / "run.log", tell=said.append):
        for number in range(100):
            log(LOGGER, logging.INFO, "retry", {"number": number})
        free.set()
    found = lines(tmp_path / "run.log")
    kept = [line for line in found if line["event"] == "retry"]
    assert 10 <= len(kept) <= 11, "one more if it was taken out of the queue before"
    assert found[-1]["event"] == "log_incomplete"
    assert found[-1]["dropped"] == 100 - len(kept)
    assert len(said) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    said = list[str]()
    with log_file.writing(Path("/dev/full"), tell=said.append):
        for _ in range(10):
            log(LOGGER, logging.INFO, "retry", {})
    assert len(said) == 1
    assert "/dev/full" in said[0]
    assert "No space left" in said[0]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["missing/run.log", "folder"])
def test_a_file_that_cannot_be_written_is_one_line_and_nothing_runs(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError), log_file.writing(tmp_path / name):
        pytest.fail("nothing runs")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[areas]]\nname = "A"\nwkt = "POLYGON ((13 52, 13.1 52, 13 52.1, 13 52))"\n[run]\nlog = "{name}"\n'
    )
    assert ask("run", config) == 2
    err = capfd.readouterr().err.strip()
    assert str(tmp_path / name) in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "folder"]


def test_the_log_is_not_in_a_folder_of_crops(tmp_path: Path) -> None:
    settings = {
        "areas": "parks.geojson",
        "output": {"folder": tmp_path},
        "run": {"log": tmp_path / "North" / "log"},
    }
    with pytest.raises(ConfigError, match=r"\[run\] log: is in a folder of crops"):
        s2async.load_config(settings)
    settings["run"] = {"log": tmp_path / "log"}
    assert s2async.load_config(settings).run.log == tmp_path / "log"


# ---- a run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str]]:
    """A world whose files are signed, and whose pictures are on a second server; and that one's origin."""
    folder, plain = tmp_path_factory.mktemp("world"), worlds.document
    world = worlds.World(folder, worlds.every_kind())
    with start_server(folder, delay=80) as other, pytest.MonkeyPatch.context() as patch:

        def signed(item: Item) -> dict[str, Any]:
            made = plain(item)
            for key, asset in made["assets"].items():
                asset["href"] += f"?sig={CANARY}"
                if key.startswith("visual"):
                    asset["href"] = asset["href"].replace("{origin}", other.origin)
            return made

        patch.setattr(worlds, "document", signed)
        world.write()
        with Stage(world) as made:
            yield made, other.origin


@pytest.fixture(scope="module")
def found(stage: tuple[Stage, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The log of a run on which each kind of trouble is inflicted, and its configuration."""
    served, other = stage
    folder = tmp_path_factory.mktemp("run")
    served.sandbox.fault("code", path="/SCL", count=2, status=503)
    served.sandbox.fault("cut", path="/SCL", count=1, after=100)
    served.sandbox.fault("code", path="20220105.*/SCL", count=None, status=500)
    config = worlds.write_config(
        folder,
        served.sandbox,
        network={"origins": [served.sandbox.origin, other], "attempts": 3},
        run={"log": "run.log"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "_longest_wait", lambda _attempt: 0.01)
        assert ask("-q", "run", "--log-level", "debug", config) == 3
    return folder / "run.log", config


def test_a_run_is_logged_from_its_begin_to_its_end(found: tuple[Path, Path]) -> None:
    made = lines(found[0])
    begun = next(line for line in made if line["event"] == "run_begun")
    assert begun["version"] == s2async.__version__
    assert begun["libraries"]["aiohttp"]
    assert begun["settings"]["network"]["attempts"] == 3
    ended = made[-1]
    assert (ended["event"], ended["status"], ended["logger"]) == ("run_ended", "finished", "s2async.engine")
    requests = [line for line in made if line["event"] == "request"]
    assert ended["requests"] == sum("status" in line for line in requests)
    assert ended["bytes"] == sum(line["bytes"] for line in requests)
    searches = [line for line in made if line["event"] == "search_ended"]
    assert searches
    assert all(line["complete"] and line["logger"] == "s2async.catalog" for line in searches)
    assert sum(line["event"] == "job_done" for line in made) + sum(
        line["event"] == "job_failed" for line in made
    ) == sum(ended["done"].values())


def test_a_request_says_what_it_was_for_and_what_came_of_it(
    found: tuple[Path, Path], stage: tuple[Stage, str]
) -> None:
    requests = [line for line in lines(found[0]) if line["event"] == "request"]
    whole = next(line for line in requests if line.get("asset") == "visual" and line.get("status") == 206)
    assert whole["host"] == stage[1]
    assert whole["href"].startswith(f"{stage[1]}/cogs/{whole['item']}/TCI")
    assert whole.keys() >= {"stage", "start", "size", "try", "queued", "first_byte", "seconds", "bytes", "method"}
    assert whole["queued"] >= 0
    assert 0 < whole["first_byte"] <= whole["seconds"]
    again = [line for line in requests if line["try"] > 1]
    assert again
    assert all(line["status"] == 404 or "reason" in line or line["status"] == 206 for line in again)


def test_a_retry_says_why_and_what_was_given_up_is_a_warning(found: tuple[Path, Path]) -> None:
    made = lines(found[0])
    retries = [line for line in made if line["event"] == "retry"]
    assert {line.get("status") for line in retries} == {503, 500, None}
    assert all(0 <= line["wait"] <= 0.01 and line["asset"] == "scl" and "item" in line for line in retries)
    assert {line["level"] for line in retries} == {"INFO"}
    failed = [line for line in made if line["event"] == "request_failed"]
    assert failed
    assert {(line["level"], line["status"], line["try"]) for line in failed} == {("WARNING", 500, 3)}
    jobs = [line for line in made if line["event"] == "job_failed"]
    assert jobs
    assert {line["item"] for line in jobs} == {line["item"] for line in failed}
    assert all(line["level"] == "WARNING" and line["again"] and "500" in line["reason"] for line in jobs)


def test_no_signature_is_in_the_log(found: tuple[Path, Path]) -> None:
    assert CANARY not in found[0].read_text()


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
def test_the_commands_of_the_readme_answer(found: tuple[Path, Path]) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    section = readme.partition("## When it is slow, or fails")[2].partition("\n## ")[0]
    commands = [
        line.replace("s2async.log", str(found[0])) for line in section.splitlines() if line.startswith("jq ")
    ]
    assert len(commands) == 3
    for command in commands:
        ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert ran.stdout.strip(), command


def test_python_writes_the_log_of_the_configuration_too(stage: tuple[Stage, str], tmp_path: Path) -> None:
    served, other = stage
    served.sandbox.clear_faults()
    path = worlds.write_config(
        tmp_path, served.sandbox, network={"origins": [served.sandbox.origin, other]}, run={"log": "run.log"}
    )
    s2async.run_sync(path)
    made = lines(tmp_path / "run.log")
    assert {"run_begun", "search_ended", "run_ended"} <= {line["event"] for line in made}
    assert "DEBUG" not in {line["level"] for line in made}
