from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s2async.errors import Refused
from s2async.net import allowlist

LISTED = {"https://cogs.test", "http://127.0.0.1:8000", "http://[::1]:8000"}

PUBLIC = ["8.8.8.8", "52.218.128.1", "2600:1f18::1", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"]
PRIVATE = [
    "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
    "2002:a00:1::1",
]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1"]
NEVER = [
    "169.254.169.254", "fe80::1", "fe80::1%2", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
    "0.0.0.0", "::", "224.0.0.1", "239.1.1.1", "ff02::1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "192.0.0.8",
    "2001:db8::1", "198.18.0.1", "fec0::1", "::127.0.0.1", "64:ff9b:1::a00:1", "2001::1", "fd00:ec2::254x", "",
    "8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_every_name_may_stand_for_public_addresses(address: str) -> None:
    assert allowlist.may_stand_for("cogs.test", address, private=False)
    assert allowlist.may_stand_for("cogs.test", address, private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_for_names_that_were_listed_as_private(address: str) -> None:
    assert not allowlist.may_stand_for("cogs.test", address, private=False)
    assert not allowlist.may_stand_for("localhost", address, private=False)
    assert allowlist.may_stand_for("minio.lan", address, private=True)


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_for_localhost_and_for_names_that_were_listed_as_private(address: str) -> None:
    assert not allowlist.may_stand_for("cogs.test", address, private=False)
    assert not allowlist.may_stand_for("localhost.test", address, private=False)
    assert not allowlist.may_stand_for("notlocalhost", address, private=False)
    assert allowlist.may_stand_for("localhost", address, private=False)
    assert allowlist.may_stand_for("api.localhost", address, private=False)
    assert allowlist.may_stand_for("minio.lan", address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_no_name_stands_for_addresses_that_nobody_can_mean(address: str) -> None:
    for host in ("cogs.test", "localhost"):
        assert not allowlist.may_stand_for(host, address, private=False)
        assert not allowlist.may_stand_for(host, address, private=True)


@given(st.ip_addresses(v=4))
def test_however_an_ipv4_address_is_wrapped_it_is_judged_as_itself(address: IPv4Address) -> None:
    number = int(address)
    wrapped = [IPv6Address(0xFFFF << 32 | number), IPv6Address((0x64FF9B << 96) | number)]
    wrapped.append(IPv6Address(0x2002 << 112 | number << 80))
    for host, private in (("cogs.test", False), ("localhost", False), ("minio.lan", True)):
        verdict = allowlist.may_stand_for(host, str(address), private=private)
        assert [allowlist.may_stand_for(host, str(other), private=private) for other in wrapped] == [verdict] * 3


@given(st.ip_addresses())
def test_what_is_allowed_without_consent_is_global(address: IPv4Address | IPv6Address) -> None:
    if allowlist.may_stand_for("cogs.test", str(address), private=False) and address.version == 4:
        assert address.is_global
        assert not address.is_multicast


@given(st.text(max_size=40))
def test_what_is_no_address_is_never_allowed(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        assert not allowlist.may_stand_for("localhost", text, private=True)


@pytest.mark.parametrize(
    ("href", "origin"),
    [
        ("https://cogs.test/a/b.tif?x=1", "https://cogs.test"),
        ("HTTPS://COGS.Test:443/a", "https://cogs.test"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://[0:0::1]:8000/x", "http://[::1]:8000"),
    ],
)
def test_what_is_listed_is_allowed(href: str, origin: str) -> None:
    url, found = allowlist.allowed(href, LISTED)
    assert found == origin == str(url.origin())


@example("https://[]@")
@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z0-9.:@%\[\]\\/-]{0,40}"))
def test_whatever_is_allowed_has_an_origin_of_the_list(href: str) -> None:
    try:
        url, origin = allowlist.allowed(href, LISTED)
    except Refused as error:
        refusal = str(error)
        assert refusal.isprintable()
        return
    assert origin in LISTED
    place = url.scheme, url.raw_host, url.port
    assert place in {("https", "cogs.test", 443), ("http", "127.0.0.1", 8000), ("http", "::1", 8000)}
    assert url.raw_user is None


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://cogs.test", ("cogs.test", 443)),
        ("http://Cogs.test.:8080/", ("cogs.test", 8080)),
        ("http://me:secret@proxy.lan:3128", ("proxy.lan", 3128)),
    ],
)
def test_places(address: str, place: tuple[str, int]) -> None:
    assert allowlist.place_of(address) == place
