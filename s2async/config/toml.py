"""A TOML file, with the line of each key.

`tomllib` returns values without their lines, but an error message needs the line. A small scanner therefore reads
the text that `tomllib` has accepted. A key that the scanner does not list has the line of the table that contains
it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from s2async.errors import ConfigError
from s2async.text import one_line

BACKSLASHES: Final = "a backslash in double quotes is an escape; write C:/Users/... or single quotes"
"""Advice for Windows paths in double quotes."""
_WINDOWS_PATH = re.compile(r"""(?:^|[=\[,\s])"(?:[A-Za-z]:\\|\\\\)""")
"""The start of a path with a drive or a server, in double quotes."""
_BAD_ESCAPES = ("unescaped", "hex value", "scalar value")
"""Words in tomllib's errors about escapes."""

Key = tuple[str | int, ...]
"""Path to a value from the top of the file: names of tables and keys, and indexes of lists."""

_TOKEN = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5} | \'\'\'.*?'{3,5} | "(?:[^"\\\n]|\\.)*" | '[^'\n]*' | \#[^\n]*'''
    r"""| [\[\]{}=,.\n] | [^\s"'\#\[\]{}=,.]+""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TomlFile:
    """The values of a TOML file, and their lines."""

    path: Path
    """The path as the user wrote it."""
    data: Mapping[str, Any]
    lines: Mapping[Key, int]
    """Line of each key and table header, counted from 1."""

    def place(self, key: Key = ()) -> str:
        """Return where a key is, for messages: ``file:line``, or only the file if the line is unknown."""
        while key and key not in self.lines:
            key = key[:-1]
        return f"{one_line(self.path, 200)}:{self.lines[key]}" if key else one_line(self.path, 200)


def read(path: Path) -> TomlFile:
    """Read a TOML file (UTF-8, with or without a byte order mark).

    Raises:
        ConfigError: the file does not exist, cannot be read, or is not UTF-8 or not TOML; one line says where.
    """
    name = one_line(path, 200)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file; write one with: s2async init {name}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{name}: cannot be read ({reason}); name a readable TOML file") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: not UTF-8; save the file as UTF-8") from None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(_syntax(name, text, error)) from None
    return TomlFile(path=path, data=data, lines=key_lines(text.replace("\r\n", "\n")))


def renamed(source: TomlFile, former: Mapping[Key, str]) -> tuple[TomlFile, tuple[str, ...]]:
    """Rename keys that have a former name.

    Args:
        source: a file, or settings that were given as a mapping.
        former: maps a former key to the present name of its last part.

    Returns:
        The file with present names only, and a notice for each key that was renamed: one line with the place.

    Raises:
        ConfigError: a setting is given under both its former and its present name.
    """
    notices = []
    for key, name in former.items():
        table = _table_of(source.data, key)
        if table is None or key[-1] not in table:
            continue
        *sections, old = key
        where = f"{source.place(key)}: [{'.'.join(map(str, sections))}] {old}"
        if name in table:
            raise ConfigError(f"{where}: is the former name of {name}, which is set as well; remove {old}")
        lines = {(*key[:-1], name) if at == key else at: line for at, line in source.lines.items()}
        source = replace(source, data=_with_name(source.data, key, name), lines=lines)
        notices.append(f"{where} is called {name} now; the old name still works, but please rename it")
    return source, tuple(notices)


def _table_of(data: Mapping[str, Any], key: Key) -> Mapping[str, Any] | None:
    """Return the table that contains a key; None if there is none."""
    table: Any = data
    for part in key[:-1]:
        table = table.get(part) if isinstance(table, Mapping) else None
    return table if isinstance(table, Mapping) else None


def _with_name(data: Mapping[str, Any], key: Key, name: str) -> dict[str, Any]:
    first, *rest = key
    if not rest:
        return {name if entry == first else entry: value for entry, value in data.items()}
    return {
        entry: _with_name(value, tuple(rest), name) if entry == first else value for entry, value in data.items()
    }


def key_lines(text: str) -> dict[Key, int]:
    """Return the line of every key and table header of a valid TOML text; keys of inline tables are left out."""
    lines: dict[Key, int] = {}
    tables: Counter[Key] = Counter()
    table: Key = ()
    statement: list[str] = []
    line, first, depth = 1, 1, 0
    for match in _TOKEN.finditer(text + "\n"):
        word = match[0]
        if word == "\n" and depth == 0:
            if statement[:1] == ["["]:
                table = _table(statement, tables)
                lines.setdefault(table, first)
            elif statement:
                key = table + tuple(_names(statement[: statement.index("=")]))
                for size in range(len(table) + 1, len(key) + 1):
                    lines.setdefault(key[:size], first)
            statement = []
        elif word != "\n" and not word.startswith("#"):
            first = first if statement else line
            statement.append(word)
            depth += (word in "[{") - (word in "]}")
        line += word.count("\n")
    return lines


def toml_value(value: object) -> str:
    """Format a value for a message, similar to TOML, on one line."""
    plain = json.dumps(value, ensure_ascii=False, default=str)
    return "a table" if isinstance(value, Mapping) else one_line(plain)


def _table(statement: Sequence[str], tables: Counter[Key]) -> Key:
    *outer, last = _names(statement)
    key: Key = ()
    for name in outer:
        key = (*key, name)
        if key in tables:
            key = (*key, tables[key] - 1)
    key = (*key, last)
    if statement[1] == "[":
        tables[key] += 1
        key = (*key, tables[key] - 1)
    return key


def _names(words: Sequence[str]) -> list[str]:
    return [
        tomllib.loads(f"name = {word}")["name"] if word[0] in "\"'" else word
        for word in words
        if word not in "[]."
    ]


def _syntax(name: str, text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"{name}: nested too deeply; write a plain config"
    what, place = str(error), re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
    line = text.rstrip().count("\n") + 1
    if place:
        what = what.replace(place[0], f" at column {place[2]}" if place[1] else "")
        line = int(place[1] or line)
    if "overwrite" in what or "twice" in what:
        return f"{name}:{line}: not TOML: this key or table is written twice; remove one"
    wrong = text.split("\n")[line - 1]
    escape = any(words in what.lower() for words in _BAD_ESCAPES)
    if "\\" in wrong and (escape or _WINDOWS_PATH.search(wrong)):
        return f"{name}:{line}: not TOML: {BACKSLASHES}"
    what = one_line(what, 120)
    return f"{name}:{line}: not TOML: {what[:1].lower()}{what[1:]}; correct this line (text needs quotes)"
