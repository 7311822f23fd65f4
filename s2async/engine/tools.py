"""What a worker needs: plain settings, and the tools that the working process opens from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from s2async.catalog.facts import Conventions
from s2async.clouds.rule import CloudRule
from s2async.cog.memory import Budget
from s2async.cog.prefix import Margin
from s2async.cog.source import FirstRead
from s2async.cog.tile_cache import Shelf
from s2async.engine.writer_pool import PatientPool
from s2async.masks.coverage_plans import CoveragePlans
from s2async.masks.store import Plans
from s2async.means import Work
from s2async.models import Job
from s2async.net.client import ClientSettings, Meter, Transport, open_client
from s2async.output.strangers import Replaced
from s2async.zonal.wanted import Wanted

if TYPE_CHECKING:
    from s2async.engine.saving import Encoded

MANY: Final = 16
"""Number of areas in a batch from which the plan of a grid is used; for fewer, `cog.polygon_mask` is faster."""
MOST_CONNECTIONS: Final = 256
"""Maximum number of concurrent requests to one host from one process."""
FLATS: Final = 48 << 20
"""Bytes of pixels from which values are computed, unless the tools specify another limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is requested for every batch. It can be pickled."""

    rule: CloudRule
    """Decides which areas are clear."""
    assets: tuple[str, ...]
    """Assets to cut; empty to measure only."""
    mask: bool
    """Set pixels outside the polygon to nodata."""
    harmonised: bool = False
    """Subtract the offset from the pixels of reflectance bands."""
    conventions: Conventions = field(default_factory=Conventions)
    """What the user says about the offsets of archives."""
    quicklook: bool = False
    """Write a small PNG next to each crop."""
    folder: Path
    """Output folder."""
    token: str
    """Prefix of the names of temporary files."""
    reserve: int
    """Bytes of free disk space that are never used."""
    verify: bool
    """Check the checksums of the blocks' streams."""
    attribution: str
    """Source of the data; ``{year}`` is replaced by the year of the scene."""
    values: Wanted | None = None
    """Values that are computed for every area and date; None if no values are requested."""
    values_rule: CloudRule | None = None
    """Decides which areas get values; None if no values are requested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolSettings:
    """Everything from which tools are opened. It can be pickled."""

    client: ClientSettings
    """Which servers may be used, and how."""
    work: Work
    """Limits on concurrency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """The tools of a worker, shared by all batches of a process."""

    transport: Transport
    budget: Budget
    """Memory for blocks and pixels."""
    pool: Executor
    """Threads that compute; by default one for each core."""
    writers: Executor
    """Threads that write crops and mostly wait for the disk."""
    flats: Budget = field(default_factory=lambda: Budget(FLATS))
    """Memory for the pixels from which values are computed. A task that holds some of it may wait for `budget`,
    but not for more of it. A task that holds some of `budget` must never wait for it."""
    margins: Mapping[str, Margin] = field(default_factory=lambda: defaultdict(Margin))
    """By asset, how much more than the expected part of a block is requested, learned from earlier blocks."""
    first_read: FirstRead = field(default_factory=FirstRead)
    """How much of a file is requested first, learned from earlier files."""
    shelf: Shelf | None = None
    """What batches of one scene share; nothing by default."""
    replaced: Replaced = field(default_factory=Replaced)
    """Counts the foreign files that crops overwrite."""
    plans: Plans = field(default_factory=lambda: Plans(None))
    """The places of many areas on the grids of files."""
    coverage_plans: CoveragePlans = field(default_factory=CoveragePlans)
    """The same for values that are weighted by coverage."""
    save: Callable[[Sequence[Encoded], Settings, Replaced], None] | None = None
    """Takes crops in place of `saving.save` if another process writes them."""
    mark: Callable[[Sequence[int]], Executor] | None = None
    """Returns the compute pool as an executor that marks these jobs while it works; see `pool_for`."""
    alone: bool = False
    """Whether every call in these threads is for one job or one block of a file, so that a crash identifies it."""

    def pool_for(self, jobs: Iterable[Job]) -> Executor:
        """Return the compute pool for work that can crash only because of these jobs."""
        return self.mark([job.id for job in jobs]) if self.mark else self.pool

    def are_many(self, areas: int) -> bool:
        """Return whether this many areas are located and measured together."""
        return areas >= MANY and not self.alone


@asynccontextmanager
async def open_tools(
    settings: ToolSettings,
    *,
    meter: Meter | None = None,
    replaced: Replaced | None = None,
    plans: Plans | None = None,
) -> AsyncIterator[Tools]:
    """Open the tools of this process, and close them on exit.

    Args:
        settings: limits on concurrency, and which servers may be used.
        meter: counts all requests; a new meter by default. It keeps the traffic that batches do not report in
            their results: searches, and bytes that were kept for other batches and never used.
        replaced: counts the foreign files that crops overwrite; a new counter by default.
        plans: plans of the areas; by default, they are only kept in memory.
    """
    work = settings.work
    async with open_client(settings.client, meter) as transport:
        with (
            ThreadPoolExecutor(work.threads, thread_name_prefix="s2async-decode") as pool,
            PatientPool(work.writers, name="s2async-write") as writers,
        ):
            shelf = Shelf(work.memory // 2, transport.meter)
            try:
                yield Tools(
                    transport=transport,
                    budget=Budget(work.memory),
                    flats=Budget(work.memory),
                    pool=pool,
                    writers=writers,
                    shelf=shelf,
                    replaced=replaced or Replaced(),
                    plans=plans or Plans(None),
                )
            finally:
                shelf.clear()
