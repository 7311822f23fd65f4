"""``python -m s2async``: the same as the ``s2async`` command.

The limits of this process are checked before anything else is imported: with too little memory or too few open
files, libraries may end the process without a useful message. Commands import their libraries later, in
`means.loading`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable


def main() -> None:
    """Run the command line."""
    try:
        run = _load()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - a user must not see a traceback
        sys.exit(_tell(error))
    run()


def _load() -> Callable[[], None]:
    from s2async import means

    means.prepare()
    with means.loading():
        from s2async.cli import main as cli
    return cli.main


def _tell(error: Exception) -> int:
    """Print one line that says why the imports failed, and return the exit code."""
    try:
        from s2async.cli import bugs
        from s2async.errors import LocalError

        text, code = (str(error), error.exit_code) if isinstance(error, LocalError) else bugs.tell(error)
    except Exception:  # noqa: BLE001 - the modules that describe errors cannot be imported either
        text, code = f"this is a bug: {type(error).__name__}", 70
    with contextlib.suppress(OSError):
        print(f"s2async: {text}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    main()
