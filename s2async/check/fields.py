"""Verdicts on items: the fields that the program relies on, read by the same code as in a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from s2async.catalog.assets import mapping
from s2async.catalog.items import instant, to_scene
from s2async.catalog.lacking import Lacking
from s2async.catalog.providers import Catalog
from s2async.check.findings import Finding, odd, right, wrong
from s2async.check.service import NETWORK, SETTING
from s2async.errors import BadAnswer
from s2async.models import Scene
from s2async.reasons import counted
from s2async.text import excerpt, listing, origin

TOPIC: Final = "item fields"
_MEANS: Final = {
    "collection": "it is taken for the one that was searched",
    "datetime": "start_datetime is used",
    "geometry": "the bbox is used, which is larger: more scenes are read than needed",
    "eo:cloud_cover": "such scenes are kept: max_scene_cloud has no effect on them",
    "s2:product_uri": "versions of a scene are told apart by its update or generation time",
    "version": "a scene that is processed again is not noticed",
    "updated": "a changed item is noticed by its assets only",
    "MGRS tile": "reprocessed scenes cannot be told from their neighbours",
    "datatake": "reprocessed scenes are told by the second of sensing",
    "CRS": "only the files tell it; s2async plan is less exact",
}
"""The consequence of a missing or unusual field."""


@dataclass(slots=True)
class Read:
    """The items of a search, as a run reads them."""

    scenes: list[Scene] = field(default_factory=list)
    """Scenes of usable items."""
    findings: list[Finding] = field(default_factory=list)


def read(items: Sequence[Any], catalog: Catalog) -> Read:
    """Read items, and judge their fields: one finding for all expected fields, and one for each unexpected field.

    Args:
        items: decoded JSON of at least one item.
        catalog: the catalogue that the items come from.
    """
    found, refused, foreign = Read(), Counter[str](), Counter[str]()
    lacks: dict[str, Counter[str]] = {name: Counter() for name in _MEANS}
    forms: Counter[str] = Counter()
    for item in items:
        collection = mapping(item).get("collection")
        if collection not in (None, catalog.collection):
            foreign[excerpt(ascii(collection).encode())] += 1
            continue
        try:
            scene = to_scene(_object(item), catalog)
        except BadAnswer as error:
            refused[str(error)] += 1
            continue
        found.scenes.append(scene)
        for name, what in _odd_fields(item, scene, catalog).items():
            lacks[name][what] += 1
        forms[_crs_form(item, scene)] += 1
    found.findings += _refusals(refused, foreign, len(items), catalog)
    if found.scenes:
        fine = [name for name in _MEANS if not lacks[name] and name not in ("CRS", "version")]
        crs = [form for form in forms if form]
        found.findings.insert(0, right(TOPIC, ", ".join(["id", *fine, *crs, "assets"])))
    for name, counts in lacks.items():
        if counts:
            ways = list(counts)
            how = ways[0] if len(ways) == 1 else f"not as expected, such as {ways[0]},"
            text = f"{name}: {how} in {counts.total()} of {len(found.scenes)} items"
            found.findings.append(odd(TOPIC, f"{text}; {_MEANS[name]}"))
    return found


def _object(item: Any) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise BadAnswer("an item that is not an object")
    return item


def _odd_fields(item: Mapping[str, Any], scene: Scene, catalog: Catalog) -> dict[str, str]:
    """Return the fields of a usable item that are not as expected, and how they differ."""
    properties, found = mapping(item.get("properties")), dict[str, str]()
    if item.get("collection") is None:
        found["collection"] = "missing"
    if instant(properties.get("datetime")) is None:
        found["datetime"] = _how(properties.get("datetime"))
    try:
        to_scene({key: value for key, value in item.items() if key != "bbox"}, catalog)
    except BadAnswer:
        found["geometry"] = _how(item.get("geometry"))
    if scene.cloud is None:
        found["eo:cloud_cover"] = _how(properties.get("eo:cloud_cover"))
    if not scene.version:
        found["version"] = "no product_uri, updated or generation time"
    elif not properties.get("s2:product_uri"):
        found["s2:product_uri"] = "missing"
    if not scene.updated and not properties.get("created"):
        found["updated"] = "missing"
    if not scene.grid:
        found["MGRS tile"] = "missing"
    if not scene.datatake:
        found["datatake"] = "not in s2:datatake_id, s2:product_uri or the id"
    if scene.epsg is None:
        found["CRS"] = "no EPSG code in proj:epsg or proj:code"
    return found


def _how(value: object) -> str:
    return "missing" if value is None else f"not usable ({excerpt(ascii(value).encode(), 30)})"


def _crs_form(item: Mapping[str, Any], scene: Scene) -> str:
    """Return which property states the CRS: that of the projection extension since version 2, or the older one."""
    properties = mapping(item.get("properties"))
    if scene.epsg is None:
        return ""
    return "proj:epsg (older form)" if properties.get("proj:epsg") is not None else "proj:code"


def _refusals(refused: Counter[str], foreign: Counter[str], count: int, catalog: Catalog) -> list[Finding]:
    """Return the findings about items that a run skips."""
    findings = []
    if foreign:
        number, name = foreign.total(), next(iter(foreign))
        text = f"{number} of {count} items are of another collection ({name})"
        if number == count:
            findings.append(wrong(TOPIC, text, NETWORK, f"is {catalog.collection} the name of the collection?"))
        else:
            findings.append(odd(TOPIC, f"{text}; they are ignored"))
    if refused:
        number, why = refused.total(), next(iter(refused))
        text = f"{number} of {count} items cannot be used, such as {why}"
        all_of_them = number + foreign.total() == count
        findings.append(wrong(TOPIC, text, NETWORK) if all_of_them else odd(TOPIC, f"{text}; they are skipped"))
    return findings


def readable(key: str, scenes: Iterable[Scene], catalog: Catalog) -> list[Scene]:
    """Return the scenes that offer an asset as a COG on an allowed server."""
    return [scene for scene in scenes if key in scene.assets and catalog.allows(scene.assets[key].href)]


def offered(key: str, scenes: Sequence[Scene], catalog: Catalog) -> Finding:
    """Judge whether the items offer an asset as a COG on an allowed server.

    Args:
        key: key of a wanted asset.
        scenes: at least one scene.
        catalog: the catalogue that the scenes come from.
    """
    topic, having = f"asset {key}", readable(key, scenes, catalog)
    forbidden = sorted({origin(scene.assets[key].href) for scene in scenes if key in scene.assets})
    if not having and forbidden:
        return wrong(topic, f"on {', '.join(forbidden)}, which is not allowed", SETTING, listing(*forbidden))
    if not having:
        lacking = Lacking([key], measured=())
        for scene in scenes:
            lacking.add(scene)
        return wrong(topic, lacking.told, SETTING, lacking.advice)
    where = ", ".join(sorted({origin(scene.assets[key].href) for scene in having}))
    text = f"in {len(having)} of {len(scenes)} items, on {where}"
    causes = Counter(scene.absent[key].cause for scene in scenes if key in scene.absent)
    others = f" (else: {counted(causes)})" if causes else ""
    if len(having) * 2 < len(scenes):
        return odd(topic, f"{text}{others}", "most scenes will be missing")
    return right(topic, f"{text}{others}")
