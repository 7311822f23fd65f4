"""An HTML page, taken apart for tests."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID = {"br", "img", "link", "meta"}


class Page(HTMLParser):
    """Elements, addresses and texts of a page. Tags that are not closed in order are a fault.

    Args:
        html: The page, or a part of it.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        """Element, attribute, value."""
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path.read_text("utf-8"))

    @property
    def text(self) -> str:
        """All texts; spaces at which no line is broken are plain spaces."""
        return "".join(self.texts).replace("\u00a0", " ")

    def values(self, attribute: str, tag: str = "") -> list[str]:
        return [value for of, name, value in self.attributes if name == attribute and tag in ("", of)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)
