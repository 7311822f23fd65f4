"""How crops are grouped to be saved, and what is there when they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2async import file_batches
from s2async.engine import saving
from s2async.engine.saving import Encoded
from s2async.errors import LocalError
from s2async.file_batches import LEAST, NewFile
from s2async.models import Job
from s2async.output.strangers import Replaced
from tests.support.settings import settings_in
from tests.support.states import make_area, make_product, make_scene


def made(folder: Path, count: int) -> list[Encoded]:
    """Crops with quicklooks; the bytes do not matter."""
    job = Job(id=0, area=make_area("North"), scene=make_scene("A"))
    return [
        Encoded(
            job=replace(job, id=number),
            product=make_product(job),
            contents=tuple(
                NewFile(folder / f"field{number % 3}" / f"{number}{suffix}", suffix.encode() * 999)
                for suffix in (".png", ".tif")
            ),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "known", "sizes"),
    [(0, True, []), (5, True, [5]), (LEAST - 1, True, [8, 7]), (LEAST, True, [LEAST]), (64, True, [64]),
     (20, False, [8, 8, 4])],
)  # fmt: skip
def test_crops_that_are_synced_together_are_saved_in_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, known: bool, sizes: list[int]
) -> None:
    monkeypatch.setattr(file_batches, "syncs_whole", lambda _: known)
    crops = made(tmp_path, count)
    groups = saving.groups(crops, settings_in(tmp_path))
    assert [len(some) for some in groups] == sizes
    assert [crop for some in groups for crop in some] == crops


@pytest.mark.parametrize("count", [3, 20])
def test_all_files_of_the_crops_are_there_and_those_of_others_are_counted(tmp_path: Path, count: int) -> None:
    crops, replaced = made(tmp_path, count), Replaced()
    (tmp_path / "field0").mkdir()
    (tmp_path / "field0" / "0.tif").write_bytes(b"mine")
    (tmp_path / "field0" / "0.png").write_bytes(b"mine")
    saving.save(crops, settings_in(tmp_path), replaced)
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {new.path: new.data for crop in crops for new in crop.contents}
    assert "overwritten: 2 of unknown origin" in replaced.summary


def test_nothing_is_written_into_the_reserve(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="disk full"):
        saving.save(made(tmp_path, 20), settings_in(tmp_path, reserve=1 << 60), Replaced())
    assert list(tmp_path.iterdir()) == []
