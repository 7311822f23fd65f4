"""The first contact with a service: the check's requests use the client of a run, and its code for the responses.

With one asset to crop there are eight requests: the landing page, the collection, two pages of a search over the
areas, and the header and one block of each asset. Failed requests are sent a second time. Requests that are
impossible because of an earlier failure are not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from s2async.check import catalogue, downloads, fields, way
from s2async.check.findings import Finding, wrong
from s2async.check.session import Session, Stop
from s2async.config.model import Config
from s2async.errors import ConfigError, LocalError
from s2async.models import Area
from s2async.net.client import Meter, open_client

ATTEMPTS: Final = 2
"""Number of tries of a request: a single failure may be chance."""
PATIENCE: Final = 20.0
"""Maximum number of seconds that a server may ask to wait: a user waits for the result."""
SERVICE: Final = ("proxy", "name", "TLS", "catalogue", "clock", "conformance", "collection", "search", "next page")
"""Topics before the items and their assets."""


async def ask(
    config: Config, areas: Sequence[Area], *, connections: int, meter: Meter, why_no_areas: str = ""
) -> list[Finding]:
    """Contact the service of a configuration.

    Args:
        config: settings.
        areas: areas over which items are searched; empty if they cannot be read.
        connections: maximum number of concurrent requests to a server.
        meter: counts the requests.
        why_no_areas: why there are no areas.

    Returns:
        At least one finding for each topic, in the order in which a run would meet them.
    """
    session = Session(config)
    try:
        way.check_settings(session)
        client = replace(
            config.client_settings(),
            attempts=ATTEMPTS,
            patience=min(config.network.patience, PATIENCE),
            connections=connections,
        )
        async with open_client(client, meter) as transport:
            await way.look_up(session)
            await way.ask_landing(session, transport)
            await catalogue.ask_conformance(session, transport)
            missing = await catalogue.ask_collection(session, transport)
            if not areas:
                raise Stop(why_no_areas)
            scenes = await catalogue.ask_search(session, transport, areas, missing=missing)
            await downloads.ask_files(session, transport, scenes)
    except Stop as stop:
        session.why = stop.why
    except (ConfigError, LocalError) as error:
        session.add(wrong("catalogue", str(error), error.exit_code))
        session.why = "no request can be sent"
    assets = [f"{what} {key}" for what in ("asset", "file") for key in session.keys]
    return session.result([*SERVICE, fields.TOPIC, *assets])
