"""The handed-out cases that failed once: their worlds made and served, and the program run as a user runs it.

Servers and the program are processes of their own; nothing is written into the folder of the cases.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import shapely
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.truth import oracle

LIMIT = 120
"""Seconds that one run of the program may take."""
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: without proxies, and without compiled files beside the cases."""
    kept = {name: text for name, text in os.environ.items() if name.lower() not in _PROXIES}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


@dataclass(frozen=True, kw_only=True, repr=False)
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that it said, in lower case and on one line: where a line breaks depends on the terminal."""
        return " ".join((self.out + " " + self.err).lower().split())

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}\n--- stderr\n{self.err}"


def s2async(folder: Path, *arguments: str, **env: str) -> Ended:
    """Run the program in a folder; it must end in time, and never with a traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "s2async", *arguments],
        cwd=folder,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
    )
    out, err = (text.decode(errors="replace") for text in (ended.stdout, ended.stderr))
    found = Ended(code=ended.returncode, out=out, err=err)
    assert "Traceback" not in out + err, found
    return found


@dataclass(frozen=True, kw_only=True)
class Served:
    """A world of the harness behind a server of its own."""

    world: Path
    port: int
    log: Path
    cases: Path

    def config(self, folder: Path, case: str = "_harness/base.toml", **replaced: str) -> Path:
        """A copy of a handed-out config that asks this server; more texts are replaced where the case says so.

        ``replaced`` has old texts by new ones, each under any name, as ``old -> new``.
        """
        text = (self.cases / case).read_text("utf-8").replace("8801", str(self.port))
        for change in replaced.values():
            old, _, new = change.partition(" -> ")
            assert old in text
            text = text.replace(old, new)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / Path(case).name
        path.write_text(text, "utf-8")
        return path

    def requests(self) -> list[dict[str, Any]]:
        """What was asked so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def faults(self, config: Path, output: Path) -> list[str]:
        """What is wrong with the crops of a finished run, by rasterio.mask on the files that are served."""
        areas = tomllib.loads(config.read_text("utf-8"))["areas"]
        found = []
        for area in areas:
            shape = shapely.from_wkt(area["wkt"])
            for scene in sorted((self.world / "files").iterdir()):
                found += _fault(area["name"], shape, scene, output)
        known = {f"{scene.name}_visual.tif" for scene in (self.world / "files").iterdir()}
        found += [f"{path}: of no scene" for path in output.rglob("*.tif") if path.name not in known]
        return found


def _fault(area: str, shape: BaseGeometry, scene: Path, output: Path) -> list[str]:
    percent = oracle.plain_cloud_percent(scene / "SCL.tif", shape)
    assert percent is not None
    files = [path for path in output.rglob(f"{scene.name}_visual.tif") if _is_of(path, area)]
    if percent > 2:
        return [f"{path}: of a cloudy scene" for path in files]
    if len(files) != 1:
        return [f"{area} {scene.name}: {len(files)} crops"]
    differs = oracle.crop_differs(files[0], scene / "TCI.tif", shape)
    return [f"{area} {scene.name}: {differs}"] if differs else []


def _is_of(path: Path, area: str) -> bool:
    with rasterio.open(path) as crop:
        return area in crop.tags().values()


def free_port() -> int:
    """A port that nobody has at present."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def serve(cases: Path, world: Path, log: Path, manners: Mapping[str, Any] | None = None) -> Iterator[Served]:
    """The harness's server for the length of a ``with`` block."""
    port = free_port()
    command = [sys.executable, str(cases / "_harness" / "serve.py"), str(world), str(port)]
    process = subprocess.Popen(
        [*command, json.dumps(manners or {}), str(log)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready"), "the harness's server did not start"
        yield Served(world=world, port=port, log=log, cases=cases)
    finally:
        process.kill()
        process.communicate()


def make_worlds(cases: Path, folder: Path) -> Path:
    """The worlds of the harness, by name in a folder."""
    command = [sys.executable, str(cases / "_harness" / "worlds.py"), str(folder)]
    subprocess.run(command, env=environment(), check=True, timeout=LIMIT)
    return folder


def copied(cases: Path, case: str, folder: Path) -> Path:
    """A copy of a case's folder, to be worked in."""
    return Path(shutil.copytree(cases / case, folder / case))


def run_case(cases: Path, case: str, folder: Path, *, times: int = 1) -> None:
    """Run a black-box case of ``faults/`` as it is handed out; it must end with 0, once in so many times."""
    program = folder / "s2async"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m s2async "$@"\n')
    program.chmod(0o755)
    for number in range(times):
        begun, work = time.monotonic(), folder / f"work{number}"
        work.mkdir()
        ended = subprocess.run(
            [sys.executable, str(cases / "faults" / case / "case.py")],
            env=environment(S2ASYNC=str(program), WORK=str(work)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
        )
        print(f"{case}: {time.monotonic() - begun:.0f} s\n{ended.stdout}")
        if ended.returncode == 0:
            break
    assert ended.returncode == 0, ended.stdout
