from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from s2async.causes import Cause, Reason
from s2async.models import Asset
from s2async.state import serialization
from tests.support.states import make_scene

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
