"""Preloaded by workers of the benchmark `dask`: every connection comes from an address of this worker's own.

The sandbox's server gives each client address a bandwidth of its own: so each worker has a link of its own, as on
machines of their own.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import aiohttp

VARIABLE = "S2ASYNC_BENCHMARK_SOURCE"
"""Environment variable that holds the address, such as ``127.0.0.2``."""


def dask_setup(_: Any) -> None:
    """Called by Dask when the worker starts."""
    if address := os.environ.get(VARIABLE):
        vars(aiohttp)["TCPConnector"] = partial(aiohttp.TCPConnector, local_addr=(address, 0))
