"""Batches on their way: results name what the sender has, and nothing shows what a parcel holds."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime

from s2async.engine.parcels import Delivery, Order, pack_delivery, pack_order, unpack_delivery, unpack_order
from s2async.models import Asset, Batch, BatchResult, CloudMeasure, Job, Outcome, Status
from tests.support import batches
from tests.support.states import make_scene

SECRET = "?sig=hunter2"
MEASURE = CloudMeasure(histogram=(0,) * 4 + (225,) + (0,) * 8, total=225)


def made(jobs: int) -> Batch:
    areas = batches.areas()
    asset = Asset(key="scl", href=f"https://cogs.example/scl.tif{SECRET}")
    scene = replace(make_scene("A"), assets={"scl": asset}, datetime=datetime(2024, 6, 1, tzinfo=UTC))
    found = [Job(id=number, area=areas[number % len(areas)], scene=scene) for number in range(1, jobs + 1)]
    return Batch(scene=scene, jobs=tuple(found))


def test_a_result_comes_back_with_the_jobs_that_were_sent() -> None:
    sent = made(50)
    there = unpack_order(pack_order(Order(batch=sent, number=9, oldest=7, turn=3, parts=2)))
    assert there == Order(batch=sent, number=9, oldest=7, turn=3, parts=2)
    left = replace(there.batch.jobs[-1], measure=MEASURE)
    outcomes = [Outcome(job=job, status=Status.CLOUDY, measure=MEASURE) for job in there.batch.jobs[:-1]]
    delivery = Delivery(result=BatchResult(outcomes=tuple(outcomes), left=(left,)))
    parcel = pack_delivery(delivery, there.batch)
    back = unpack_delivery(parcel, sent)
    assert back == delivery
    assert back.result is not None
    assert all(outcome.job is job for outcome, job in zip(back.result.outcomes, sent.jobs, strict=False))
    assert back.result.left[0].area is sent.jobs[-1].area
    assert back.result.left[0].scene is sent.scene
    assert len(parcel.data) < len(pickle.dumps(delivery)) / 2


def test_a_parcel_does_not_show_what_is_in_it() -> None:
    parcel = pack_order(Order(batch=made(1), number=1, oldest=1, turn=0, parts=1))
    assert SECRET.encode() in parcel.data
    assert "hunter2" not in f"{parcel!r} {parcel}"
    assert parcel.__sizeof__() == len(parcel.data)
    assert pickle.loads(pickle.dumps(parcel)) == parcel


def test_the_columns_of_areas_stay_at_home() -> None:
    batch = made(3)
    own = replace(batch.jobs[0].area, attributes={"owner": "x" * 1000})
    batch = replace(batch, jobs=(replace(batch.jobs[0], area=own), *batch.jobs[1:]))
    parcel = pack_order(Order(batch=batch, number=1, oldest=1, turn=0, parts=1))
    assert b"xxx" not in parcel.data
    there = unpack_order(parcel).batch
    assert there.jobs[0].area == replace(own, attributes={})
    left = replace(there.jobs[0], measure=MEASURE)
    back = unpack_delivery(pack_delivery(Delivery(result=BatchResult(outcomes=(), left=(left,))), there), batch)
    assert back.result is not None
    assert back.result.left[0].area is own
