"""What `init` writes, what it tells of the areas, and what it refuses."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import shapely

from s2async.config.example import EXAMPLE, with_areas, with_folder, with_settings
from s2async.config.model import Config
from tests.support.shell import Shell, one_line

pytestmark = pytest.mark.slow

BEGIN = with_settings(EXAMPLE, {"overlaps": "one"})
"""What init writes for the parks of the example."""
AREA = "POLYGON ((13.40 52.50, 13.42 52.50, 13.42 52.52, 13.40 52.50))"


def test_init_tells_what_a_run_would_say_of_the_areas(s2: Shell, tmp_path: Path) -> None:
    wkt = shapely.box(13, 52, 14, 53).wkt
    (tmp_path / "a.csv").write_text(f'name,wkt\nPark,"SRID=4004;{wkt}"\n')
    made = s2("init", "a.toml", "--areas", "a.csv", cwd=tmp_path)
    assert (made.code, made.out) == (2, "")
    assert one_line(made).startswith("s2async: a.toml was not written: ")
    assert "has no datum" in made.error
    assert not (tmp_path / "a.toml").exists()
    (tmp_path / "b.csv").write_text(f'name,wkt\nPark,"{wkt}"\n')
    made = s2("init", "b.toml", "--areas", "b.csv", cwd=tmp_path)
    assert (made.code, made.error) == (0, "")
    assert made.out.splitlines()[:-1] == [
        '1 area in OGC:CRS84, named by "name": Park',
        "1 area: 52.000 N to 53.000 N, 13.000 E to 14.000 E; 7,557 km2",
    ]


def test_init_tells_what_it_read_and_writes_what_it_was_told(s2: Shell, tmp_path: Path) -> None:
    rows = [
        f'{number},F{number},maize,"{shapely.box(13 + number, 52, 13.5 + number, 53).wkt}"' for number in range(7)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["id,title,crop,geom", *rows]))
    given = (
        "--name-field",
        "title",
        "--crs",
        "EPSG:4326",
        "--invalid",
        "skip",
        "--buffer",
        "20",
        "--columns",
        "crop, id",
    )
    made = s2("init", "a.toml", "--areas", "a.csv", *given, cwd=tmp_path)
    assert (made.code, made.error) == (0, "")
    told = '7 areas in EPSG:4326, named by "title": F0, F1, F2, F3, F4, ...; columns carried: id, crop'
    first, where, last = made.out.splitlines()
    assert (first, last) == (told, "wrote a.toml; next: s2async run a.toml")
    assert where.startswith("7 areas: 52.000 N to 53.000 N, 13.000 E to 19.500 E")
    config = Config.load(tmp_path / "a.toml")
    assert (config.name_field, config.crs, config.invalid) == ("title", "EPSG:4326", "skip")
    assert (config.buffer, config.columns) == (20, ("crop", "id"))
    plain = (config.layer, config.encoding)
    assert plain == (None, None)
    made = s2("init", "b.toml", "--areas", "a.csv", "--name-field", "id", "--encoding", "cp1252", cwd=tmp_path)
    assert made.code == 0
    assert Config.load(tmp_path / "b.toml").encoding == "cp1252"


def test_init_that_can_use_no_area_writes_nothing_and_tells_all_that_is_wrong(s2: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'id,geom\n1,"{shapely.box(390000, 5800000, 391000, 5801000).wkt}"\n')
    wrong = s2("init", "a.toml", "--areas", "a.csv", "--columns", "crop", "--crs", "EPSG:0", cwd=tmp_path)
    assert (wrong.code, wrong.out) == (2, "")
    first, second, third = wrong.error.splitlines()
    assert first.startswith(f's2async: a.toml was not written: {tmp_path / "a.csv"}:2: no field "name"')
    assert 'no column "crop"' in second
    assert "EPSG:0" in third
    for arguments, says in (
        (("--areas", "b.csv"), "--areas: no such file: b.csv"),
        (("--areas", "a.csv", "--layer", "fields"), 'no layer "fields"'),
        (("--areas", "a.csv", "--name-field", "id"), "looks like metres; give crs"),
    ):
        wrong = s2("init", "a.toml", *arguments, cwd=tmp_path)
        assert wrong.code == 2
        assert says in one_line(wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    right = ("--name-field", "id", "--crs", "EPSG:25833")
    assert s2("init", "a.toml", "--areas", "a.csv", *right, cwd=tmp_path).code == 0


def test_init_that_cannot_use_some_areas_writes_and_tells_which(s2: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'name,wkt\nPark,"{AREA}"\nWell,POINT (13 52)\n')
    made = s2("init", "a.toml", "--areas", "a.csv", cwd=tmp_path)
    assert made.code == 2
    assert made.out == "wrote a.toml; next: correct the areas that are listed, then s2async run a.toml\n"
    (told,) = made.told
    assert told.startswith(f's2async: {tmp_path / "a.csv"}:3: area "Well": is a Point')
    assert Config.load(tmp_path / "a.toml").areas == tmp_path / "a.csv"


def test_init_tells_the_seasons_of_areas(s2: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'name,valid_to,wkt\nQ,,"{AREA}"\nR,2024-03-01,"{AREA}"\n')
    made = s2("init", "a.toml", "--areas", "a.csv", cwd=tmp_path)
    assert '"name": Q, R; seasons (valid_from, valid_to): 1 of 2 areas\n' in made.out
    (tmp_path / "b.csv").write_text(
        "name,valid_from,valid_to,wkt\n"
        f'P,2024-01-01,2024-02-01,"{AREA}"\nP,2024-03-01,,"{AREA}"\nQ,2024-03-01,,"{AREA}"\n'
    )
    made = s2("init", "b.toml", "--areas", "b.csv", cwd=tmp_path)
    assert "P (2024-01-01 to 2024-02-01), P (from 2024-03-01), Q; seasons" in made.out


def test_init_refuses_settings_before_it_writes(s2: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,wkt\n")
    for option, value, says in (
        ("--crs", "utm", "crs"),
        ("--buffer", "200000", "buffer: must be more than 0 and at most 100000"),
        ("--name-field", " ", "name_field: is empty"),
    ):
        ended = s2("init", "x.toml", "--areas", "a.csv", option, value, cwd=tmp_path)
        assert ended.code == 2
        assert says in one_line(ended)
    assert "--layer needs --areas" in one_line(s2("init", "x.toml", "--layer", "a", cwd=tmp_path))
    assert not (tmp_path / "x.toml").exists()


def test_init_writes_which_values_are_wanted(s2: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'name,wkt\nPark,"{AREA}"\n')
    made = s2("init", "fields.toml", "--areas", "a.csv", "--values", "ndvi, EVI,red,NDVI", cwd=tmp_path)
    assert (made.code, made.error) == (0, "")
    assert made.out.splitlines()[2:] == [
        f"values of NDVI, EVI, red for every area and date will be in {Path('fields', 'values.csv')}",
        "no crops are saved: assets = [] under [output]; name assets there to save them as well",
        "wrote fields.toml; next: s2async run fields.toml",
    ]
    config = Config.load(tmp_path / "fields.toml")
    assert config.output.assets == ()
    assert config.values
    assert (config.values.indices, config.values.bands) == (("NDVI", "EVI"), ("red",))
    text = (tmp_path / "fields.toml").read_text()
    assert re.search(r'(?m)^indices = \["NDVI", "EVI"\] +# names .*Awesome Spectral', text), "its comment stays"
    assert s2("init", "parks.toml", "--values", "nir", cwd=tmp_path).code == 0
    alone = Config.load(tmp_path / "parks.toml").values
    assert alone
    assert (alone.indices, alone.bands) == ((), ("nir",)), "the default is NDVI, which nobody asked for here"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("NDVI,NVDI", '--values: "NVDI" is neither a band of Sentinel-2 nor an index .* did you mean .*NDVI'),
        ("redd", "did you mean red"),
        ("swir", "did you mean .*swir16"),
        ("?", "names are such as NDVI, EVI and red"),
        (" , ", "--values is empty; name indices or bands, such as NDVI or red"),
    ],
)
def test_init_names_what_is_near_to_unknown_values(s2: Shell, tmp_path: Path, names: str, says: str) -> None:
    wrong = s2("init", "fields.toml", "--values", names, cwd=tmp_path)
    assert (wrong.code, wrong.out) == (2, "")
    assert re.search(says, one_line(wrong))
    assert not (tmp_path / "fields.toml").exists()


def test_init_writes_the_example_once(s2: Shell, tmp_path: Path) -> None:
    made = s2("init", cwd=tmp_path)
    assert (made.code, made.out) == (0, "wrote config.toml; next: s2async run config.toml\n")
    assert (tmp_path / "config.toml").read_text() == BEGIN
    assert "exists already; name another file" in one_line(s2("init", "config.toml", cwd=tmp_path))
    assert "cannot write" in one_line(s2("init", "no/such/folder.toml", cwd=tmp_path))
    (tmp_path / "fields.csv").write_text(f'name,wkt\nPark,"{AREA}"\n')
    assert s2("init", "fields.toml", "--areas", "fields.csv", cwd=tmp_path).code == 0
    ours = with_settings(with_areas("fields.csv"), {"overlaps": "one"})
    assert (tmp_path / "fields.toml").read_text() == with_folder(ours, "fields")


def test_configurations_that_init_writes_share_nothing(s2: Shell, tmp_path: Path) -> None:
    names = (
        "config.toml",
        "fields.toml",
        "a.b.toml",
        "data.toml",
        "plain",
        "..toml",
        '"ü".toml',
        "~me.toml",
        "x.toml",
    )
    (tmp_path / "x").write_text("no folder")
    folders = []
    for name in names:
        assert s2("init", name, cwd=tmp_path).code == 0
        config = Config.load(tmp_path / name)
        assert config.run.state == config.output.folder / "state.sqlite"
        assert config.output.folder.parent == tmp_path
        assert not config.output.folder.is_file()
        folders.append(config.output.folder.name)
    assert folders[:3] == ["data", "fields", "a.b"]
    assert len({*folders}) == len(names)
    assert (tmp_path / "config.toml").read_text() == BEGIN
    mine, example = (tmp_path / "fields.toml").read_text().splitlines(), BEGIN.splitlines()
    changed = [(ours, theirs) for ours, theirs in zip(mine, example, strict=True) if ours != theirs]
    assert [ours.split(" #")[0].rstrip() for ours, _ in changed] == [
        'folder = "fields"',
        'state = "fields/state.sqlite"',
    ]
    assert all(ours.partition(" #")[2] == theirs.partition(" #")[2] for ours, theirs in changed)


def test_a_name_that_is_no_text_is_refused(s2: Shell, tmp_path: Path) -> None:
    assert "is not UTF-8; rename it" in one_line(s2("init", os.fsdecode(b"\xff.toml"), cwd=tmp_path))
    assert "a configuration cannot have the name" in one_line(s2("init", "bell\a.toml", cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("linked", [False, True])
def test_init_in_another_folder_names_the_areas_as_seen_from_there(
    s2: Shell, tmp_path: Path, linked: bool
) -> None:
    here, far = tmp_path / "here", tmp_path / "far" / "away"
    here.mkdir()
    far.mkdir(parents=True)
    (here / "sub").symlink_to(far) if linked else (here / "sub").mkdir()
    (here / "lakes.csv").write_text(f'name,wkt\nPark,"{AREA}"\n')
    assert s2("init", "sub/x.toml", "--areas", "lakes.csv", cwd=here).code == 0
    assert Config.load(here / "sub" / "x.toml").areas == here / "lakes.csv"
    (here / "sub" / "own.csv").write_text(f'name,wkt\nPark,"{AREA}"\n')
    assert s2("init", "sub/own.toml", "--areas", "own.csv", cwd=here).code == 0
    assert Config.load(here / "sub" / "own.toml").areas == (here / "sub" / "own.csv").resolve()


def test_init_without_a_name_of_areas_is_refused(s2: Shell, tmp_path: Path) -> None:
    ended = s2("init", "x.toml", "--areas", "", cwd=tmp_path)
    assert ended.code == 2
    assert one_line(ended) == "s2async: --areas is empty; name a file, or leave it out for the parks of Berlin"
    assert not (tmp_path / "x.toml").exists()
