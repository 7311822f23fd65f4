"""``python -m s2async``: the same as the ``s2async`` command.

Nothing is loaded here at first but what looks at the machine: where it gives too little, libraries would end the
process in ways of their own.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable


def main() -> None:
    """Run the command line."""
    try:
        run = _load()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - nobody is to see how it was led to
        sys.exit(_tell(error))
    run()


def _load() -> Callable[[], None]:
    gc.disable()  # importing makes many objects and hardly any garbage: looking for it is a seventh of the start
    try:
        from s2async import means

        means.prepare()
        from s2async.cli import main as cli
    finally:
        gc.enable()
    return cli.main


def _tell(error: Exception) -> int:
    """Say in one line why nothing could be loaded; the exit code."""
    try:
        from s2async import means
        from s2async.cli import bugs
        from s2async.errors import LocalError

        local = error if isinstance(error, LocalError) else means.short_of_libraries(error)
        text, code = (str(local), 6) if local else bugs.tell(error)
    except Exception:  # noqa: BLE001 - what tells of it cannot be loaded either
        text, code = f"this is a bug: {type(error).__name__}", 70
    with contextlib.suppress(OSError):
        print(f"s2async: {text}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    main()
