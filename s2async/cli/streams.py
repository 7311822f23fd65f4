"""Standard output and error, so that commands survive a reader that ends early. Does not import rich."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from s2async.errors import LocalError


class _Patient:
    """A stream that discards text after its reader has ended, as in ``s2async status config.toml | head -1``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._until_gone():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._until_gone():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _until_gone(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            # EIO: the terminal hung up. Progress may be lost, but a result must not be cut off without an
            # error.
            if error.errno not in (errno.EPIPE, errno.EIO) and self._stream.fileno() == 1:
                raise LocalError(f"cannot write the output: {error.strerror}") from error


@contextlib.contextmanager
def patient_streams() -> Iterator[None]:
    """Allow readers to close the standard streams, and escape characters that their encodings lack."""
    with contextlib.ExitStack() as stack:
        for redirect, stream in (
            (contextlib.redirect_stdout, sys.stdout),
            (contextlib.redirect_stderr, sys.stderr),
        ):
            if isinstance(stream, io.TextIOWrapper):  # not None (no terminal), nor the capture of a test
                stream.reconfigure(errors="backslashreplace")
                patient = _Patient(stream)
                stack.callback(patient.flush)
                stack.enter_context(redirect(cast("TextIO", patient)))
        yield
