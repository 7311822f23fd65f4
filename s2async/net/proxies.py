"""Finds the proxy that the environment names for an origin. Pure.

The variables are the usual ones: ``https_proxy`` or ``http_proxy``, depending on the scheme of the origin, then
``all_proxy``; ``no_proxy`` lists hosts that are connected to directly. Lower case takes precedence, as in curl and
Python, and an empty value means no proxy. A value that cannot be used raises an error before any request. Messages
never contain the value, because many proxy addresses contain a password.
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
"""User, password, host and port, then at most a slash: anything after the slash would be part of a password."""
_LONGEST_LABEL: Final = 63
"""Maximum number of characters in one label of a host name (RFC 1035, 2.3.4)."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """A proxy that can be used."""

    address: str
    """``http://host:port`` or ``https://host:port``, without user and password."""
    user: bytes | None = None
    """User name as sent; None if the proxy needs no authentication."""
    password: bytes = b""

    def __repr__(self) -> str:
        """Return only the address, so that a value printed by mistake shows no password."""
        return f"Proxy({self.address!r})"


def choose(origin: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an origin; None if the connection is direct.

    Args:
        origin: ``scheme://host[:port]``.
        environment: variables and their values.

    Raises:
        ConfigError: the value is not an address, or not a usable proxy. The message does not contain the value.
    """
    url = URL(origin)
    name = variable(url.scheme, environment)
    value = environment[name].strip() if name else ""
    if not value or bypassed(url.raw_host or "", url.port or 0, _first(environment, "no_proxy")):
        return None
    return parse(value, name)


def parse(value: str, name: str) -> Proxy:
    r"""Parse the address of a proxy: ``[scheme://][user[:password]@]host[:port][/]``.

    Args:
        value: the address; in user and password, ``#``, ``/``, ``\``, ``@`` and the like are percent-encoded.
        name: name of the variable, for messages.

    Raises:
        ConfigError: as for `choose`.
    """
    start = _SCHEME.match(value)
    scheme = start["scheme"].lower() if start else "http"
    if scheme.startswith("socks"):
        raise ConfigError(
            f"{name} names a SOCKS proxy, which is not supported; name an HTTP proxy (http://host:port), "
            "or list the hosts to ask directly in NO_PROXY"
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
        raise ConfigError(f"{name} names a user with a colon, which HTTP does not allow; use another user")
    try:
        host = str(ip_address(found["six"].replace("%25", "%"))) if found["six"] else found["host"]
        address = URL.build(scheme=scheme, host=host, port=int(found["port"] or _DEFAULT_PORTS[scheme]))
        written = (address.host and address.raw_host) or ""
    except ValueError:  # an invalid port, IPv6 address or host name
        raise _no_address(name) from None
    if not address.port or not written or max(map(len, written.split("."))) > _LONGEST_LABEL:
        raise _no_address(name)
    return Proxy(address=str(address), user=user, password=unquote_to_bytes(found["password"] or ""))


def bypassed(host: str, port: int, listed: str) -> bool:
    """Return whether NO_PROXY exempts a host from the proxy.

    Args:
        host: name or address, as in an origin.
        port: port of the request.
        listed: the value of NO_PROXY. Entries are separated by commas or spaces: ``*`` for all hosts,
            ``example.org``, ``.example.org`` or ``*.example.org`` for a domain, ``10.0.0.0/8`` for a network, each
            with an optional ``:port``. Other entries match no host.
    """
    host = host.strip("[]").rstrip(".").lower()
    return any(_matches(entry, host, port) for entry in re.split(r"[\s,]+", listed.lower()) if entry)


def _matches(entry: str, host: str, port: int) -> bool:
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


def variable(scheme: str, environment: Mapping[str, str]) -> str:
    """Return the name of the variable that applies to a scheme; the empty string if none is set."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    # In a CGI script, a client can set this variable with a header named Proxy.
    distrusted = "HTTP_PROXY" if "REQUEST_METHOD" in environment else ""
    return next((name for name in names if name in environment and name != distrusted), "")


def _first(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, environment.get(name.upper(), ""))


def _no_address(name: str) -> ConfigError:
    return ConfigError(rf"{name} is not an address (percent-encode # / @ \ in user and password)")
