"""The limits of a run: at which number of jobs, bytes or seconds it begins nothing new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from s2async.errors import ConfigError

LimitName = Literal["jobs", "bytes", "seconds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLimits:
    """When a run stops normally even if jobs are left; None sets no limit.

    Raises:
        ConfigError: a limit is not greater than 0.
    """

    jobs: int | None = None
    """Maximum number of jobs to process."""
    bytes: int | None = None
    """Bytes received by this run after which no batch starts; batches in progress are finished and exceed it."""
    seconds: float | None = None
    """Seconds since the start of this run after which no batch begins."""

    def __post_init__(self) -> None:
        for name, value in (("jobs", self.jobs), ("bytes", self.bytes), ("seconds", self.seconds)):
            if value is not None and not value > 0:
                raise ConfigError(f"the limit of {name} is {value}; use a number greater than 0, or none")


NO_LIMITS: Final = RunLimits()
