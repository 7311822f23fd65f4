"""Error messages for a configuration: pydantic's reports, as one line in plain words with the place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from s2async.config.toml import Key, TomlFile, toml_value
from s2async.text import one_line

_WANTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a table { key = value }",
    "float_type": "a number",
    "int_type": "a whole number",
    "path_type": "a path in quotes",
    "is_instance_of": "a path in quotes",
    "string_type": "text in quotes",
    "tuple_type": "a list [ ]",
}


class Misplaced(ValueError):
    """An error of the configuration as a whole, reported at one of its keys."""

    def __init__(self, key: Key, text: str) -> None:
        super().__init__(text)
        self.key = key


def error_message(error: ValidationError, model: type[BaseModel], source: TomlFile) -> str:
    """Describe the first error.

    Unknown keys come before all other errors, because they often explain missing keys.

    Args:
        error: what pydantic reports.
        model: model of the whole file.
        source: the file, for the line.

    Returns:
        ``<file>:<line>: [section] key: what; what to do``.
    """
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda entry: entry["type"] != "extra_forbidden")
    cause = first.get("ctx", {}).get("error")
    key = cause.key if isinstance(cause, Misplaced) else _in_file(first, source.data)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{source.place(key)}: {_named(key)}: {_wording(first, key, model)}{more}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return advice for an unknown name: the most similar known name, or all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(names)}"


def _in_file(error: ErrorDetails, data: Any) -> Key:
    """Return the key of an error: its location without pydantic's own tags."""
    key: Key = ()
    for part in error["loc"]:
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if inside:
            data = data[part]
            key = (*key, part)
    return (*key, error["loc"][-1]) if error["type"] == "missing" else key


def _named(key: Key) -> str:
    """Return ``[section] key``, ``[[areas]] name`` or plain ``key``."""
    words = [one_line(part) for part in key if isinstance(part, str)]
    if key[0] == "areas" and len(key) > 1:
        return " ".join(["[[areas]]", *words[1:]])
    return f"[{words[0]}] {'.'.join(words[1:])}" if len(words) > 1 else words[0]


def _wording(error: ErrorDetails, key: Key, model: type[BaseModel]) -> str:
    kind, value = error["type"], error["input"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "extra_forbidden":
        return _unknown(key, model)
    field = _field(key, model)
    such = f"; such as {_example(key, field)}" if field else ""
    if kind == "missing":
        return f"is missing; add {such.removeprefix('; such as ') or 'it'}"
    if kind == "model_type":
        header = "[[areas]]" if key[0] == "areas" else f"[{key[-1]}]"
        return f"must be a table; write {header} with its keys below"
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}, not {toml_value(value)}{such}"
    if kind == "finite_number":
        return f"must be a finite number, not {value}{such}"
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, not {toml_value(value)}{such or '; correct it'}"
    if kind == "string_pattern_mismatch":
        return f"{toml_value(value)} is not of the right form{such}"
    if field and kind.startswith(("greater_than", "less_than")):
        return f"must be {_bounds(field)}, not {value}{such}"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}{such or '; correct it'}"


def _unknown(key: Key, model: type[BaseModel]) -> str:
    name, inside = str(key[-1]), _model(key[:-1], model)
    homes = [
        f"[{section}]"
        for section, field in model.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
        and name in field.annotation.model_fields
    ]
    if homes:
        return f"is not known here; it belongs to {' or '.join(homes)}"
    if inside is not model and name in model.model_fields:
        return "is not known here; it belongs to the top of the file, before the first [section]"
    return f"is not known; {nearest(name, inside.model_fields)}"


def _model(key: Key, model: type[BaseModel]) -> type[BaseModel]:
    """Return the model of the table that contains a key. In a union, it is the member that is a model."""
    for part in key:
        if isinstance(part, str):
            model = _members(model.model_fields[part].annotation) or model
    return model


def _members(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_members(member) for member in getattr(annotation, "__args__", ()))
    return next((member for member in inner if member), None)


def _field(key: Key, model: type[BaseModel]) -> FieldInfo | None:
    names = tuple(part for part in key if isinstance(part, str))
    try:
        return _model(names[:-1], model).model_fields.get(names[-1])
    except KeyError:
        return None


def _example(key: Key, field: FieldInfo) -> str:
    name = [part for part in key if isinstance(part, str)][-1]
    return f"{name} = {toml_value(field.examples[0] if field.examples else field.default)}"


def _bounds(field: FieldInfo) -> str:
    rules = {
        name: getattr(rule, name) for rule in field.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)
    }
    low = f"from {rules['ge']} to" if "ge" in rules else f"more than {rules.get('gt')} and at most"
    return f"{low} {rules.get('le')}"
