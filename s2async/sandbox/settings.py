"""A configuration as TOML text, for runs on a sandbox."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def toml(**sections: Any) -> str:
    """Return a config as text: keyword arguments are sections, or top-level keys if they are not mappings."""
    top = [f"{key} = {_value(value)}" for key, value in sections.items() if not isinstance(value, Mapping)]
    for name, keys in sections.items():
        if isinstance(keys, Mapping):
            top += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in keys.items())]
    return "\n".join(top).lstrip("\n") + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
