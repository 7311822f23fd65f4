"""What comes from outside, made up by a fuzzer that sees which lines it reaches: libFuzzer, through atheris."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

NAMES: Final = ("header", "stored", "tile", "pages", "geojson", "csv", "wkt")
LONGEST: Final = 8192
"""Bytes of one made-up input."""


def main(arguments: list[str]) -> int:
    """Fuzz one target after another, each in a process of its own; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos fuzz", description=__doc__)
    parser.add_argument("--target", choices=NAMES, action="append", help="only this one; may be repeated")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target (default: 60)")
    parser.add_argument("--count", type=int, metavar="N", help="executions of each target at most")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where findings are left (default: here)")
    asked = parser.parse_args(arguments)
    if not find_spec("atheris"):
        parser.error("fuzzing needs atheris: pip install 's2async[fuzz]'")
    print(f"{'target':10}{'executions':>12}{'seconds':>9}{'kept':>7}  findings")
    worst = 0
    for name in asked.target or NAMES:
        worst |= _fuzz(name, asked.seconds, asked.count, asked.keep or Path())
    return worst


def _fuzz(name: str, seconds: int, count: int | None, keep: Path) -> int:
    from tests.chaos.targets import TARGETS

    with tempfile.TemporaryDirectory() as folder:
        corpus, words = Path(folder) / "corpus", Path(folder) / "words"
        corpus.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds()):
            (corpus / f"seed{number}").write_bytes(seed[:LONGEST])
        lines = (json.dumps(word) for word in TARGETS[name].words)
        words.write_text("\n".join(["# what a mutation may put in", 'nothing="\\x00"', *lines, ""]))
        options = {
            "max_total_time": seconds,
            "runs": count or -1,
            "max_len": LONGEST,
            "timeout": 10,  # seconds for one input: an input that takes longer is a finding
            "rss_limit_mb": 1500,
            "print_final_stats": 1,
            "dict": words,
            "artifact_prefix": f"{keep}/{name}-",
        }
        command = [
            sys.executable,
            "-m",
            __name__,
            name,
            str(corpus),
            *(f"-{key}={v}" for key, v in options.items()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        kept = len(list(corpus.iterdir()))
    told = done.stderr + done.stdout
    executed = re.search(r"stat::number_of_executed_units: *(\d+)", told)
    took = re.search(r"Done \d+ runs in (\d+) second", told)
    finding = "" if done.returncode == 0 else _finding(told)
    print(
        f"{name:10}{int(executed[1]) if executed else 0:12,}{took[1] if took else '?':>9}{kept:7,}  {finding or 0}"
    )
    return int(bool(finding))


def _finding(told: str) -> str:
    """The error, and the file that holds the input."""
    error = re.search(r"Uncaught Python exception: ===\n((?:.*\n)*?)\n*(?:Traceback|==\d)", told)
    file = re.search(r"Test unit written to (\S+)", told)
    return f"{error[1].strip()[:300] if error else told[-600:]} ({file[1] if file else 'no input was left'})"


def _child(name: str, *options: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["s2async"]):
        from tests.chaos.targets import TARGETS
    atheris.Setup([name, *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    _child(*sys.argv[1:])
