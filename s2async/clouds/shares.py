"""Shares of an area's pixels: exact integers for decisions, per cents for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from s2async.models import CloudMeasure

WHOLE: Final = 100 * 100
"""All of something, in hundredths of a per cent."""


def hundredths(percent: float) -> int:
    """A per cent of at most two decimals in hundredths, so that 0.5 % is exact.

    Raises:
        ValueError: it has more decimals, or lies outside 0 to 100.
    """
    exact = Fraction(repr(percent)) * 100
    if exact.denominator != 1 or not 0 <= exact <= WHOLE:
        raise ValueError(f"{percent} is not a per cent from 0 to 100 with at most two decimals")
    return int(exact)


def bad_pixels(measured: CloudMeasure, spoilt: Iterable[int]) -> int:
    """Pixels inside the area that spoil a crop.

    Args:
        measured: of the area.
        spoilt: bins of the rule that measured, such as SCL classes.
    """
    return sum(measured.histogram[value] for value in spoilt)


def cloud_percent(measured: CloudMeasure, spoilt: Iterable[int]) -> float | None:
    """Spoilt share of the valid pixels in per cent, for people; None when no pixel is valid."""
    return bad_pixels(measured, spoilt) / measured.valid * 100 if measured.valid else None


def valid_percent(measured: CloudMeasure) -> float | None:
    """Share of the area's pixels that hold data in per cent, for people; None for an area without a pixel."""
    return measured.valid / measured.total * 100 if measured.total else None
