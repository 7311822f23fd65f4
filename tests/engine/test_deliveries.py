"""Traffic of batches on workers counts once, whether their deliveries are taken or not."""

from __future__ import annotations

from s2async.engine.dask_messages import Farewell, Parting
from s2async.engine.deliveries import Deliveries
from s2async.models import Traffic, Use


def traffic(size: int) -> tuple[Traffic, ...]:
    return (Traffic(stage="tiles", asset="scl", use=Use.USEFUL, requests=1, bytes=size),)


def parting(**deliveries: int) -> Parting:
    """What a worker tells that leaves; orders are named like ``o3``."""
    told = {int(name[1:]): traffic(size) for name, size in deliveries.items()}
    return Parting(traffic=(), deliveries=told)


def counting() -> tuple[Deliveries, list[int]]:
    counted = list[int]()
    return Deliveries(lambda entry: counted.append(entry.bytes)), counted


def test_what_a_delivery_tells_is_not_counted_again_when_its_worker_leaves() -> None:
    deliveries, counted = counting()
    assert [deliveries.begin() for _ in range(3)] == [1, 2, 3]
    deliveries.take(1)
    assert deliveries.oldest == 2
    deliveries.part(parting(o1=10, o2=20))
    deliveries.take(2)  # it came all the same
    assert counted == []
    assert deliveries.untold == {3}
    deliveries.drop(2)
    assert deliveries.dropped == frozenset(), "whoever has a delivery does not lose it"
    deliveries.take(3)
    assert deliveries.end([Farewell(traffic=traffic(7))]) == 3
    assert counted == [7]


def test_what_was_received_for_a_batch_that_is_lost_counts_whoever_tells_it_first() -> None:
    deliveries, counted = counting()
    for _ in range(4):
        deliveries.begin()
    deliveries.part(parting(o1=10))
    assert counted == [], "its delivery may still come"
    deliveries.drop(1)
    assert counted == [10]
    deliveries.drop(2)
    assert deliveries.dropped == {2}
    deliveries.part(parting(o2=20, o3=30))
    assert counted == [10, 20]
    assert deliveries.dropped == frozenset()
    deliveries.part(parting(o2=20))
    assert counted == [10, 20], "once"
    assert deliveries.untold == {3, 4}
    deliveries.end([Farewell(traffic=traffic(40))])
    assert sorted(counted) == [10, 20, 30, 40]
