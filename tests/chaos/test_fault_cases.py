"""The handed-out faults of servers, each with a server and an oracle of its own, run as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import bugs

pytestmark = pytest.mark.long


@pytest.mark.parametrize("case", ["01-damaged-tile", "03-outage-as-4xx"])
def test_a_fault_that_was_handed_out_ends_well(bug_cases: Path, tmp_path: Path, case: str) -> None:
    bugs.run_case(bug_cases, case, tmp_path)


@pytest.mark.timeout(900)
def test_a_glitch_that_was_handed_out_costs_some_seconds(bug_cases: Path, tmp_path: Path) -> None:
    """The case compares the durations of runs: on a machine that just then has more to do, it is tried again."""
    bugs.run_case(bug_cases, "04-parked-for-a-glitch", tmp_path, times=3)
