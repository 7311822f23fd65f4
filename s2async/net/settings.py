"""Settings of the network client: plain values that can be pickled, without the client's libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    """Which servers a client may ask, and how."""

    origins: tuple[str, ...]
    """``scheme://host[:port]`` that may be asked."""
    private_origins: tuple[str, ...] = ()
    """Origins whose names may resolve to addresses of a private network."""
    api_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Headers of requests to APIs, by origin. They may be secrets."""
    connections: int = 64
    """Maximum number of simultaneous requests to one origin, for files and for its API each."""
    connect_timeout: float = 10
    """Seconds to get a connection."""
    idle_timeout: float = 30
    """Seconds without a byte."""
    total_timeout: float = 300
    """Seconds for one try of a request."""
    attempts: int = 5
    """Tries of one request."""
    patience: float = 300
    """Seconds after which a server that only fails is given up."""
