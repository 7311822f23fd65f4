"""Opens sessions; decides which proxy a connection goes through, and which addresses of a name it may use."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from s2async import means
from s2async._version import __version__
from s2async.errors import ConfigError, NotAllowed
from s2async.net import allowlist as origins
from s2async.net import proxies
from s2async.net.proxies import Proxy

BUNDLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that name a file or folder of certificates to trust instead of the system's; the first one
that is set is used.

OpenSSL, requests and curl each read one of them. Networks with their own certificate authority set some of them.
"""


def open_session(
    *,
    timeout: aiohttp.ClientTimeout,
    connections: int,
    private: Iterable[str] = (),
    via: Iterable[URL] = (),
    trusted: ssl.SSLContext | None = None,
    fresh: bool = False,
) -> aiohttp.ClientSession:
    """Open a session that sends no cookies or stored passwords, and connects only to permitted addresses.

    Args:
        timeout: time-outs of each request.
        connections: maximum number of connections to one host.
        private: origins whose names may resolve to addresses of a private network.
        via: the user's own proxies, which may have any address.
        trusted: TLS context with the certificate authorities to trust; by default those of the system.
        fresh: use each connection only once.

    Raises:
        LocalError: this machine lacks the resources to open a session.
    """
    with _set_up():
        return _session(timeout, connections, private, via, trusted, fresh)


@contextlib.contextmanager
def _set_up() -> Iterator[None]:
    """Turn errors in the ``with`` block into a `LocalError`, because no server has been contacted yet."""
    try:
        yield
    except (OSError, MemoryError, ImportError, SystemError) as error:
        raise means.shortage(error) or means.short_of_tls(brief(error)) from error


