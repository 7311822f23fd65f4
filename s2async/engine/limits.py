"""The limits of a run: the number of jobs, bytes or seconds after which it starts nothing new."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from s2async.errors import ConfigError

LimitName = Literal["jobs", "bytes", "seconds"]
"""Fields of `RunLimits`."""


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
    """Seconds since the start of this run after which no batch starts."""

    def __post_init__(self) -> None:
        for name, value in self.given.items():
            if not value > 0:
                raise ConfigError(f"the limit of {name} is {value}; use a number greater than 0, or none")

    @property
    def given(self) -> dict[LimitName, float]:
        """The limits that are set, keyed by name."""
        names: tuple[LimitName, ...] = get_args(LimitName)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def most_bytes(self, each: float) -> float:
        """Return how many bytes a run with these limits reads at most; infinite if no limit determines it.

        Args:
            each: bytes per job.
        """
        bytes_of: dict[LimitName, float] = {"jobs": each, "bytes": 1}
        return min(
            (bytes_of[name] * value for name, value in self.given.items() if name in bytes_of), default=math.inf
        )


NO_LIMITS: Final = RunLimits()
