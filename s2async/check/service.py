"""Verdicts on the catalogue: landing page, clock, conformance, collection, and what its errors mean. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from s2async.catalog.items import links
from s2async.check.findings import Finding, not_tried, odd, right, wrong
from s2async.errors import AccessDenied, Diverted, NotFound, RemoteError, WrongKind
from s2async.text import excerpt, shown

NETWORK: Final = RemoteError.exit_code
"""Exit code of a run whose searches or downloads fail."""
SETTING: Final = 2
"""Exit code of a run that needs another setting."""
LATE: Final = 60.0
"""Maximum difference between the clocks, in seconds."""
NAMED: Final = 10
"""Maximum number of collections that are named."""
_CLASS: Final = re.compile(r"https://api\.stacspec\.org/v[^/]+/([a-z-]+)(?:#([a-z-]+))?")
"""A conformance class of STAC API: ``.../v1.0.0/item-search#fields``."""


def advice(error: RemoteError) -> str:
    """Return what to do about a failed request; empty if the text of the error is sufficient."""
    status = getattr(error, "status", None)
    if isinstance(error, AccessDenied) or status in (401, 403):
        return "the service wants credentials, such as an API key under [network] headers, or denies this address"
    if isinstance(error, WrongKind | Diverted):
        return "perhaps a page to sign in to (open the address in a browser), or the URL is not that of a STAC API"
    if isinstance(error, NotFound):
        return "correct url under [search] catalog"
    if status in (405, 501):
        return "the service does not take searches by POST"
    if status == 429:
        return "too many requests: try again later"
    if status is not None and status >= 500:
        return "the service has a problem: try again later"
    return ""


def tls_advice(text: str, now: datetime) -> str:
    """Return what to do about a certificate that was refused.

    Args:
        text: text of the error.
        now: time of this machine, timezone-aware.
    """
    if "not yet valid" in text or "expired" in text:
        return f"this machine's clock says {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC: set it if that is wrong"
    if "SSL_CERT_FILE" in text:
        return ""
    if "hostname" in text.lower() or "IP address mismatch" in text:
        return "the certificate is of another host: correct the URL, or ask who runs the proxy"
    return "if a company's proxy or your own CA signs certificates, name its file (PEM) in SSL_CERT_FILE"


def clock(headers: Mapping[str, str], began: datetime, ended: datetime) -> Finding:
    """Compare this machine's clock with that of the catalogue.

    Args:
        headers: headers of the landing page; names may have any case if the mapping ignores case.
        began: time of this machine when the request was sent, timezone-aware.
        ended: time of this machine when the response was received, timezone-aware.
    """
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, IndexError):
        return not_tried("clock", "the catalogue sends no date")
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    age = headers.get("Age", "")
    there = date.timestamp() + (int(age) if re.fullmatch(r"[0-9]{1,9}", age) else 0)
    # The header has whole seconds, and was written at some time between the two.
    ahead = began.timestamp() - there - 1 if began.timestamp() > there + 1 else min(0.0, ended.timestamp() - there)
    if abs(ahead) <= LATE:
        return right("clock", f"{ended.astimezone(UTC):%Y-%m-%d %H:%M} UTC, like that of the catalogue")
    which = "ahead of" if ahead > 0 else "behind"
    return odd(
        "clock",
        f"this machine is {_span(abs(ahead))} {which} the catalogue",
        "set the clock: certificates, signed addresses and the newest scenes depend on it",
    )


def _span(seconds: float) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:,.0f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.0f} minutes"


def landing(page: Any, url: str) -> Finding:
    """Judge the landing page, which should be a STAC catalogue.

    Args:
        page: decoded JSON.
        url: URL of the API.
    """
    if not isinstance(page, Mapping) or not isinstance(page.get("links"), list) or "stac_version" not in page:
        text = f"{shown(url)} is not a STAC catalogue: {_brief(page)}"
        return odd("catalogue", text, "correct url under [search] catalog if the search fails too")
    title, version = _brief(page.get("title") or page.get("id")), _brief(page["stac_version"])
    return right("catalogue", f"{shown(url)}: {title} (STAC {version})")


def _brief(value: Any) -> str:
    return excerpt((value if isinstance(value, str) else ascii(value)).encode("utf-8", "replace"), 60)


def claims(page: Any) -> list[str] | None:
    """Return the conformance classes that a document lists; None if it lists none."""
    found = page.get("conformsTo") if isinstance(page, Mapping) else None
    return [claim for claim in found if isinstance(claim, str)] if isinstance(found, list) else None


def conformance(classes: Sequence[str] | None) -> Finding:
    """Judge the conformance classes: a run needs the core and the item search, without any extensions."""
    topic = "conformance"
    if classes is None:
        return odd(topic, "the catalogue lists no conformance classes: it is old, or no STAC API")
    found = [match for claim in classes if (match := _CLASS.match(claim))]
    names = {match[1] for match in found}
    missing = [name for name in ("core", "item-search") if name not in names]
    if missing:
        return odd(topic, f"the catalogue does not claim {' and '.join(missing)}")
    extras = sorted({match[2] for match in found if match[1] == "item-search" and match[2]})
    more = f" (and {', '.join(extras)}, not needed)" if extras else ""
    return right(topic, f"core, item-search{more}")


def denies(page: Any, wanted: str) -> bool:
    """Return whether a landing page says that the API lists its collections, but not the wanted one."""
    if isinstance(page, Mapping) and wanted in _children(page):
        return False
    listed = any(
        re.search(r"stacspec\.org/v[^/]+/(collections|ogcapi-features)$", claim) for claim in claims(page) or ()
    )
    return listed or (isinstance(page, Mapping) and bool(links(page, "data") or _children(page)))


def _children(page: Mapping[str, Any]) -> list[str]:
    """Return the ids of the collections that a landing page links to."""
    hrefs = (str(link.get("href", "")) for link in links(page, "child"))
    return [href.rstrip("/").rpartition("/")[2] for href in hrefs if "/collections/" in href]


def collection(page: Any, wanted: str) -> Finding:
    """Judge the page of the collection."""
    if not isinstance(page, Mapping) or page.get("id") != wanted:
        return odd("collection", f"the page of {wanted} is not its document: {_brief(page)}")
    return right("collection", wanted)


def no_collection(landing: Any, wanted: str) -> Finding:
    """Return the finding that the collection does not exist."""
    there = _children(landing) if isinstance(landing, Mapping) else []
    close = difflib.get_close_matches(wanted, there, n=1, cutoff=0.5)
    told = (
        f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(there)[:NAMED])}" if there else ""
    )
    text = f"the catalogue has no collection {wanted}"
    return wrong("collection", text, SETTING, f"correct it under [search]{f' ({told})' if told else ''}")
