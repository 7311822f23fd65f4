"""The choice among the items of one overpass: a table of cases, and a rule that is checked for all orders."""

from __future__ import annotations

import itertools
import random

import pytest

from s2async.clouds.overpass import Choice, Standing, View, choose
from s2async.models import CloudMeasure, Status

SPOILT = frozenset({9})
OPEN = "open"


def measure(*, valid: int = 100, bad: int = 0, total: int = 100) -> CloudMeasure:
    histogram = [0] * 13
    histogram[4], histogram[9] = valid - bad, bad
    return CloudMeasure(histogram=tuple(histogram), total=total)


def view(
    job: int,
    standing: Standing,
    status: str = OPEN,
    *,
    home: bool = False,
    valid: int = 100,
    bad: int = 0,
    item: str = "",
    values: str = "",
) -> View:
    """A view of an item; values may be ``there``, or ``lack``."""
    known = None if standing is Standing.EXPECTED else measure(valid=valid, bad=bad)
    return View(
        job=job,
        status=status,
        standing=standing,
        measure=known,
        is_home=home,
        item=item or f"item {job}",
        has_values=bool(values),
        lacks_values=values == "lack",
    )


CLEAR, SAVED, CLOUDY, OUT = Standing.CLEAR, Standing.SAVED, Standing.CLOUDY, Standing.OUT
BARE = Standing.BARE


@pytest.mark.parametrize(
    ("views", "cut"),
    [
        ([view(1, CLEAR), view(2, CLEAR, home=True)], 2),
        ([view(1, CLEAR, valid=100), view(2, CLEAR, home=True, valid=96, bad=2)], 2),  # home before most valid
        ([view(1, CLEAR), view(2, OUT, home=True, valid=40)], 1),  # complete before home
        ([view(1, CLEAR, valid=97), view(2, CLEAR, valid=98, bad=1)], 2),  # most valid before least spoilt
        ([view(1, CLEAR, bad=1), view(2, CLEAR)], 2),
        ([view(1, CLEAR, item="b"), view(2, CLEAR, item="a")], 2),
        ([view(1, CLEAR, "duplicate")], 1),
        ([view(1, CLEAR, "duplicate"), view(2, CLOUDY, "cloudy", home=True)], 1),  # clear before home
        ([view(1, OUT), view(2, OUT)], None),
        # with values
        ([view(1, CLOUDY, values="lack"), view(2, CLOUDY, home=True, values="lack")], 2),
        ([view(1, CLOUDY, values="lack"), view(2, CLOUDY, home=True)], 1),  # those that have values before home
        ([view(1, CLOUDY, values="lack"), view(2, CLEAR, values="lack")], 2),  # clear before all
        ([view(1, CLOUDY, home=True, values="lack"), view(2, SAVED, "saved", values="lack")], 2),
        ([view(1, CLEAR, home=True, values="there"), view(2, CLOUDY, values="lack")], 1),
        # without crops
        ([view(1, BARE, values="lack"), view(2, BARE, home=True, values="lack")], 2),
        ([view(1, BARE, home=True, values="lack"), view(2, CLOUDY, values="lack")], 2),  # any other before that
        ([view(1, BARE, "missing", home=True, values="lack"), view(2, CLEAR, values="lack")], 2),
    ],
)
def test_the_best_item_is_worked_on_first_and_nothing_is_decided_before(
    views: list[View], cut: int | None
) -> None:
    for order in itertools.permutations(views):
        assert choose(order, SPOILT) == Choice(work=cut)


