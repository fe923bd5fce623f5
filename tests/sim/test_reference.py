"""The references themselves, against numpy's and torch's own conversions and exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import formats as f
from reference.cube import to_nz, to_zn, to_zz


def random_floats():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100000, dtype=np.uint32)
    return bits[np.isfinite(bits.view(np.float32))]


def test_half_matches_numpy():
    bits = random_floats()
    with np.errstate(over="ignore"):
        expected = bits.view(np.float32).astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(f.HALF.encode(f.HALF.round(f.FLOAT.decode(bits), "RINT")), expected)


def test_bfloat16_matches_torch():
    bits = random_floats()
    expected = torch.from_numpy(bits.view(np.float32)).bfloat16().view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(f.BFLOAT16.encode(f.BFLOAT16.round(f.FLOAT.decode(bits), "RINT")), expected)


@pytest.mark.parametrize("number_format", [f.HALF, f.BFLOAT16, f.FLOAT])
def test_encode_undoes_decode(number_format):
    bits = np.arange(65536, dtype=np.uint64) << (8 * number_format.size - 16)
    values = number_format.decode(bits.astype(number_format.storage))
    keep = ~np.isnan(values)
    np.testing.assert_array_equal(number_format.encode(values)[keep], bits.astype(number_format.storage)[keep])


@given(st.floats(-70000, 70000, width=32), st.sampled_from(f.MODES))
def test_rounding_modes_by_their_definition(x, mode):
    """Exact fractions: the neighbours of x in half, and the one that the mode's definition picks."""
    rounded = f.HALF.round(np.array([x], np.longdouble), mode)[0]
    exact = Fraction(x)
    magnitude = max(abs(x), 2.0**-14)
    quantum = Fraction(2) ** (int(np.frexp(magnitude)[1]) - 11)
    low = exact // quantum
    if abs(low * quantum) > 65504 or abs((low + 1) * quantum) > 65504:
        return
    rest = exact - low * quantum
    even = low if low % 2 == 0 else low + 1
    nearest = low if rest < quantum / 2 else low + 1
    away = nearest if rest != quantum / 2 else (low + 1 if x > 0 else low)
    picks = {"FLOOR": low, "CEIL": low + 1, "TRUNC": low if x > 0 else low + 1, "ROUND": away}
    picks |= dict.fromkeys(("RINT", "NONE"), even if rest == quantum / 2 else nearest)
    picks["ODD"] = low if low % 2 else low + 1
    wanted = exact if rest == 0 else picks[mode] * quantum
    assert Fraction(float(rounded)) == wanted


def test_fractal_layouts_by_index():
    a = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    zz, zn, nz = to_zz(a), to_zn(a), to_nz(a, 48)
    for row, column in [(0, 0), (17, 3), (47, 63), (16, 32), (5, 18)]:
        in_row, in_column = row % 16, column % 16
        assert zz[(row // 16 * 4 + column // 16) * 256 + in_row * 16 + in_column] == a[row, column]
        assert zn[(row // 16 * 4 + column // 16) * 256 + in_column * 16 + in_row] == a[row, column]
        assert nz[(column // 16 * 48 + row) * 16 + in_column] == a[row, column]
