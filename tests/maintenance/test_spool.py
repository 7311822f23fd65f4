from __future__ import annotations

from pathlib import Path

from s2async.maintenance.spool import Spool


def test_values_come_back_in_any_order_and_leave_no_file(tmp_path: Path) -> None:
    values = [{"number": number, "bytes": bytes(number % 500)} for number in range(1000)]
    with Spool[dict[str, object]](tmp_path) as spool:
        for value in values[:900]:
            spool.add(value)
        assert spool.read(0) == values[0]
        for value in values[900:]:
            spool.add(value)
        assert [spool.read(number) for number in reversed(range(1000))] == values[::-1]
        assert list(tmp_path.iterdir()) == []
