"""Headers that the user adds to searches, such as an API key. Pure.

Values may be secrets. They are stored as `SecretStr`, which prints as asterisks, and no message repeats one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator, SecretStr

from s2async.text import one_line

_FROM_ENVIRONMENT: Final = "env:"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""A token (RFC 9110, 5.6.2)."""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""Printable ASCII without blanks at its ends (RFC 9110, 5.5)."""
_OWN: Final = frozenset(
    {
        "accept", "accept-encoding", "cache-control", "connection", "expect", "host", "keep-alive", "pragma",
        "range", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that the client sets, or that concern the connection, in lower case."""
_OWN_STARTS: Final = ("content-", "if-", "proxy-")


def _checked(value: object) -> object:
    """Check a table of headers: the names, and that each value is sendable text or names a variable."""
    if not isinstance(value, Mapping):
        raise ValueError('must be a table { "x-api-key" = "env:NAME" }')
    seen = set[str]()
    for name, text in value.items():
        shown, folded = one_line(name), str(name).lower()
        if not _NAME.fullmatch(str(name)):
            raise ValueError(f'"{shown}" is not the name of a header; write a name such as x-api-key')
        if folded in _OWN or folded.startswith(_OWN_STARTS):
            raise ValueError(f'"{shown}" is a header that s2async sets itself; remove it')
        if folded in seen:
            raise ValueError(f'"{shown}" is listed twice (case does not count in headers); remove one')
        seen.add(folded)
        _check_value(shown, text.get_secret_value() if isinstance(text, SecretStr) else text)
    return {name: text if isinstance(text, SecretStr) else SecretStr(text) for name, text in value.items()}


def _check_value(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise ValueError(f'the value of {name} must be text in quotes, such as "env:NAME"')
    if text.startswith(_FROM_ENVIRONMENT):
        if not _VARIABLE.fullmatch(text.removeprefix(_FROM_ENVIRONMENT)):
            raise ValueError(f'the value of {name} names no environment variable; write "env:NAME"')
    elif not _VALUE.fullmatch(text):
        raise ValueError(
            f"the value of {name} is not printable ASCII without blanks at its ends; correct it, or write "
            '"env:NAME" for a value from the environment'
        )


def resolved(headers: Mapping[str, SecretStr], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers as they are sent: a value ``env:NAME`` is replaced by that of an environment variable.

    Raises:
        ValueError: a variable is missing, or its value cannot be sent; one line, without the value.
    """
    values = dict[str, str]()
    for name, secret in headers.items():
        text = secret.get_secret_value()
        if text.startswith(_FROM_ENVIRONMENT):
            variable = text.removeprefix(_FROM_ENVIRONMENT)
            text = environment.get(variable, "").strip()
            if not text:
                raise ValueError(f"the environment variable {variable} (for {name}) is not set; set it")
            if not _VALUE.fullmatch(text):
                raise ValueError(
                    f"the environment variable {variable} (for {name}) holds characters that a header cannot "
                    "hold; set it to printable ASCII"
                )
        values[name] = text
    return values


Headers = Annotated[dict[str, SecretStr], BeforeValidator(_checked)]
