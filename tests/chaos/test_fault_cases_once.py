"""The handed-out faults that befall each request once: beside the others, so that two processes share them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import bugs

pytestmark = pytest.mark.long


@pytest.mark.parametrize("case", ["02-one-odd-answer-is-final", "09-retries-used-up"])
def test_a_fault_that_was_handed_out_ends_well(bug_cases: Path, tmp_path: Path, case: str) -> None:
    bugs.run_case(bug_cases, case, tmp_path)


def test_no_case_is_left_out(bug_cases: Path) -> None:
    handed = {path.parent.name for path in bug_cases.glob("faults/*/case.py")}
    assert handed == {
        "01-damaged-tile", "02-one-odd-answer-is-final", "03-outage-as-4xx", "04-parked-for-a-glitch",
        "09-retries-used-up",
    }  # fmt: skip
