"""What all tests share, those of the benchmarks too."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long examples take, or take to be made, says more of what else the machine does than of the code; pytest's
# time limit stays.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# A submission is judged by the same examples each time; on a desk each run looks for new ones.
settings.register_profile("repeatable", settings.get_profile("unhurried"), derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "unhurried")
# The quick lane tries few examples of each property.
settings.register_profile("quick", settings.get_profile("unhurried"), max_examples=10)

# A shell starts what runs in the background with SIGINT ignored, and what a test starts would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


HEAVY = (
    *("tests/chaos/test_fault_cases.py", "tests/chaos/test_fault_cases_once.py", "tests/chaos/test_kills.py"),
    *("benchmarks/tests/test_year.py", "tests/chaos/test_faults.py", "tests/chaos/test_faults_server.py"),
    *("tests/test_means.py", "tests/chaos/test_bug_cases.py", "tests/engine/test_resume.py"),
    "tests/engine/test_changes.py",
    *("tests/maintenance/test_rebuild.py", "tests/net/test_many_requests.py", "tests/cli/test_locales.py"),
    *("tests/sandbox/test_world.py", "tests/cli/test_main.py", "tests/chaos/test_inputs.py"),
    *("tests/cli/test_signals.py", "tests/net/test_troubled_servers.py"),
    *("tests/state/test_database.py", "tests/engine/test_places.py", "tests/cog/test_checked.py"),
    *("tests/engine/test_signals.py", "tests/maintenance/test_owners.py", "tests/engine/test_vain.py"),
    *("tests/engine/test_pipeline.py", "tests/catalog/test_search_faults.py", "tests/sandbox/test_own_areas.py"),
    *("tests/engine/test_crash_marker.py", "tests/chaos/test_hostile.py", "tests/cli/test_bugs.py"),
    *("tests/chaos/test_cluster.py", "tests/engine/test_dask.py"),
)
"""The files that take longest, which come first: side by side with others, none of them is alone at the end. The
first three are of the long lane, all but some of their tests."""


def pytest_configure(config: pytest.Config) -> None:
    """Choose the examples of the quick lane, and have pytest-xdist keep the order of the files."""
    if "not slow" in config.option.markexpr:
        settings.load_profile("quick")
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # files with many tests first, however little they take


ALL_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.(slow|long)\b", re.MULTILINE)
"""What stands in a module all of whose tests are slow, as its first mark."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """In the quick lane, leave out the modules all of whose tests are slow: importing them costs CPU time."""
    if "not slow" not in config.option.markexpr or not collection_path.name.startswith("test_"):
        return None
    return True if ALL_SLOW.search(collection_path.read_text("utf-8")) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: a worker more than there are cores, because tests wait for servers and processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


LIGHT = {"_own_state_home", "real_data", "tmp_path_factory"}
"""Shared fixtures that take no time."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put heavy files first; mark as slow what is long, and what uses a fixture of its module or of the session.

    Such fixtures are shared because they are expensive: servers, worlds, finished runs. Modules that are slow
    without one have a ``pytestmark``.
    """
    places = {file: place for place, file in enumerate(HEAVY)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(HEAVY)))
    for item in items:
        if item.get_closest_marker("long") or (isinstance(item, pytest.Function) and _shares(item)):
            item.add_marker("slow")


def _shares(test: pytest.Function) -> bool:
    fixtures = test._fixtureinfo.name2fixturedefs  # pytest has no public way to a fixture's scope
    return any(known[-1].scope != "function" for name, known in fixtures.items() if name not in LIGHT)


@pytest.fixture(scope="session", autouse=True)
def _own_state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs note in the user's state directory stays apart from the user's own notes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state-home")))
        yield
