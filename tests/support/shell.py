"""The command line in this process and in one of its own, and what it said."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from s2async.cli.commands import cli
from s2async.cli.main import main

COMMAND = [sys.executable, "-m", "s2async"]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    error: str

    @property
    def told(self) -> list[str]:
        """Lines on standard error, but for the warning of a busy machine, which may come at any time."""
        return [line for line in self.error.splitlines() if not line.startswith("this machine is slow: ")]


class Shell:
    """Runs commands in this process, since a new one takes a second: as `main` does, to the exit code."""

    def __init__(self, capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capture = capture
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: object, cwd: Path | None = None) -> Ended:
        self._capture.readouterr()
        with self._monkeypatch.context() as patch:
            patch.chdir(cwd or Path.cwd())
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        out, error = self._capture.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out, error)


def process(*arguments: object, cwd: Path | None = None, **environment: str) -> Ended:
    """Run the command in a process of its own to its end."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, cwd=cwd, env={**os.environ, **environment}, timeout=200)
    ended = Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in ended.error
    return ended


def one_line(ended: Ended) -> str:
    """The one line on standard error of a command that refused."""
    assert not ended.out
    assert ended.error.count("\n") == 1, ended.error
    assert ended.error.startswith("s2async: ")
    return ended.error.strip()


def ask(*arguments: object) -> Result:
    """Run a command without `main` around it; errors are in the result."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def on_terminal(monkeypatch: pytest.MonkeyPatch, *, answer: bool) -> list[str]:
    """Let a person at a terminal give this answer; the list fills with the questions that are asked."""
    asked: list[str] = []

    def confirm(text: str, *, err: bool) -> bool:
        asked.append(text)
        return answer and err

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    return asked
