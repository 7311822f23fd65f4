"""Whether the table of crops is still that of the state: triggers note every change of what its rows come from.

The triggers are temporary: they belong to the connection that writes, not to the file. They remove a row that
names the table which was written last, in the same transaction as the change.
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
"""Tables of any version from which the rows of crops are made."""
_EVENTS: Final = ("INSERT", "UPDATE", "DELETE")
_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table'"
_FORGET: Final = "DELETE FROM meta WHERE key = 'table'"
_NOTE: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('table', ?)"
NOTED: Final = "SELECT value FROM meta WHERE key = 'table'"
"""Names the table that was written last; no row after a change."""


def begin(db: Connection, *, is_sealed: bool) -> None:
    """Watch the tables of a connection that may write.

    Args:
        db: the connection.
        is_sealed: nobody has changed the state since the end of a run. Otherwise an earlier version, which has no
            triggers, may have done so: no table counts as that of the state.
    """
    if not is_sealed:
        db.execute(_FORGET)
    there = {name for (name,) in db.execute(_TABLES)}
    _watch(db, there.intersection(_SOURCES))


@contextlib.contextmanager
def paused(db: Connection, *tables: str) -> Iterator[None]:
    """Context in which changes of many rows are noted at once: a trigger takes longer than to insert a row.

    Args:
        db: the connection, in a transaction. If that is rolled back, the triggers are there again.
        tables: which are changed.
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
    """Record which table shows what the state holds at this moment."""
    db.execute(_NOTE, (table,))
