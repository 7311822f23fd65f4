"""What a run and its workers tell each other, apart from batches and their results (`parcels`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2async.engine.tools import Settings, ToolSettings
from s2async.models import Traffic, Use


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """Everything from which a worker process opens its tools."""

    settings: Settings
    tools: ToolSettings
    """Maximum concurrency of each worker; the number of threads is the one that Dask gives it."""
    connections: int
    """Maximum number of simultaneous requests to one server, of all workers together."""
    mark: Path | None
    """File in the output folder that exists during the run; None if crops are sent to the process of the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitness:
    """Whether a worker can process batches of a run."""

    version: str
    fault: str
    """Why it cannot, in one line; empty if it can."""
    is_paused: bool = False
    """Whether Dask starts no tasks on it at present, because it is short of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reopened:
    """How the wait for a parked server ended on one worker."""

    given_up: str = ""
    """Why the server is given up, in one line; empty if requests may be sent again."""
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Farewell:
    """What a worker reports when it closes its tools."""

    traffic: tuple[Traffic, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parting:
    """What a worker reports when it leaves a run that continues."""

    traffic: tuple[Traffic, ...]
    """Traffic that no delivery has reported."""
    deliveries: Mapping[int, tuple[Traffic, ...]]
    """Traffic of deliveries by order number, kept until the run has received them."""

    def packed(self) -> list[Any]:
        """Return the report as plain values, as Dask's events require."""
        return [_plain(self.traffic), [[number, _plain(told)] for number, told in self.deliveries.items()]]

    @classmethod
    def unpacked(cls, values: Sequence[Any]) -> Parting:
        """Return the report from what `packed` returned."""
        traffic, deliveries = values
        return cls(traffic=_traffic(traffic), deliveries={number: _traffic(told) for number, told in deliveries})


def _plain(traffic: Iterable[Traffic]) -> list[list[str | int]]:
    return [[one.stage, one.asset, str(one.use), one.requests, one.bytes] for one in traffic]


def _traffic(values: Iterable[Sequence[Any]]) -> tuple[Traffic, ...]:
    return tuple(
        Traffic(stage=stage, asset=asset, use=Use(use), requests=requests, bytes=size)
        for stage, asset, use, requests, size in values
    )
