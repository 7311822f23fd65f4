"""Text of others as text in HTML and SVG, and elements around it. Pure.

All markup of a report is made here: whatever is no `Markup` is escaped, so a name can never become an element.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

_JOINERS = "\u200c\u200d"
"""Scripts and emojis need them; they change no order and hide nothing."""
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Categories of Unicode: controls, formats (among them those of direction), lone surrogates, line separators."""
_VOID = frozenset(("br", "img", "link", "meta"))


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Content = Markup | str | int
"""What may be inside an element: markup as it is, everything else as text."""


def text(value: object) -> Markup:
    """Any value as text; control characters and those that turn the direction of text become visible escapes."""
    shown = "".join(char if _is_visible(char) else f"\\u{ord(char):04x}" for char in str(value))
    return Markup(html.escape(shown))


def element(name: str, /, *content: Content | Iterable[Content], **attributes: object) -> Markup:
    """An element.

    Args:
        name: Of the element.
        content: Markup, texts, and lists of them.
        attributes: Underscores stand for hyphens, a last one is left out (``class_``); None is no attribute, True
            one without a value, floats get two decimals at most.
    """
    inside = "".join(_inside(part) for part in content)
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_value(value)}"')
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{inside}</{name}>")


def join(parts: Iterable[Content]) -> Markup:
    """Several contents as one."""
    return Markup("".join(_inside(part) for part in parts))


def _inside(part: Content | Iterable[Content]) -> str:
    if isinstance(part, Markup):
        return part
    if isinstance(part, str | int):
        return text(part)
    return join(part)


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else text(value)


def _is_visible(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in _HIDDEN
