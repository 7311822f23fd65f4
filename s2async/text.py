"""Formats text for one line: URLs without secrets, external text, and sizes and times for people. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from yarl import URL

# ---- URLs -------------------------------------------------------------------------------------------------

_ADDRESS: Final = re.compile(
    r"""(?P<scheme> \b[a-z][a-z0-9+.-]{1,20} :/+ ) (?: [^/\s"'<>]* @ )?
    (?P<place> [^\s"'<>?#]* ) (?P<more> [?\#] [^\s"'<>]* )?""",
    re.IGNORECASE | re.VERBOSE,
)
_QUERY: Final = re.compile(r"""\?[\w.%~-]+=[^\s"'<>]*""")
_CREDENTIAL: Final = re.compile(r"\b(Basic|Bearer) [\w.~+/=-]{4,}", re.IGNORECASE)


def shown(href: str) -> str:
    """Return a URL for messages, on one line, without user, password or query, which may contain secrets."""
    return _printable(public(href).encode("utf-8", "replace")[:1200].decode("utf-8", "replace"))[:300]


def public(href: str) -> str:
    """Return a URL that may be published, without user, password, query or fragment.

    These may contain a signature or a token, which is needed to fetch the file but does not identify it. Only the
    state stores them.
    """
    if "@" in href:
        href = re.sub(r"//[^/?#]*@", "//", href)
    return href.partition("?")[0].partition("#")[0]


def masked(text: str) -> str:
    """Return external text in which URLs are shortened as by `public`."""
    if ":/" not in text:
        return text
    return _ADDRESS.sub(lambda match: match["scheme"] + match["place"] + ("?..." if match["more"] else ""), text)


def without_secrets(text: str) -> str:
    """Return a string without credentials, and without user, password or query in URLs, even relative ones."""
    if "?" in text or ":/" in text:
        text = _QUERY.sub("?...", masked(text))
    return _CREDENTIAL.sub(r"\1 ***", text)


def excerpt(raw: bytes, size: int = 80) -> str:
    """Return the start of some bytes as one printable line, without possible secrets in URLs."""
    return _printable(_QUERY.sub("?...", masked(raw[: 4 * size].decode("utf-8", "replace"))))[:size]


def _printable(text: str) -> str:
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def parsed_url(text: str) -> URL:
    """Parse a URL of any kind.

    Raises:
        ValueError: the text is not a URL.
    """
    from yarl import URL  # loading it takes longer than loading the rest of this module

    try:
        return URL(text)
    except IndexError as error:  # yarl 1.25, for brackets in a URL whose host is empty
        raise ValueError("not a URL") from error


def origin_of(text: str) -> str:
    """Return an origin in normal form for comparison: lower case, without default port or trailing slash.

    Raises:
        ValueError: the text is not an origin.
    """
    return str(parsed_url(text).origin())


def origin(href: str) -> str:
    """Return the origin of an http(s) URL; the empty string if it has none."""
    # Cached by the first part of the URL: a run has thousands of URLs with few origins.
    return _origin_of_place("/".join(href.split("/", 3)[:3]))


@lru_cache(maxsize=1024)
def _origin_of_place(place: str) -> str:
    try:
        return origin_of(place)
    except ValueError:
        return ""


def listing(*origins: str) -> str:
    """Return what to do about origins that are not allowed."""
    named = ", ".join(f'"{shown(origin)}"' for origin in origins)
    return f"if you trust {'it' if len(origins) == 1 else 'them'}, add {named} to origins in [network]"


# ---- external text ------------------------------------------------------------------------------------------


MAX_DEPTH: Final = 100
"""Maximum nesting of lists and objects in a JSON response; a page of items has 7 levels. The interpreter's own
limit depends on its version, and code that walks a parsed value may reach it before the parser does."""


def is_too_deep(value: object) -> bool:
    """Return whether a decoded JSON value has more than :data:`MAX_DEPTH` nested lists and objects."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for thing in level
            if isinstance(thing, dict | list)
            for inner in (thing.values() if isinstance(thing, dict) else thing)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def one_line(value: object, limit: int = 60) -> str:
    """Return any value as text for one line of a terminal: unprintable characters escaped, long text cut.

    URLs are shortened as by `masked`.
    """
    text = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in masked(str(value)[: 20 * limit])[: limit + 1]
    )
    return text if len(text) <= limit else text[: limit - 3] + "..."


def safe(text: str) -> str:
    """Return external text on one line: control, format and line separator characters become visible escapes."""
    return "".join(
        char if not unicodedata.category(char).startswith(("C", "Zl", "Zp")) else f"\\u{ord(char):04x}"
        for char in text
    )


def safe_lines(text: str) -> str:
    """Return a string of several lines, such as an error that lists areas, with each line treated as by `safe`."""
    return "\n".join(map(safe, text.split("\n")))


# ---- numbers for people -----------------------------------------------------------------------------------


def size(count: float) -> str:
    """Format a number of bytes for people, in decimal units as providers count them: 812 MB, 85.4 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes everything")


def surface(km2: float, *, digits: int = 2, squared: str = "2") -> str:
    """Format the size of an area for people: 1.1 km2, 42 ha (below 1 km2), 95 m2 (below 0.01 ha).

    Args:
        km2: the size in square kilometres.
        digits: number of significant digits; all digits before the decimal point are shown.
        squared: the exponent of the unit, as text.
    """
    value, unit = km2, f"km{squared}"
    if km2 < 1:
        value, unit = km2 * 100, "ha"
    if km2 < 1e-4:
        value, unit = km2 * 1e6, f"m{squared}"
    if value < 1 and unit != "ha":
        return f"less than 1 {unit}"
    return f"{value:.{digits}g} {unit}" if value < 10 ** (digits - 1) else f"{value:,.0f} {unit}"


def duration(seconds: float) -> str:
    """Format seconds for people: 41 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def roughly(seconds: float) -> str:
    """Format an estimate in seconds for people, to about two digits: 40 s, 4 min, 2 h 10 min, 3 days."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{max(1, minutes)} min"
    if minutes < 10 * 60:
        tens = round(minutes / 10)
        return f"{tens // 6} h {tens % 6 * 10:02} min" if tens % 6 else f"{tens // 6} h"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"


def degrees(value: float, letters: str, *, decimals: int = 3, sign: str = "") -> str:
    """Format a latitude or longitude for people: 13.351 E.

    Args:
        value: latitude or longitude in degrees, positive to the north and east.
        letters: the letters for negative and for other values: ``SN`` or ``WE``.
        decimals: number of decimals.
        sign: text after the number, such as the degree sign.
    """
    return f"{abs(value):.{decimals}f}{sign} {letters[value >= 0]}"
