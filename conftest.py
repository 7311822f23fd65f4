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

# A shell starts what runs in the background with SIGINT ignored, and what a test starts would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs note in the user's state directory stays apart from the user's own notes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state-home")))
        yield
