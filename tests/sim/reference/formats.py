"""Number formats and the rounding of every RoundMode, on exact values.

Values travel as long doubles, whose 64-bit significand holds every half, bfloat16, float, int32 and int64 exactly.
"""

from dataclasses import dataclass

import numpy as np

MODES = ["NONE", "RINT", "FLOOR", "CEIL", "ROUND", "TRUNC", "ODD"]  # in the order of AscendC::RoundMode


@dataclass(frozen=True)
class Floating:
    """An IEEE-like format; `storage` holds its bits, sign | exponent | fraction."""

    name: str
    storage: type
    exponent_bits: int
    fraction_bits: int

    @property
    def size(self):
        return np.dtype(self.storage).itemsize

    @property
    def bias(self):
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def max(self):
        return np.ldexp(np.longdouble(2) - np.ldexp(np.longdouble(1), -self.fraction_bits), self.bias)

    def decode(self, bits):
        bits = np.asarray(bits, self.storage).astype(np.int64)
        sign = np.where(bits >> (self.exponent_bits + self.fraction_bits), -1, 1)
        exponent = bits >> self.fraction_bits & (2**self.exponent_bits - 1)
        fraction = bits & (2**self.fraction_bits - 1)
        significand = fraction + np.where(exponent > 0, 2**self.fraction_bits, 0)
        scale = np.maximum(exponent, 1) - self.bias - self.fraction_bits
        value = np.ldexp(significand.astype(np.longdouble), scale.astype(np.int32))
        special = np.where(fraction == 0, np.longdouble(np.inf), np.longdouble(np.nan))
        return sign * np.where(exponent == 2**self.exponent_bits - 1, special, value)

    def encode(self, values):
        """Bits of values that are exact in this format, infinite, or NaN (the positive quiet one)."""
        values = np.asarray(values, np.longdouble)
        finite = np.where(np.isfinite(values), np.abs(values), 0)
        exponent = np.maximum(np.frexp(finite)[1] - 1, 1 - self.bias)
        significand = np.ldexp(finite, (self.fraction_bits - exponent).astype(np.int32)).astype(np.int64)
        normal = significand >= 2**self.fraction_bits
        biased = np.where(normal, exponent + self.bias, 0).astype(np.int64)
        bits = (biased << self.fraction_bits) + significand - np.where(normal, 2**self.fraction_bits, 0)
        infinity = (2**self.exponent_bits - 1) << self.fraction_bits
        bits = np.where(np.isinf(values), infinity, bits)
        bits = np.where(np.isnan(values), infinity | 1 << (self.fraction_bits - 1), bits)
        sign = np.signbit(values) & ~np.isnan(values)
        return (bits | sign.astype(np.int64) << (self.exponent_bits + self.fraction_bits)).astype(self.storage)

    def round(self, values, mode):
        """`values` as this format holds them; what is beyond its range becomes infinite, as with saturation off."""
        values = np.asarray(values, np.longdouble)
        finite = np.where(np.isfinite(values), values, 0)
        exponent = np.maximum(np.frexp(np.abs(finite))[1] - 1, 1 - self.bias)
        quantum = (exponent - self.fraction_bits).astype(np.int32)
        rounded = np.ldexp(round_to_integer(np.ldexp(finite, -quantum), mode), quantum)
        rounded = np.where(np.abs(rounded) > self.max, np.copysign(np.inf, rounded), rounded)
        return np.where(np.isfinite(values), np.copysign(rounded, values), values)


@dataclass(frozen=True)
class Integer:
    """A two's complement format."""

    name: str
    storage: type

    @property
    def size(self):
        return np.dtype(self.storage).itemsize

    def decode(self, bits):
        return np.asarray(bits, self.storage).astype(np.longdouble)

    def encode(self, values):
        # Not through float: the extremes of int64 would not survive.
        return np.array([int(v) for v in np.ravel(values)], dtype=object).astype(self.storage)

    def round(self, values, mode):
        """Rounded to an integer and saturated; NaN becomes 0."""
        info = np.iinfo(self.storage)
        values = np.where(np.isnan(values), 0, values)
        return np.clip(round_to_integer(values, mode), np.longdouble(info.min), np.longdouble(info.max))


def round_to_integer(values, mode):
    if mode in ("NONE", "RINT"):
        return np.rint(values)
    if mode == "FLOOR":
        return np.floor(values)
    if mode == "CEIL":
        return np.ceil(values)
    if mode == "ROUND":
        return np.copysign(np.floor(np.abs(values) + np.longdouble(0.5)), values)
    if mode == "TRUNC":
        return np.trunc(values)
    down = np.floor(values)
    is_odd = np.fmod(down, 2) != 0
    return np.where((down == values) | is_odd, down, down + 1)


HALF = Floating("half", np.uint16, 5, 10)
BFLOAT16 = Floating("bfloat16_t", np.uint16, 8, 7)
FLOAT = Floating("float", np.uint32, 8, 23)
INT8 = Integer("int8_t", np.int8)
UINT8 = Integer("uint8_t", np.uint8)
INT16 = Integer("int16_t", np.int16)
INT32 = Integer("int32_t", np.int32)
INT64 = Integer("int64_t", np.int64)
