"""What can go wrong, and what to do about each.

::

    S2AsyncError
    +-- ConfigError            exit 2: the config or the areas must be mended first
    |   +-- AreaError
    |       +-- UnfitAreas     some areas of a file cannot be used; the others can
    +-- StateError             exit 5: the state file cannot be used as it is
    |   +-- StateInUse         exit 4: another run holds it
    |   +-- StateDamaged       a state no longer, or none at all: `rebuild` makes one from the crops
    +-- LocalError             exit 6: this machine stopped the run (disk full, read-only); resumable
    +-- ClusterError           exit 7: the cluster that worked on a run is lost; resumable
    +-- RemoteError            a server or one of its files; ends as an outcome or as an incomplete search
        +-- TransientError     worth another try: now by the transport, later by the next run
        |   +-- HostParked     a server that is not asked at present: its jobs stay open
        |   +-- TooSlow        an answer that comes too slowly
        +-- NotFound           404, 410: an answer
        +-- Refused            we will not ask
        |   +-- NotAllowed     an origin that the user may list
        |   +-- Diverted       a redirect to where we do not go: perhaps a page to sign in to
        |   +-- AccessDenied   we are not allowed to (401, 403), and may be another time
        +-- FileChanged        the file is no longer the edition whose header was read
        +-- BadAnswer          an answer that is not what was asked for
        |   +-- WrongKind      a page for people, perhaps
        +-- CorruptFile        a file that cannot be decoded
            +-- UnsupportedLayout   a sound file that this program does not know how to read in part

    PlaceWarning               a warning of Python's: areas may lie elsewhere than they should
"""

from __future__ import annotations

from typing import ClassVar


class S2AsyncError(Exception):
    """Base of every error that this package raises on purpose. Its text is one line, fit for a user."""

    exit_code: ClassVar[int] = 2
    """Exit code of a command that this error ends."""


class ConfigError(S2AsyncError):
    """The configuration cannot be used. The text says what, where, and what to do."""

    exit_code = 2


class AreaError(ConfigError):
    """An area cannot be used. The text names the area."""


class UnfitAreas(AreaError):
    """Some areas of a file cannot be used, while others can. The text lists the former."""


class StateError(S2AsyncError):
    """The state file is damaged, newer than this program, or not a state file at all."""

    exit_code = 5


class StateInUse(StateError):
    """Another run holds the state file."""

    exit_code = 4


class StateDamaged(StateError):
    """What lies at the state's place is a state no longer; crops tell enough to make one again."""


class LocalError(S2AsyncError):
    """This machine cannot go on: disk full, folder read-only or gone. Jobs stay open."""

    exit_code = 6


class ClusterError(S2AsyncError):
    """The cluster that works on the batches of a run does not answer, or answers no longer. Jobs stay open."""

    exit_code = 7


class RemoteError(S2AsyncError):
    """A server, or a file on it, did not give what was needed."""

    exit_code = 3


class TransientError(RemoteError):
    """A fault that may pass: time-outs, broken connections, 429 and 5xx answers."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the answer, or None when there was none."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait, or None."""
        self.crowded = False
        """Others were answered meanwhile: this was a request too many, which says nothing of what it was for."""


class HostParked(TransientError):
    """A server that only failed is left alone for a while: nothing was asked, and nothing is known of the file."""

    def __init__(self, message: str, *, origin: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.origin = origin
        """The server, as ``scheme://host[:port]``."""


class TooSlow(TransientError):
    """An answer of which so few bytes come that it is not waited for."""


class NotFound(RemoteError):
    """The server says that there is no such file (404, 410)."""


class Refused(RemoteError):
    """Not on the allow-list, or a server that is not what it should be (TLS)."""


class Diverted(Refused):
    """The server leads us to where we do not go: it may have moved, or somebody on the way wants us to sign in."""


class AccessDenied(Refused):
    """The server does not permit it (401, 403): a token that has expired, or somebody else's page on the way."""


class NotAllowed(Refused):
    """We do not ask whom the user has not listed."""

    def __init__(self, message: str, *, origin: str = "") -> None:
        super().__init__(message)
        self.origin = origin
        """The server, as ``scheme://host[:port]``; the empty string where it is listed, but as a public one."""


class FileChanged(RemoteError):
    """The file was replaced between two reads: what tells its edition differs."""


class BadAnswer(RemoteError):
    """The answer is not what was asked for: not JSON, not a FeatureCollection, a wrong range."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the answer, where that was what is wrong."""


class WrongKind(BadAnswer):
    """Another kind of document than was asked for, such as a page for people."""


class CorruptFile(RemoteError):
    """The file is not a TIFF, is damaged, or declares absurd sizes."""


class UnsupportedLayout(CorruptFile):
    """A TIFF that cannot be read in part, such as one with bands of different types or a CRS without EPSG code."""


class PlaceWarning(UserWarning):
    """Areas may lie elsewhere than they should; the text says how far off, why, and what to do."""
