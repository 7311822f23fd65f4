from __future__ import annotations

import pytest

from s2async import reasons
from s2async.causes import Cause
from s2async.errors import (
    AccessDenied,
    BadAnswer,
    CorruptFile,
    FileChanged,
    NotAllowed,
    NotFound,
    Refused,
    RemoteError,
    TransientError,
    UnsupportedLayout,
)
from tests.support.states import lack


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NotFound("not there (404)"), Cause.NOT_THERE),
        (NotAllowed("not an allowed origin"), Cause.ORIGIN),
        (AccessDenied("access denied (403): https://h/x"), Cause.DENIED),
        (Refused("the server does not serve ranges"), Cause.REFUSED),
        (FileChanged("the file changed"), Cause.CHANGED),
        (UnsupportedLayout("unsupported layout: an alpha band"), Cause.LAYOUT),
        (CorruptFile("not a TIFF"), Cause.DAMAGED),
        (BadAnswer("the server answers 400"), Cause.ANSWER),
        (TransientError("timed out"), Cause.NETWORK),
    ],
)
def test_every_error_has_a_cause(error: RemoteError, cause: Cause) -> None:
    assert reasons.cause_of(error) is cause


def test_every_cause_has_words_of_its_own() -> None:
    assert len({cause.words for cause in Cause}) == len(Cause)


def test_when_a_missing_file_is_asked_for_again() -> None:
    assert [reasons.due(Cause.NOT_THERE, tries, 1000) for tries in (1, 2, 3, 4, 5)] == [
        0,
        87_400,
        87_400,
        None,
        None,
    ]
    assert all(reasons.due(cause, 1, 1000) is None for cause in Cause if cause is not Cause.NOT_THERE)
    assert [reasons.is_due(87_400, 1000, now) for now in (1000, 87_399, 87_400, 999, 0)] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert reasons.is_due(0, 1000, 1000)
    assert not reasons.is_due(None, 1000, 10**10)


def test_what_is_lacking_is_told_together_where_the_reason_is_the_same() -> None:
    lacks = [lack("scl", Cause.JPEG2000), lack("red"), lack("visual", Cause.JPEG2000)]
    assert reasons.told(lacks) == "scl, visual: only as JPEG 2000; red: not there"
    assert reasons.counted({Cause.DENIED: 2, Cause.NOT_THERE: 1200, Cause.LAYOUT: 0}) == (
        "1,200 not there, 2 access denied"
    )


@pytest.mark.parametrize(
    ("saved", "missing", "covers"),
    [("ab", "", True), ("a", "b", True), ("", "ab", True), ("a", "", False), ("", "b", False), ("abc", "", True)],
)
def test_what_covers_the_wanted_assets(saved: str, missing: str, covers: bool) -> None:
    assert reasons.covers(("a", "b"), set(saved), set(missing)) is covers
    assert reasons.covers((), set(saved), set(missing))
