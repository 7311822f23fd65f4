"""Kinds of faults of a whole server, for a time or for ever; and a machine that lends the program little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.chaos.kind import FILES, WHOLE, Kind

DISK: Final = 6
NOT_ALL: Final = 3
"""Exit codes: the machine lets the program do no more; not everything was found or fetched."""


def kinds() -> Iterator[Kind]:
    """Outages, glitches, limits of the rate, slowness, retries without end; few means."""
    yield from _outages()
    yield from _glitches()
    yield from _limits()
    yield from _cuts()
    yield from _slowness()
    yield from _means()


def _outages() -> Iterator[Kind]:
    """Each file answers so for the length of a run: a bucket that moved, a token that ended, a proxy's page."""
    for status in (404, 410, 403, 401, 400):
        yield Kind(name=f"outage, {status}", fault="code", settings={"status": status}, positions=("any file",),
                   count=None, recovers=False, missing=status in (404, 410), by_itself=True,
                   codes=frozenset({NOT_ALL}))  # fmt: skip
    for name, fault, settings in (("HTML with 200", "html", {}), ("HTML with 403", "html", {"status": 403})):
        yield Kind(name=f"outage, {name}", fault=fault, settings=settings, positions=("any file",), count=None,
                   recovers=False, by_itself=True, codes=frozenset({NOT_ALL}))  # fmt: skip
    for status in (404, 403):
        yield Kind(name=f"{status} for half of the files", fault="code", settings={"status": status},
                   positions=("half of the files",), count=None, recovers=False, missing=True,
                   by_itself=True)  # fmt: skip


def _glitches() -> Iterator[Kind]:
    """All requests fail for some time, then none does."""
    ways: dict[str, tuple[str, Mapping[str, Any]]] = {
        "503": ("code", {}),
        "reset": ("close", {"rudely": True}),
    }
    for seconds in (0.3, 1.0, 3.0):
        for way, (fault, settings) in ways.items():
            for begin, skip in (("from the start", 0), ("later", 30)):
                yield Kind(name=f"{way} for {seconds:g} s, {begin}", fault=fault, settings=settings,
                           positions=WHOLE, count=None, seconds=seconds, skip=skip, lasts=seconds,
                           unhurried=True)  # fmt: skip


def _limits() -> Iterator[Kind]:
    for status in (503, 429):
        for rate in (100, 30):
            yield Kind(name=f"{rate} requests a second, else {status}", fault="limited", positions=("any file",),
                       settings={"rate": rate, "status": status}, count=None, rate=rate,
                       unhurried=True)  # fmt: skip


def _cuts() -> Iterator[Kind]:
    """More tries than the budget of all has, and no request that is out of its own."""
    for name, count in (("once", 1), ("twice", 2)):
        for way, fault in (("cut", "cut"), ("503", "code")):
            yield Kind(name=f"each range {name}, {way}", fault=fault, positions=("any file",), count=count,
                       by_range=True, network={"attempts": 5, "patience": 60}, lasts=2)  # fmt: skip


def _slowness() -> Iterator[Kind]:
    slow = {"total_timeout": 60, "idle_timeout": 1}
    yield Kind(name="10 bytes a second for ever", fault="drip", positions=("half of the files", "any file"),
               count=None, network=slow, recovers=False, by_itself=True)  # fmt: skip
    yield Kind(name="10 bytes a second once", fault="drip", positions=FILES, network=slow, waits=True)


def _means() -> Iterator[Kind]:
    # a server that takes its time, so that as many connections are open as the program wants
    for name, limit in (
        ("64 file handles", "-n 64"),
        ("40 file handles", "-n 40"),
        ("20 file handles", "-n 20"),
        ("400 MB of addresses", "-v 400000"),
    ):
        yield Kind(name=name, limits=(limit,), fault="drip", settings={"rate": 60_000}, count=None,
                   positions=("the process",), unhurried=True, recovers=False,
                   codes=frozenset({0, DISK}))  # fmt: skip
