"""``python -m tests.chaos matrix``: every kind of fault at every position, judged by an oracle of its own.

Each case is a run of the whole program over 20 scenes and two areas, in ten searches with pages of one item, while
the sandbox fails in one way at one position; then the fault is over, `retry` opens what failed, and the program
runs again. After both, the oracle (items as JSON, rasterio.mask on the local files, SQL on the state, the server's
log) looks for what must never be: an answer that is wrong and called right, a job that is lost, a file too many, a
request that should not have been made, a traceback. Where the fault passes, its cost is measured: seconds more
than a run without it, of the same server and process.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.chaos.kinds import Kind, kinds
from tests.chaos.trial import Cell, bench

ROUNDS: Final = 40
"""Runs of one cell at most, when it has few faults to meet."""
PROCESSES: Final = 3
"""More than there are cores, for many cases mostly wait."""
SHOWN: Final = 2
"""Violations of one sort that are shown of a cell."""
MOST_MEMORY: Final = 1024
"""MiB of resident memory that a process of this experiment may reach, its libraries and its oracle included."""


def run_cells(cells: Sequence[tuple[Kind, str]], count: int) -> Iterator[Cell]:
    """Try out some cells, each until it has met so many faults."""
    with bench() as found:
        for kind, position in cells:
            cell = Cell(kind=kind.name, position=position)
            for _ in range(ROUNDS):
                found.try_out(kind, position, cell)
                if cell.injected >= count or not cell.injected:
                    break
            if not cell.injected:
                cell.violations.append("the fault met no request")
            yield cell


def _work(share: list[tuple[Kind, str]], count: int, results: Any) -> None:
    for cell in run_cells(share, count):
        results.put(cell)
    results.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main(arguments: Sequence[str]) -> int:
    """Run all cells in a few processes, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos matrix", description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="faults of each kind at each position, at least")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument("--slack", type=float, default=1.0, metavar="F",
                        help="times what a fault may cost, on a machine that is busy")  # fmt: skip
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N", help=f"default: {PROCESSES}")
    asked = parser.parse_args(arguments)
    cells = [(kind, position) for kind in kinds() if asked.only in kind.name for position in kind.positions]
    began = time.monotonic()
    found, peak = _side_by_side(cells, asked.count, asked.processes)
    _show(found)
    total = Counter[str]()
    for cell in found:
        total.update(
            {name: getattr(cell, name) for name in ("injected", "right", "told", "healed", "wrong", "hangs")}
        )
    faults = [f"{cell.kind} / {cell.position}: {text}" for cell in found for text in told(cell.violations)]
    slow = [cell for cell in found if cell.allowed is not None and cell.cost > cell.allowed * asked.slack]
    faults += [f"{cell.kind} / {cell.position}: slow: {cell.cost:.1f} s, not {cell.allowed:.1f}" for cell in slow]
    if len(found) < len(cells):
        faults.append(f"{len(cells) - len(found)} cells were not tried")
    if peak > MOST_MEMORY:
        faults.append(f"I7: {peak} MiB of memory")
    for text in faults:
        print(f"FAULT {text}")
    print(
        f"{len({cell.kind for cell in found})} kinds, {len(found)} cells, {total['injected']:,} faults injected "
        f"in {time.monotonic() - began:.0f} s; jobs: {total['right']:,} right at once, {total['told']:,} told and "
        f"{total['healed']:,} of them healed; {total['wrong']} wrong, {total['hangs']} hangs, {len(slow)} "
        f"slow, {len(faults)} violations; peak memory {peak} MiB"
    )
    return int(bool(faults))


def told(texts: Sequence[str]) -> list[str]:
    """The first texts of those that begin alike, and how many more there are."""
    alike = dict[str, list[str]]()
    for text in texts:
        alike.setdefault(text.partition(":")[0], []).append(text)
    return [
        text + (f" (and {len(group) - SHOWN} more)" if number == SHOWN - 1 and len(group) > SHOWN else "")
        for group in alike.values()
        for number, text in enumerate(group[:SHOWN])
    ]


def _side_by_side(cells: list[tuple[Kind, str]], count: int, processes: int) -> tuple[list[Cell], int]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=_work, args=(cells[at::processes], count, results)) for at in range(processes)
    ]
    for worker in workers:
        worker.start()
    found, peaks = list[Cell](), list[int]()
    while len(peaks) < len(workers) and (any(worker.is_alive() for worker in workers) or not results.empty()):
        with contextlib.suppress(Exception):
            one = results.get(timeout=1)
            found.append(one) if isinstance(one, Cell) else peaks.append(one)
    for worker in workers:
        worker.join()
    order = {(kind.name, position): number for number, (kind, position) in enumerate(cells)}
    return sorted(found, key=lambda cell: order[cell.kind, cell.position]), max(peaks, default=0)


def _show(cells: Sequence[Cell]) -> None:
    table = Table()
    for column in (
        "kind",
        "position",
        "injected",
        "right",
        "told",
        "healed",
        "wrong",
        "hangs",
        "cost",
        "exit",
        "said",
    ):
        table.add_column(column, no_wrap=column != "said")
    for cell in cells:
        numbers = (cell.injected, cell.right, cell.told, cell.healed, cell.wrong, cell.hangs)
        codes = " ".join(map(str, sorted(cell.codes)))
        said = cell.said.encode("ascii", "backslashreplace").decode()[:160].replace("[", r"\[")
        cost = f"{cell.cost:.1f} s" + ("" if cell.allowed is None else f" of {cell.allowed:.1f}")
        table.add_row(cell.kind, cell.position, *map(str, numbers), cost, codes, said)
    Console(width=None if sys.stdout.isatty() else 260).print(table)
