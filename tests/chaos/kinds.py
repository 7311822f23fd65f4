"""All kinds of faults of the matrix."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos import kinds_api, kinds_files, kinds_http, kinds_server
from tests.chaos.kind import EVERYWHERE, PLACES, Kind

__all__ = ["EVERYWHERE", "PLACES", "Kind", "kinds"]


def kinds() -> Iterator[Kind]:
    """All kinds."""
    yield from kinds_http.kinds()
    yield from kinds_api.kinds()
    yield from kinds_files.kinds()
    yield from kinds_server.kinds()
