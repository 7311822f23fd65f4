"""The check as a whole: configuration, areas, this machine, and the service."""

from __future__ import annotations

from datetime import UTC, datetime

from s2async.areas import loader as area_files
from s2async.check import contact, machine
from s2async.check.findings import Checked, Finding, Verdict, judged, not_tried, odd, right, wrong
from s2async.config.model import Config
from s2async.engine import start
from s2async.errors import ConfigError, LocalError, S2AsyncError
from s2async.events import Notice
from s2async.models import Area
from s2async.net.client import Meter
from s2async.text import one_line

SETTINGS = ("configuration", "period", "areas")


def unreadable(error: ConfigError) -> Checked:
    """Return the result for a configuration that cannot be used: nothing else can be checked."""
    rest = (*SETTINGS[1:], *machine.TOPICS, *contact.SERVICE)
    why = "the configuration cannot be used"
    return Checked(
        findings=(
            wrong(SETTINGS[0], str(error), error.exit_code),
            *(not_tried(topic, why) for topic in rest),
        )
    )


async def check(config: Config) -> Checked:
    """Check a configuration, this machine and the service. No state is opened, and no file of a run is written.

    Args:
        config: settings.
    """
    areas, found = _areas(config)
    settings = [_configuration(config), _period(config), *found]
    local = machine.findings(config)
    meter = Meter()
    why = "the areas cannot be used" if not areas else ""
    if settings[1].verdict is Verdict.WRONG:
        areas, why = [], "the period cannot be searched"
    remote = await contact.ask(config, areas, connections=_connections(config), meter=meter, why_no_areas=why)
    return Checked(findings=(*settings, *local, *remote), requests=meter.requests, bytes=meter.bytes)


def _configuration(config: Config) -> Finding:
    name = one_line(config.file, 200) if config.file else "settings"
    if config.notices:
        return odd("configuration", "; ".join(config.notices))
    return right("configuration", name)


def _period(config: Config) -> Finding:
    def work() -> Finding:
        config.check_period(datetime.now(UTC))
        return right("period", config.search.datetime)

    return judged("period", work)


def _areas(config: Config) -> tuple[list[Area], list[Finding]]:
    """Return the areas, and the findings about them: one about their number, and one for each notice."""
    notices: list[Notice] = []
    try:
        areas = list(area_files.load(config, notices.append))
    except S2AsyncError as error:
        return [], [wrong("areas", str(error), error.exit_code)]
    told = [
        odd("areas", notice.text) if notice.grave else right("areas", notice.text)
        for notice in notices
        if notice.text
    ]
    if specks := area_files.specks_notice(areas):
        told.append(odd("areas", specks))
    count = "1 area" if len(areas) == 1 else f"{len(areas):,} areas"
    return areas, [right("areas", count), *told]


def _connections(config: Config) -> int:
    """Return the number of connections that a run would use on this machine."""
    try:
        return start.fitted(config, start.wanted_work(config)).connections
    except LocalError:  # reported by the check of file handles
        return 1
