"""What comes from outside, made up: short forms of ``python -m tests.chaos fuzz``, and what it has found."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos import __main__ as command
from tests.chaos import fuzz
from tests.chaos.targets import TARGETS, BrokenPromiseError, promise
from tests.support.examples import examples

pytestmark = pytest.mark.slow

FOUND = {
    "a whole stream of one byte too many": ("tile", b"\x00\x1e\x00\x00\x00\x02r{\xffO\x1e{"),
    "a type that is no text": ("geojson", b'{"type": [], "coordinates": []}'),
    "a count of thousands of digits": (
        "pages",
        b'{"type": "FeatureCollection", "features": [], "numberMatched": 1%s}' % (b"0" * 4000),
    ),
    "an item with and without its collection": (
        "pages",
        b"""{"type": "FeatureCollection", "features": [
        {"id": "a", "bbox": [1, 2, 3, 4], "properties": {"datetime": "2022-01-01T00:00:00Z"}},
        {"id": "a", "bbox": [1, 2, 3, 4], "properties": {"datetime": "2022-01-01T00:00:00Z"},
        "collection": "sentinel-2-l2a"}]}""",
    ),
    "a number beyond all numbers": ("wkt", b"Zoo\nPOLYGON ((13 52, 13.1 52, 13.1 52e311, 13 52))"),
    "a scheme in capitals": (
        "pages",
        b"""{"type": "FeatureCollection", "features": [{"id": "a", "bbox": [1, 2, 3, 4],
        "properties": {"datetime": "2022-01-01T00:00:00Z"}, "assets": {"scl": {"href": "HTTPS://host/SCL.tif"}}}]}""",
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_once_is_kept(what: str) -> None:
    target, data = FOUND[what]
    TARGETS[target].run(data)


@cache
def seeds(name: str) -> list[bytes]:
    return list(TARGETS[name].seeds())


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed with some of its bytes changed, left out, repeated or replaced by words."""
    data = draw(st.sampled_from(seeds(name)))
    words = [word.encode() for word in TARGETS[name].words]
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 1, 1, 2, 4, 12, 1000])))
        piece = draw(st.binary(max_size=8) | st.sampled_from([data[start:stop] * 2, *words]))
        data = data[:start] + piece + data[stop:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_keeps_the_promises(name: str) -> None:
    assert seeds(name)
    for data in seeds(name):
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_taken_or_refused(name: str) -> None:
    @examples(400)
    @given(damaged(name) | st.binary(max_size=300))
    def takes(data: bytes) -> None:
        TARGETS[name].run(data)

    takes()


# ---- the long form ----------------------------------------------------------------------------------------


def test_the_long_form_counts_its_executions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("atheris")
    asked = ["fuzz", "--target", "wkt", "--count", "300", "--keep", str(tmp_path)]
    assert command.main(asked) == 0
    _, line = capsys.readouterr().out.splitlines()
    name, executions, _seconds, kept, findings = line.split()
    assert (name, findings) == ("wkt", "0")
    assert int(executions) >= 300
    assert int(kept) > len(seeds("wkt"))
    assert list(tmp_path.iterdir()) == []


def test_the_names_are_those_of_the_targets() -> None:
    assert set(fuzz.NAMES) == set(TARGETS)


def test_a_broken_promise_is_a_finding() -> None:
    told = f"=== Uncaught Python exception: ===\n{BrokenPromiseError.__name__}: 7\nTraceback (most recent\n"
    told += "Test unit written to ./x"
    assert fuzz._finding(told) == "BrokenPromiseError: 7 (./x)"
    promise(True, 1)
    with pytest.raises(BrokenPromiseError, match="7"):
        promise(False, 7)
