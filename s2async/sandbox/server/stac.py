"""A STAC API's responses from items in memory, in the form of Earth Search v1. Pure: no HTTP, no files.

Checked against recorded exchanges of that API: the order (datetime, id, collection, all descending), the ``next``
link (``merge: false`` and the whole body, present whenever a page has items, even on the last), the empty page at
the end, the parts of an item that ``fields`` selects, and a ``sortby`` whose token is only the last sort value, so
that items with equal values at the edge of a page are lost.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.server.search import BadRequest, Fields, Search, Sort, instant, plain

STAC_VERSION = "1.0.0"

CONFORMANCE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#fields",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#sort",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#query",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)
"""Conformance classes of Earth Search v1 (recorded 2025-12-16), except aggregation and the OpenAPI document."""

_ALWAYS = (
    "id",
    "type",
    "stac_version",
    "geometry",
    "bbox",
    "links",
    "assets",
    "collection",
    "properties.datetime",
)
"""Parts of an item that are returned whenever ``fields`` is sent."""

_UNQUOTED = "-_.!~*'()"
"""Characters, besides letters and digits, that JavaScript's encodeURIComponent does not escape in a URL."""

_NEWEST_FIRST = tuple(Sort(field=path, descending=True) for path in ("properties.datetime", "id", "collection"))

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, operand: bool(value == operand),
    "lt": lambda value, operand: bool(value < operand),
    "lte": lambda value, operand: bool(value <= operand),
    "gt": lambda value, operand: bool(value > operand),
    "gte": lambda value, operand: bool(value >= operand),
    "in": lambda value, operand: value in operand,
    "startsWith": lambda value, operand: bool(value.startswith(operand)),
    "endsWith": lambda value, operand: bool(value.endswith(operand)),
    "contains": lambda value, operand: bool(operand in value),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """An item: its text as sent, and the values that searches use."""

    text: str
    id: str
    collection: str
    time: datetime
    properties: Mapping[str, Any]
    geometry: BaseGeometry | None

    @property
    def key(self) -> tuple[datetime, str, str]:
        return self.time, self.id, self.collection

    def value(self, path: str) -> Any:
        """Return the scalar at a dotted path that can be sorted by; None if there is none."""
        match path.split(".", 1):
            case ["id"]:
                return self.id
            case ["collection"]:
                return self.collection
            case ["properties", name]:
                value = self.properties.get(name)
                return None if isinstance(value, list | dict) else value
        return None


