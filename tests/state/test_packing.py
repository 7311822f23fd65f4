"""States with a row for each job and measurement become packed ones, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s2async.models import Status
from s2async.state import database, measures, packed, packing, schema
from s2async.state.records import OPEN
from s2async.state.writer import State

OLD = schema.MIGRATIONS.index(packing.pack)
Facts = dict[tuple[int, int], dict[str, Any]]
"""What is known of the jobs by item and area."""
TABLES = ("products", "absences", "suspects", "evidence")


def old_state(path: Path, chance: random.Random) -> Facts:
    """Make a state of the version before, with random facts; tells them."""
    facts: Facts = {}
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
        for migration in schema.MIGRATIONS[:OLD]:
            migration(db)
        db.execute(f"PRAGMA user_version = {OLD}")
        areas = sorted(chance.sample(range(1, 700), 40))
        for area in areas:
            values = (area, f"{area:016x}", b"", True)
            db.execute("INSERT INTO areas (id, fingerprint, polygon, active) VALUES (?, ?, ?, ?)", values)
        for item in range(1, 5):
            columns = "collection, item, edition, version, updated, sensed, platform, grid, baseline, generated"
            row = ("c", str(item), 2, "", "", item, "", "", "", "", "", "", "{}", "{}")
            db.execute(
                f"INSERT INTO items ({columns}, datastrip, base, assets, absent) VALUES ({', '.join('?' * 14)})",
                row,
            )
        pairs = [(item, area) for item in range(1, 5) for area in areas if chance.random() < 0.8]
        chance.shuffle(pairs)
        for job, (item, area) in enumerate(pairs, 1):
            facts[item, area] = add_facts(db, chance, job, item, area)
    return facts


def add_facts(db: sqlite3.Connection, chance: random.Random, job: int, item: int, area: int) -> dict[str, Any]:
    """Insert a job with random facts, as earlier versions kept them."""
    status = chance.choice([OPEN, *Status])
    reason = f"why {job}" if status in (Status.FAILED, Status.MISSING) or chance.random() < 0.1 else ""
    attempts = chance.randrange(4) if status in (OPEN, Status.FAILED) else 0
    row = (job, item, area, str(status), attempts, status is Status.FAILED, reason, "network" if reason else "")
    columns = "id, item, area, status, attempts, transient, reason, cause, found"
    db.execute(f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * 8)}, 1)", row)
    found: dict[str, Any] = {"job": (str(status), attempts, int(status is Status.FAILED), reason)}
    if chance.random() < 0.7:
        counts, edition = [chance.choice([0, 3, 500, 70_000]) for _ in range(13)], chance.choice([1, 2, 2])
        rule = chance.choice(["scl", "scl", "dark"])
        width = next(code for code, size in (("B", 1), ("H", 2), ("I", 4)) if max(counts) < 256**size)
        column = struct.pack(f"<13{width}", *counts) if rule == "scl" else json.dumps([rule, *counts])
        total = sum(counts) + chance.randrange(3)
        db.execute("INSERT INTO measures VALUES (?, ?, ?, ?)", (job, edition, total, column))
        if edition == 2:
            found["measure"] = (rule, tuple(counts), total)
    if chance.random() < 0.5:
        product = ("visual", 2, 1, "gtiff", 32633, job, os.urandom(32), f"{job}.tif", None, None)
        db.execute(f"INSERT INTO products VALUES (?, {', '.join('?' * 10)})", (job, *product))
        found["products"] = product
    if chance.random() < 0.2:
        absence = ("nir", 2, "not-there", "404", "https://h", 1, 2, 3, 4, 1, 0)
        db.execute(f"INSERT INTO absences VALUES (?, {', '.join('?' * 11)})", (job, *absence))
        found["absences"] = absence
    if chance.random() < 0.1:
        db.execute("INSERT INTO suspects VALUES (?, ?)", (job, 2))
        found["suspects"] = (2,)
    if chance.random() < 0.2:
        db.execute("INSERT INTO evidence VALUES (?, 'red', 2, ?, 5, 6)", (job, job))
        found["evidence"] = ("red", 2, job, 5, 6)
    return found


def facts_of(state: State) -> Facts:
    db, found = state._db, Facts()
    for item, area, *job in db.execute("SELECT item, area, status, attempts, transient, reason FROM jobs"):
        found[item, area] = {"job": tuple(job)}
        for rule in ("scl", "dark"):
            number = packed.job_number(item, area)
            for measure in measures.of_jobs(db, [number], rule).values():
                found[item, area]["measure"] = (measure.rule, measure.histogram, measure.total)
    for table in TABLES:
        for job, *columns in db.execute(f"SELECT * FROM {table}"):
            found[packed.item_of(job), packed.area_of(job)][table] = tuple(columns)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_was_known_is_lost(path: Path, seed: int) -> None:
    facts = old_state(path, random.Random(seed))
    with State.create_or_open(path) as state:
        assert facts_of(state) == facts
        assert state._db.execute("PRAGMA foreign_key_check").fetchall() == []
        failed = [key for key, found in facts.items() if found["job"][0] in ("failed", "missing")]
        assert len(state._all("SELECT 1 FROM troubles t JOIN jobs j ON j.id = t.job AND j.status != 'open' "
                              "AND j.status IN ('failed', 'missing')")) == len(failed)  # fmt: skip
    assert path.with_name(f"{path.name}.v{OLD}").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from s2async.state import packing
from s2async.state.writer import State
plain = packing._pack_jobs
def pack(db):
    plain(db)
    os.kill(os.getpid(), signal.SIGKILL)
packing._pack_jobs = pack
State.create_or_open(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_kill_amid_the_packing_leaves_the_old_state_to_be_packed_again(path: Path) -> None:
    facts = old_state(path, random.Random(9))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    with contextlib.closing(sqlite3.connect(path.with_name(f"{path.name}.v{OLD}"))) as copy:
        assert copy.execute("SELECT count(*) FROM jobs").fetchone() == (len(facts),)
    with State.create_or_open(path) as state:
        assert facts_of(state) == facts
