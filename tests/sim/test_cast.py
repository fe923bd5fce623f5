"""Cast: every legal pair of types and rounding mode, on every kind of value, and its addressing."""

import numpy as np
import pytest
from harness import check_bytes, kernels, launch, struct
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import formats as f
from reference.addressing import addresses, read, write

from qwen_vl_npu_ops import sim

CastCase = struct(
    "CastCase",
    pair="u32", mode="u32", form="u32", bytes="u32", maskLow="u64", maskHigh="u64", dst="u32", src="u32",
    count="u32", repeat="u32", dstBlock="u32", srcBlock="u32", dstRepeat="u32", srcRepeat="u32",
)  # fmt: skip
ROUNDING = ["RINT", "FLOOR", "CEIL", "ROUND", "TRUNC"]
# In the order of cast.cpp: destination, source, legal modes on A2 (Cast.md, table for Atlas A2).
PAIRS = [
    (f.HALF, f.FLOAT, [*ROUNDING, "ODD", "NONE"]),
    (f.BFLOAT16, f.FLOAT, ROUNDING),
    (f.FLOAT, f.HALF, ["NONE"]),
    (f.FLOAT, f.BFLOAT16, ["NONE"]),
    (f.FLOAT, f.FLOAT, ROUNDING),
    (f.INT32, f.FLOAT, ROUNDING),
    (f.INT16, f.FLOAT, ROUNDING),
    (f.INT64, f.FLOAT, ROUNDING),
    (f.FLOAT, f.INT16, ["NONE"]),
    (f.FLOAT, f.INT32, [*ROUNDING, "NONE"]),
    (f.FLOAT, f.INT64, ROUNDING),
    (f.INT32, f.HALF, ROUNDING),
    (f.INT16, f.HALF, ROUNDING),
    (f.INT8, f.HALF, [*ROUNDING, "NONE"]),
    (f.UINT8, f.HALF, [*ROUNDING, "NONE"]),
    (f.HALF, f.INT16, [*ROUNDING, "NONE"]),
    (f.HALF, f.INT8, ["NONE"]),
    (f.HALF, f.UINT8, ["NONE"]),
    (f.INT32, f.BFLOAT16, ROUNDING),
    (f.INT16, f.INT32, ["NONE"]),
    (f.INT64, f.INT32, ["NONE"]),
    (f.INT32, f.INT64, ["NONE"]),
]
LEGAL = [(i, mode) for i, (_, _, modes) in enumerate(PAIRS) for mode in modes]
NAMES = [f"{PAIRS[i][1].name}-{PAIRS[i][0].name}-{mode}" for i, mode in LEGAL]


def convert(pair, mode, bits):
    """Bits of the destination for bits of the source."""
    dst, src, _ = PAIRS[pair]
    values = src.decode(bits)
    if dst is f.FLOAT and src is f.FLOAT:  # float to float rounds to an integral value
        rounded = f.round_to_integer(np.where(np.isfinite(values), values, 0), mode)
        return dst.encode(np.where(np.isfinite(values), np.copysign(rounded, values), values))
    return dst.encode(dst.round(values, mode)).reshape(np.shape(bits))


def source_bits(src, dst, seed, count):
    """Interesting bits: ties and their neighbours in the destination, the ends of its range, specials."""
    rng = np.random.default_rng(seed)
    anything = np.frombuffer(rng.bytes(count * src.size), src.storage).copy()
    if isinstance(src, f.Floating):
        halves = rng.integers(-600, 600, count) / np.longdouble(4)
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65520, 127.5, -128.5, 255.5, 32767.5, 2.0**31, 2.0**63]
        near = src.encode(src.round(halves, "RINT")).astype(src.storage)
        edges = src.encode(src.round(np.array(special, np.longdouble), "RINT")).astype(src.storage)
        # One step around a tie of the destination: where rounding modes differ.
        ties = src.round(rng.normal(size=count).astype(np.longdouble), "RINT")
        if isinstance(dst, f.Floating) and dst.fraction_bits < src.fraction_bits:
            coarse = f.Floating("", np.uint64, src.exponent_bits, dst.fraction_bits + 1)
            ties = coarse.round(ties, "RINT")
        near_ties = (src.encode(ties).astype(np.int64) + rng.integers(-1, 2, count)).astype(src.storage)
        bits = np.choose(rng.integers(0, 3, count), [anything, near, near_ties])
        bits[: len(edges)] = edges
    else:
        info = np.iinfo(src.storage)
        small = rng.integers(-300, 300, count).clip(info.min, info.max).astype(src.storage)
        power = np.array([1 << int(rng.integers(0, 8 * src.size - 1)) for _ in range(count)], dtype=object)
        near_powers = np.array([int(p) + int(d) for p, d in zip(power, rng.integers(-1, 2, count), strict=True)])
        bits = np.choose(rng.integers(0, 3, count), [anything, small, near_powers.astype(src.storage)])
        bits[:4] = [info.min, info.max, 0, 1]
    if dst is f.UINT8:  # negative input is an error to the documents
        bits = np.where(src.decode(bits) < 0, 0, bits).astype(src.storage)
    return bits


