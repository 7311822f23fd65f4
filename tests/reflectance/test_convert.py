"""Conversions of digital numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from s2async.reflectance.convert import harmonised, reflectance

DN = arrays("uint16", (4, 5))


def test_no_data_stays_and_nothing_falls_to_it() -> None:
    dn = np.array([0, 1, 999, 1000, 1001, 2108, 65_535], "uint16")
    assert harmonised(dn, -1000).tolist() == [0, 1, 1, 1, 1, 1108, 64_535]
    assert harmonised(dn, -1000).dtype == np.uint16
    assert harmonised(dn, 0) is dn


def test_reflectances_below_zero_are_kept() -> None:
    assert reflectance(np.array([500, 1500], "uint16"), -1000).tolist() == [-0.05, 0.05]
    assert np.isnan(reflectance(np.array([0], "uint16"), -1000)).all()


@given(DN)
def test_harmonised_is_the_measured_formula(dn: np.ndarray) -> None:
    for value, moved in zip(dn.ravel().tolist(), harmonised(dn, -1000).ravel().tolist(), strict=True):
        assert moved == (0 if value == 0 else max(value - 1000, 1))


@given(DN)
def test_both_conventions_give_the_same_reflectance(dn: np.ndarray) -> None:
    valid = dn[(dn > 1000) & (dn < 60_000)]
    assert np.array_equal(reflectance(valid, -1000), reflectance(harmonised(valid, -1000), 0))
