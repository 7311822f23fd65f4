"""``python -m benchmarks NAME``: run one benchmark; it prints JSON lines while it runs, then a table."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks import (
    cluster,
    contest,
    durable,
    export,
    fields,
    growth,
    kernel,
    least,
    link,
    load,
    masks,
    memory,
    parity,
    plots,
    state,
    tables,
)
from benchmarks.context import context
from benchmarks.options import Options

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A benchmark, its default settings, and how its lines are shown."""

    run: Callable[[Options], Iterator[Line]]
    defaults: Options = field(default_factory=Options)
    table: Callable[[list[Line]], None] | None = None
    plot: Callable[[list[Line], Path], None] | None = None


BENCHMARKS: Final = {
    "bytes": Benchmark(run=least.run),
    "parity": Benchmark(run=parity.run),
    "throughput": Benchmark(run=contest.run, table=tables.contest, plot=plots.contest),
    "narrow": Benchmark(
        run=contest.narrow, defaults=Options(bandwidth=200), table=tables.contest, plot=plots.contest
    ),
    "memory": Benchmark(run=memory.run, defaults=Options(rounds=1), table=tables.says),
    "growth": Benchmark(
        run=growth.run, defaults=Options(items=4, areas=100_000), table=tables.growth, plot=plots.growth
    ),
    "link": Benchmark(run=link.run),
    "export": Benchmark(run=export.run, defaults=Options(items=100)),
    "state": Benchmark(run=state.run, defaults=Options(items=1000, rounds=1)),
    "load": Benchmark(run=load.run),
    "files": Benchmark(run=durable.run),
    "masks": Benchmark(run=masks.run),
    "kernel": Benchmark(run=kernel.run),
    "fields": Benchmark(run=fields.run, defaults=Options(items=4), table=tables.fields),
    "values": Benchmark(run=fields.values, defaults=Options(items=4), table=tables.fields),
    "parks": Benchmark(run=fields.parks, table=tables.fields),
    "dask": Benchmark(
        run=cluster.parks, defaults=Options(items=160, rounds=1, bandwidth=25, connections=16), table=tables.says
    ),
    "dask-fields": Benchmark(
        run=cluster.fields, defaults=Options(items=8, rounds=1, delay=0, bandwidth=1000), table=tables.says
    ),
    "single": Benchmark(run=contest.single, table=tables.contest, plot=plots.contest),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that the command line names; return exit status 1 if it finds a fault."""
    # notes that runs write to the user's state directory do not concern the user
    with tempfile.TemporaryDirectory() as notes, mock.patch.dict(os.environ, XDG_STATE_HOME=notes):
        return _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    parser = _parser()
    asked = parser.parse_args(arguments)
    benchmark = BENCHMARKS[asked.name]
    if asked.plot and not benchmark.plot:
        parser.error(f"{asked.name} has no plot")
    if asked.plot and not find_spec("matplotlib"):
        parser.error("a plot needs matplotlib: pip install 's2async[bench]'")
    given = {key: getattr(asked, key) for key in Options.__dataclass_fields__ if getattr(asked, key) is not None}
    options = replace(benchmark.defaults, **given)
    lines: list[Line] = []
    with Path(asked.save or "/dev/null").open("w") as saved:
        for line in _all(asked.name, benchmark, options):
            lines.append(line)
            text = json.dumps(line)
            print(text, flush=True)
            print(text, file=saved, flush=True)
    if benchmark.table:
        benchmark.table(lines)
    if asked.plot and benchmark.plot:
        benchmark.plot(lines, asked.plot)
    return int(any("fault" in line for line in lines))


def _all(name: str, benchmark: Benchmark, options: Options) -> Iterator[Line]:
    yield {"benchmark": name, **context(options)}
    yield from benchmark.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:12}{_sentence(benchmark)}" for name, benchmark in BENCHMARKS.items()),
    )
    parser.add_argument("name", choices=BENCHMARKS, help="which one")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the JSON lines there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the result (.svg or .png)")
    for key, kind, text in (
        ("items", int, "scenes, each with the nine parks or with all fields"),
        ("rounds", int, "how often each contender runs"),
        ("delay", float, "round trip, ms"),
        ("bandwidth", float, "of the link, Mbit/s"),
        ("connections", int, "requests at once"),
        ("areas", int, "fields, of fields, kernel and growth"),
        ("jobs", int, "jobs of each run at most, of fields and parks"),
        ("sample", int, "jobs that are compared, of fields and parks; fields of other tools, of kernel"),
    ):
        parser.add_argument(f"--{key}", type=kind, metavar="N", help=text)
    parser.add_argument("--against", metavar="TREE", help="another checkout to compare, of fields and parks")
    parser.add_argument("--worlds", metavar="FOLDER", help="where dense scenes and fields are kept")
    parser.add_argument("--contenders", type=_names, metavar="A,B", help="only these")
    return parser


def _names(text: str) -> tuple[str, ...]:
    known = (*contest.PEERS, contest.OURS)
    names = tuple(text.split(","))
    if not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"there are {', '.join(known)}")
    return names


def _sentence(benchmark: Benchmark) -> str:
    return (benchmark.run.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
