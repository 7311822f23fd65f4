"""What the parts of a contact share: the settings, the findings so far, and how the contact ends early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from s2async.check.findings import Finding, Verdict, not_tried
from s2async.config.model import Config


class Stop(Exception):
    """No further requests are possible.

    Args:
        why: the reason, to follow "because", for topics that are not tried.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Session:
    """One contact with the service of a configuration.

    Args:
        config: settings.
    """

    def __init__(self, config: Config) -> None:
        selection = config.selection()
        self.config = config
        self.catalog = config.catalog()
        self.rule = config.cloud_rule()
        bands = selection.values.bands if selection.values else ()
        self.keys = tuple(dict.fromkeys((*selection.measured, *selection.assets, *bands)))
        """Assets that a run reads: those of the cloud rule, then those to crop, then those of values."""
        self.proxy = ""
        """Proxy for the catalogue, as messages describe it; empty if there is none."""
        self.landing: Any = None
        """The landing page; None if it could not be read."""
        self.why = "an earlier check failed"
        """Why topics without a finding were not tried."""
        self._found: defaultdict[str, list[Finding]] = defaultdict(list)

    def add(self, *findings: Finding) -> None:
        """Add findings. A finding that something is wrong replaces an earlier one that the same topic is right."""
        for finding in findings:
            known = self._found[finding.topic]
            if finding.verdict is Verdict.WRONG and all(one.verdict is Verdict.RIGHT for one in known):
                known.clear()
            known.append(finding)

    def result(self, topics: Sequence[str]) -> list[Finding]:
        """Return the findings in the order of the given topics; at least one for each."""
        return [one for topic in topics for one in self._found[topic] or [not_tried(topic, self.why)]]
