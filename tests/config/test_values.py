"""The section ``[values]``: what it asks for, and one clear line for everything that can be wrong with it."""

from __future__ import annotations

import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from s2async.clouds.scl import SclRule
from s2async.config.example import EXAMPLE
from s2async.config.model import Config
from s2async.config.sections import OwnIndex, Values
from s2async.errors import ConfigError
from s2async.zonal.wanted import Variable
from tests.support.sections import field_docstrings

A = 'areas = "a.geojson"\n'


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "c.toml"
    file.write_text(A + text)
    return Config.load(file)


def of(**values: Any) -> Config:
    return Config.of({"areas": "a.geojson", "values": values})


def test_without_the_section_nothing_is_wanted() -> None:
    plain = Config.of({"areas": "a.geojson"})
    assert (plain.wanted_values(), plain.values_rule(), plain.selection().values) == (None, None, None)
    assert not plain.selection().one_per_overpass


def test_the_bare_section_is_ndvi_of_half_clear_dates(tmp_path: Path) -> None:
    found = load(tmp_path, "[values]\n")
    wanted = found.wanted_values()
    assert wanted is not None
    assert wanted.variables == (Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red")),)
    assert wanted.statistics == ("mean", "stdev", "median", "p10", "p90", "min", "max")
    assert (wanted.classes, wanted.weights) == ((1, 3, 8, 9, 10), "centre")
    assert found.values_rule() == SclRule.from_percent(classes=(1, 3, 8, 9, 10), max_cloud=80, min_valid=95)
    assert found.selection().values == wanted
    assert pickle.loads(pickle.dumps(wanted)) == wanted


def test_bands_come_first_then_indices_by_their_own_names() -> None:
    found = of(
        bands=["B04", "nir"],
        indices=[
            "evi",
            {"name": "MY", "formula": "(nir-red)/(nir+red+0.50)"},
            {"name": "raw", "formula": "B8A*2"},
        ],
    ).wanted_values()
    assert found is not None
    assert [(one.name, one.bands) for one in found.variables] == [
        ("B04", ("B04",)),
        ("nir", ("nir",)),
        ("EVI", ("nir", "red", "blue")),
        ("MY", ("nir", "red")),
        ("raw", ("B8A",)),
    ]
    assert found.variables[3].formula == "(nir - red) / (nir + red + 0.5)"
    assert found.bands == ("B04", "nir", "red", "blue", "B8A")


def test_one_item_of_an_overpass_counts_unless_it_is_said_otherwise() -> None:
    def one(**search: str) -> bool:
        return Config.of({"areas": "a.geojson", "values": {}, "search": search}).selection().one_per_overpass

    assert one()
    assert one(overlaps="one")
    assert not one(overlaps="all")


BAD: list[tuple[str, str, str]] = [
    ("bands = ['rde']", ":3: [values] bands: ", '"rde" is no reflectance band; did you mean "red"?'),
    ("bands = ['NIR']", ":3: [values] bands: ", 'did you mean "nir"?'),
    ("bands = ['visual']", ":3: [values] bands: ", '"visual" is no reflectance band; '),
    ("bands = ['red', 'red']", ":3: [values] bands: ", "is listed twice"),
    ("bands = 'red'", ":3: [values] bands: ", 'must be a list [ ], not "red"'),
    ("indices = ['NDVVI']", ":3: [values] indices: ", '"NDVVI" is no index of Awesome Spectral Indices'),
    ("indices = ['NDVVI']", ":3: [values] indices: ", 'did you mean "NDVI"?'),
    ("indices = ['qqqqqqqq']", ":3: [values] indices: ", "such as NDVI, or write { name = "),
    ("indices = [{ name = 'MY' }]", ":3: [values] indices.formula: ", "is missing; add formula = "),
    ("indices = [{ name = 'a b', formula = 'red' }]", ":3: [values] indices.name: ", "cannot name a column"),
    ("indices = [{ name = 'MY', formula = 'red +' }]", ":3: [values] indices.formula: ", "formula ends where"),
    ("indices = [{ name = 'MY', formula = 'rad' }]", ":3: [values] indices.formula: ", "did you mean red"),
    ("indices = [{ name = 'MY', formula = 'exp(red)' }]", ":3: [values] indices.formula: ", "unknown name"),
    ("indices = [{ nam = 'MY' }]", ":3: [values] indices.nam: ", 'did you mean "name"?'),
    ("indices = ['NDVI', 'ndvi']", ":3: [values] indices: ", '"NDVI" names two bands or indices'),
    ("bands = ['red']\nindices = [{ name = 'RED', formula = 'nir' }]", ":4: [values] indices: ", "names two"),
    ("indices = []", ":3: [values] indices: ", "is empty, and so is bands: name a band or an index, or remove"),
    ("statistics = ['avg']", ":3: [values] statistics: ", '"avg" is no statistic; use mean, stdev, '),
    (f"statistics = {[f'p0.{at}' for at in range(201)]}", ":3: [values] statistics: ", "at most 200 are computed"),
    ("statistics = ['meen']", ":3: [values] statistics: ", 'did you mean "mean"?'),
    ("statistics = ['p101']", ":3: [values] statistics: ", '"p101" is no statistic'),
    ("statistics = ['min', 'min']", ":3: [values] statistics: ", '"min" is listed twice; remove one'),
    ("max_area_cloud = 101", ":3: [values] max_area_cloud: ", "must be from 0 to 100, not 101"),
    ("max_area_cloud = 0.125", ":3: [values] max_area_cloud: ", "more than two decimals"),
    ("weights = 'area'", ":3: [values] weights: ", "must be 'centre' or 'coverage', not \"area\""),
    ("min_area_valid = 3", ":3: [values] min_area_valid: ", "it belongs to [clouds]"),
]


@pytest.mark.parametrize(("text", "place", "words"), BAD, ids=[text for text, *_ in BAD])
def test_one_line_says_what_is_wrong(tmp_path: Path, text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[values]\n{text}\n")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path / 'c.toml'}{place}"), message
    assert words in message


@pytest.mark.parametrize("key", ["areas", "state"])
def test_the_table_of_values_is_nothing_else(tmp_path: Path, key: str) -> None:
    text = "areas = 'data/values.csv'" if key == "areas" else A + "[run]\nstate = 'data/values.csv'"
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match="is the table that every run overwrites"):
        Config.load(tmp_path / "c.toml")


def test_the_example_shows_the_section_with_its_defaults(tmp_path: Path) -> None:
    block = EXAMPLE.partition("# [values]")[2].partition("\n\n")[0]
    text = "[values]" + re.sub(r"(?m)^# ", "", block)
    assert tomllib.loads(text)["values"].keys() == Values.model_fields.keys()
    assert load(tmp_path, text).values == Values()
    assert all(re.search(r" # \S", line) for line in block.splitlines())


@pytest.mark.parametrize("model", [Values, OwnIndex])
def test_every_field_says_what_it_means(model: type[Values | OwnIndex]) -> None:
    told = field_docstrings(model)
    assert told.keys() == model.model_fields.keys()
    assert all(text.rstrip().endswith((".", "``")) for text in told.values())
