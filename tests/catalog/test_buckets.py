"""S3 buckets of a custom catalogue: hrefs ``s3://`` are read where the configuration says that they are public."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2async.catalog.items import to_scene
from s2async.causes import Cause
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.models import Asset
from tests.support import worlds
from tests.support.items import an_item
from tests.support.shell import Shell
from tests.support.worlds import Item, Stage

BUCKET = "africa-sentinel-2"


def config_of(buckets: Any, **network: Any) -> Config:
    catalog = {"url": "https://stac.example.org/v1", "collection": "sentinel-2-l2a", "buckets": buckets}
    return Config.of({"areas": "a.geojson", "search": {"catalog": catalog}, "network": network})


@pytest.mark.parametrize(
    ("url", "origin", "href"),
    [
        ("https://b.s3.example.org", "https://b.s3.example.org", "https://b.s3.example.org/x/SCL.tif"),
        ("https://s3.example.org/path/b/", "https://s3.example.org", "https://s3.example.org/path/b/x/SCL.tif"),
        ("https://S3.example.org:443", "https://s3.example.org", "https://s3.example.org/x/SCL.tif"),
    ],
)
def test_an_href_in_a_bucket_is_read_at_its_url(url: str, origin: str, href: str) -> None:
    config = config_of({BUCKET: url})
    assert config.allowed_origins() == ("https://stac.example.org", origin)
    catalog = config.catalog()
    scene = to_scene(an_item(assets={"scl": {"href": f"s3://{BUCKET}/x/SCL.tif"}}), catalog)
    assert scene.assets["scl"] == Asset(key="scl", href=href)
    assert catalog.allows(href)
    assert (
        to_scene(an_item(assets={"scl": {"href": "s3://other/x.tif"}}), catalog).absent["scl"].cause
        is Cause.SCHEME
    )


@pytest.mark.parametrize(
    ("buckets", "says"),
    [
        (
            {BUCKET: "http://nas.example.org"},
            'is not https; use https, or add "http://nas.example.org" to origins',
        ),
        ({BUCKET: "s3://other"}, "is not an http(s) URL"),
        ({BUCKET: "https://me:hunter2@host.org"}, "holds a user name or password"),
        ({BUCKET: "https://host.org/?sig=hunter2"}, "holds a query or fragment"),
        ({"s3://x": "https://host.org"}, "is not the name of an S3 bucket"),
        ({"a/b": "https://host.org"}, "is not the name of an S3 bucket"),
        ({BUCKET: 5}, "must be text in quotes"),
    ],
)
def test_buckets_that_cannot_be_used(buckets: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(buckets)
    assert "[search] catalog.buckets" in str(caught.value)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_bucket_over_http_needs_its_origin_among_the_listed_ones() -> None:
    config = config_of({BUCKET: "http://nas.example.org/b"}, private_origins=["http://nas.example.org"])
    assert config.search.resolve().buckets == {BUCKET: "http://nas.example.org/b"}


# ---- a whole run ------------------------------------------------------------------------------------------


class OnS3(Stage):
    """A catalogue whose hrefs are in an S3 bucket."""

    def __enter__(self) -> OnS3:
        plain = worlds.document

        def moved(item: Item) -> dict[str, Any]:
            made = plain(item)
            for asset in made["assets"].values():
                asset["href"] = asset["href"].replace("{origin}/cogs", f"s3://{BUCKET}")
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worlds, "document", moved)
            self.world.write()
        super().__enter__()
        return self


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with OnS3(worlds.World(tmp_path / "world", [worlds.day(1)])) as made:
        yield made


@pytest.mark.slow
def test_a_run_reads_from_the_bucket(tmp_path: Path, stage: Stage, s2: Shell) -> None:
    catalog = {"url": stage.sandbox.api, "collection": "sentinel-2-l2a", "assets": {"scl": "scl"}}
    search = {"catalog": catalog | {"buckets": {BUCKET: f"{stage.sandbox.origin}/cogs"}}}
    path = worlds.write_config(tmp_path, stage.sandbox, search=search)
    assert s2("run", path).code == 0
    assert "saved" in worlds.statuses(Config.load(path)).values()
    assert {entry.kind for entry in stage.sandbox.log()} == {"search", "cogs"}
    without = worlds.write_config(tmp_path, stage.sandbox, name="without")
    told = s2("run", without).error
    assert f"s3:// bucket {BUCKET} is not public over https; say in buckets of the catalogue at which URL" in told
