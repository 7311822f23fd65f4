"""Preloaded by workers of the benchmark `dask`: all connections of a worker come from its own address.

The sandbox's server gives each client address its own bandwidth, so each worker has its own link, as on separate
machines.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import aiohttp

VARIABLE = "S2ASYNC_BENCHMARK_SOURCE"
"""Environment variable with the address, such as ``127.0.0.2``."""


def dask_setup(_: Any) -> None:
    """Set the address; Dask calls this when the worker starts."""
    if address := os.environ.get(VARIABLE):
        vars(aiohttp)["TCPConnector"] = partial(aiohttp.TCPConnector, local_addr=(address, 0))
