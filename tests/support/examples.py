"""How many examples hypothesis tries of a property."""

from __future__ import annotations

from hypothesis import settings


def examples(number: int) -> settings:
    """So many examples, but no more than the profile allows where it is that of the quick lane.

    Args:
        number: examples in the full suite; without this decorator they are hypothesis' own 100.
    """
    allowed = settings().max_examples
    return settings(max_examples=number if allowed == 100 else min(number, allowed))
