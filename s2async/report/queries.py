"""What the report and the plots read from the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from s2async.config.model import Config
from s2async.models import Area
from s2async.report.data import Saving, Watched, looks, saving, total
from s2async.state.reader import Ledger


def watched_area(state: Ledger, config: Config, area: Area) -> Watched:
    """Read all looks at an area."""
    rows = state.job_rows(config.selection(), area=area)
    return Watched(area=area, looks=tuple(looks(rows, config.cloud_rule().spoilt, config.output.assets)))


def watched_areas(state: Ledger, config: Config) -> Iterator[Watched]:
    """Read all areas with their looks, one after the other."""
    return (watched_area(state, config, area) for area in state.areas())


def bytes_saved(state: Ledger, config: Config) -> Saving:
    """Compare what all runs downloaded with the whole files of all scenes."""
    selection = config.selection()
    classification = state.whole_files(replace(selection, assets=(), values=None))
    return saving(state.whole_files(selection), classification, total(state.traffic())[1])
