"""What all tests share, those of the benchmarks too."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more of what else the machine does than of the code; pytest's time limit stays.
settings.register_profile("unhurried", settings.default, deadline=None)
# A submission is judged by the same examples each time; on a desk each run looks for new ones.
settings.register_profile("repeatable", settings.get_profile("unhurried"), derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "unhurried")
# The quick lane tries few examples of each property.
settings.register_profile("quick", settings.get_profile("unhurried"), max_examples=10)

# A shell starts what runs in the background with SIGINT ignored, and what a test starts would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the examples of the quick lane."""
    if "not slow" in config.option.markexpr:
        settings.load_profile("quick")


LIGHT = {"_own_state_home", "real_data", "tmp_path_factory"}
"""Shared fixtures that take no time."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what is long, and each test that uses a fixture of its module or of the session.

    Such fixtures are shared because they are expensive: servers, worlds, finished runs. Modules that are slow
    without one have a ``pytestmark``.
    """
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
