"""The way to a service: proxy, certificates and name look-up, and the first request, which shows if they work."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import NoReturn

from s2async.check import service
from s2async.check.findings import not_tried, odd, right, wrong
from s2async.check.session import Session, Stop
from s2async.errors import AccessDenied, ConfigError, Diverted, RemoteError, WrongKind
from s2async.net.allowlist import place_of
from s2async.net.client import Transport
from s2async.net.connections import Resolver, brief, check_proxies, failed_at, proxy_told, trusted_certificates


def check_settings(session: Session) -> None:
    """Check the proxy and the certificates that the environment sets."""
    origins = session.config.allowed_origins()
    try:
        check_proxies(origins)
        session.proxy = proxy_told(origins[0])
    except ConfigError as error:
        session.add(wrong("proxy", str(error), error.exit_code))
        raise Stop("the proxy cannot be used") from None
    others = {proxy_told(origin) for origin in origins[1:]} - {session.proxy}
    more = f"; for files: {', '.join(sorted(other or 'none' for other in others))}" if others else ""
    session.add(right("proxy", f"{session.proxy or 'none'}{more}"))
    try:
        trusted_certificates(origins)
    except ConfigError as error:
        session.add(wrong("TLS", str(error), error.exit_code))
        raise Stop("TLS cannot be used") from None


async def look_up(session: Session) -> None:
    """Resolve the name of the catalogue's host."""
    host, port = place_of(session.catalog.url)
    if session.proxy:
        session.add(right("name", f"{host}: the proxy resolves it"))
        return
    if _is_address(host):
        session.add(right("name", f"{host} is an address"))
        return
    resolver = Resolver(private=map(place_of, session.config.network.private_origins), proxies=())
    try:
        async with asyncio.timeout(session.config.network.connect_timeout):
            found = await resolver.resolve(host, port, socket.AF_UNSPEC)
        addresses = {entry["host"] for entry in found}
    except RemoteError as error:
        _no_name(session, str(error))
    except OSError as error:
        _no_name(
            session, f"{host} cannot be resolved ({_cause(error)})", "check the URL and the network connection"
        )
    else:
        session.add(right("name", f"{host}: {len(addresses)} address{'es' * (len(addresses) > 1)}"))
    finally:
        await resolver.close()


def _no_name(session: Session, text: str, advice: str = "") -> NoReturn:
    session.add(wrong("name", text, service.NETWORK, advice))
    raise Stop("the name cannot be resolved")


async def ask_landing(session: Session, transport: Transport) -> None:
    """Request the landing page, which also shows whether proxy and TLS work, and the time of the server."""
    headers: Mapping[str, str] = {}

    def keep(found: Mapping[str, str]) -> None:
        nonlocal headers
        headers = found

    secure = session.catalog.url.startswith("https:")
    began = datetime.now(UTC)
    try:
        session.landing = await transport.json("GET", session.catalog.url, on_headers=keep)
    except RemoteError as error:
        _no_landing(session, error, secure=secure)
        return
    session.add(right("TLS", "the certificate is accepted" if secure else "not used (http)"))
    session.add(service.clock(headers, began, datetime.now(UTC)))
    session.add(service.landing(session.landing, session.catalog.url))


def _no_landing(session: Session, error: RemoteError, *, secure: bool) -> None:
    """Find out why the first request failed."""
    where, text = failed_at(error), str(error)
    if session.proxy and (where in ("proxy", "name") or getattr(error, "status", None) == 407):
        what = "user name and password in the variable, NO_PROXY for hosts that are asked directly"
        session.add(wrong("proxy", f"{session.proxy}: {text}", service.NETWORK, f"check its address, {what}"))
        raise Stop("the proxy does not work")
    if where == "name":
        _no_name(session, text, "check the URL and the network connection")
    if where == "TLS":
        session.add(wrong("TLS", text, service.NETWORK, service.tls_advice(text, datetime.now(UTC))))
        raise Stop("TLS failed")
    if where == "connection":
        session.add(
            wrong("catalogue", text, service.NETWORK, "check url under [search] catalog, and the firewall")
        )
        raise Stop("the catalogue cannot be reached")
    session.add(right("TLS", "the certificate is accepted" if secure else "not used (http)"))
    advice = service.advice(error)
    if isinstance(error, AccessDenied | Diverted | WrongKind) or getattr(error, "status", None) in (401, 403):
        session.add(wrong("catalogue", text, service.NETWORK, advice))
        raise Stop("the catalogue does not answer as one")
    session.add(odd("catalogue", text, advice), not_tried("clock", "there is no landing page"))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _cause(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or brief(error))
