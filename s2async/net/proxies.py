"""Which proxy the environment names for an origin, and whether that can be used. Pure.

The variables are those that most programs know: ``https_proxy`` and ``http_proxy`` by the origin's scheme, then
``all_proxy``; ``no_proxy`` lists hosts that are asked directly. Small letters come first, as in curl and Python,
and a variable that is set to nothing means none. What cannot be used is refused before anything is asked, and
never shown: most of these addresses hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import unquote_to_bytes

from yarl import URL

from s2async.errors import ConfigError

_SCHEME: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_AUTHORITY: Final = re.compile(
    r"""(?: (?P<user> [^:@/?\#\\\[\]]* ) (?: : (?P<password> [^@/?\#\\]* ) )? @ )?
    (?: (?P<host> [\w-]+ (?: \.[\w-]+ )* \.? ) | \[ (?P<six> [0-9a-f:.]+ (?: %[\w.~%-]+ )? ) \] )
    (?: : (?P<port> [0-9]* ) )? /?""",
    re.IGNORECASE | re.VERBOSE,
)
"""User, password, host and port, and a slash at the most: what follows it would be a part of a password."""
_LONGEST_LABEL: Final = 63
"""Characters of a part of a name (RFC 1035, 2.3.4)."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """A proxy that can be used."""

    address: str
    """``http://host:port`` or ``https://host:port``, without user and password."""
    user: bytes | None = None
    """As it is sent; None when there is no need to say who asks."""
    password: bytes = b""

    def __repr__(self) -> str:
        """The address alone: what is printed by mistake should hold no password."""
        return f"Proxy({self.address!r})"


def choose(origin: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that variables of the environment name for an origin; None when it is asked directly.

    Args:
        origin: ``scheme://host[:port]``.
        environment: variables and their values.

    Raises:
        ConfigError: what they name is no address, or no proxy that can be used; one line, without the value.
    """
    url = URL(origin)
    name = _variable(url.scheme, environment)
    value = environment[name].strip() if name else ""
    if not value or bypassed(url.raw_host or "", url.port or 0, _first(environment, "no_proxy")):
        return None
    return parse(value, name)


def parse(value: str, name: str) -> Proxy:
    r"""Read the address of a proxy: ``[scheme://][user[:password]@]host[:port][/]``.

    Args:
        value: the address; ``#``, ``/``, ``\``, ``@`` and the like are percent-encoded in user and password.
        name: the variable that holds it, for the complaint.

    Raises:
        ConfigError: as for `choose`.
    """
    start = _SCHEME.match(value)
    scheme = start["scheme"].lower() if start else "http"
    if scheme.startswith("socks"):
        raise ConfigError(
            f"{name} names a SOCKS proxy, which this program cannot use; name an HTTP proxy (http://host:port), "
            "or list the hosts to be asked directly in NO_PROXY"
        )
    found = _AUTHORITY.fullmatch(value, start.end() if start else 0)
    if not found or not value.isprintable():
        raise _no_address(name)
    if scheme not in _DEFAULT_PORTS:
        raise ConfigError(
            f"{name} is not the address of an HTTP proxy; write http://host:port or https://host:port"
        )
    user = unquote_to_bytes(found["user"]) if found["user"] or found["password"] else None
    if user and b":" in user:
        raise ConfigError(f"{name} names a user with a colon, which HTTP cannot send; use another one")
    try:
        host = str(ip_address(found["six"].replace("%25", "%"))) if found["six"] else found["host"]
        address = URL.build(scheme=scheme, host=host, port=int(found["port"] or _DEFAULT_PORTS[scheme]))
        written = (address.host and address.raw_host) or ""
    except ValueError:  # a port or an IPv6 address that is none, or a name that no name server can be asked for
        raise _no_address(name) from None
    if not address.port or not written or max(map(len, written.split("."))) > _LONGEST_LABEL:
        raise _no_address(name)
    return Proxy(address=str(address), user=user, password=unquote_to_bytes(found["password"] or ""))


def bypassed(host: str, port: int, listed: str) -> bool:
    """Whether NO_PROXY says that a host is asked directly.

    Args:
        host: name or address, as in an origin.
        port: that is asked.
        listed: hosts between commas or spaces: ``*`` for all, ``example.org``, ``.example.org`` or
            ``*.example.org`` for that domain, ``10.0.0.0/8`` for a network, each of them with ``:port`` where only
            that is meant. An entry that is none of these stands for no host.
    """
    host = host.strip("[]").rstrip(".").lower()
    return any(_is_meant(entry, host, port) for entry in re.split(r"[\s,]+", listed.lower()) if entry)


def _is_meant(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if address and "/" in entry:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False
    if _address(entry.strip("[]")) is None:
        entry, _, only = entry.rpartition(":") if re.search(r":[0-9]+$", entry) else (entry, "", "")
        if only and int(only) != port:
            return False
    if address:
        return address == _address(entry.strip("[]"))
    domain = entry.removeprefix("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _variable(scheme: str, environment: Mapping[str, str]) -> str:
    """The variable that counts for origins of a scheme; the empty string when none is set."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    # in a CGI script a client can set this one, by a header named Proxy
    distrusted = "HTTP_PROXY" if "REQUEST_METHOD" in environment else ""
    return next((name for name in names if name in environment and name != distrusted), "")


def _first(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, environment.get(name.upper(), ""))


def _no_address(name: str) -> ConfigError:
    return ConfigError(rf"{name} is not an address (percent-encode # / @ \ in user and password)")
