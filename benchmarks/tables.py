"""The lines of a benchmark as a table for a terminal, or as Markdown for a README."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

Line = dict[str, Any]

NAMES: Final = {
    "sequential": "rasterio, sequential",
    "gdal_threads": "rasterio, threads, tuned",
    "odc_stac": "odc-stac",
    "geotiff": "async-geotiff",
    "geotiff_shared": "async-geotiff, shared by hand",
    "rasteret": "rasteret",
    "s2async": "s2async",
    "whole files": "whole files (computed)",
}
"""Names of contenders in tables and plots."""

_COLUMNS: Final = (
    ("jobs/s", "jobs_per_second", ".1f"),
    ("s2async: x jobs/s", "times_faster", ".1f"),
    ("x bytes", "times_the_bytes", ".2f"),
    ("requests/job", "requests_per_job", ".2f"),
    ("kB/job", "kilobytes_per_job", ",.0f"),
    ("x minimum bytes", "bytes_over_least", ".2f"),
    ("CPU ms/job", "cpu_ms_per_job", ".1f"),
    ("peak MB", "peak_megabytes", ".0f"),
    ("link utilisation", "link_share", ".0%"),
    ("server CPU", "server_cpu_share", ".0%"),
    ("start s", "startup_seconds", ".1f"),
)

_GROWTH: Final = (
    ("jobs", "jobs", ",d"),
    ("requests", "requests", ",d"),
    ("bytes", "bytes", ",d"),
    ("seconds", "seconds", ".1f"),
    ("CPU s", "cpu_seconds", ".1f"),
    ("peak MB", "peak_megabytes", ".0f"),
    ("files", "files", ",d"),
)


def contest(lines: Sequence[Line]) -> None:
    """Print the medians of a contest."""
    rows = medians(lines)
    if rows:
        _print(_COLUMNS, [(NAMES[line["contender"]], line) for line in rows])
    for line in lines:
        if "left_out" in line:
            print(f"left out: {line['left_out']}: {line['why']}")


_FIELDS: Final = (
    ("jobs", "jobs", ",.0f"),
    ("saved", "saved", ",.0f"),
    ("jobs/s", "jobs_per_second", ",.0f"),
    ("jobs/CPU s", "jobs_per_cpu_second", ",.0f"),
    ("CPU s", "cpu_seconds", ",.1f"),
    ("requests", "requests", ",.0f"),
    ("MB", "bytes", ",.0f"),
    ("first request s", "first_cog_seconds", ".1f"),
    ("peak MB", "peak_megabytes", ".0f"),
    ("late p99.9 s", "late_p999", ".3f"),
    ("status CPU s", "status_cpu_seconds", ".2f"),
    ("files", "files", ",.0f"),
)


def fields(lines: Sequence[Line]) -> None:
    """Print the medians of both versions, and their ratios."""
    rows = [{**line, "bytes": line["bytes"] / 1e6} for line in medians(lines)]
    _print(_FIELDS, [(line["contender"], line) for line in rows])
    says(lines)


def growth(lines: Sequence[Line]) -> None:
    """Print each run, then the sentences about the slopes."""
    runs = [line for line in lines if "jobs" in line]
    _print(_GROWTH, [(f"{line['areas']:,} areas, {line['items']:,} items", line) for line in runs])
    says(lines)


def says(lines: Sequence[Line]) -> None:
    """Print the lines that are sentences."""
    for line in lines:
        if "says" in line:
            print(line["says"])


def medians(lines: Sequence[Line]) -> list[Line]:
    """Return the summary lines: a contender's medians, and computed figures."""
    return [line for line in lines if "median_of" in line or "computed" in line]


def _print(columns: Sequence[tuple[str, str, str]], rows: Sequence[tuple[str, Line]]) -> None:
    table = Table("", box=None, pad_edge=False)
    for title, _, _ in columns:
        table.add_column(title, justify="right")
    for name, line in rows:
        table.add_row(name, *(_cell(line.get(key), form) for _, key, form in columns))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