@pytest.mark.parametrize(
    ("views", "statuses"),
    [
        ([view(1, SAVED, "saved", home=True), view(2, CLEAR)], {2: "duplicate"}),
        ([view(1, SAVED, "saved", home=True), view(2, SAVED, "saved")], {2: "duplicate"}),
        ([view(1, CLOUDY, "cloudy", home=True), view(2, SAVED, "saved")], {1: "duplicate"}),
        ([view(1, CLOUDY, "cloudy", home=True), view(2, CLOUDY)], {2: "duplicate"}),
        ([view(1, SAVED, "duplicate", home=True), view(2, OUT, "nodata")], {1: "saved"}),
        ([view(1, CLOUDY, "duplicate"), view(2, OUT, "missing", home=True)], {1: "cloudy"}),
        ([view(1, SAVED, "failed", home=True), view(2, CLEAR)], {2: "duplicate"}),  # one of its assets failed
        ([view(1, CLOUDY, values="there"), view(2, CLOUDY, values="lack")], {1: "cloudy", 2: "duplicate"}),
        ([view(1, CLOUDY, "failed", values="there"), view(2, CLOUDY)], {2: "duplicate"}),  # its values failed
        ([view(1, SAVED, "saved"), view(2, BARE, home=True, values="lack")], {2: "missing"}),
        ([view(1, BARE, "missing", values="there"), view(2, BARE, values="lack")], {2: "missing"}),
    ],
)
def test_when_the_best_item_has_an_answer_the_others_are_duplicates(
    views: list[View], statuses: dict[int, str]
) -> None:
    for order in itertools.permutations(views):
        assert choose(order, SPOILT) == Choice(
            statuses=tuple((job, Status(status)) for job, status in statuses.items())
        )


@pytest.mark.parametrize(
    "views",
    [
        [view(1, SAVED, "saved"), view(2, Standing.EXPECTED)],
        [view(1, CLEAR), view(2, Standing.EXPECTED, "failed")],
        [view(1, CLEAR), view(2, Standing.DELAYED, "failed", home=True)],
        [view(1, SAVED, "saved"), view(2, Standing.DELAYED, "failed", home=True)],
    ],
)
def test_an_overpass_waits_and_what_is_saved_stays(views: list[View]) -> None:
    for order in itertools.permutations(views):
        assert choose(order, SPOILT) == Choice()


@pytest.mark.parametrize("seed", range(200))
def test_however_items_come_and_fail_one_counts_in_the_end_and_always_the_same(seed: int) -> None:
    """Brute force: views come in any order, some cannot be cut; the last choice is that of all together."""
    chosen = random.Random(seed)
    kinds = [chosen.choice([CLEAR, CLEAR, CLOUDY, OUT]) for _ in range(chosen.randint(1, 5))]
    views = [
        view(number, kind, home=chosen.random() < 0.5, valid=chosen.choice([96, 100]), bad=chosen.choice([0, 1]))
        for number, kind in enumerate(kinds)
    ]
    broken = {one.job for one in views if chosen.random() < 0.3}

    def settled(order: list[View]) -> dict[int, str]:
        known: dict[int, View] = {}
        for one in order:
            known[one.job] = one
            while True:
                choice = choose([*known.values()], SPOILT)
                for job, status in choice.statuses:
                    known[job] = replaced(known[job], known[job].standing, status)
                if choice.work is None:
                    break
                done = (OUT, "missing") if choice.work in broken else (SAVED, "saved")
                known[choice.work] = replaced(known[choice.work], *done)
        return {job: one.status for job, one in known.items()}

    def replaced(one: View, standing: Standing, status: str) -> View:
        return View(
            job=one.job, status=status, standing=standing, measure=one.measure, is_home=one.is_home, item=one.item
        )

    counting = [
        {job for job, status in settled(chosen.sample(views, len(views))).items() if status in ("saved", "cloudy")}
        for _ in range(6)
    ]
    whole = [one for one in views if one.standing is CLEAR and one.job not in broken]
    can_count = [*whole, *(one for one in views if one.standing is CLOUDY)]
    best = min(
        can_count,
        key=lambda one: (
            one.standing is CLOUDY,
            not one.is_home,
            -one.measure.valid if one.measure else 0,
            one.measure.histogram[9] / one.measure.valid if one.measure else 0,
            one.item,
        ),
        default=None,
    )
    assert counting == [{best.job} if best else set()] * 6
