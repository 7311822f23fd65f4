"""The API's requests and responses: its paths, with the words and limits of the real API. Pure."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

from s2async.sandbox.server.answers import GEOJSON, JSON, Answer, Asked, api_error, json_answer
from s2async.sandbox.server.search import BadRequest, parse
from s2async.sandbox.server.stac import Catalog

LAMBDA_LIMIT = 6_291_556
"""Maximum size in bytes of a response through AWS Lambda (its documented quota for synchronous calls)."""
GZIP_FROM = 1024
"""Minimum bytes of a response that is compressed (recorded: 275 bytes plain, 2,912 compressed)."""


def api_answer(catalog: Catalog, asked: Asked) -> Answer:
    """Return the API's response, compressed if the client accepts gzip."""
    answer = _api_document(catalog, asked)
    if len(answer.body) > LAMBDA_LIMIT:
        answer = api_error(502, "")
    headers = {**answer.headers, "Access-Control-Allow-Origin": "*"}
    body = answer.body
    if isinstance(body, bytes) and len(body) >= GZIP_FROM and "gzip" in asked.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=6, mtime=0)
    return replace(answer, headers=headers, body=body)


def _api_document(catalog: Catalog, asked: Asked) -> Answer:
    found: Any = None
    media_type = JSON
    try:
        match asked.method, asked.path.rstrip("/").split("/")[2:]:
            case "GET" | "HEAD", []:
                found = catalog.landing()
            case "GET" | "HEAD", ["conformance"]:
                found = catalog.conformance()
            case "GET" | "HEAD", ["collections"]:
                found = catalog.collection_list()
            case "GET" | "HEAD", ["collections", name]:
                found = catalog.collections.get(name)
            case "GET" | "HEAD", ["collections", name, "items"] if name in catalog.collections:
                return _page(catalog, asked, {**asked.parameters, "collections": name})
            case "GET" | "HEAD", ["collections", name, "items", identity]:
                found, media_type = catalog.item(name, identity), GEOJSON
            case "GET" | "HEAD", ["search"]:
                return _page(catalog, asked, dict(asked.parameters))
            case "POST", ["search"]:
                return _page(catalog, asked, _json_object(asked.body))
    except BadRequest as error:
        return api_error(400, str(error))
    return api_error(404, "Not Found") if found is None else json_answer(found, media_type=media_type)


def _page(catalog: Catalog, asked: Asked, parameters: dict[str, Any]) -> Answer:
    href = catalog.api + asked.path.rstrip("/").removeprefix("/v1")
    method = "POST" if asked.method == "POST" else "GET"
    return json_answer(catalog.search(parse(parameters), method=method, href=href), media_type=GEOJSON)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise BadRequest("The body is not JSON") from error
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object")
    return value
