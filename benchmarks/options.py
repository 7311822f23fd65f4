"""What a benchmark can be told on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of the contests; the other benchmarks have none."""

    items: int = 160
    """Scenes, each with the nine parks: as many jobs as the parks' whole year has."""
    rounds: int = 3
    delay: float = 100.0
    """Milliseconds of round trip, added to each request."""
    bandwidth: float = 1000.0
    """Mbit/s over all connections."""
    connections: int = 64
    """Threads, coroutines or requests at once, whatever a contender has."""
    contenders: tuple[str, ...] = ()
    """Only these; all by default."""
    areas: int = 10_000
    """Fields, of the benchmarks `fields` and `kernel`."""
    against: str = ""
    """Folder of another checkout of this repository, which runs in turn with this one; none when empty."""
    worlds: str = ""
    """Folder in which dense scenes and fields are kept; one in the user's cache when empty."""
    sample: int = 2_000
    """Jobs that are compared with rasterio; fields that other tools get."""
    jobs: int | None = None
    """Jobs of each run at most; all if None."""
