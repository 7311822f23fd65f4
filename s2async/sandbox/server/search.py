"""The parameters of one STAC search, parsed as by Earth Search v1. Pure.

Source of the rules: recorded exchanges and the behaviour of stac-server, the program behind that API. Unknown keys
(such as ``filter``) are ignored without a message, as there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import shapely
from shapely import MultiPoint
from shapely.geometry.base import BaseGeometry

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:\d\d)")
_RETURNED = ("datetime", "intersects", "query", "sortby", "fields", "ids", "collections", "bbox")


class BadRequest(ValueError):
    """A search that the API refuses with status 400; the text is the ``description`` of the body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sort:
    """One rule of ``sortby``."""

    field: str
    """Dotted path in the item, such as ``properties.eo:cloud_cover``."""
    descending: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """The requested parts of an item (dotted paths)."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """One page of one search. None stands for a missing parameter."""

    collections: frozenset[str] | None = None
    ids: frozenset[str] | None = None
    geometry: BaseGeometry | None = None
    """Geometry of ``bbox`` or ``intersects``, in lon/lat."""
    start: datetime | None = None
    end: datetime | None = None
    """Both ends of ``datetime`` are included."""
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Maps a property to operators, and each operator to its operand."""
    sortby: tuple[Sort, ...] = ()
    fields: Fields | None = None
    limit: int = DEFAULT_LIMIT
    after: str | None = None
    """Token of this page, from the ``next`` link of the page before."""
    sent: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that the ``next`` link sends back, without its token."""


def parse(parameters: Mapping[str, Any]) -> Search:
    """Parse the members of a POST body, or the parameters of a GET query, whose values are all text.

    Raises:
        BadRequest: the API would respond with 400.
    """
    if parameters.get("bbox") and parameters.get("intersects"):
        raise BadRequest("Expected bbox OR intersects, not both")
    start, end = _interval(parameters.get("datetime"))
    after = parameters.get("next")
    if after is not None and not isinstance(after, str):
        raise BadRequest("Invalid next value")
    return Search(
        collections=_names(parameters, "collections"),
        ids=_names(parameters, "ids"),
        geometry=_bbox(parameters.get("bbox")) or _intersects(parameters.get("intersects")),
        start=start,
        end=end,
        query=_query(parameters.get("query")),
        sortby=_sortby(parameters.get("sortby")),
        fields=_fields(parameters["fields"]) if "fields" in parameters else None,
        limit=_limit(parameters.get("limit")),
        after=after or None,
        sent=_sent(parameters),
    )


def plain(value: Any) -> Any:
    """Return a JSON value with whole floats as integers: JavaScript, the language of the API, has no 9.0."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [plain(each) for each in value]
        case dict():
            return {key: plain(each) for key, each in value.items()}
    return value


def instant(text: str) -> datetime:
    """Parse an RFC 3339 time; the result is timezone-aware.

    Raises:
        BadRequest: the text is not such a time.
    """
    if not _RFC3339.fullmatch(text):
        raise BadRequest("datetime value is invalid, does not match RFC3339 format")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"datetime value is invalid, {error}") from error


def _sent(parameters: Mapping[str, Any]) -> dict[str, Any]:
    sent = {key: plain(parameters[key]) for key in _RETURNED if parameters.get(key) is not None}
    if "datetime" in sent:
        sent["datetime"] = sent["datetime"].upper()
    if parameters.get("limit") is not None:
        sent["limit"] = _limit(parameters["limit"])
    return sent


def _names(parameters: Mapping[str, Any], key: str) -> frozenset[str] | None:
    value = parameters.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = _json(value, key) if value.startswith("[") else value.split(",")
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadRequest(f"Invalid {key}, must be an array of strings")
    return frozenset(value)


def _limit(value: Any) -> int:
    if value is None:
        return DEFAULT_LIMIT
    try:
        limit = int(value)
    except (TypeError, ValueError, OverflowError):
        limit = 0
    if limit <= 0:
        raise BadRequest(f"Invalid limit value, must be a number between 1 and {MAX_LIMIT} inclusive")
    return min(limit, MAX_LIMIT)


def _bbox(value: Any) -> BaseGeometry | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = value.split(",")
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError) as error:
        raise BadRequest("Invalid bbox") from error
    if len(numbers) == 6:
        del numbers[5], numbers[2]
    if len(numbers) != 4:
        raise BadRequest("Invalid bbox, must have 4 or 6 points")
    west, south, east, north = numbers
    if not south <= north:
        raise BadRequest("Invalid bbox, SW latitude must be less than NE latitude")
    if west <= east:
        # The envelope of two corners is a point or a line if the box has no area.
        return MultiPoint([(west, south), (east, north)]).envelope
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def _intersects(value: Any) -> BaseGeometry | None:
    if not value:
        return None
    if isinstance(value, str):
        value = _json(value, "GeoJSON geometry")
    if not isinstance(value, dict) or value.get("type") in ("Feature", "FeatureCollection"):
        raise BadRequest("Expected GeoJSON geometry, not Feature or FeatureCollection")
    try:
        geometry = shapely.from_geojson(json.dumps(value))
    except shapely.errors.GEOSException as error:
        raise BadRequest("Invalid GeoJSON geometry") from error
    if geometry.is_empty or not geometry.is_valid:
        raise BadRequest("Invalid GeoJSON geometry")
    return geometry


def _interval(value: Any) -> tuple[datetime | None, datetime | None]:
    if not value:
        return None, None
    if not isinstance(value, str):
        raise BadRequest("datetime value is invalid, does not match RFC3339 format")
    ends = value.upper().split("/")
    if len(ends) > 2:
        raise BadRequest("datetime value is invalid, too many forward slashes for an interval")
    start, end = (None if text in ("", "..") else instant(text) for text in (ends[0], ends[-1]))
    if start is None and end is None:
        raise BadRequest("datetime value is invalid, at least one end of the interval must be closed")
    if start and end and end < start:
        raise BadRequest("datetime value is invalid, start datetime must be before end datetime with interval")
    return start, end


def _query(value: Any) -> dict[str, dict[str, Any]]:
    if not value:
        return {}
    if isinstance(value, str):
        value = _json(value, "query")
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise BadRequest("Invalid query, must be an object of properties with their operators")
    return value


def _sortby(value: Any) -> tuple[Sort, ...]:
    if not value:
        return ()
    if isinstance(value, str):
        # A plus sign arrives as a space if the client did not quote it.
        return tuple(Sort(field=rule.lstrip("+- "), descending=rule[:1] == "-") for rule in value.split(","))
    try:
        return tuple(Sort(field=rule["field"], descending=rule.get("direction") == "desc") for rule in value)
    except (TypeError, KeyError, AttributeError) as error:
        raise BadRequest("Invalid sortby, must be an array of objects with field and direction") from error


def _fields(value: Any) -> Fields:
    if isinstance(value, str):
        rules = [rule for rule in value.split(",") if rule]
        return Fields(
            include=tuple(rule.lstrip("+") for rule in rules if rule[0] != "-"),
            exclude=tuple(rule[1:] for rule in rules if rule[0] == "-"),
        )
    if value is None:
        return Fields()
    if not isinstance(value, dict):
        raise BadRequest("Invalid fields, must be an object with include and exclude")
    return Fields(include=tuple(value.get("include") or ()), exclude=tuple(value.get("exclude") or ()))


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest(f"Invalid {what}") from error
