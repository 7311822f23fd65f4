"""The frame of a report's pages, and what all their parts are made of, as HTML.

No script, no attribute ``style``, nothing from another file: a page needs no more than its one style sheet, whose
hash its Content-Security-Policy names, and pictures that are part of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence

from s2async.report import charts
from s2async.report.html import Content, Markup, element, text


def document(title: str, style: str, *body: Content | Iterable[Content], key: str = "") -> bytes:
    """A whole page in UTF-8.

    Args:
        title: Of the window.
        style: The style sheet.
        body: Its contents.
        key: Tells whether a page is still what it would be now; see `has_key`.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="s2async-key", content=key) if key else Markup(),
        element("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    page = element("html", head, element("body", charts.marks(), *body), lang="en")
    return f"<!doctype html>\n{page}\n".encode()


def has_key(beginning: bytes, key: str) -> bool:
    """Whether a page that begins so was made with this key."""
    return f'content="{key}"'.encode() in beginning


def name(shown: str) -> Markup:
    """The name of an area, whose letters may run from right to left."""
    return element("bdi", shown)


def section(key: str, heading: str, *content: Content | Iterable[Content]) -> Markup:
    """A part of the page that links lead to."""
    return element("section", element("h2", heading), *content, id=key)


def header(heading: str, facts: Sequence[str], links: Mapping[str, str]) -> Markup:
    """The top of a page.

    Args:
        heading: Of the page.
        facts: Below it, in one line.
        links: Words to addresses.
    """
    shown = [element("a", words, href=href) for words, href in links.items()]
    return element(
        "header",
        element("p", "s2async report", class_="brand"),
        element("h1", heading),
        element("p", " \u00b7 ".join(facts), class_="soft"),
        element("nav", shown) if shown else Markup(),
    )


def figures(entries: Iterable[tuple[str, str]]) -> Markup:
    """Large numbers, each over what it counts."""
    return element(
        "dl",
        [element("div", element("dd", value), element("dt", label)) for value, label in entries],
        class_="figures",
    )


def notice(told: str) -> Markup:
    """Something to be known before the rest is read."""
    return element("p", told, class_="notice")


def paragraph(*content: Content | Iterable[Content], faint: bool = False) -> Markup:
    """A paragraph."""
    return element("p", *content, class_="soft" if faint else None)


def image(data: bytes, alt: str) -> Markup:
    """A picture as part of the page."""
    media = "image/webp" if data.startswith(b"RIFF") else "image/png"
    address = Markup(f"data:{media};base64,{base64.b64encode(data).decode()}")
    return element("img", src=address, alt=alt, decoding="async")


def counted(number: int, noun: str, plural: str = "s") -> str:
    """How many there are of something."""
    return f"{number:,} {noun}{plural if number != 1 else ''}"


def footer(*lines: str) -> Markup:
    """The end of a page: where pixels come from, and what made it."""
    return element("footer", [element("p", text(line)) for line in lines])
