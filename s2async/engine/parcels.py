"""Batches and their results as bytes, on their way between this process and a worker process.

A result refers to the scene, the jobs and the areas of its batch by number, because the sender of the batch
already has them. Parcels may contain signed addresses, so their `repr` does not show the contents: engines print
the arguments of tasks that fail.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from s2async.engine.saving import Encoded
from s2async.models import Area, Batch, BatchResult, Traffic

_PROTOCOL: Final = 5


@dataclass(frozen=True, slots=True)
class Parcel:
    """A byte string. Its own pickle consists of these bytes and a few more."""

    data: bytes = field(repr=False)

    def __sizeof__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A batch on its way to a worker."""

    batch: Batch
    number: int
    """Sequence number within the run."""
    oldest: int
    """Lowest number of an order whose delivery the run may still receive."""
    dropped: frozenset[int] = frozenset()
    """Numbers of earlier orders whose deliveries the run never receives: Dask has dropped them, or a worker has
    left."""
    turn: int
    """Priority of its requests (`net.limiter.TURN`)."""
    parts: int
    """Number of workers that share connections, retries and request rate."""


Trouble = Literal["local", "stopped", "bug"]
"""Why a result is missing or incomplete: this machine cannot continue (`LocalError`), the batch was cancelled, or
the program has a bug."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What comes back from a worker."""

    result: BatchResult | None = None
    trouble: Trouble | None = None
    reason: str = ""
    """One line; for a bug, the traceback."""
    crops: tuple[Encoded, ...] = ()
    """Crops of the result that this process has to write; empty if the worker has written them."""
    replaced: tuple[tuple[Path, str], ...] = ()
    """Foreign files that the worker has overwritten, with their origin."""
    beside: tuple[Traffic, ...] = ()
    """Traffic of the worker since its last delivery that no result contains."""
    retries: int = 0
    """Number of retried requests of the worker so far."""


def pack_order(order: Order) -> Parcel:
    """Serialize an order. Of its areas, it keeps what steps need: no seasons, and none of the user's columns."""
    areas = _areas(order.batch)
    target = io.BytesIO()
    columns = [(area.name, area.wkb, area.fingerprint, area.folder) for area in areas]
    pickle.Pickler(target, _PROTOCOL).dump(columns)
    _Pickler(target, areas).dump(order)
    return Parcel(target.getvalue())


def unpack_order(parcel: Parcel) -> Order:
    """Return the order that `pack_order` serialized, in a process of the same run."""
    source = io.BytesIO(parcel.data)
    columns = pickle.Unpickler(source).load()  # noqa: S301 - from our own run
    areas = [
        Area(name=name, wkb=wkb, fingerprint=fingerprint, folder=folder)
        for name, wkb, fingerprint, folder in columns
    ]
    order: Order = _Unpickler(source, areas).load()
    return order


def pack_delivery(delivery: Delivery, batch: Batch) -> Parcel:
    """Serialize a delivery, omitting what it has in common with its batch."""
    target = io.BytesIO()
    _Pickler(target, _nouns(batch)).dump(delivery)
    return Parcel(target.getvalue())


def unpack_delivery(parcel: Parcel, batch: Batch) -> Delivery:
    """Return the delivery that `pack_delivery` serialized.

    Args:
        parcel: received from a process of the same run.
        batch: the batch that was sent there; the delivery refers to its scene, jobs and areas.
    """
    delivery: Delivery = _Unpickler(io.BytesIO(parcel.data), _nouns(batch)).load()
    return delivery


def _areas(batch: Batch) -> list[Area]:
    """Return the areas of a batch without repetition."""
    return list({id(job.area): job.area for job in batch.jobs}.values())


def _nouns(batch: Batch) -> list[object]:
    """Return the objects of a batch that its delivery refers to, in an order that is the same on both sides."""
    return [batch.scene, *batch.jobs, *_areas(batch)]


class _Pickler(pickle.Pickler):
    def __init__(self, target: io.BytesIO, known: Sequence[object]) -> None:
        super().__init__(target, _PROTOCOL)
        self._known = {id(noun): number for number, noun in enumerate(known)}

    def persistent_id(self, value: Any) -> int | None:
        """Return the number of an object that the other side has."""
        return self._known.get(id(value))


class _Unpickler(pickle.Unpickler):
    def __init__(self, source: io.BytesIO, known: Sequence[object]) -> None:
        super().__init__(source)
        self._known = known

    def persistent_load(self, number: Any) -> object:
        """Return the object with this number."""
        return self._known[number]
