"""Values of areas for tests of the state and of tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from s2async.clouds.scl import SclRule
from s2async.models import CloudMeasure, Job, Outcome, Selection, Status
from s2async.zonal.wanted import AreaValues, Variable, Wanted
from tests.support.states import VISUAL

RED = Variable(name="red", formula="red", bands=("red",))
NDVI = Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red"))
NDWI = Variable(name="NDWI", formula="(green - nir) / (green + nir)", bands=("green", "nir"))
WANTED = Wanted(variables=(RED, NDVI), statistics=("mean", "stdev", "min"), classes=(3, 8, 9))
SELECTION = replace(VISUAL, values=WANTED)
LAX = SclRule.from_percent(classes=[3, 8, 9], max_cloud=80, min_valid=50)
"""The rule of values."""
ALL = ("scl", "visual", "red", "nir", "green")
"""Assets of a scene that has all that is asked for."""


def measure(cloud: int = 0, *, shadow: int = 0, good: int = 100) -> CloudMeasure:
    """A measurement: pixels of vegetation, of clouds (class 9) and of their shadows (class 3)."""
    return CloudMeasure(histogram=(0, 0, 0, shadow, good, 0, 0, 0, 0, cloud, 0, 0, 0), total=good + cloud + shadow)


def numbers(
    job: Job, variable: Variable, wanted: Wanted = WANTED, *, offset: int | None = 0, **others: Any
) -> AreaValues:
    """Values that differ from job to job and from variable to variable, but for those that are given."""
    base = (job.id % 1000) / 7 + len(variable.formula)
    values: dict[str, Any] = {
        "key": wanted.key(variable),
        "counts": (400, 400, 300 + job.id % 50, 290, 10),
        "offsets": (offset,) * len(variable.bands),
        "statistics": tuple(base + at / 3 for at in range(len(wanted.statistics))),
    }
    return AreaValues.of(**values | others)


def valued(
    job: Job,
    wanted: Wanted = WANTED,
    *,
    status: Status = Status.CLOUDY,
    measured: CloudMeasure | None = None,
    variables: Iterable[Variable] | None = None,
    offset: int | None = 0,
) -> Outcome:
    """The outcome of a job that has values."""
    some = wanted.variables if variables is None else variables
    results = tuple(numbers(job, variable, wanted, offset=offset) for variable in some)
    return Outcome(job=job, status=status, measure=measured or measure(cloud=100), results=results)


def wanting(selection: Selection = SELECTION, **changes: object) -> Selection:
    """The selection with other values."""
    return replace(selection, values=replace(WANTED, **changes))  # type: ignore[arg-type]
