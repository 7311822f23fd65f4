"""Whether the table of crops is up to date: triggers record every change of the data from which it is made.

The triggers are temporary: they belong to the writing connection, not to the file. They remove a row that
identifies the last written table, in the same transaction as the change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite3 import Connection

_SOURCES: Final = (
    "answers",
    "areas",
    "asked",
    "bands",
    "items",
    "jobs",
    "measures",
    "places",
    "products",
    "shelves",
    "superseded",
)
"""Tables, of any version, from which the rows of crops are made."""
_EVENTS: Final = ("INSERT", "UPDATE", "DELETE")
_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table'"
_FORGET: Final = "DELETE FROM meta WHERE key = 'table'"
_NOTE: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('table', ?)"
NOTED: Final = "SELECT value FROM meta WHERE key = 'table'"
"""Selects the text that identifies the table written last; no row after a change."""


def begin(db: Connection, *, is_sealed: bool) -> None:
    """Watch the tables of a connection that may write.

    Args:
        db: the connection.
        is_sealed: whether nothing has changed the state since the end of a run. Otherwise an earlier version
            without triggers may have changed it, so no table counts as up to date.
    """
    if not is_sealed:
        db.execute(_FORGET)
    there = {name for (name,) in db.execute(_TABLES)}
    _watch(db, there.intersection(_SOURCES))


@contextlib.contextmanager
def paused(db: Connection, *tables: str) -> Iterator[None]:
    """Context in which changes of many rows are recorded at once, because a trigger takes longer than an insert.

    Args:
        db: the connection, in a transaction. A rollback restores the triggers.
        tables: the tables that are changed.
    """
    db.execute(_FORGET)
    for table, event in product(tables, _EVENTS):
        db.execute(f"DROP TRIGGER temp.watch_{table}_{event}")
    yield
    _watch(db, tables)


def _watch(db: Connection, tables: Iterable[str]) -> None:
    for table, event in product(tables, _EVENTS):
        db.execute(f"CREATE TEMP TRIGGER watch_{table}_{event} AFTER {event} ON {table} BEGIN {_FORGET}; END")


def note(db: Connection, table: str) -> None:
    """Record which table shows the current contents of the state."""
    db.execute(_NOTE, (table,))
