"""Which cluster a run uses, according to options and arguments. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from s2async.errors import ConfigError

LOCAL = "dask://local"
FILE = ".json"
"""End of the names of files that a scheduler writes its address to (``dask scheduler --scheduler-file``)."""
FORMS = f"tcp://HOST:PORT, tls://HOST:PORT, a scheduler file (*{FILE}), or {LOCAL}?workers=N"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A Dask cluster."""

    scheduler: str = ""
    """Address of its scheduler, or a file that contains it; empty for a cluster on this machine that the run
    starts."""
    workers: int = 0
    """Number of worker processes of a cluster on this machine; 0 means one for each core."""
    send_crops: bool = False
    """Workers send crops to the process of the run, which writes them, because they cannot see the output
    folder."""


def chosen(executor: str | None, scheduler: str | None, *, send_crops: bool = False) -> Cluster | None:
    """Return the cluster that options or arguments name, or None to work in this process.

    Args:
        executor: ``local`` or ``dask``; None means ``local``.
        scheduler: address of a Dask scheduler, a scheduler file, or ``dask://local`` with the number of workers;
            None means ``dask://local``.
        send_crops: see `Cluster`.

    Raises:
        ConfigError: the arguments contradict each other or cannot be parsed.
    """
    if executor not in (None, "local", "dask"):
        raise ConfigError(f"there is no executor {executor!r}: choose local or dask")
    if executor != "dask":
        if scheduler is not None or send_crops:
            raise ConfigError("a scheduler and send_crops are for the executor dask: choose that, too")
        return None
    if scheduler is None or scheduler.startswith(LOCAL):
        return Cluster(workers=_workers(scheduler or LOCAL), send_crops=send_crops)
    if scheduler.endswith(FILE):
        return Cluster(scheduler=scheduler, send_crops=send_crops)
    try:
        parts = urlsplit(scheduler)
        named = parts.scheme in ("tcp", "tls", "ws", "wss", "ucx") and parts.hostname and parts.port
    except ValueError:
        named = False
    if not named:
        raise ConfigError(f"{scheduler!r} is not the address of a Dask scheduler: {FORMS}")
    return Cluster(scheduler=scheduler, send_crops=send_crops)


def _workers(address: str) -> int:
    """Return the number of workers in an address such as ``dask://local?workers=4``, or 0 if it has none."""
    query = address.removeprefix(LOCAL).removeprefix("/")
    if not query:
        return 0
    values = parse_qs(query.removeprefix("?"), keep_blank_values=True)
    found = values.get("workers", [""])[0]
    if (
        not query.startswith("?")
        or set(values) != {"workers"}
        or not found.isdecimal()
        or not 0 < int(found) < 1000
    ):
        raise ConfigError(f"{address!r} does not say how many workers to start: {LOCAL}?workers=4")
    return int(found)
