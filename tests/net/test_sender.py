"""Whom requests are sent to: allowed origins, redirects, proxies, and what certificates show."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from s2async.errors import BadAnswer, Diverted, Refused, RemoteError, TransientError
from s2async.net.client import Transport
from s2async.net.connections import BUNDLES
from s2async.net.sender import MAX_REDIRECTS
from tests.support.fault_server import FaultServer
from tests.support.transports import CONTENT, asker, outcome, reader, run

pytestmark = pytest.mark.usefixtures("clean_environment")


# ---- whom we ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("{other}/well/0/data.bin", 'add "{other}" to origins in [network]'),
        ("http://2130706433:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://0x7f.1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://127.1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://127.0.0.1.:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://127.0.0%2e1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://[::ffff:127.0.0.1]:{port}/well/0/data.bin", 'add "http://[::ffff:'),  # the rest is ipaddress's
        ("http://169.254.169.254/latest/meta-data", 'add "http://169.254.169.254"'),
        ("https://127.0.0.1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://me:canary@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://me@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://:canary@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://127.0.0.1:{port}@evil.test/well/0/data.bin", "a user name in it"),
        ("http://127.0.0.1:{port}\\@evil.test/well/0/data.bin", " URL"),  # to older yarl, a user name
        ("http://127.0.0.1:{port}\r\nX-Evil: 1/", "not a full http(s) URL"),
        ("http://127.0.0.1:99999/", "not a full http(s) URL"),
        ("http://[::1/", "not a full http(s) URL"),
        ("//127.0.0.1:{port}/well/0/data.bin", "not a full http(s) URL"),
        ("/well/0/data.bin", "not a full http(s) URL"),
        ("http:///well/0/data.bin", "not a full http(s) URL"),
        ("file:///etc/passwd", "not a full http(s) URL"),
        ("/vsicurl/http://127.0.0.1:{port}/well/0/data.bin", "not a full http(s) URL"),
        ("", "not a full http(s) URL"),
        ("ftp://127.0.0.1:{port}/well/0/data.bin", "only http and https"),
        ("s3://sentinel-cogs/well/0/data.bin", "only http and https"),
        ("zip+http://127.0.0.1:{port}/well/0/data.bin", "only http and https"),
    ],
)
def test_an_address_that_was_not_allowed_is_not_asked(
    server: FaultServer, name: str, href: str, text: str
) -> None:
    known = {"other": server.other, "port": server.ports["port"]}
    with pytest.raises(Refused) as caught:
        run(server, reader(href.format(**known)))
    assert text.format(**known) in str(caught.value)
    assert "canary" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert server.totals() == (0, 0)


def test_an_address_is_compared_as_it_is_meant(server: FaultServer, name: str) -> None:
    port = server.ports["port"]
    url = f"HTTP://LocalHost:{port}/well/0/{name}"
    assert run(server, reader(url), origins=[f"http://LOCALHOST:{port}/"])[0].data == CONTENT[:1000]
    # allowed, and only then found to be no server: port 1 of a loopback address that nobody uses
    for origin, href in [
        ("http://127.0.0.9:80", "http://127.0.0.9/x"),
        ("http://127.0.0.9", "http://127.0.0.9:80/x"),
    ]:
        error, _ = run(server, lambda transport, href=href: outcome(transport.read(href, 0, 1)), origins=[origin])  # type: ignore[misc]
        assert not isinstance(error, Refused)


# ---- redirects --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_and_its_body_is_counted_but_no_data(
    server: FaultServer, name: str, status: int
) -> None:
    url = server.url("redirect", -1, "moved.bin", status=status, to=f"/well/0/{name}")
    piece, transport = run(server, reader(url, 10, 20))
    assert piece.data == CONTENT[10:30]
    assert server.totals() == (2, len(b"over there") + 20) == (transport.meter.requests, transport.meter.bytes)
    assert [entry["range"] for entry in server.log] == ["bytes=10-29"] * 2


def test_headers_of_an_api_go_to_its_origin_alone(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> None:
        await transport.json("POST", server.url("well", 0, "search.json"), {"limit": 5})
        await transport.json("GET", server.url("redirect", -1, "here", to="/well/0/here.json"))
        there = f"{server.other}/well/0/there.json"
        await transport.json("GET", server.url("redirect", -1, "moved", to=there))
        await transport.json("GET", there)
        await transport.read(server.url("well", 0, name), 0, 10)
        await transport.read(server.url("redirect", -1, "file", to=f"/well/0/{name}"), 0, 10)

    headers = {server.origin: {"X-Api-Key": "canary", "Authorization": "Bearer canary"}}
    run(server, work, origins=[server.origin, server.other], api_headers=headers)
    sent = {entry["path"].rpartition("/")[2]: entry["headers"].get("x-api-key") for entry in server.log}
    assert sent == {
        "search.json": "canary", "here": "canary", "here.json": "canary", "moved": "canary",
        "there.json": None, name: None, "file": None,
    }  # fmt: skip
    for entry in server.log:
        assert ("authorization" in entry["headers"]) == ("x-api-key" in entry["headers"])
        assert (entry["port"] == server.ports["other"]) <= ("x-api-key" not in entry["headers"])


@pytest.mark.parametrize("status", [400, 200, 301])
def test_an_answer_that_repeats_a_header_does_not_tell_it(
    server: FaultServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    said = b"key canary-123 is unknown".hex()
    url = server.url("body", -1, "search", status=status, kind="text/plain", hex=said)
    caplog.set_level("DEBUG", "s2async")
    with pytest.raises(RemoteError) as caught:
        run(server, asker(url), api_headers={server.origin: {"x-api-key": "canary-123"}})
    assert server.log[0]["headers"]["x-api-key"] == "canary-123"
    assert "canary" not in str(caught.value)
    assert not any("canary" in str(record.__dict__) for record in caplog.records)


def test_a_post_stays_a_post(server: FaultServer) -> None:
    url = server.url("redirect", -1, "search", status=308, to="/well/0/search.json")
    found, _ = run(server, lambda transport: transport.json("POST", url, {"limit": 5}))
    assert found["method"] == "POST"
    assert json.loads(found["body"]) == {"limit": 5}


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("{other}/well/0/data.bin", "not an allowed origin"),
        ("//localhost:{port}/well/0/data.bin", "not an allowed origin"),
        ("file:///etc/passwd", "not a full http(s) URL"),
        ("http://me:canary@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://[bad", "not a URL"),
        ("http://169.254.169.254/", "not an allowed origin"),
    ],
)
def test_a_redirect_to_elsewhere_is_refused(server: FaultServer, name: str, target: str, text: str) -> None:
    to = target.format(other=server.other, port=server.ports["port"])
    with pytest.raises(Refused) as caught:
        run(server, reader(server.url("redirect", -1, "moved.bin", to=to)))
    assert type(caught.value) is Diverted
    assert text in str(caught.value)
    assert "canary" not in str(caught.value)
    assert [entry["path"] for entry in server.log] == ["/redirect/-1/moved.bin"] * 2, "once more, and nobody else"


@pytest.mark.parametrize("target", ["{other}/well/0/data.bin", "/html/-1/portal.html", "file:///etc/passwd"])
def test_a_redirect_to_a_page_to_sign_in_to_is_asked_for_once_more_and_fresh(
    server: FaultServer, name: str, target: str
) -> None:
    """As somebody on the way answers who wants the user to sign in first, or to sign in again."""
    to = target.format(other=server.other)
    urls = [server.url("redirect", 1, f"{n}-{name}", to=to) for n in range(20)]

    async def work(transport: Transport) -> list[object]:
        pieces = await asyncio.gather(*(transport.read(url, 8, 100) for url in urls))
        found = await transport.json("GET", server.url("redirect", 1, "search.json", to=to))
        return [*(piece.data for piece in pieces), found["method"]]

    for n in range(20):
        (server.folder / f"{n}-{name}").write_bytes(CONTENT)
    assert run(server, work)[0] == [*[CONTENT[8:108]] * 20, "GET"]
    asked = [entry for entry in server.log if entry["path"].startswith("/redirect")]
    assert len(asked) == 2 * 21
    assert sum("cache-control" in entry["headers"] for entry in asked) == 21
    assert not [entry for entry in server.log if entry["port"] == server.ports["other"]]


def test_redirects_in_a_circle_end(server: FaultServer) -> None:
    url = server.url("redirect", -1, "circle.bin", to="/redirect/-1/circle.bin?to=%2Fredirect%2F-1%2Fcircle.bin")
    with pytest.raises((Refused, BadAnswer), match="redirect"):
        run(server, reader(url))
    assert server.totals()[0] <= 2 * (MAX_REDIRECTS + 1)
    chain = "/well/0/data.bin"
    for _ in range(MAX_REDIRECTS + 1):
        chain = server.url("redirect", -1, "chain.bin", to=chain)
    with pytest.raises(BadAnswer, match=f"more than {MAX_REDIRECTS} redirects"):
        run(server, reader(chain))


def test_a_redirect_to_nowhere(server: FaultServer) -> None:
    with pytest.raises(BadAnswer, match="a redirect without a target"):
        run(server, reader(server.url("redirect", -1, "moved.bin")))


# ---- proxies, certificates --------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used_and_its_password_kept(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = server.origin.replace("//", "//me:canary@")
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    origins = ["http://cogs.test", "https://cogs.test", server.origin]

    async def work(transport: Transport) -> list[object]:
        return [
            await transport.read(f"http://cogs.test/well/0/{name}", 0, 10),
            await outcome(transport.read(f"https://cogs.test/well/0/{name}", 0, 10)),
            await transport.read(server.url("well", 0, name), 0, 10),
        ]

    (plain, secure, direct), _ = run(server, work, origins=origins, attempts=1)
    assert plain == direct
    assert isinstance(secure, TransientError)
    assert "the proxy answers 407" in str(secure)
    assert "canary" not in str(secure)
    through, tunnel, straight = server.log
    assert through["target"] == f"http://cogs.test/well/0/{name}"
    assert (tunnel["method"], tunnel["target"]) == ("CONNECT", "cogs.test:443")
    assert {e["headers"]["proxy-authorization"] for e in (through, tunnel)} == {"Basic bWU6Y2FuYXJ5"}
    assert "proxy-authorization" not in straight["headers"]


def test_a_proxy_that_is_not_there_is_named_as_the_cause(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"me:canary@127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(TransientError, match="cannot connect to the proxy") as caught:
            run(server, reader("https://cogs.test/x.tif"), origins=["https://cogs.test"])
    assert "canary" not in str(caught.value)


CLIENT = """
import asyncio, sys
from s2async.errors import RemoteError
from s2async.net.client import Transport

