"""Parses the names of Sentinel-2 products and items: the datatake, the square, the time of processing. Pure.

Since 2016-12, a product is named ``MMM_MSIXXX_<start of datatake>_Nxxyy_ROOO_Txxxxx_<time of processing>.SAFE``
(Sentinel-2 Products Specification Document, issue 14.9). Items have this name as a property or as their id, some
without the baseline ``Nxxyy``.
"""

from __future__ import annotations

import re

SQUARE = r"0?([1-9]\d?[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])"
"""An MGRS square, with or without a leading zero."""
_TIME = r"\d{8}T\d{6}"
_DATATAKE = re.compile(rf"G?(S2[A-Z])_({_TIME})(?:_\d+)?(?:_N\d\d\.?\d\d)?")
_PRODUCT = re.compile(rf"(S2[A-Z])_MSIL[12][A-Z]_({_TIME})_(?:\w+_)?({_TIME})(?:\.SAFE)?")


def datatake(identity: str, *names: str) -> str:
    """Return the platform and the start of the datatake, such as ``S2B_20240825T173909``.

    The result is the same in all catalogues and for all processings: the absolute orbit and the baseline of the id
    are left out, because names lack the former, and every reprocessing changes the latter.

    Args:
        identity: id of the datatake, such as ``GS2B_20240825T173909_039020_N05.11``; may be empty.
        names: names of the product or ids of the item, tried in this order.

    Returns:
        The datatake, or the empty string if no argument contains it.
    """
    if match := _DATATAKE.fullmatch(identity):
        return f"{match[1]}_{match[2]}"
    found = next(filter(None, map(_PRODUCT.fullmatch, names)), None)
    return f"{found[1]}_{found[2]}" if found else ""


def processed(*names: str) -> str:
    """Return the processing time of the first product name, such as ``20240825T215747``, in UTC; may be empty."""
    found = next(filter(None, map(_PRODUCT.fullmatch, names)), None)
    return found[3] if found else ""


def datastrip(identity: str, name: str) -> str:
    """Return the start of the datastrip, such as ``S20231223T190950``; empty if unknown.

    Args:
        identity: id of the datastrip; may be empty.
        name: id of the item. In the collection ``sentinel-2-c1-l2a`` it contains this time, as in
            ``S2B_T10TFR_20231223T190950_L2A``.
    """
    if match := re.search(rf"_(S{_TIME})", identity):
        return match[1]
    match = re.fullmatch(rf"S2[A-Z]_T\d\d[A-Z]{{3}}_({_TIME})_L2A", name)
    return f"S{match[1]}" if match else ""


def square(name: str) -> str:
    """Return the MGRS square in the id of an item, without a leading zero; empty if it contains none."""
    match = re.search(rf"(?:^|_)T?{SQUARE}(?=_|$)", name)
    return match[1] if match else ""


def platform(name: str) -> str:
    """Return the satellite with which the id of an item begins, such as ``sentinel-2a``; empty if it does not."""
    match = re.match(r"S2([A-Z])_", name)
    return f"sentinel-2{match[1].lower()}" if match else ""
