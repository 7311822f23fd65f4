"""``python -m tests.chaos inputs``: polygons, names, configs and states that are wrong or odd.

Each is right, as an oracle has it, or refused with one line and exit code 2 (a state: 5 or 6) before the first
request; or it is wrong, or ends in a traceback, which must not be.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.support import damages, hostile_inputs
from tests.support.hostile_inputs import REFUSED, RIGHT, TRACEBACK, WRONG, Judged

KINDS: Final = ("polygon", "name", "config", "state")
LEAST: Final = {"polygon": 200, "name": 60, "config": 80, "state": 40}
"""Cases of each kind that there must be."""


def run(folder: Path) -> Iterator[tuple[str, str, Judged]]:
    """Try all cases; tells kind, label and what became of each."""
    for number, case in enumerate(hostile_inputs.cases()):
        yield case.kind, case.label, hostile_inputs.judge(case, folder / str(number))
    for number, damage in enumerate(damages.ALL):
        try:
            found = damages.try_damage(damage, folder / f"state{number}")
        except Exception:  # noqa: BLE001 - this is what is counted
            found = Judged(outcome=TRACEBACK, why=traceback.format_exc())
        yield "state", damage, found


def main(arguments: list[str]) -> int:
    """Run it, and print a table of counts and what is not as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos inputs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lines", action="store_true", help="also print the line of each refusal")
    asked = parser.parse_args(arguments)
    counts: Counter[tuple[str, str]] = Counter()
    out = Console(highlight=False, markup=False, soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind, label, found in run(Path(folder)):
            counts[kind, found.outcome] += 1
            if found.outcome in (WRONG, TRACEBACK) or (asked.lines and found.outcome == REFUSED):
                out.print(f"{found.outcome}: {kind}: {label[:100]}: {found.why}")
    table = Table("kind", "cases", RIGHT, REFUSED, WRONG, TRACEBACK, box=None)
    fault = False
    for kind in KINDS:
        told = [counts[kind, outcome] for outcome in (RIGHT, REFUSED, WRONG, TRACEBACK)]
        table.add_row(kind, *map(str, (sum(told), *told)))
        fault |= bool(told[2] or told[3] or sum(told) < LEAST[kind])
    out.print(table)
    return int(fault)
