"""The errors of this package, and what each of them means.

::

    S2AsyncError
    +-- ConfigError            exit 2: the config or the areas must be corrected first
    |   +-- AreaError
    |       +-- UnfitAreas     some areas of a file cannot be used; the others can
    +-- StateError             exit 5: the state file cannot be used as it is
    |   +-- StateInUse         exit 4: another run is using it
    |   +-- StateDamaged       not a state any more, or no file: `rebuild` makes one from the crops
    +-- LocalError             exit 6: this machine stopped the run (disk full, read-only); resumable
    +-- ClusterError           exit 7: the cluster that worked on a run is lost; resumable
    +-- RemoteError            a server or one of its files; ends as an outcome or as an incomplete search
        +-- TransientError     worth another try: now by the transport, later by the next run
        |   +-- HostParked     requests to a server are suspended: its jobs stay open
        |   +-- TooSlow        a response that arrives too slowly
        +-- NotFound           404, 410: a final response
        +-- Refused            no request is sent, or the server denies it
        |   +-- NotAllowed     an origin that the user may add to the list
        |   +-- Diverted       a redirect that is not followed: perhaps to a login page
        |   +-- AccessDenied   the server denies access (401, 403), perhaps only for now
        +-- FileChanged        the file is no longer the edition whose header was read
        +-- BadAnswer          a response that is not what was requested
        |   +-- WrongKind      perhaps a web page
        +-- CorruptFile        a file that cannot be decoded
            +-- UnsupportedLayout   a valid file of which this program cannot read parts

    PlaceWarning               a Python warning: areas may not be where they should be
"""

from __future__ import annotations

from typing import ClassVar


class S2AsyncError(Exception):
    """Base of every error that this package raises on purpose. Its text is one line for the user."""

    exit_code: ClassVar[int] = 2
    """Exit code of a command that ends with this error."""


class ConfigError(S2AsyncError):
    """The configuration cannot be used. The text says what is wrong, where, and what to do."""

    exit_code = 2


class AreaError(ConfigError):
    """An area cannot be used. The text names the area."""


class UnfitAreas(AreaError):
    """Some areas of a file cannot be used, while others can. The text lists those that cannot."""


class StateError(S2AsyncError):
    """The state file is damaged, newer than this program, or not a state file at all."""

    exit_code = 5


class StateInUse(StateError):
    """Another run is using the state file."""

    exit_code = 4


class StateDamaged(StateError):
    """The state file is not a state any more; the crops contain enough information to make a new one."""


class LocalError(S2AsyncError):
    """This machine cannot continue: disk full, folder read-only or gone. Jobs stay open."""

    exit_code = 6


class ClusterError(S2AsyncError):
    """The cluster that processes the batches of a run does not respond, or no longer does. Jobs stay open."""

    exit_code = 7


class RemoteError(S2AsyncError):
    """A server, or a file on it, did not supply what was needed."""

    exit_code = 3


class TransientError(RemoteError):
    """A temporary fault: time-outs, broken connections, 429 and 5xx responses."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the response, or None if there was none."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait, or None."""
        self.crowded = False
        """Other requests succeeded meanwhile: the server was overloaded, which says nothing about the file."""


class HostParked(TransientError):
    """Requests to a server are suspended for a while, because recent ones failed.

    This request was not sent, so nothing is known about the file.
    """

    def __init__(self, message: str, *, origin: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.origin = origin
        """The server, as ``scheme://host[:port]``."""


class TooSlow(TransientError):
    """A response whose bytes arrive so slowly that the program does not wait for it."""


class NotFound(RemoteError):
    """The server says that the file does not exist (404, 410)."""


class Refused(RemoteError):
    """An origin that is not allowed, or a server that is not trustworthy (TLS)."""


class Diverted(Refused):
    """The server redirects to a place that is not allowed: it may have moved, or a proxy may require a login."""


class AccessDenied(Refused):
    """The server denies access (401, 403): an expired token, or the page of a proxy on the way."""


class NotAllowed(Refused):
    """No request is sent, because the user has not listed the origin."""

    def __init__(self, message: str, *, origin: str = "") -> None:
        super().__init__(message)
        self.origin = origin
        """The server, as ``scheme://host[:port]``; the empty string if it is listed, but only as a public one."""


class FileChanged(RemoteError):
    """The file was replaced between two reads: the headers that identify its edition differ."""


class BadAnswer(RemoteError):
    """The response is not what was requested: not JSON, not a FeatureCollection, a wrong range."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the response, if the status was the fault."""


class WrongKind(BadAnswer):
    """Another kind of document than the requested one, such as a web page."""


class CorruptFile(RemoteError):
    """The file is not a TIFF, is damaged, or declares absurd sizes."""


class UnsupportedLayout(CorruptFile):
    """A TIFF that cannot be read in parts.

    For example, its bands have different types, or its CRS has no EPSG code.
    """


class PlaceWarning(UserWarning):
    """Areas may not be where they should be. The text says how large the error is, why, and what to do."""