async def main(origin):
    async with Transport(origins=[origin], wait=lambda n: 0) as transport:
        try:
            print(len((await transport.read(f"{origin}/well/0/data.bin", 0, 10)).data))
        except RemoteError as error:
            print(type(error).__name__, error)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_is_checked_against_those_of_the_environment(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *curve, *files, *subject], check=True, capture_output=True)
    (tmp_path / "data.bin").write_bytes(CONTENT)
    server = FaultServer(tmp_path, certificate, key)
    try:
        origin = f"https://127.0.0.1:{server.ports['tls']}"
        clean = {key: value for key, value in os.environ.items() if key not in BUNDLES}
        folder = tmp_path / "folder"
        folder.mkdir()
        shutil.copy(certificate, folder / "a.pem")
        subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)
        variables = [{}, *({variable: str(certificate)} for variable in BUNDLES), {"CURL_CA_BUNDLE": str(folder)}]
        said = [
            subprocess.run(
                [sys.executable, "-c", CLIENT, origin],
                env=clean | more,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for more in variables
        ]
        assert said[0].startswith("Refused TLS failed (")
        assert "certificate verify failed" in said[0]
        assert "SSL_CERT_FILE" in said[0], "what to do"
        assert said[1:] == ["10"] * 4
        assert server.totals() == (4, 40)
    finally:
        server.stop()


def test_a_server_that_speaks_no_tls_is_never_asked_without(server: FaultServer) -> None:
    origin = server.origin.replace("http:", "https:")
    with pytest.raises(Refused, match=r"TLS failed \(.*SSL") as caught:
        run(server, reader(f"{origin}/well/0/data.bin"), origins=[origin, server.origin])
    assert "\n" not in str(caught.value)
    assert server.totals() == (0, 0)
