"""What a run logs: its start and end, and the events that it emits."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from s2async._version import __version__
from s2async.config.model import Config
from s2async.engine.limits import RunLimits
from s2async.engine.progress import Progress
from s2async.events import Event, JobDone, JobsFound, Notice
from s2async.log import log
from s2async.models import Area, Outcome, Status

_log: Final = logging.getLogger("s2async.engine")
_LIBRARIES: Final = ("aiohttp", "numpy", "pyproj", "rasterio", "shapely")


def logged(on_event: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return a listener that logs each event and passes it on."""

    def listener(event: Event) -> None:
        log_event(event)
        on_event(event)

    return listener


def log_event(event: Event) -> None:
    """Log an event of a run. The ends of searches are logged by the code that runs the searches."""
    match event:
        case JobDone(outcome=outcome):
            _log_outcome(outcome)
        case JobsFound(jobs=jobs, resumed=resumed):
            log(_log, logging.DEBUG, "jobs_found", {"jobs": jobs, "resumed": resumed})
        case Notice(text=text, grave=grave):
            log(_log, logging.WARNING if grave else logging.INFO, "notice", {"reason": text})


def _log_outcome(outcome: Outcome) -> None:
    failed = outcome.status is Status.FAILED
    level = logging.WARNING if failed else logging.DEBUG
    if not _log.isEnabledFor(level):  # there is one outcome for each job
        return
    fields = {
        "area": outcome.job.area.name,
        "item": outcome.job.scene.id,
        "status": outcome.status,
        "asset": ",".join(lack.asset for lack in outcome.lacks),
        "cause": outcome.cause,
        "reason": outcome.reason,
        "again": outcome.transient if failed else None,
        "bytes": sum(crop.bytes for crop in outcome.products) or None,
    }
    log(_log, level, "job_failed" if failed else "job_done", fields)


def log_begin(config: Config, areas: Sequence[Area], limits: RunLimits) -> None:
    """Log what runs, where, and with which settings."""
    if not _log.isEnabledFor(logging.INFO):
        return
    fields = {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": {name: found for name in _LIBRARIES if (found := _installed(name))},
        "config": config.file,
        "settings": config.model_dump(mode="json", exclude={"areas"}),
        "areas": len(areas),
        "limits": limits.given or None,
    }
    log(_log, logging.INFO, "run_begun", fields)


def log_end(how: str, progress: Progress, reason: str = "") -> None:
    """Log how a run ended.

    Args:
        how: ``finished`` or ``stopped``.
        progress: progress of the run.
        reason: why the run was stopped.
    """
    fields = {
        "status": how,
        "seconds": progress.seconds,
        "jobs": progress.found,
        "done": {str(status): count for status, count in progress.done.items()},
        "searches": progress.searches_done,
        "requests": progress.meter.requests,
        "bytes": progress.meter.bytes,
        "reason": reason,
    }
    log(_log, logging.INFO, "run_ended", fields)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
