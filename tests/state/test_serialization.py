from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.models import Asset, Cause, CloudMeasure, Reason
from s2async.state import serialization
from tests.support.states import CLEAR, make_scene

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


@given(
    st.lists(st.integers(0, 2**60), min_size=13, max_size=13)
    | st.lists(st.integers(0, 300), min_size=13, max_size=13)
)
def test_histograms_come_back_as_they_were(counts: list[int]) -> None:
    measured = CloudMeasure(histogram=tuple(counts), total=sum(counts) + 1)
    assert serialization.unpack_measure(measured.total, serialization.pack_counts(measured), "scl") == measured


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


def test_small_histograms_are_small() -> None:
    assert len(serialization.pack_counts(CLEAR)) == 13
    assert len(serialization.pack_counts(CloudMeasure(histogram=(256, *[0] * 12), total=256))) == 26


@given(st.lists(st.integers(0, 2**63 - 1), min_size=3, max_size=30))
def test_counts_of_another_rule_keep_its_name(counts: list[int]) -> None:
    measured = CloudMeasure(histogram=tuple(counts), total=sum(counts) + 1, rule="dark")
    column = serialization.pack_counts(measured)
    assert serialization.unpack_measure(measured.total, column, "dark") == measured
    assert serialization.unpack_measure(measured.total, column, "scl") is None


def test_counts_of_the_classification_have_its_length() -> None:
    with pytest.raises(ValueError, match="has 13 counts"):
        serialization.pack_counts(CloudMeasure(histogram=(0, 1, 0), total=1))
