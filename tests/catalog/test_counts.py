"""What a catalogue counts beside what it gives: ends that come too early, and counts that are estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from s2async.catalog.search import Request, estimates_told
from s2async.errors import TransientError
from s2async.events import Estimate
from tests.support.scripts import SEARCH_URL, WIDE, Answer, Script, a_page, items, run


@pytest.mark.parametrize("told", [{"numberMatched": 3}, {"context": {"matched": 3}}])
def test_an_end_that_comes_too_early_is_searched_once_more(told: dict[str, Any]) -> None:
    healed = Script([a_page(items("a", "b"), **told), a_page(items("b", "c"), **told)])
    result = run(healed)
    assert (result.ids, result.report.complete) == (["a", "b", "c"], True)
    assert [request.body["limit"] for request in healed.asked if request.body] == [100, 1], "pages of another size"
    assert result.report.estimate is None

    short = Script([a_page(items("a", "b"), **told), a_page(items("b"), **told)])
    result = run(short)
    assert (result.ids, result.report.complete) == (["a", "b"], False)
    assert result.report.reason == "the server counts 3 items, but gave 2"


@pytest.mark.parametrize(
    "told",
    [{"numberMatched": 1}, {"numberMatched": None}, {"context": None}, {"numberMatched": "9"},
     {"numberMatched": True}, {"numberMatched": 9.5}, {"numberMatched": -1, "context": {"matched": 2}}],
)  # fmt: skip
def test_counts_that_do_not_speak_against_the_end(told: dict[str, Any]) -> None:
    script = Script([a_page(items("a", "b"), **told)])
    assert run(script).report.complete
    assert len(script.asked) == 1


def test_a_null_count_beside_a_context_that_counts() -> None:
    pages = [a_page(items("a", "b"), numberMatched=None, context={"matched": 3}), a_page(items("a", "c"))]
    assert run(Script(pages)).ids == ["a", "b", "c"]


def test_the_count_may_change_between_pages() -> None:
    pages = [a_page(items("a"), 1, numberMatched=3), a_page(items("b"), numberMatched=2)]
    assert run(Script(pages)).report.complete


@dataclass
class Shelf:
    """A catalogue of so many items that counts as it likes, and pages as well as it can."""

    count: int
    matched: Callable[[int], int | None]
    """From the number of the page (from 0) to what it says of the whole; None says nothing."""
    longest: int = 10_000
    """Items of a page, at most, whatever is asked for."""
    lost: bool = False
    """Links to the next page are."""
    skips: bool = False
    """Between two pages an item is passed over, as by a token that is the time of the last one."""
    blind: frozenset[int] = frozenset()
    """Items that are counted but never given."""

    def __call__(self, request: Request, _number: int) -> Answer:
        body = request.body or {}
        start, size, page = body.get("start", 0), min(body["limit"], self.longest), body.get("page", 0)
        end = start + size
        found = items(*(f"i{n}" for n in range(start, min(end, self.count)) if n not in self.blind))
        more = {"start": end + self.skips, "limit": body["limit"], "page": page + 1}
        link = {"rel": "next", "method": "POST", "href": SEARCH_URL, "body": more}
        told = self.matched(page)
        return a_page(
            found,
            link if end < self.count and not self.lost else None,
            **({} if told is None else {"numberMatched": told}),
        )


EXACT = 25
ESTIMATES = {
    "1.3 times as many": Shelf(EXACT, lambda _: 32),
    "one more": Shelf(EXACT, lambda _: EXACT + 1),
    "one more, of one": Shelf(1, lambda _: 2),
    "some, of none": Shelf(0, lambda _: 5),
    "in pages that the server cuts short": Shelf(EXACT, lambda _: 32, longest=7),
    "in pages of one item": Shelf(EXACT, lambda _: 32, longest=1),
    "more on every page": Shelf(EXACT, lambda page: 30 + page, longest=7),
    "on the first page alone": Shelf(EXACT, lambda page: None if page else 32, longest=7),
    "on the last page alone": Shelf(EXACT, lambda page: 32 if page == 3 else None, longest=7),
    "with items that nobody may see": Shelf(EXACT, lambda _: EXACT, blind=frozenset({3, 24})),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_a_count_that_other_pages_do_not_confirm_is_an_estimate(name: str) -> None:
    shelf = ESTIMATES[name]
    script = Script(shelf)
    result = run(script)
    assert sorted(result.ids) == sorted(f"i{n}" for n in range(shelf.count) if n not in shelf.blind)
    assert (result.report.complete, result.report.reason) == (True, "")
    limits = list(dict.fromkeys(request.body["limit"] for request in script.asked if request.body))
    assert len(limits) == 2
    estimate = result.report.estimate
    assert estimate is not None
    assert estimate.counted > result.report.items

    again = Script(shelf)  # another run, which knows it
    known = run(again, known=estimate)
    assert (sorted(known.ids), known.report) == (sorted(result.ids), result.report)
    once = [request for request in script.asked if request.body and request.body["limit"] == 100]
    assert again.asked == once, "no second look"
    assert known.notices == result.notices == [], "a line for all searches, see `estimates_told`"


@pytest.mark.parametrize(
    "shelf",
    [Shelf(EXACT, lambda _: EXACT, longest=10, lost=True), Shelf(EXACT, lambda _: EXACT, longest=2, lost=True),
     Shelf(250, lambda _: 250, lost=True), Shelf(250, lambda page: None if page else 250, lost=True),
     Shelf(EXACT, lambda _: 60, longest=7, skips=True)],
)  # fmt: skip
def test_a_lost_link_shows_in_pages_of_another_size(shelf: Shelf) -> None:
    result = run(Script(shelf))
    assert not result.report.complete
    assert result.report.reason == f"the server counts {shelf.matched(0)} items, but gave {len(result.ids)}"
    assert result.report.estimate is None


def test_what_falls_between_two_pages_does_not_fall_between_others() -> None:
    """A token that is the time of the last item passes over its equals."""
    result = run(Script(Shelf(EXACT, lambda _: EXACT, longest=7, skips=True)))
    assert sorted(result.ids) == sorted(f"i{n}" for n in range(EXACT))
    assert (result.report.complete, result.report.estimate) == (True, None)


def test_an_order_that_changes_brings_the_others_the_second_time() -> None:
    first = [a_page(items("a", "b"), 1, numberMatched=4), a_page(items("b", "c"), numberMatched=4)]
    second = [a_page(items("d", "a"), 2, numberMatched=4), a_page(items("b", "c"), numberMatched=4)]
    result = run(Script([*first, *second]))
    assert (result.ids, result.report.complete, result.report.estimate) == (["a", "b", "c", "d"], True, None)
    third = run(Script([*first, a_page(items("a", "b", "c"), numberMatched=4)]))
    assert (third.report.complete, third.report.estimate is not None) == (True, True)


def test_an_estimate_is_believed_of_the_same_items_and_of_no_larger_count_only() -> None:
    def asked(count: int, matched: int, known: Estimate | None) -> tuple[int, Estimate | None]:
        script = Script(Shelf(count, lambda _: matched))
        result = run(script, known=known)
        assert result.report.complete
        return len(script.asked), result.report.estimate

    requests, found = asked(6, 8, None)
    assert (requests, found and found.counted) == (3, 8)
    assert asked(6, 8, found) == (1, found)
    assert asked(6, 7, found) == (1, found), "it may have been larger"
    requests, larger = asked(6, 9, found)
    assert (requests, larger and larger.counted) == (3, 9)
    requests, other = asked(7, 8, found)
    assert requests == 3
    assert (other and other.ids) != (found and found.ids)
    assert asked(8, 8, found) == (1, None), "exact this time"


def test_what_only_the_first_pages_gave_makes_a_known_estimate_doubtful() -> None:
    known = run(Script(Shelf(3, lambda _: 5))).report.estimate
    first, second = (
        a_page(items("i0", "i1", "i2", "new"), numberMatched=5),
        a_page(items("i0", "i1", "i2"), numberMatched=5),
    )
    result = run(Script([first, second]), known=known)
    assert not result.report.complete
    assert result.ids == ["i0", "i1", "i2", "new"]


def test_a_second_look_that_fails_is_not_taken_for_one() -> None:
    script = Script([a_page(items("a", "b"), numberMatched=3), TransientError("503", status=503)])
    result = run(script)
    assert (result.ids, result.report.complete, result.report.reason) == (["a", "b"], False, "503")


def test_estimates_are_told_in_one_line() -> None:
    reports = [run(Script(Shelf(count, lambda _: 30))).report for count in (6, 30, 7)]
    told = estimates_told(reports)
    assert told.startswith("2 searches: the catalogue counts more items than it gives")
    assert told.endswith(f"(such as {WIDE.label}: 30 counted, 6 given)")
    assert estimates_told(reports[:1]).startswith("a search: ")
    assert estimates_told(reports[1:2]) == ""
