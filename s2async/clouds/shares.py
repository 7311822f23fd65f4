"""Fractions of an area's pixels: exact integers for decisions, percentages for display. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from s2async.models import CloudMeasure

WHOLE: Final = 100 * 100
"""The whole, in hundredths of a per cent."""


def hundredths(percent: float) -> int:
    """Return a percentage with at most two decimals in hundredths of a per cent, so that 0.5 % is exact.

    Raises:
        ValueError: the percentage has more decimals or is outside 0 to 100.
    """
    exact = Fraction(repr(percent)) * 100
    if exact.denominator != 1 or not 0 <= exact <= WHOLE:
        raise ValueError(f"{percent} is not a per cent from 0 to 100 with at most two decimals")
    return int(exact)


def bad_pixels(measured: CloudMeasure, spoilt: Iterable[int]) -> int:
    """Return the number of pixels inside the area that count as cloudy.

    Args:
        measured: measurement of the area.
        spoilt: bins of the rule that measured, such as SCL classes.
    """
    return sum(measured.histogram[value] for value in spoilt)


def cloud_percent(measured: CloudMeasure, spoilt: Iterable[int]) -> float | None:
    """Return the percentage of valid pixels that are cloudy, for display; None if no pixel is valid."""
    return bad_pixels(measured, spoilt) / measured.valid * 100 if measured.valid else None


def valid_percent(measured: CloudMeasure) -> float | None:
    """Return the percentage of the area's pixels that hold data, for display; None for an area without pixels."""
    return measured.valid / measured.total * 100 if measured.total else None