class Catalog:
    """All items of one world.

    Args:
        items: STAC items, as compact JSON text. ``datetime`` must be a time, not null.
        api: URL of the API, such as ``http://127.0.0.1:8080/v1``.
    """

    def __init__(self, items: Iterable[str], api: str) -> None:
        self.api = api
        self._rows = sorted((_row(text) for text in items), key=lambda row: row.key, reverse=True)
        self._by_id = {(row.collection, row.id): row for row in self._rows}
        # A tree skips None, so that its positions are those of the rows.
        self._tree = STRtree(np.array([row.geometry for row in self._rows], dtype=object))

    def __len__(self) -> int:
        return len(self._rows)

    # ---- documents ------------------------------------------------------------------------------------

    @cached_property
    def collections(self) -> dict[str, dict[str, Any]]:
        """Return the collection documents by id."""
        members = defaultdict(list)
        for row in self._rows:
            members[row.collection].append(row)
        return {name: self._collection(name, rows) for name, rows in sorted(members.items())}

    def landing(self) -> dict[str, Any]:
        """Return the document of the API's root."""
        links = [
            _link("self", self.api),
            _link("root", self.api),
            _link("conformance", f"{self.api}/conformance"),
            _link("data", f"{self.api}/collections"),
            {**_link("search", f"{self.api}/search", "application/geo+json"), "method": "GET"},
            {**_link("search", f"{self.api}/search", "application/geo+json"), "method": "POST"},
            *(
                _link("child", f"{self.api}/collections/{name}", "application/geo+json")
                for name in self.collections
            ),
        ]
        return {
            "stac_version": STAC_VERSION,
            "type": "Catalog",
            "id": "s2async-sandbox",
            "title": "The sandbox of s2async",
            "description": "Generated Sentinel-2 scenes behind a STAC API like Earth Search v1; no real data",
            "links": links,
            "conformsTo": list(CONFORMANCE),
        }

    def conformance(self) -> dict[str, Any]:
        """Return the document that only contains the conformance classes."""
        return {"conformsTo": list(CONFORMANCE)}

    def collection_list(self) -> dict[str, Any]:
        """Return all collections, on one page."""
        count = len(self.collections)
        return {
            "collections": list(self.collections.values()),
            "links": [_link("self", f"{self.api}/collections"), _link("root", self.api)],
            "context": {"page": 1, "limit": 100, "matched": count, "returned": count},
        }

    def item(self, collection: str, identity: str) -> str | None:
        """Return one item as JSON text; None if there is no such item."""
        row = self._by_id.get((collection, identity))
        return row.text if row else None

    def _collection(self, name: str, rows: Sequence[_Row]) -> dict[str, Any]:
        here = f"{self.api}/collections/{name}"
        placed = [row.geometry for row in rows if row.geometry is not None]
        bounds = shapely.total_bounds(placed).tolist() if placed else [-180, -90, 180, 90]
        first = min(row.time for row in rows)
        return {
            "type": "Collection",
            "id": name,
            "stac_version": STAC_VERSION,
            "title": name,
            "description": f"Generated scenes in the shape of Earth Search v1's collection {name}; no real data",
            "links": [
                _link("self", here),
                _link("parent", self.api),
                _link("root", self.api),
                _link("items", f"{here}/items", "application/geo+json"),
            ],
            "stac_extensions": [],
            "extent": {
                "spatial": {"bbox": [bounds]},
                "temporal": {"interval": [[first.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), None]]},
            },
            "license": "Apache-2.0",
        }

    # ---- search ---------------------------------------------------------------------------------------

    def search(self, search: Search, *, method: str, href: str) -> str:
        """Return one page as the JSON text of a FeatureCollection.

        Args:
            search: the search parameters.
            method: ``GET`` or ``POST``, for the ``next`` link.
            href: the requested URL, without its query, for the ``next`` link.

        Raises:
            BadRequest: the token does not fit the order.
        """
        found = self._ordered(self._matching(search), search.sortby)
        page = _after(found, search)[: search.limit]
        texts = [_reduced(row.text, search.fields) for row in page]
        links = [_link("root", self.api)]
        token = _token(texts[-1], search) if texts else None
        if token is not None:
            links.insert(0, _next_link(search.sent, token, method, href))
        head = {
            "type": "FeatureCollection",
            "stac_version": STAC_VERSION,
            "stac_extensions": [],
            "context": {"limit": search.limit, "matched": len(found), "returned": len(page)},
            "numberMatched": len(found),
            "numberReturned": len(page),
        }
        return f'{compact(head)[:-1]},"features":[{",".join(texts)}],"links":{compact(links)}}}'

    def _matching(self, search: Search) -> list[_Row]:
        if search.geometry is None:
            rows = self._rows
        else:
            hits = np.sort(self._tree.query(search.geometry, predicate="intersects"))
            rows = [self._rows[hit] for hit in hits]
        return [row for row in rows if _matches(row, search)]

    @staticmethod
    def _ordered(rows: list[_Row], sortby: Sequence[Sort]) -> list[_Row]:
        for rule in reversed(sortby):
            known = [row for row in rows if row.value(rule.field) is not None]
            unknown = [row for row in rows if row.value(rule.field) is None]
            known.sort(key=lambda row: _sortable(row.value(rule.field)), reverse=rule.descending)
            rows = known + unknown
        return rows


