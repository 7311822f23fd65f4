"""The settings of a benchmark on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of a benchmark; each benchmark uses only some of them."""

    items: int = 160
    """Number of scenes, each with the nine parks: by default as many jobs as in the parks' whole year."""
    rounds: int = 3
    delay: float = 100.0
    """Round-trip time in milliseconds, added to each request."""
    bandwidth: float = 1000.0
    """Mbit/s over all connections."""
    connections: int = 64
    """Number of concurrent threads, coroutines or requests, whichever a contender has."""
    contenders: tuple[str, ...] = ()
    """Contenders that run; all by default."""
    areas: int = 10_000
    """Number of fields, for the benchmarks `fields` and `kernel`."""
    against: str = ""
    """Folder of another checkout of this repository, which runs in turn with this one; none if empty."""
    worlds: str = ""
    """Folder in which dense scenes and fields are stored; a folder in the user's cache if empty."""
    sample: int = 2_000
    """Number of jobs that are compared with rasterio, or of fields that other tools process."""
    jobs: int | None = None
    """Maximum number of jobs of each run; all if None."""
