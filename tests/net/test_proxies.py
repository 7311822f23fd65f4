"""Proxies that the environment names: what works, what is refused, and that no password is ever shown."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import s2async
from s2async.errors import ConfigError
from s2async.net import connections, proxies
from s2async.net.client import Transport
from s2async.net.proxies import Proxy
from tests.support.fault_server import FaultServer

NO_ADDRESS = r"is not an address (percent-encode # / @ \ in user and password)"
VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
CONFIG = """
areas = [{ name = "Meadow", wkt = "POLYGON ((13.4 52.47, 13.42 52.47, 13.42 52.48, 13.4 52.47))" }]
[search]
catalog = { url = "https://stac.example.test/v1", collection = "sentinel-2-l2a", assets = { scl = "scl" } }
datetime = "2023-03-01/2023-03-31"
"""


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


# ---- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "address", "user", "password"),
    [
        ("http://host:8080", "http://host:8080", None, b""),
        ("host:8080", "http://host:8080", None, b""),
        ("host", "http://host", None, b""),
        ("HTTP://Host:3128/", "http://host:3128", None, b""),
        ("https://host:8443", "https://host:8443", None, b""),
        ("anna:pw@host:8080", "http://host:8080", b"anna", b"pw"),
        ("http://anna@host:80", "http://host", b"anna", b""),
        ("http://:pw@host:1", "http://host:1", b"", b"pw"),
        ("http://@host:1", "http://host:1", None, b""),
        ("http://anna:a:b@host:1", "http://host:1", b"anna", b"a:b"),
        ("http://CORP%5Canna:a%23b%2Fc%40d@host:1", "http://host:1", b"CORP\\anna", b"a#b/c@d"),
        ("http://anna:gr%C3%BC%C3%9Fe%E2%82%AC@host:1", "http://host:1", b"anna", "grüße€".encode()),
        ("http://anna:gr\u00fc\u00dfe@host:1", "http://host:1", b"anna", "grüße".encode()),
        ("http://anna:%FC@host:1", "http://host:1", b"anna", b"\xfc"),
        ("http://anna:50%x@host:1", "http://host:1", b"anna", b"50%x"),
        ("http://10.0.0.1:3128", "http://10.0.0.1:3128", None, b""),
        ("http://[::1]:8080", "http://[::1]:8080", None, b""),
        ("http://[fe80::1%25eth0]:8080", "http://[fe80::1%eth0]:8080", None, b""),
        ("http://proxy_1.lan.:8080", "http://proxy_1.lan.:8080", None, b""),
    ],
)
def test_addresses_that_people_have(value: str, address: str, user: bytes | None, password: bytes) -> None:
    assert proxies.parse(value, "HTTPS_PROXY") == Proxy(address=address, user=user, password=password)


@pytest.mark.parametrize(
    "value",
    [
        "http://anna:geheim1#x@127.0.0.1:8807",
        "http://anna:geheim/x@host:8080",
        "http://anna:8080/geheim@host:8080",  # taken at its word, a server named anna
        "http://anna:8080?geheim@host:8080",
        "http://anna:8080#geheim@host:8080",
        r"http://CORP\anna:geheim@host:8080",
        r"http://anna:gehe\im@host:8080",
        "http://anna:gehe@im@host:8080",
        "anna:geheim#@host",
        "http://anna:gehe\nim@host:1",
        "http://host:80x0",
        "http://host:0",
        "http://host:99999",
        "http://host:-1",
        "http://host:٣",
        "http://host:80/path",
        "http://host:1 2",
        "http://[::1:8807",
        "http://::1:8807",
        "http://[:::]:1",
        "http://[host]:1",
        "http://",
        "http://:8080",
        "http:/host:80",
        "http:host:80",
        "//host:80",
        "http://ho st:80",
        "http://ho%41st:80",
        "http://..:80",
        "http://xn--a:1",
        f"http://{'a' * 64}:1",
    ],
)
def test_what_is_no_address_is_refused_without_its_text(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        proxies.parse(value, "HTTPS_PROXY")
    assert str(caught.value) == f"HTTPS_PROXY {NO_ADDRESS}"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("socks5://anna:geheim@host:1080", "SOCKS proxy"),
        ("socks5h://host", "SOCKS proxy"),
        ("socks://host:1080/", "SOCKS proxy"),
        ("SOCKS4a://host", "SOCKS proxy"),
        ("ftp://anna:geheim@host", "not the address of an HTTP proxy"),
        ("geheim://host", "not the address of an HTTP proxy"),
        ("http://an%3Ana:geheim@host:1", "a user with a colon"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^all_proxy .*{says}") as caught:
        proxies.parse(value, "all_proxy")
    assert "geheim" not in str(caught.value)


def test_a_proxy_printed_by_mistake_shows_no_password() -> None:
    assert repr(proxies.parse("http://anna:geheim@host:1", "X")) == "Proxy('http://host:1')"


# ---- which one --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "environment", "address"),
    [
        ("https://a.test", {}, None),
        ("https://a.test", {"HTTPS_PROXY": "h:1"}, "http://h:1"),
        ("https://a.test", {"HTTP_PROXY": "h:1"}, None),
        ("http://a.test", {"HTTP_PROXY": "h:1"}, "http://h:1"),
        ("https://a.test", {"HTTPS_PROXY": "h:1", "https_proxy": "h:2"}, "http://h:2"),
        ("https://a.test", {"HTTPS_PROXY": "h:1", "https_proxy": ""}, None),
        ("https://a.test", {"HTTPS_PROXY": " h:1\r\n"}, "http://h:1"),
        ("https://a.test", {"HTTPS_PROXY": "  "}, None),
        ("https://a.test", {"ALL_PROXY": "h:3"}, "http://h:3"),
        ("http://a.test", {"all_proxy": "h:4", "ALL_PROXY": "h:3"}, "http://h:4"),
        ("https://a.test", {"HTTPS_PROXY": "h:1", "all_proxy": "socks5://h"}, "http://h:1"),
        ("https://a.test", {"HTTPS_PROXY": "", "ALL_PROXY": "h:3"}, None),
        ("http://a.test", {"HTTP_PROXY": "h:1", "REQUEST_METHOD": "GET"}, None),
        ("http://a.test", {"http_proxy": "h:1", "REQUEST_METHOD": "GET"}, "http://h:1"),
        ("https://a.test", {"HTTPS_PROXY": "h:1", "NO_PROXY": ".test"}, None),
        ("https://a.test", {"HTTPS_PROXY": "h:80x0", "no_proxy": "*"}, None),
        ("https://a.test", {"HTTPS_PROXY": "h:1", "NO_PROXY": "*", "no_proxy": ""}, "http://h:1"),
    ],
)
def test_the_variable_that_counts(origin: str, environment: dict[str, str], address: str | None) -> None:
    found = proxies.choose(origin, environment)
    assert (found and found.address) == address


@pytest.mark.parametrize("name", [*VARIABLES, "HTTP_PROXY", "http_proxy"])
def test_the_variable_is_named_as_it_was_set(name: str) -> None:
    origin = "http://a.test" if name.lower() == "http_proxy" else "https://a.test"
    with pytest.raises(ConfigError, match=f"^{name} is not an address"):
        proxies.choose(origin, {name: "http://h:80x0"})


@pytest.mark.parametrize(
    ("listed", "host", "port", "direct"),
    [
        ("", "h", 1, False),
        (",, ,", "h", 1, False),
        ("*", "h", 1, True),
        ("a,*", "h", 1, True),
        ("example.org", "example.org", 443, True),
        ("example.org", "stac.example.org", 443, True),
        (".example.org", "stac.example.org", 443, True),
        (".example.org", "example.org", 443, True),
        ("*.example.org", "stac.example.org", 443, True),
        ("EXAMPLE.org.", "stac.example.ORG", 443, True),
        ("xample.org", "example.org", 443, False),
        ("a.test b.test,c.test", "b.test", 1, True),
        ("host:8443", "host", 443, False),
        ("host:443", "host", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.1/8", "10.1.2.3", 80, True),
        ("10.0.0.0/99", "10.1.2.3", 80, False),
        ("10.0.0.0/8", "name", 80, False),
        ("10.1.2.3:80", "10.1.2.3", 80, True),
        ("10.1.2.3:81", "10.1.2.3", 80, False),
        ("fe80::/10", "fe80::1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:80", "[::1]", 80, True),
        ("[::1]:81", "::1", 80, False),
        (".", "h", 1, False),
        ("http://h", "h", 1, False),
    ],
)
def test_hosts_that_are_asked_directly(listed: str, host: str, port: int, direct: bool) -> None:
    assert proxies.bypassed(host, port, listed) is direct


# ---- in use -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("an%23na:p%2Fq%40r%5Cs", b"an#na:p/q@r\\s"),
        ("anna:gr%C3%BC%C3%9Fe%E2%82%AC", "anna:grüße€".encode()),
        ("anna:%FC", b"anna:\xfc"),
        ("anna", b"anna:"),
    ],
)
def test_the_bytes_that_were_percent_encoded_are_sent(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, written: str, sent: bytes
) -> None:
    (server.folder / "data.bin").write_bytes(bytes(100))
    monkeypatch.setenv("ALL_PROXY", server.origin.replace("//", f"//{written}@"))

    async def work() -> None:
        async with Transport(origins=["http://cogs.test", "https://cogs.test"], attempts=1) as transport:
            await transport.read("http://cogs.test/well/0/data.bin", 0, 10)
            with pytest.raises(s2async.RemoteError, match="the proxy answers 407"):
                await transport.read("https://cogs.test/well/0/data.bin", 0, 10)

    asyncio.run(work())
    plain, tunnel = server.log
    assert (plain["target"], tunnel["target"]) == ("http://cogs.test/well/0/data.bin", "cogs.test:443")
    expected = f"Basic {base64.b64encode(sent).decode()}"
    assert [entry["headers"]["proxy-authorization"] for entry in (plain, tunnel)] == [expected, expected]


def test_the_address_for_aiohttp_stands_for_the_same_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "anna:a%2Fb@host:8080")
    found = connections.proxy_for("https://a.test")
    assert found is not None
    assert (found.user, found.password, found.host, found.port) == ("anna", "a/b", "host", 8080)
    assert connections.proxy_for("http://a.test") is None


def refused(folder: Path, *arguments: str, **environment: str) -> str:
    """The one line of a command that ends with 2; nothing but the configuration may be there afterwards."""
    (folder / "c.toml").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "s2async", *arguments, "c.toml"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert [path.name for path in folder.iterdir()] == ["c.toml"]
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, ""),
        ({"https_proxy": "anna:geheim@host:1"}, "http://host:1, with a user name (from https_proxy)"),
        ({"ALL_PROXY": "host:1"}, "http://host:1 (from ALL_PROXY)"),
        ({"HTTPS_PROXY": "host:1", "no_proxy": "a.test"}, ""),
    ],
)
def test_a_proxy_is_described_with_its_variable_and_without_its_user(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert connections.proxy_told("https://a.test") == told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"), [("all_proxy", ("run",)), ("HTTPS_PROXY", ("plan",)), ("ALL_PROXY", ("-q", "run"))]
)
def test_a_command_ends_with_one_line_before_anything_is_made(
    tmp_path: Path, name: str, arguments: tuple[str, ...]
) -> None:
    line = refused(tmp_path, *arguments, **{name: "http://anna:hunter2/canary@127.0.0.1:1"})
    assert line == f"s2async: {name} {NO_ADDRESS}"


def test_the_addresses_that_once_were_printed(tmp_path: Path, bug_cases: Path) -> None:
    readme = (bug_cases / "27-proxy-password-crash" / "README.md").read_text()
    addresses = re.findall(r"'(https?://[^']+)'", readme.partition("Seen:")[0])
    assert len(addresses) == 5
    for number, address in enumerate(addresses):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = "plan" if number % 2 else "run"
        assert refused(folder, command, HTTPS_PROXY=address) == f"s2async: HTTPS_PROXY {NO_ADDRESS}"


def test_from_python_it_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    monkeypatch.setenv("HTTPS_PROXY", "http://anna:hunter2#canary@h:1")
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY is not an address") as caught:
        s2async.run_sync(path)
    shown: Any = caught.value
    while shown is not None:
        assert "hunter2" not in str(shown)
        shown = shown.__cause__ or shown.__context__
    assert not (tmp_path / "data").exists()
