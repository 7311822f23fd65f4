"""A configuration as TOML text, for runs on a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml(**sections: Any) -> str:
    """A config as text: keyword arguments are sections, or keys of the top when they are no mappings."""
    top = [f"{key} = {_value(value)}" for key, value in sections.items() if not isinstance(value, Mapping)]
    for name, keys in sections.items():
        if isinstance(keys, Mapping):
            top += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in keys.items())]
    return "\n".join(top) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
