"""Renders the pages of a report from the templates in ``templates/``.

A page has no script, no ``style`` attribute and no reference to another file. It contains its only style sheet,
whose hash is in its Content-Security-Policy, and its images.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from s2async.report import charts
from s2async.report.data import ORDER
from s2async.report.markup import Markup, visible
from s2async.text import duration, size

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TEMPLATES: Final = Path(__file__).with_name("templates")


def document(template: str, view: DataclassInstance, *, title: str, style: str, key: str = "") -> bytes:
    """Render a whole page.

    Args:
        template: file name of the template.
        view: its fields are the variables of the template.
        title: title of the window.
        style: the style sheet.
        key: identifies the content of the page; see `has_key`.

    Returns:
        The page in UTF-8.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    frame = {"title": title, "style": Markup(style), "digest": digest, "key": key}
    return _rendered(template, view, **frame).encode()


def fragment(template: str, view: DataclassInstance) -> Markup:
    """Render one section of a page."""
    return Markup(_rendered(template, view))


def has_key(beginning: bytes, key: str) -> bool:
    """Return whether a page was rendered with this key, from its first bytes."""
    return f'content="{key}"'.encode() in beginning


def _rendered(template: str, view: DataclassInstance, **more: str) -> str:
    values = {field.name: getattr(view, field.name) for field in fields(view)}
    return _ENVIRONMENT.get_template(template).render(values | more)


def _finalize(value: object) -> object:
    """Make hidden characters visible in every value that a template writes; Jinja then escapes it."""
    return value if isinstance(value, Markup) else visible(value)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"size": size, "duration": duration, "number": "{:,}".format}
    environment.globals |= {
        "mark": charts.lone_mark,
        "mark_shapes": charts.marks(),
        "statuses": ORDER,
        "words": charts.WORDS,
    }
    return environment


_ENVIRONMENT: Final = _environment()
