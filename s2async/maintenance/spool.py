"""Values that do not fit into memory, stored in a temporary file in the order in which they were added."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Spool(Generic[T]):
    """A list of values on disk, which is deleted when it is closed; each value takes 8 bytes of memory.

    Args:
        folder: folder of the file, which has no name.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        self._places = array("q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, value: T) -> None:
        """Append a value.

        Raises:
            OSError: the file cannot be written.
        """
        self._places.append(self._file.seek(0, 2))
        pickle.dump(value, self._file)

    def read(self, number: int) -> T:
        """Return the value with this index, counted from 0.

        Raises:
            OSError: the file cannot be read.
        """
        self._file.seek(self._places[number])
        value: Any = pickle.load(self._file)  # noqa: S301 - no other process has a name for this file
        found: T = value
        return found
