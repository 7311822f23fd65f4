"""The deliveries of workers, so that the traffic of each batch is counted once, whatever becomes of it. Pure.

A worker reports the traffic of a batch in its delivery. If the run does not receive the delivery, because the
worker leaves or the run is stopped, the worker reports the traffic again when it closes its tools.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from s2async.models import Traffic

if TYPE_CHECKING:  # these are types alone
    from s2async.engine.dask_messages import Farewell, Parting


class Deliveries:
    """The deliveries of the workers of a run, by order number.

    Args:
        count: called with the traffic that no delivery reports.
    """

    def __init__(self, count: Callable[[Traffic], None]) -> None:
        self._count = count
        self._numbers = itertools.count(1)
        self._awaited: set[int] = set()
        """Numbers of orders in progress, and of orders whose deliveries a stopped run has not received."""
        self._dropped: set[int] = set()
        """Numbers of orders whose deliveries are never received, and whose traffic no worker has reported yet."""
        self._told: dict[int, tuple[Traffic, ...]] = {}
        """Traffic of orders in progress, as reported by a leaving worker; it is counted if no delivery arrives."""

    def begin(self) -> int:
        """Return the number of a new order."""
        number = next(self._numbers)
        self._awaited.add(number)
        return number

    @property
    def oldest(self) -> int:
        """The lowest number of an order in progress; there must be one."""
        return min(self._awaited)

    @property
    def dropped(self) -> frozenset[int]:
        """Numbers of orders whose deliveries are never received, and whose traffic no worker has reported yet."""
        return frozenset(self._dropped)

    @property
    def untold(self) -> frozenset[int]:
        """Numbers of orders whose traffic a worker must report when it closes its tools."""
        return frozenset(self._awaited | self._dropped)

    def take(self, number: int) -> None:
        """Record that the run has received a delivery, which reports its traffic itself."""
        self._awaited.discard(number)
        self._told.pop(number, None)

    def drop(self, number: int) -> None:
        """Record that a delivery will never be received, unless the run already has it."""
        if number not in self._awaited:
            return
        self._awaited.discard(number)
        told = self._told.pop(number, None)
        if told is None:
            self._dropped.add(number)
        self._count_all(told or ())

    def part(self, parting: Parting) -> None:
        """Count the traffic that a leaving worker reports."""
        self._count_all(parting.traffic)
        for number, told in parting.deliveries.items():
            if number in self._awaited:
                self._told[number] = told
            elif number in self._dropped:
                self._dropped.discard(number)
                self._count_all(told)

    def end(self, farewells: Iterable[Farewell]) -> int:
        """Count the traffic that workers report at the end of a run, and that workers have reported which left.

        Returns:
            The number of orders of the run.
        """
        for number in tuple(self._awaited):
            self.drop(number)
        for farewell in farewells:
            self._count_all(farewell.traffic)
        return next(self._numbers) - 1

    def _count_all(self, traffic: Iterable[Traffic]) -> None:
        for entry in traffic:
            self._count(entry)
