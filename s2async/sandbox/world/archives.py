"""What collections make of the takes: which items they list, with which numbers and flags. Pure.

A *take* is one datastrip of one pass in one processing; see `passes.Take`. The two collections of Earth Search
store the same datatakes by different rules: ``sentinel-2-l2a`` subtracts ESA's offset and marks this by a flag,
``sentinel-2-c1-l2a`` keeps ESA's numbers and states the offset in TIFF tags. The facts about wrong flags are those
of Element84/earth-search, issues 9, 66 and 71.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from s2async.sandbox.world.assets import Scaling
from s2async.sandbox.world.passes import FIRST_WITH_OFFSET, Take, reprocessed
from s2async.sandbox.world.squares import Square

L2A: Final = "sentinel-2-l2a"
C1: Final = "sentinel-2-c1-l2a"
COLLECTIONS: Final = (L2A, C1)
"""Collections that a world can have."""
_FIRST_C1: Final = "05.00"
"""First baseline of the collection ``sentinel-2-c1-l2a``, which contains older takes as reprocessed."""
UNSETTLED: Final = (datetime(2022, 1, 25, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC))
"""Sensing times of the files in ``sentinel-2-l2a`` that may still have the offset."""
_EARLY: Final = ((True, Scaling.PLAIN), (False, Scaling.PLAIN), (False, Scaling.OFFSET), (None, Scaling.OFFSET))
"""Flags and numbers of the takes of that time, in turn."""
_LATER: Final = (True, False, True, None)
"""Flags of the takes of other times since baseline 04.00, in turn; their numbers have no offset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A take as listed by one collection; it gives an item in every square."""

    take: Take
    collection: str
    scaling: Scaling
    """How the numbers of its reflectance bands are scaled."""
    flag: bool | None
    """``earthsearch:boa_offset_applied``; None if the item does not have it."""

    def item_id(self, square: Square) -> str:
        """Return the id, such as ``S2B_33UUU_20220609_0_L2A``, or in C1 ``S2B_T33UUU_20220609T100235_L2A``."""
        take = self.take
        mission = f"S2{take.platform[-1].upper()}"
        if self.collection == C1:
            return f"{mission}_T{square.name:0>5}_{take.strip:%Y%m%dT%H%M%S}_L2A"
        return f"{mission}_{square.name}_{take.time:%Y%m%d}_{take.sequence}_L2A"


def records(takes: Sequence[Take], collections: Iterable[str], *, lying: bool = False) -> list[Record]:
    """Return the records of all collections for the given takes: oldest first, one collection after the other.

    Args:
        takes: takes, oldest first.
        collections: some of COLLECTIONS.
        lying: whether some flags of ``sentinel-2-l2a`` are wrong or missing, and some files of early 2022 still
            have the offset, as in the real collection.
    """
    made = {L2A: lambda: _l2a(takes, lying), C1: lambda: _c1(takes)}
    return [record for name in collections for record in made[name]()]


def _l2a(takes: Sequence[Take], lying: bool) -> Iterator[Record]:
    turns: Counter[bool] = Counter()
    for take in takes:
        flag: bool | None = take.baseline >= FIRST_WITH_OFFSET
        scaling = Scaling.PLAIN
        if lying and flag and not take.edition:  # no wrong flags of reprocessed takes are known
            early = UNSETTLED[0] <= take.time < UNSETTLED[1]
            turn = turns[early]
            turns[early] += 1
            flag, scaling = _EARLY[turn % 4] if early else (_LATER[turn % 4], Scaling.PLAIN)
        yield Record(take=take, collection=L2A, scaling=scaling, flag=flag)


def _c1(takes: Sequence[Take]) -> Iterator[Record]:
    strips: defaultdict[datetime, list[Take]] = defaultdict(list)
    for take in takes:
        strips[take.strip].append(take)
    for editions in strips.values():
        last = max(editions, key=lambda take: take.baseline)
        take = last if last.baseline >= _FIRST_C1 else reprocessed(last)
        yield Record(
            take=replace(take, sequence=0, only_jp2=False), collection=C1, scaling=Scaling.TAGGED, flag=None
        )
