"""Headers of searches: which may be set, where their values come from, and that no value is ever told."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from s2async.config.model import Config
from s2async.errors import ConfigError

API = "https://earth-search.aws.element84.com"
CANARY = "hunter2canary"


def config_of(headers: Any) -> Config:
    return Config.of({"areas": "a.geojson", "network": {"headers": headers}})


def test_values_come_from_the_environment_or_are_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f"  {CANARY}\n")
    config = config_of({"x-api-key": "env:MY_KEY", "Accept-Language": "de, en"})
    assert config.api_headers() == {API: {"x-api-key": CANARY, "Accept-Language": "de, en"}}
    settings = config.client_settings()
    assert settings.api_headers == config.api_headers()
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert config.client_settings(searches=False).api_headers == {}
    assert Config.of({"areas": "a.geojson"}).api_headers() == {}


def test_no_value_is_in_what_is_dumped_or_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", CANARY)
    config = config_of({"x-api-key": "env:MY_KEY", "authorization": f"Bearer {CANARY}"})
    for text in (config.model_dump_json(), str(config.model_dump()), repr(config), repr(config.client_settings())):
        assert CANARY not in text


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Host": CANARY}, '"Host" is a header that s2async sets itself'),
        ({"range": CANARY}, '"range" is a header that s2async sets itself'),
        ({"Content-Length": CANARY}, '"Content-Length" is a header'),
        ({"if-match": CANARY}, '"if-match" is a header'),
        ({"Transfer-Encoding": CANARY}, '"Transfer-Encoding" is a header'),
        ({"Proxy-Authorization": CANARY}, '"Proxy-Authorization" is a header'),
        ({"x api key": CANARY}, "is not the name of a header"),
        ({"x:y": CANARY}, "is not the name of a header"),
        ({"": CANARY}, "is not the name of a header"),
        ({"x-key": CANARY, "X-Key": CANARY}, '"X-Key" is listed twice'),
        ({"x-key": f"{CANARY}\r\nHost: evil"}, "the value of x-key is not printable ASCII"),
        ({"x-key": f"{CANARY} "}, "the value of x-key is not printable ASCII"),
        ({"x-key": ""}, "the value of x-key is not printable ASCII"),
        ({"x-key": f"{CANARY}\u00e9"}, "the value of x-key is not printable ASCII"),
        ({"x-key": 123456}, "the value of x-key must be text in quotes"),
        ({"x-key": {"a": CANARY}}, "the value of x-key must be text in quotes"),
        ({"x-key": "env:"}, "names no environment variable"),
        ({"x-key": "env:A B"}, "names no environment variable"),
        (CANARY, "must be a table"),
        ([CANARY], "must be a table"),
    ],
)
def test_what_cannot_be_a_header_is_refused_without_its_value(headers: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(headers)
    text = str(caught.value)
    assert "[network] headers" in text
    assert says in text
    assert CANARY not in text
    assert "123456" not in text
    assert "\n" not in text


@pytest.mark.parametrize(("value", "says"), [(None, "is not set"), ("", "is not set"), ("a\nb", "characters")])
def test_a_variable_that_cannot_be_used_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, says: str
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    path = tmp_path / "c.toml"
    path.write_text('areas = "a.geojson"\n[network]\nheaders = { x-api-key = "env:MY_KEY" }\n')
    config = Config.load(path)  # status and the like do not need it
    with pytest.raises(ConfigError) as caught:
        config.client_settings()
    assert str(caught.value).startswith(
        f"{path}:3: [network] headers: the environment variable MY_KEY (for x-api-key)"
    )
    assert says in str(caught.value)
