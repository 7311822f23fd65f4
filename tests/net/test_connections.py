from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from s2async.errors import Refused, RemoteError, TransientError
from s2async.net.client import Piece, Transport
from s2async.net.connections import Resolver
from tests.support.fault_server import FaultServer

pytestmark = pytest.mark.usefixtures("no_proxies")

REAL = socket.getaddrinfo
METADATA = "169.254.169.254"
NUMBERED = ("127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.01")


class Names:
    """A name server of its own: each look-up of a name gives its next answer, and the last one for ever."""

    def __init__(self, known: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.known = {name: list(answers) for name, answers in known.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        if host == "127.0.0.1":  # no name, but how the log of the fault server is asked for
            return REAL(host, port, *more, **named)
        self.asked.append(host)
        answers = self.known.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (one, port, 0, 0))
            if ":" in one
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in found
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Names]:
    def use(**known: Sequence[Sequence[str]]) -> Names:
        made = Names({name.replace("_", "."): answers for name, answers in known.items()})
        monkeypatch.setattr(socket, "getaddrinfo", made)
        return made

    return use


@pytest.fixture
def data(server: FaultServer) -> str:
    (server.folder / "data.bin").write_bytes(bytes(range(256)))
    return f":{server.ports['port']}/well/0/data.bin"


def read(href: str, **settings: Any) -> Piece | RemoteError:
    async def main() -> Piece | RemoteError:
        quick: dict[str, Any] = {"origins": [href], "connect_timeout": 2, "attempts": 1}
        async with Transport(**quick | settings) as transport:
            try:
                return await transport.read(href, 0, 10)
            except RemoteError as error:
                return error

    return asyncio.run(main())


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", METADATA, "10.0.0.1", "100.64.0.1", "fe80::1", "0.0.0.0"]
)
def test_a_name_that_stands_for_an_address_inside_is_refused(
    server: FaultServer, data: str, names: Callable[..., Names], address: str
) -> None:
    names(cogs_test=[[address]])
    error = read(f"http://cogs.test{data}")
    assert isinstance(error, Refused)
    assert str(error).startswith(f"cogs.test resolves to {address}, which is not a public address; ")
    assert "private_origins in [network]" in str(error)
    assert server.totals() == (0, 0)


def test_a_private_origin_and_localhost_may_be_on_this_machine(
    server: FaultServer, data: str, names: Callable[..., Names]
) -> None:
    asked = names(minio_lan=[["127.0.0.1"]], localhost=[["127.0.0.1"]]).asked
    for href in (f"http://minio.lan{data}", f"http://localhost{data}"):
        piece = read(href, origins=["http://localhost" + data], private_origins=[f"http://minio.lan{data}"])
        assert isinstance(piece, Piece)
    assert asked == ["minio.lan", "localhost"], "looked up once: what was checked is what was connected to"
    assert server.totals()[0] == 2


def test_a_private_origin_is_another_one_with_another_port(
    server: FaultServer, data: str, names: Callable[..., Names]
) -> None:
    names(minio_lan=[["127.0.0.1"]])
    assert isinstance(read(f"http://minio.lan{data}", private_origins=["http://minio.lan:1"]), Refused)
    assert server.totals() == (0, 0)


@pytest.mark.parametrize("address", [METADATA, "fe80::1", "::ffff:169.254.169.254"])
def test_not_even_a_private_origin_stands_for_a_clouds_metadata(
    data: str, names: Callable[..., Names], address: str
) -> None:
    names(minio_lan=[[address]])
    assert isinstance(read(f"http://minio.lan{data}", private_origins=[f"http://minio.lan{data}"]), Refused)


def test_a_name_that_is_bound_anew_gains_nothing(names: Callable[..., Names]) -> None:
    names(rebind_test=[["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "127.0.0.1", METADATA], [METADATA]])

    async def main() -> None:
        resolver = Resolver(private=[], proxies=[])

        async def resolved() -> list[str]:
            return [one["host"] for one in await resolver.resolve("rebind.test", 443)]

        assert await resolved() == ["93.184.216.34"]
        with pytest.raises(Refused, match=r"resolves to 127\.0\.0\.1"):
            await resolved()
        assert await resolved() == ["93.184.216.34"], "only the public one of several is left"
        with pytest.raises(Refused):
            await resolved()

    asyncio.run(main())


@pytest.mark.parametrize("host", NUMBERED)
def test_addresses_in_odd_forms_are_refused_even_where_they_are_listed(
    server: FaultServer, data: str, host: str
) -> None:
    error = read(f"http://{host}{data}")
    assert isinstance(error, Refused)
    assert server.totals() == (0, 0)


def test_a_proxy_of_the_users_own_may_be_anywhere(
    server: FaultServer, data: str, names: Callable[..., Names], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = names(proxy_lan=[["127.0.0.1"]]).asked
    monkeypatch.setenv("http_proxy", f"http://me:secret@Proxy.lan:{server.ports['port']}")
    assert isinstance(read("http://cogs.test/well/0/data.bin"), Piece)
    assert asked == ["proxy.lan"], "what lies behind it, the proxy looks up"
    assert server.log[0]["target"] == "http://cogs.test/well/0/data.bin"


def test_a_name_that_nobody_knows_may_be_known_later(names: Callable[..., Names]) -> None:
    names()
    error = read("https://nobody.test/x.tif")
    assert isinstance(error, TransientError)
    assert "cannot connect (Name or service not known)" in str(error)


def test_a_redirect_to_a_name_is_checked_as_well(
    server: FaultServer, data: str, names: Callable[..., Names], tmp_path: Path
) -> None:
    names(inside_test=[["127.0.0.1"]])
    inside = f"http://inside.test:{server.ports['other']}"
    href = server.url("redirect", -1, "moved.bin", to=f"{inside}/well/0/data.bin")
    assert isinstance(read(href, origins=[server.origin, inside]), Refused)
    assert [entry["port"] for entry in server.log] == [server.ports["port"]]
