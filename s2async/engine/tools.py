"""What a worker needs: plain settings, and tools that the process which does the work opens from them."""

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
"""Areas of a batch from which on the plan of a grid is used: for fewer areas, `cog.polygon_mask` is faster."""
MOST_CONNECTIONS: Final = 256
"""Concurrent requests to one host that a process sends at most."""
FLATS: Final = 48 << 20
"""Bytes of pixels of which values are computed, unless the tools say otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is wanted of every batch. It can be pickled."""

    rule: CloudRule
    """Decides which areas are clear."""
    assets: tuple[str, ...]
    """Assets to cut; empty to measure only."""
    mask: bool
    """Pixels outside the polygon become nodata."""
    harmonised: bool = False
    """Subtract the offset from the pixels of reflectance bands."""
    conventions: Conventions = field(default_factory=Conventions)
    """What the user says about the offsets of archives."""
    quicklook: bool = False
    """Write a small PNG beside each crop."""
    folder: Path
    """Output folder."""
    token: str
    """Start of the names of temporary files."""
    reserve: int
    """Bytes of free disk that are never used up."""
    verify: bool
    """Check the checksums of the blocks' streams."""
    attribution: str
    """Source of the data; ``{year}`` is replaced by the year of the scene."""
    values: Wanted | None = None
    """Values that are computed of every area and date; None for none."""
    values_rule: CloudRule | None = None
    """Decides which areas have values; None when none are wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolSettings:
    """What tools are opened from. It can be pickled."""

    client: ClientSettings
    """Which servers may be asked, and how."""
    work: Work
    """How much is done at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What a worker works with; shared by all batches of a process."""

    transport: Transport
    budget: Budget
    """Memory for blocks and pixels."""
    pool: Executor
    """Threads that compute: as many as there are cores."""
    writers: Executor
    """Threads that write crops, and mostly wait for the disk."""
    flats: Budget = field(default_factory=lambda: Budget(FLATS))
    """Memory for the pixels of which values are computed. Whoever holds some may wait for `budget`, but not for
    more of this, and never the other way round."""
    margins: Mapping[str, Margin] = field(default_factory=lambda: defaultdict(Margin))
    """By asset, how much more than the expected part of a block is requested; learned from earlier blocks."""
    first_read: FirstRead = field(default_factory=FirstRead)
    """How much of a file is requested first; learned from earlier files."""
    shelf: Shelf | None = None
    """What batches of one scene share; nothing by default."""
    replaced: Replaced = field(default_factory=Replaced)
    """Counts the files of others that crops were written over."""
    plans: Plans = field(default_factory=lambda: Plans(None))
    """Where many areas lie on the grids of files."""
    coverage_plans: CoveragePlans = field(default_factory=CoveragePlans)
    """The same for values by coverage."""
    save: Callable[[Sequence[Encoded], Settings, Replaced], None] | None = None
    """Takes crops in place of `saving.save`, where another process writes them."""
    mark: Callable[[Sequence[int]], Executor] | None = None
    """Returns a pool of the threads that compute, which marks these jobs while it works; see `pool_for`."""
    alone: bool = False
    """Every call of these threads is for one job or one block of a file, so that a crash tells which it was."""

    def pool_for(self, jobs: Iterable[Job]) -> Executor:
        """The threads that compute, for work that can crash because of these jobs only."""
        return self.mark([job.id for job in jobs]) if self.mark else self.pool

    def are_many(self, areas: int) -> bool:
        """Whether so many areas are located and measured together."""
        return areas >= MANY and not self.alone


@asynccontextmanager
async def open_tools(
    settings: ToolSettings,
    *,
    meter: Meter | None = None,
    replaced: Replaced | None = None,
    plans: Plans | None = None,
) -> AsyncIterator[Tools]:
    """Open the tools of this process, and close them in the end.

    Args:
        settings: how much is done at once, and which servers may be asked.
        meter: counts all requests; a new one by default. What batches do not carry in their results is drained
            from it: searches, and bytes that were kept for other batches and never used.
        replaced: counts the files of others that crops are written over; a new one by default.
        plans: of the areas; kept in memory alone by default.
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
