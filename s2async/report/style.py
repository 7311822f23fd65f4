"""The style sheet of the pages, and its colours for the plots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def style_sheet() -> str:
    """Read the style sheet of all pages."""
    return Path(__file__).with_name("report.css").read_text("utf-8")


@cache
def colours() -> Mapping[str, str]:
    """Return the colours of the light scheme: ``#rrggbb`` by the name of the style sheet's variable."""
    light = re.search(r":root \{(.*?)\}", style_sheet(), re.DOTALL)
    assert light is not None  # noqa: S101 - part of the package
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light[1]))
