"""Text as markup, and elements of SVG. Pure.

Everything that is not `Markup` is escaped, and hidden characters become visible, so that a name can neither become
an element nor reorder the text around it. The templates of the pages apply the same rule; see `page`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from markupsafe import Markup, escape

__all__ = ["Content", "Markup", "element", "join", "text", "visible"]

_JOINERS = "\u200c\u200d"
"""Zero-width joiners: some scripts and emoji need them, and they neither reorder nor hide text."""
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories: controls, formats (which include the bidirectional controls), surrogates, separators."""

Content = Markup | str | int
"""What an element may contain: markup is kept, everything else is text."""


def visible(value: object) -> str:
    """Convert a value to a string in which hidden characters are replaced by visible escapes."""
    string = str(value)
    if string.isprintable():
        return string
    return "".join(char if _is_visible(char) else f"\\u{ord(char):04x}" for char in string)


def text(value: object) -> Markup:
    """Convert any value to escaped text, without hidden characters."""
    return escape(visible(value))


def element(name: str, /, *content: Content | Iterable[Content], **attributes: object) -> Markup:
    """Build an element.

    Args:
        name: name of the element.
        content: markup, text, and lists of both.
        attributes: underscores become hyphens, and a trailing one is dropped (``class_``). None omits the
            attribute; floats are written with at most two decimals.
    """
    inside = "".join(_inside(part) for part in content)
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704 - all of its parts are markup


def join(parts: Iterable[Content]) -> Markup:
    """Concatenate contents."""
    return Markup("").join(map(_inside, parts))


def _inside(part: Content | Iterable[Content]) -> Markup:
    if isinstance(part, Markup):
        return part
    if isinstance(part, str | int):
        return text(part)
    return join(part)


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else text(value)


def _is_visible(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in _HIDDEN