def _session(
    timeout: aiohttp.ClientTimeout,
    connections: int,
    private: Iterable[str],
    via: Iterable[URL],
    trusted: ssl.SSLContext | None,
    fresh: bool,
) -> aiohttp.ClientSession:
    # The gates limit requests; the limit per host matters only for hosts that are targets of redirects.
    connector = aiohttp.TCPConnector(
        limit=0,
        limit_per_host=connections,
        ssl=trusted or True,
        ttl_dns_cache=300,
        force_close=fresh,
        resolver=Resolver(
            private=map(origins.place_of, private), proxies=[origins.place_of(str(proxy)) for proxy in via]
        ),
    )
    # With trust_env, aiohttp would send the passwords of ~/.netrc to hosts that serve public data.
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers={"User-Agent": f"s2async/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


class Resolver(aiohttp.ThreadedResolver):
    """Resolves names and returns only permitted addresses, so connections go to addresses that were checked.

    Literal addresses do not pass through a resolver; they are on the allow-list themselves.

    Args:
        private: hosts and ports that may have addresses of a private network.
        proxies: hosts and ports that may have any address.
    """

    def __init__(self, *, private: Iterable[tuple[str, int]], proxies: Iterable[tuple[str, int]]) -> None:
        super().__init__()
        self._private = frozenset(private)
        self._proxies = frozenset(proxies)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the permitted addresses of a host.

        Raises:
            NotAllowed: the host has addresses, but none is permitted.
        """
        name = host.rstrip(".").lower()
        try:
            found = await super().resolve(host, port, family)
        except UnicodeError:  # a label is too long
            raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from None
        if (name, port) in self._proxies:
            return found
        private = (name, port) in self._private
        good = [one for one in found if origins.may_stand_for(name, one["host"], private=private)]
        if found and not good:
            raise NotAllowed(
                f"{name} resolves to {found[0]['host']}, which is not a public address; if it is a server in "
                "your own network, add its origin to private_origins in [network]"
            )
        return good


def proxy_for(origin: str) -> URL | None:
    """Return the proxy for an origin, from the environment or otherwise from the system (macOS, Windows).

    Returns:
        The address of the proxy. Each character of user and password stands for one byte: aiohttp encodes them as
        Latin-1, so that it sends the bytes that were percent-encoded. None if the connection is direct.

    Raises:
        ConfigError: the setting cannot be used. The message is one line, without the value.
    """
    found = _chosen(origin)
    if found is None or found.user is None:
        return URL(found.address) if found else None
    bare = URL(found.address).with_user(found.user.decode("latin-1"))
    return bare.with_password(found.password.decode("latin-1"))


def check_proxies(origins: Iterable[str]) -> None:
    """Check before the first request that the proxies for the given origins can be used.

    Raises:
        ConfigError: a proxy cannot be used.
    """
    for origin in origins:
        _chosen(origin)


def _bundle(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first variable of `BUNDLES` that is set, with its value; None if none is set."""
    return next(((name, environment[name]) for name in BUNDLES if environment.get(name)), None)


def trusted_certificates(origins: Iterable[str]) -> ssl.SSLContext | None:
    """Return a TLS context that trusts the certificates named by the environment.

    The file is checked here because OpenSSL silently ignores a file that it cannot read, and then cannot verify
    the certificate of any server.

    Args:
        origins: the origins to which requests will be sent.

    Returns:
        The TLS context, or None if the environment names no certificates or no origin needs them.

    Raises:
        ConfigError: the file does not exist, or contains no valid certificates. The message is one line.
        LocalError: this machine lacks the resources to read the file.
    """
    named = _bundle(os.environ)
    if named is None or not any(origin.startswith("https:") for origin in origins):
        return None
    name, path = named
    with _set_up():
        try:
            if Path(path).is_dir():  # it contains one file for each certificate, named by OpenSSL's hash
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except OSError as error:
            if local := means.shortage(error):
                raise local from error
            why = "holds no valid certificates" if means.is_of_tls(error) else f"cannot be read ({error.strerror})"
            raise ConfigError(
                f"{name} names {path}, which {why}; name a file of certificates (PEM), or unset it"
            ) from None


def _chosen(origin: str) -> Proxy | None:
    if sys.platform not in ("darwin", "win32") or urllib.request.getproxies_environment():
        return proxies.choose(origin, os.environ)
    url = URL(origin)
    found = urllib.request.getproxies().get(url.scheme)
    if not found or urllib.request.proxy_bypass(url.host or ""):
        return None
    return proxies.parse(found, "the system's proxy")


def proxy_told(origin: str) -> str:
    """Describe the proxy for an origin, without user or password; the empty string if the connection is direct.

    Raises:
        ConfigError: the setting cannot be used.
    """
    found = _chosen(origin)
    if found is None:
        return ""
    variable = proxies.variable(URL(origin).scheme, os.environ)
    named = "" if found.user is None else ", with a user name"
    return f"{found.address}{named} (from {variable or 'the settings of the system'})"


def failed_at(error: BaseException) -> str:
    """Return where a request failed before the server responded.

    Args:
        error: an error from the transport.

    Returns:
        ``proxy``, ``name``, ``TLS`` or ``connection``; the empty string if the server responded.
    """
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        return "proxy"
    if isinstance(cause, aiohttp.ClientConnectorDNSError) or (isinstance(error, NotAllowed) and not error.origin):
        return "name"
    if isinstance(cause, aiohttp.ClientSSLError):
        return "TLS"
    return "connection" if isinstance(cause, aiohttp.ClientConnectionError | OSError) else ""


def brief(error: BaseException) -> str:
    """Describe an error in one line, without addresses, which may contain secrets."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answers {error.status}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        text = str(error.certificate_error)
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        text = str(error.os_error)
    elif isinstance(error, aiohttp.ClientConnectorError):
        whom = " to the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        cause, number = error.os_error, error.os_error.errno or 0  # negative if it comes from getaddrinfo
        text = f"cannot connect{whom} ({os.strerror(number) if number > 0 else cause.strerror or cause})"
    elif isinstance(error, aiohttp.ClientPayloadError):
        text = "the answer broke off"
    else:
        text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return " ".join(text.split()) or type(error).__name__
