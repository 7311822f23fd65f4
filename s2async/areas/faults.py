"""What is wrong with individual areas, what was repaired, and the messages about both. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from s2async.errors import AreaError, UnfitAreas
from s2async.text import one_line

if TYPE_CHECKING:  # this module is pure, but that of the settings reads files
    from s2async.config.types import Invalid

TOLD: Final = 30
"""Maximum number of areas that a message lists; it counts the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """What is wrong with an area, or what was done to repair it."""

    place: str
    """Where the area is defined: file and line, or file and number of the feature."""
    name: str
    """Name of the area; empty if it has no usable name."""
    text: str
    """What is wrong and what to do, or what was repaired, in one line."""

    def __str__(self) -> str:
        area = f'area "{one_line(self.name)}": ' if self.name else ""
        return f"{self.place}: {area}{self.text}"

    def within(self, place: str) -> str:
        """Return the remark for a list under a heading that names the file."""
        return str(self).removeprefix(f"{place}: ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """How the areas of a run differ from those in its file."""

    skipped: tuple[Remark, ...] = ()
    """Areas that were left out, with the reason."""
    repaired: tuple[Remark, ...] = ()
    """Areas that were repaired, with what was done."""


@dataclass(frozen=True, slots=True)
class Mendable:
    """How many of the areas that cannot be used ``invalid = "repair"`` would repair."""

    count: int
    every: bool = True
    """Whether all were tried; if not, there may be more."""


def refusal(
    place: str,
    faults: Sequence[Remark],
    total: int,
    *,
    invalid: Invalid = "refuse",
    mendable: Mendable = Mendable(0),
) -> AreaError:
    """Return the error that lists faults: one line for a single fault, otherwise a heading and a line for each.

    It is an `UnfitAreas` if other areas are valid.

    Args:
        place: the file, or the place in the configuration.
        faults: at least one fault.
        total: number of areas in the file.
        invalid: what the configuration says about such areas.
        mendable: how many of them another setting would repair.
    """
    kind = UnfitAreas if len(faults) < total else AreaError
    if len(faults) == 1:
        also = ', or set invalid = "repair", which mends it' if mendable.count else ""
        return kind(f"{faults[0]}{also}")
    advice = "correct them"
    if invalid == "refuse":
        advice = 'correct them, or set invalid = "skip" to leave them out'
    elif invalid == "repair":
        advice = 'correct them, or remove them from the file (invalid = "skip" leaves them out, but mends nothing)'
    if mendable.count:
        every = mendable.count == len(faults)
        some = "all of them" if every else f"{'' if mendable.every else 'at least '}{mendable.count:,} of them"
        advice += f'; invalid = "repair" mends {some}'
    lines = [f"{place}: {len(faults):,} of {_areas(total)} cannot be used; {advice}:", *listed(place, faults)]
    return kind("\n".join(lines))


def skipped_notices(place: str, faults: Sequence[Remark], total: int) -> list[str]:
    """Return lines that name the areas that were left out; none if there are no such areas."""
    if not faults:
        return []
    were = "was" if len(faults) == 1 else "were"
    head = f'{place}: {len(faults):,} of {_areas(total)} {were} left out, because invalid = "skip":'
    return [head, *listed(place, faults)]


def repaired_notices(place: str, repairs: Sequence[Remark], total: int) -> list[str]:
    """Return lines that name the areas that were repaired; none if there are no such areas."""
    if not repairs:
        return []
    were = "was" if len(repairs) == 1 else "were"
    return [f"{place}: {len(repairs):,} of {_areas(total)} {were} repaired:", *listed(place, repairs)]


def listed(place: str, remarks: Sequence[Remark]) -> list[str]:
    """Return an indented line for each of the first remarks, and the number of the others."""
    lines = [f"  {remark.within(place)}" for remark in remarks[:TOLD]]
    return [*lines, f"  and {len(remarks) - TOLD:,} more"] if len(remarks) > TOLD else lines


def _areas(count: int) -> str:
    return "1 area" if count == 1 else f"{count:,} areas"