def is_nan(number_format, bits):
    return isinstance(number_format, f.Floating) & np.isnan(number_format.decode(bits))


@pytest.mark.parametrize(("pair", "mode"), LEGAL, ids=NAMES)
def test_values(pair, mode):
    dst, src, _ = PAIRS[pair]
    count = 4096
    bits = source_bits(src, dst, 7, count)
    image = np.zeros(count * dst.size + bits.nbytes, np.uint8)
    image[count * dst.size :] = bits.view(np.uint8)
    case = CastCase(pair=pair, mode=f.MODES.index(mode), form=0, bytes=image.size, dst=0, count=count)
    case.src = count * dst.size
    launch(kernels("cast"), "cast", image, case)
    got = image[: count * dst.size].view(dst.storage)
    expected = convert(pair, mode, bits)
    same = (got == expected) | (is_nan(dst, got) & is_nan(dst, expected))
    where = np.flatnonzero(~same)[:4]
    assert same.all(), f"{src.decode(bits[where])} -> {dst.decode(got[where])}, expected {dst.decode(expected[where])}"


def test_every_half_and_bfloat16_reaches_float_exactly():
    for pair in (2, 3):
        bits = np.arange(65536, dtype=np.uint16).reshape(8, -1)
        for part in bits:
            image = np.concatenate([np.zeros(part.size * 4, np.uint8), part.view(np.uint8)])
            case = CastCase(pair=pair, bytes=image.size, src=part.size * 4, count=part.size)
            launch(kernels("cast"), "cast", image, case)
            got, expected = image[: part.size * 4].view(np.uint32), convert(pair, "NONE", part)
            assert ((got == expected) | (is_nan(f.FLOAT, got) & is_nan(f.FLOAT, expected))).all()


@st.composite
def layouts(draw):
    pair, mode = draw(st.sampled_from(LEGAL))
    dst, src, _ = PAIRS[pair]
    lanes = 256 // max(dst.size, src.size)
    form = draw(st.sampled_from([1, 2]))
    low, high = draw(st.integers(1, lanes)), 0
    if form == 2:
        bits = draw(st.integers(1, 2**lanes - 1))
        low, high = bits & (2**64 - 1), bits >> 64
    case = CastCase(
        pair=pair, mode=f.MODES.index(mode), form=form, bytes=16384, maskLow=low, maskHigh=high, dst=0, src=8192,
        repeat=draw(st.integers(0, 5)), dstBlock=draw(st.integers(1, 3)), srcBlock=draw(st.integers(0, 3)),
        dstRepeat=draw(st.integers(0, 12)), srcRepeat=draw(st.integers(0, 12)),
    )  # fmt: skip
    return case, mode, draw(st.integers(0, 2**32))


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_layout(parameters):
    case, mode, seed = parameters
    dst, src, _ = PAIRS[case.pair]
    lanes = 256 // max(dst.size, src.size)
    mask = case.maskLow if case.form == 1 else (case.maskLow, case.maskHigh)
    to = addresses(case.dst, dst.size, mask, lanes, case.repeat, case.dstBlock, case.dstRepeat)
    at = addresses(case.src, src.size, mask, lanes, case.repeat, case.srcBlock, case.srcRepeat)
    assume(len(np.unique(to)) == to.size)
    image = np.random.default_rng(seed).integers(0, 256, case.bytes).astype(np.uint8)
    image[8192:] = source_bits(src, dst, seed, 8192 // src.size).view(np.uint8)
    expected = image.copy()
    write(expected, to, convert(case.pair, mode, read(image, at, src.storage)))
    got = image.copy()
    launch(kernels("cast"), "cast", got, case)
    if isinstance(dst, f.Floating):
        both_nan = is_nan(dst, read(got, to, dst.storage)) & is_nan(dst, read(expected, to, dst.storage))
        write(got, to[both_nan], read(expected, to[both_nan], dst.storage))
    check_bytes(got, expected)


ILLEGAL = [(i, m) for i, (_, _, modes) in enumerate(PAIRS) for m in f.MODES if m not in modes]


@pytest.mark.parametrize(("pair", "mode"), ILLEGAL, ids=lambda v: str(v))
def test_illegal_mode_is_refused(pair, mode):
    case = CastCase(pair=pair, mode=f.MODES.index(mode), bytes=4096, src=2048, count=32)
    with pytest.raises(sim.SimulatorError) as error:
        launch(kernels("cast"), "cast", np.zeros(4096, np.uint8), case)
    assert error.value.kind == "unsupported"
    assert error.value.instruction == "Cast"
