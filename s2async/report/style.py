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
    """Read the colours of the light scheme: names of the style sheet's variables to ``#rrggbb``."""
    light = re.search(r":root \{(.*?)\}", style_sheet(), re.DOTALL)
    assert light is not None  # noqa: S101 - part of the package
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light[1]))
