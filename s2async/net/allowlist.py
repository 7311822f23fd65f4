"""Decides which servers requests may be sent to: by origin, and by the addresses that names resolve to. Pure.

The rule has three steps:

1. Requests are sent only to origins (scheme, host and port) on the allow-list: those of the API, of its assets,
   and those that the user listed. The parsed URL of every request and of every redirect is checked, and the same
   value is used for the request.
2. A name may resolve to addresses of the public internet. Any other address (loopback, private, shared, link-local
   such as a cloud's metadata service, documentation, multicast, and IPv6 that wraps one of these) is used only if
   the user intended it: the listed origin is that address itself, or the origin is ``localhost`` and the address
   is loopback, or the origin is in ``private_origins``. That setting permits private and loopback addresses, but
   no others, such as link-local addresses.
3. The connection goes to the address that was checked: the resolver does the check, so a name that resolves
   differently the next time (DNS rebinding) does not bypass it. The user's own proxy is exempt; if a proxy is
   used, the proxy resolves names.
"""

from __future__ import annotations

from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from yarl import URL

from s2async.errors import NotAllowed, Refused
from s2async.text import listing, parsed_url, shown

_UNICAST: Final = IPv6Network("2000::/3")
"""The only part of IPv6 that is assigned to the public internet (IANA, IPv6 Global Unicast)."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as they appear in networks that have only IPv6 (RFC 6052)."""
_PROTOCOLS: Final = ip_network("192.0.0.0/24")
"""IETF protocol assignments (RFC 6890); older Python versions regard some of them as global."""
_PRIVATE: Final = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""Private networks (RFC 1918), shared networks of a provider's NAT or a mesh VPN (RFC 6598), and unique local
addresses (RFC 4193)."""


def allowed(href: str, origins: Container[str]) -> tuple[URL, str]:
    """Check that a URL may be requested; return the parsed URL and its origin.

    Args:
        href: a URL from a catalogue or a redirect.
        origins: the allow-list; each origin as :func:`s2async.text.origin_of` writes it.

    Raises:
        Refused: the URL may not be requested, or is not valid. The message is one line, without secrets.
    """
    try:
        url = parsed_url(href)
        origin = str(url.origin())
    except ValueError as error:
        raise Refused(f"not a full http(s) URL: {shown(href)}") from error
    if url.raw_user is not None or url.raw_password is not None:
        raise Refused(f"a URL with a user name in it is refused: {shown(href)}")
    if url.scheme not in ("http", "https"):
        raise Refused(f"only http and https are allowed: {shown(href)}")
    if origin not in origins:
        raise NotAllowed(f"not an allowed origin: {shown(href)}; {listing(origin)}", origin=origin)
    return url, origin


def place_of(address: str) -> tuple[str, int]:
    """Return host and port in the form in which a resolver receives them."""
    url = URL(address)
    return (url.raw_host or "").rstrip("."), url.port or 0


def may_stand_for(host: str, address: str, *, private: bool) -> bool:
    """Return whether a name may resolve to a network address: step 2 of the rule.

    Args:
        host: the name.
        address: the IPv4 or IPv6 address from the resolver.
        private: whether the user listed the origin of the name in ``private_origins``.
    """
    found = _unwrapped(address)
    if found is None:
        return False
    if _is_public(found):
        return True
    if host == "localhost" or host.endswith(".localhost"):
        return found.is_loopback
    return private and (found.is_loopback or _is_private(found))


def _unwrapped(address: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a connection finally reaches; None if the text is not an address."""
    try:
        found = ip_address(address)
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return found
    if found in _NAT64:
        return IPv4Address(found.packed[-4:])
    return found.ipv4_mapped or found.sixtofour or found


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and address not in _PROTOCOLS


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE)