def compact(document: Any) -> str:
    """Return JSON text without spaces, in the form of the API."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _row(text: str) -> _Row:
    item = json.loads(text)
    return _Row(
        text=text,
        id=item["id"],
        collection=item["collection"],
        time=instant(item["properties"]["datetime"]),
        properties=item["properties"],
        geometry=shapely.from_geojson(json.dumps(item["geometry"])) if item.get("geometry") else None,
    )


def _link(rel: str, href: str, media_type: str = "application/json") -> dict[str, Any]:
    return {"rel": rel, "type": media_type, "href": href}


def _matches(row: _Row, search: Search) -> bool:
    return (
        (search.collections is None or row.collection in search.collections)
        and (search.ids is None or row.id in search.ids)
        and (search.start is None or row.time >= search.start)
        and (search.end is None or row.time <= search.end)
        and all(_answers(row.properties.get(name), asked) for name, asked in search.query.items())
    )


def _answers(value: Any, asked: Mapping[str, Any]) -> bool:
    """Return whether a property meets the conditions of a ``query``. For a list, one member is enough.

    A missing property only meets ``neq``. Operators that the API does not know are ignored.
    """
    values = value if isinstance(value, list) else [] if value is None else [value]
    return all(
        not _holds(values, "eq", operand) if name == "neq" else _holds(values, name, operand)
        for name, operand in asked.items()
        if name == "neq" or name in _OPERATORS
    )


def _holds(values: Sequence[Any], operator: str, operand: Any) -> bool:
    for value in values:
        try:
            if _OPERATORS[operator](value, operand):
                return True
        except (TypeError, AttributeError):
            continue
    return False


def _sortable(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def _after(rows: list[_Row], search: Search) -> list[_Row]:
    if search.after is None:
        return rows
    if search.sortby:
        marks = search.after.split(",")
        if len(marks) != len(search.sortby):
            raise BadRequest("Invalid next value")
        return [row for row in rows if _follows(row, search.sortby, marks)]
    match search.after.split(","):
        case [when, identity, collection]:
            key = instant(when), identity, collection
            return [row for row in rows if row.key < key]
    raise BadRequest("Invalid next value")


def _follows(row: _Row, sortby: Sequence[Sort], marks: Sequence[str]) -> bool:
    for rule, mark in zip(sortby, marks, strict=True):
        value = row.value(rule.field)
        if value is None:
            return True
        try:
            edge = mark if isinstance(value, str) else float(mark)
        except ValueError as error:
            raise BadRequest("Invalid next value") from error
        if value != edge:
            return bool(value < edge if rule.descending else value > edge)
    return False


def _token(text: str, search: Search) -> str | None:
    """Return the token of the next page, from the last item as *sent*: without the sorted field there is none."""
    item = json.loads(text)
    values = [_at(item, rule.field) for rule in search.sortby or _NEWEST_FIRST]
    return None if None in values else ",".join(str(plain(value)) for value in values)


def _next_link(sent: Mapping[str, Any], token: str, method: str, href: str) -> dict[str, Any]:
    link = {"rel": "next", "title": "Next page of Items", "method": method, "type": "application/geo+json"}
    body = {**sent, "next": token}
    if method == "POST":
        return {**link, "href": href, "merge": False, "body": body}
    pairs = [f"{quote(key)}={quote(str(value), safe=_UNQUOTED)}" for key, value in body.items()]
    return {**link, "href": f"{href}?{'&'.join(pairs)}"}


def _reduced(text: str, fields: Fields | None) -> str:
    if fields is None:
        return text
    item = json.loads(text)
    wanted = [path for path in (*_ALWAYS, *fields.include) if path not in fields.exclude]
    return compact(_without(_only(item, wanted), fields.exclude))


def _only(item: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for path in paths:
        name, _, member = path.partition(".")
        if not member and name in item:
            kept[name] = item[name]
        elif member and isinstance(item.get(name), dict) and member in item[name]:
            kept.setdefault(name, {})[member] = item[name][member]
    return kept


def _without(item: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    for path in paths:
        name, _, member = path.partition(".")
        if not member:
            item.pop(name, None)
        elif isinstance(item.get(name), dict):
            item[name] = {key: value for key, value in item[name].items() if key != member}
    return item


def _at(item: Mapping[str, Any], path: str) -> Any:
    name, _, member = path.partition(".")
    value = item.get(name)
    if member:
        return value.get(member) if isinstance(value, dict) else None
    return value
