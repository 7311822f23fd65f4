from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.causes import Cause, Reason
from s2async.models import Asset, Attribute
from s2async.state import serialization
from tests.support.states import make_area, make_scene

texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    texts,
    st.datetimes(timezones=st.just(UTC)),
    st.none() | st.floats(0, 100),
    st.none() | st.integers(1024, 999_999),
    st.dictionaries(texts, texts, max_size=4),
    st.sampled_from(Cause),
)
def test_scenes_come_back_as_they_were(
    text: str, sensed: datetime, cloud: float | None, epsg: int | None, hrefs: dict[str, str], cause: Cause
) -> None:
    scene = replace(
        make_scene(text),
        datetime=sensed,
        cloud=cloud,
        epsg=epsg,
        assets={key: Asset(key=key, href=f"https://h/{href}") for key, href in hrefs.items()},
        absent={key: Reason(cause, text, host) for key, host in hrefs.items()},
        footprint=None,
    )
    assert serialization.to_scene(serialization.item_values(scene)) == scene


def test_a_new_signature_is_the_same_edition_and_another_address_is_not() -> None:
    scene = make_scene(host="https://h")
    hrefs = {key: asset.href for key, asset in scene.assets.items()}
    signed = {key: f"{href}?sig=a" for key, href in hrefs.items()}
    assert serialization.same_edition(scene.version, hrefs, scene)
    assert serialization.same_edition(scene.version, signed, scene)
    assert serialization.same_edition(scene.version, {"other": "https://h/x.tif"}, scene)
    assert not serialization.same_edition("v2", hrefs, scene)
    assert not serialization.same_edition(scene.version, {**hrefs, "scl": "https://h/x.tif?sig=a"}, scene)
    assert not serialization.same_edition(
        scene.version, {**hrefs, "scl": hrefs["scl"].replace("//h", "//i")}, scene
    )


def test_addresses_are_told_apart_by_eight_bytes() -> None:
    hashes = {serialization.hash_address(f"https://cogs.example/{number}/SCL.tif") for number in range(10_000)}
    assert len(hashes) == 10_000
    assert {len(found) for found in hashes} == {8}


plain: st.SearchStrategy[Attribute] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["\n", '",\n"', "{}", "%s", "\u2028"]),
    st.sampled_from([date(2024, 2, 29), datetime(2024, 2, 29, 12, tzinfo=UTC)]),
)
columns = st.lists(texts, max_size=3, unique=True)


@given(columns.flatmap(lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, plain)), max_size=7)))
def test_rows_of_places_are_those_of_single_ones(rows: list[dict[str, Attribute]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialization, "_TOGETHER", 3)
        areas = [replace(make_area(str(number)), attributes=row) for number, row in enumerate(rows)]
        wanted = [(area.fingerprint, *serialization.place_values(area)) for area in areas]
        assert list(serialization.place_rows(areas)) == wanted


def test_areas_that_differ_in_their_columns_have_rows_as_well() -> None:
    rows: list[dict[str, Attribute]] = [{"a": 1, "b": "x"}, {"b": "x", "a": 1}, {}]
    areas = [replace(make_area(str(number)), attributes=row) for number, row in enumerate(rows)]
    assert [row[-1] for row in serialization.place_rows(areas)] == ['{"a":1,"b":"x"}', '{"b":"x","a":1}', "{}"]
