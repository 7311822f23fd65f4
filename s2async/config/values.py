"""The types of the section ``[values]``, and what it requests for every area and date."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from s2async.config.messages import nearest
from s2async.config.types import AssetKeys, Text, listed
from s2async.reflectance.decision import BANDS, is_reflectance, plain_key
from s2async.text import one_line
from s2async.zonal.wanted import Variable, Wanted

if TYPE_CHECKING:
    from s2async.config.sections import OwnIndex, Values

# Formulas and indices are loaded when they are used: most configurations need neither.

STAC_BANDS: Final = tuple(sorted(name for name in BANDS if not re.fullmatch(r"b\d.", name)))
"""Names of reflectance bands in STAC, such as ``red``."""
_NEAR: Final = 3
"""Maximum number of similar names that are offered for an unknown one."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


def _is_band(key: str) -> bool:
    """Return whether a key is that of a reflectance band; those of STAC are in lower case."""
    return is_reflectance(key) and (key == key.casefold() or plain_key(key) not in STAC_BANDS)


def _band(key: str) -> str:
    if not _is_band(key):
        raise ValueError(f'"{one_line(key)}" is no reflectance band; {nearest(key.casefold(), STAC_BANDS)}')
    return key


def _index(name: str) -> str:
    from s2async.zonal import indices

    if indices.find(name) is None:
        raise ValueError(
            f'"{one_line(name)}" is no index of Awesome Spectral Indices that Sentinel-2 has the bands of; '
            f'{_near(name, indices.names())}, or write {{ name = "...", formula = "..." }}'
        )
    return name


def _near(name: str, known: tuple[str, ...]) -> str:
    """Return advice for an unknown name; if no known name is similar, without a list of hundreds."""
    advice = nearest(name, {one.upper(): one for one in known}) if name.isupper() else nearest(name, known)
    return advice if advice.startswith("did") else "such as NDVI"


def bands_and_indices(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Separate bands from indices among names in upper or lower case.

    Args:
        names: as a user types them, such as ``red`` and ``ndvi``.

    Returns:
        The bands, by STAC's names, and the indices, by their short names; each once, in the given order.

    Raises:
        ValueError: a name is neither a band nor an index.
    """
    from s2async.zonal import indices

    bands, found = [], []
    for name in names:
        if name.casefold() in STAC_BANDS:
            bands.append(name.casefold())
        elif (index := indices.find(name)) is not None:
            found.append(index.name)
        else:
            near = _nearest(name, (*indices.names(), *STAC_BANDS))
            advice = f"did you mean {' or '.join(near)}?" if near else "names are such as NDVI, EVI and red"
            raise ValueError(
                f'"{one_line(name)}" is neither a band of Sentinel-2 nor an index of Awesome Spectral Indices '
                f"that needs no other bands; {advice}"
            )
    return tuple(dict.fromkeys(bands)), tuple(dict.fromkeys(found))


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return known names that are similar to an unknown one, ignoring case."""
    low, names = name.casefold(), sorted(known)
    close = difflib.get_close_matches(low, {one.casefold() for one in names}, n=len(names))
    # names that continue it come first (swir), then those whose letters were swapped (NVDI)
    close.sort(key=lambda one: (not one.startswith(low), sorted(one) != sorted(low)))
    return [one for near in close[:_NEAR] for one in names if one.casefold() == near]


def _own_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f'"{one_line(name)}" cannot name a column; use letters, digits, "_", "-" and "."')
    return name


def _formula(text: str) -> str:
    from s2async.zonal import formulas

    formulas.parse(text, names_in(text))  # a FormulaError is a ValueError of one line
    return text


def names_in(formula: str) -> tuple[str, ...]:
    """Return the names that a formula may use: those of STAC, and other reflectance bands in the formula."""
    named = re.findall(r"[A-Za-z_]\w*", formula)
    return tuple(dict.fromkeys((*STAC_BANDS, *filter(_is_band, named))))


def _statistics(names: tuple[str, ...]) -> tuple[str, ...]:
    from s2async.zonal import statistics

    if len(names) > MOST:
        raise ValueError(f"{len(names):,} statistics; at most {MOST} are computed")
    for name in names:
        if not statistics.is_statistic(name):
            close = nearest(name, PLAIN)
            advice = close if close.startswith("did") else f"use {', '.join(PLAIN)}, or p0 to p100, such as p10"
            raise ValueError(f'"{one_line(name)}" is no statistic; {advice}')
        if names.count(name) > 1:
            raise ValueError(f'"{name}" is listed twice; remove one')
    return names


MOST: Final = 200
"""Maximum number of statistics: with its counts and offsets, a variable is stored as up to 255 columns."""
PLAIN: Final = ("mean", "stdev", "median", "min", "max")
"""Statistics that are not percentiles."""


BandKeys = Annotated[AssetKeys, AfterValidator(lambda keys: tuple(map(_band, keys)))]
IndexName = Annotated[str, AfterValidator(_index)]
OwnName = Annotated[Text, AfterValidator(_own_name)]
FormulaText = Annotated[Text, AfterValidator(_formula)]
Statistics = Annotated[tuple[str, ...], BeforeValidator(listed), AfterValidator(_statistics)]


def fault(values: Values) -> str:
    """Return what is wrong with the section as a whole; the empty string if nothing is wrong."""
    names = list(_names(values))
    if not names:
        return "is empty, and so is bands: name a band or an index, or remove [values]"
    folded = [name.casefold() for name in names]
    both = next((name for name in names if folded.count(name.casefold()) > 1), None)
    return f'"{both}" names two bands or indices; rename or remove one' if both else ""


def _names(values: Values) -> Iterator[str]:
    """Yield the names of all variables as they appear in tables."""
    yield from (variable.name for variable in wanted(values, ()).variables)


@lru_cache(maxsize=16)
def wanted(values: Values, classes: tuple[int, ...]) -> Wanted:
    """Return the values that the section requests for every area and date.

    Args:
        values: the section.
        classes: classes of the scene classification whose pixels do not count.
    """
    bands = [Variable(name=key, formula=key, bands=(key,)) for key in values.bands]
    return Wanted(
        variables=(*bands, *map(_variable, values.indices)),
        statistics=values.statistics,
        classes=tuple(sorted(classes)),
        weights=values.weights,
    )


def _variable(index: str | OwnIndex) -> Variable:
    from s2async.zonal import formulas, indices

    if isinstance(index, str):
        known = indices.find(index)
        assert known is not None  # noqa: S101 - the section has been checked
        name, text = known.name, known.formula
    else:
        name, text = index.name, index.formula
    formula = formulas.parse(text, names_in(text))
    return Variable(name=name, formula=formula.text, bands=tuple(formula.names))
