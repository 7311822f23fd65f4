"""The metrics of a run, read by the parser of Prometheus' own Python client."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import s2async
from s2async.causes import Cause
from s2async.cli.main import run_command
from s2async.engine import metrics_file
from s2async.engine.metrics import LastRun, Moment, exposition
from s2async.engine.metrics_file import MetricsFile, exit_code_of
from s2async.engine.progress import Progress
from s2async.errors import ConfigError, LocalError, StateInUse
from s2async.models import Status, Use
from tests.support import worlds
from tests.support.worlds import Stage

MOMENT = Moment(began=1e9, active=True, jobs_per_second=12.5, memory=1 << 27, lag=0.0421, last=LastRun())

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Values:
    """The samples by name and labels."""
    parser = pytest.importorskip("prometheus_client.parser")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float:
    (found,) = [
        number for (of, has), number in values.items() if of == f"s2async_{name}" and labels.items() <= set(has)
    ]
    return found


class Servers:
    def __init__(self) -> None:
        self.retries = 3
        self.parked = ["https://cogs.example"]


def busy() -> Progress:
    progress = Progress(found=1400, searches=4, searches_done=1, network=Servers())
    progress.done.update({Status.SAVED: 600, Status.FAILED: 2})
    progress.causes[Status.FAILED, Cause.NETWORK] = 2
    progress.valued, progress.values = 450, 900
    progress.meter.add("tiles", "visual", Use.USEFUL, requests=1234, size=5_000_000_123)
    return progress


# ---- the text ---------------------------------------------------------------------------------------------


def test_the_numbers_of_a_run() -> None:
    values = read(exposition(busy(), MOMENT, config="/a/fields.toml"))
    assert value(values, "jobs_total", status="saved", config="/a/fields.toml") == 600
    assert value(values, "jobs_total", status="cloudy") == 0, "a status is there before its first job"
    assert value(values, "jobs_found_total") == 1400
    assert (value(values, "valued_jobs_total"), value(values, "values_total")) == (450, 900)
    assert value(values, "jobs_open") == 798
    assert value(values, "jobs_without_file_total", status="failed", cause=Cause.NETWORK) == 2
    assert value(values, "received_bytes_total") == 5_000_000_123
    assert value(values, "requests_total") == 1234
    assert value(values, "retries_total") == 3
    assert value(values, "parked_hosts") == value(values, "host_parked", host="https://cogs.example") == 1
    assert value(values, "jobs_per_second") == 12.5
    assert value(values, "resident_memory_bytes") == 1 << 27
    assert value(values, "event_loop_lag_seconds") == 0.042
    assert value(values, "run_start_time_seconds") == 1e9
    assert value(values, "run_active") == 1
    assert not [name for name, _ in values if "time_left" in name or "last_run" in name], "unknown is absent"


def test_every_metric_has_a_help_text_a_type_and_a_name_by_convention() -> None:
    last = LastRun(exit_code=3, ended=2e9, succeeded=1e9)
    text = exposition(busy(), replace(MOMENT, last=last), config="a")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert (
        set(kinds)
        == set(re.findall(r"^# HELP (\S+) \S.*\.$", text, re.MULTILINE))
        == set(re.findall(r"^(\w+){", text, re.MULTILINE))
    )
    assert all((kind == "counter") == name.endswith("_total") for name, kind in kinds.items())
    assert text.endswith("\n")


def test_any_path_is_a_label() -> None:
    path = 'C:\\fields "north"\n\\n{},é'
    values = read(exposition(busy(), MOMENT, config=path))
    assert value(values, "jobs_open", config=path) == 798


def test_the_last_run_is_read_back() -> None:
    last = LastRun(exit_code=3, ended=1_700_000_000.25, succeeded=None)
    assert LastRun.of(exposition(busy(), replace(MOMENT, last=last), config='a{}"b\n')) == last
    assert LastRun.of("anything else") == LastRun()


# ---- the file ---------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        MetricsFile(tmp_path, "a", print)
    with pytest.raises(LocalError, match="cannot write into"):
        MetricsFile(tmp_path / "away" / "s2async.prom", "a", print)


def test_a_file_that_can_no_longer_be_written_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "textfile"
    folder.mkdir()
    kept = MetricsFile(folder / "s2async.prom", "a", print)
    kept.end(0)
    (folder / "s2async.prom").unlink()
    folder.rmdir()
    kept.end(0)
    kept.end(0)
    (line,) = capsys.readouterr().out.splitlines()
    assert "the metrics are not up to date: cannot write" in line


def test_nothing_is_written_over_the_metrics_of_a_run_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s2async.prom"
    path.write_text("those of the other run")
    kept = MetricsFile(path, "a", print)

    async def wait() -> None:
        keeping = asyncio.create_task(kept.keep())
        await asyncio.sleep(0.3)
        keeping.cancel()

    asyncio.run(wait())
    kept.fail(StateInUse("another run is using the state"))
    assert path.read_text() == "those of the other run"
    kept.fail(ConfigError("no"))
    assert value(read(path.read_text()), "last_run_exit_code") == 2


def test_errors_have_their_exit_codes() -> None:
    errors = [ConfigError(""), LocalError(""), KeyboardInterrupt(), SystemExit(143), MemoryError(), ValueError()]
    assert [exit_code_of(error) for error in errors] == [2, 6, 130, 143, 6, 70]


# ---- runs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_leaves_its_numbers(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path="20220103_0_L2A/SCL", count=None, status=403)
    path, file = worlds.write_config(tmp_path, stage.sandbox), tmp_path / "s2async.prom"
    assert run_command(["-q", "run", str(path), "--metrics", str(file)]) == 3
    first = read(file.read_text())
    assert value(first, "jobs_total", status="failed") == value(first, "state_failed_jobs") == 6
    assert value(first, "jobs_found_total") == 66
    assert value(first, "jobs_open") == value(first, "state_open_jobs") == value(first, "run_active") == 0
    assert value(first, "requests_total") == len(stage.sandbox.log())
    assert value(first, "received_bytes_total") == sum(entry.bytes for entry in stage.sandbox.log())
    assert value(first, "last_run_exit_code") == 3
    assert value(first, "last_run_end_time_seconds") > value(first, "run_start_time_seconds") > 1.7e9
    assert not [name for name, _ in first if "success" in name]
    stage.sandbox.clear_faults()
    assert run_command(["-q", "run", str(path), "--metrics", str(file)]) == 0
    second = read(file.read_text())
    assert value(second, "jobs_total", status="failed") == value(second, "state_failed_jobs") == 0
    assert value(second, "last_run_success_time_seconds") == value(second, "last_run_end_time_seconds")
    assert run_command(["-q", "run", str(tmp_path / "away.toml"), "--metrics", str(file)]) == 2
    third = read(file.read_text())
    assert value(third, "last_run_exit_code") == 2
    assert value(third, "last_run_success_time_seconds") == value(second, "last_run_success_time_seconds")
    assert sorted(found.name for found in tmp_path.glob("*.part")) == [], "no temporary file is left"


@pytest.mark.slow
def test_the_interface_writes_them_too(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_file, "EVERY", 0.02)
    path, file = worlds.write_config(tmp_path, stage.sandbox), tmp_path / "s2async.prom"
    seen = set[float]()

    def look(_: Any) -> None:
        if file.exists():
            seen.add(value(read(file.read_text()), "run_active"))

    summary = s2async.run_sync(path, metrics=file, on_event=look)
    values = read(file.read_text())
    assert seen == {1}, "it is there during the run"
    assert value(values, "jobs_total", status="saved", config=str(path)) == summary.done[Status.SAVED]
    assert value(values, "last_run_exit_code") == 0


@pytest.mark.slow
def test_a_signal_is_an_exit_code(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("stall", path="TCI", count=None)
    path, file = worlds.write_config(tmp_path, stage.sandbox), tmp_path / "s2async.prom"
    command = [sys.executable, "-m", "s2async", "run", str(path), "--metrics", str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        while not file.exists():
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        assert child.wait(200) == 143
    values = read(file.read_text())
    assert value(values, "last_run_exit_code") == 143
    assert value(values, "run_active") == 0
