"""Settings of the network client: plain values that can be pickled without importing the client's libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    """The allowed servers of a client, and the limits of its requests."""

    origins: tuple[str, ...]
    """Allowed origins, ``scheme://host[:port]``."""
    private_origins: tuple[str, ...] = ()
    """Origins whose names may resolve to addresses of a private network."""
    api_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Headers of requests to APIs, keyed by origin. They may be secrets."""
    connections: int = 64
    """Maximum number of concurrent requests to one origin, separately for files and for its API."""
    connect_timeout: float = 10
    """Maximum seconds to get a connection."""
    idle_timeout: float = 30
    """Maximum seconds without a byte."""
    total_timeout: float = 300
    """Maximum seconds for one try of a request."""
    attempts: int = 5
    """Maximum number of tries of one request."""
    patience: float = 300
    """Seconds after which a server that only fails is given up."""
