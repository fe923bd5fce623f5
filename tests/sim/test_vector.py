"""Vector arithmetic: every operation over masks in both forms, counts, repeats, strides, in place."""

import numpy as np
import pytest
from harness import check_bytes, kernels, launch, random_bits, struct
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference.addressing import addresses, read, write
from reference.formats import FLOAT, HALF

from qwen_vl_npu_ops import sim

VectorCase = struct(
    "VectorCase",
    operation="u32", form="u32", maskLow="u64", maskHigh="u64", bytes="u32", dst="u32", src0="u32", src1="u32",
    count="u32", repeat="u32", dstBlock="u32", src0Block="u32", src1Block="u32",
    dstRepeat="u32", src0Repeat="u32", src1Repeat="u32", scalar="f32",
)  # fmt: skip
REGION = 8192
IMAGE = 3 * REGION
FORMATS = {"half": HALF, "float": FLOAT}
DTYPES = {"half": np.float16, "float": np.float32, "int16_t": np.int16, "int32_t": np.int32}


def relu(x):
    return np.maximum(x, x.dtype.type(0))


# name: (code in vector.cpp, number of tensor sources, what it computes from dst, sources and scalar)
COMMON = {
    "Add": (0, 2, lambda d, a, b, s: a + b),
    "Sub": (1, 2, lambda d, a, b, s: a - b),
    "Mul": (2, 2, lambda d, a, b, s: a * b),
    "Max": (3, 2, lambda d, a, b, s: np.maximum(a, b)),
    "Min": (4, 2, lambda d, a, b, s: np.minimum(a, b)),
    "Adds": (5, 1, lambda d, a, b, s: a + s),
    "Muls": (6, 1, lambda d, a, b, s: a * s),
    "Maxs": (7, 1, lambda d, a, b, s: np.maximum(a, s)),
    "Mins": (8, 1, lambda d, a, b, s: np.minimum(a, s)),
    "Duplicate": (9, 0, lambda d, a, b, s: np.full_like(d, s)),
    "Copy": (10, 1, lambda d, a, b, s: a),
    "Add, mask register": (11, 2, lambda d, a, b, s: a + b),
    "Add, counter mode": (12, 2, lambda d, a, b, s: a + b),
}
FLOATING = {
    "Div": (20, 2, lambda d, a, b, s: a / b),
    "MulAddDst": (21, 2, lambda d, a, b, s: a * b + d),
    "Abs": (24, 1, lambda d, a, b, s: np.abs(a)),
    "Sqrt": (26, 1, lambda d, a, b, s: np.sqrt(a)),
    "Relu": (28, 1, lambda d, a, b, s: relu(a)),
    "LeakyRelu": (29, 1, lambda d, a, b, s: np.where(a >= 0, a, a * s)),
    "Axpy": (30, 1, lambda d, a, b, s: a * s + d),
    "AddRelu": (31, 2, lambda d, a, b, s: relu(a + b)),
    "SubRelu": (32, 2, lambda d, a, b, s: relu(a - b)),
    "FusedMulAdd": (33, 2, lambda d, a, b, s: a * d + b),
    "FusedMulAddRelu": (34, 2, lambda d, a, b, s: relu(a * d + b)),
}
SHIFTS = {
    "ShiftLeft": (43, 1, lambda d, a, b, s: a << s),
    "ShiftRight": (44, 1, lambda d, a, b, s: a >> s),
}
BITS = {
    "And": (40, 2, lambda d, a, b, s: a & b),
    "Or": (41, 2, lambda d, a, b, s: a | b),
    "Not": (42, 1, lambda d, a, b, s: ~a),
}
TABLE = COMMON | FLOATING | BITS | SHIFTS
OPERATIONS = [("half", n) for n in COMMON | FLOATING] + [("float", n) for n in COMMON | FLOATING]
OPERATIONS += [("int16_t", n) for n in COMMON | BITS | SHIFTS]
OPERATIONS += [("int32_t", n) for n in COMMON | SHIFTS]
# Forms that an operation has: 0 counts elements, 1 counts lanes of each repeat, 2 has a bit per lane.
FORMS = {"Copy": [1, 2], "Add, mask register": [2], "Add, counter mode": [0]}
SCALARS = {
    "half": [-3.0, 0.5],
    "float": [-3.0, 0.1],
    "int16_t": [-3.0, 2.0],
    "int32_t": [-3.0, 2.0],
    "shift": [0.0, 3.0],
}
# Multiply and add: the documents do not say whether the product is rounded on its own.
TWO_ROUNDINGS = {"MulAddDst", "Axpy", "FusedMulAdd", "FusedMulAddRelu"}
# What an undocumented choice decides: which of two zeros, what to make of a NaN.
ORDERED = {"Max", "Min", "Maxs", "Mins", "Relu", "LeakyRelu", "AddRelu", "SubRelu", "FusedMulAddRelu"}


def make_image(seed, dtype, operation):
    rng = np.random.default_rng(seed)
    floating = FORMATS.get(dtype)
    elements = random_bits(rng, DTYPES[dtype], IMAGE // np.dtype(DTYPES[dtype]).itemsize, floating=floating)
    if operation in ORDERED and floating:
        values = elements.view(DTYPES[dtype])
        elements = np.where(np.isnan(values) | (values == 0), DTYPES[dtype](1.5), values)
    return elements.view(np.uint8).copy()


def operands(case, size):
    """Addresses of dst, src0 and src1 (byte addresses of every active element)."""
    starts = (case.dst, case.src0, case.src1)
    if case.operation == COMMON["Add, counter mode"][0]:
        lanes = 256 // size
        return [
            addresses(start, size, lanes, lanes, -(-case.count // lanes), block, repeat).ravel()[: case.count]
            for start, block, repeat in zip(starts, *strides_of(case), strict=True)
        ]
    if case.form == 0:
        return [start + np.arange(case.count) * size for start in starts]
    mask = case.maskLow if case.form == 1 else (case.maskLow, case.maskHigh)
    return [
        addresses(start, size, mask, 256 // size, case.repeat, block, repeat)
        for start, block, repeat in zip(starts, *strides_of(case), strict=True)
    ]


def strides_of(case):
    blocks = (case.dstBlock, case.src0Block, case.src1Block)
    return blocks, (case.dstRepeat, case.src0Repeat, case.src1Repeat)


def expected_image(image, case, dtype, operation):
    """The image after the operation, the written addresses and elements, and the unrounded results."""
    kind = DTYPES[dtype]
    _, _, compute = TABLE[operation]
    dst, src0, src1 = operands(case, np.dtype(kind).itemsize)
    d, a, b = (read(image, where, kind) for where in (dst, src0, src1))
    scalar = kind(case.scalar)
    with np.errstate(all="ignore"):
        result = compute(d, a, b, scalar).astype(kind)
        exact = result
        if operation in TWO_ROUNDINGS:
            exact = compute(*(x.astype(np.longdouble) for x in (d, a, b)), np.longdouble(scalar))
    after = image.copy()
    write(after, dst, result)
    return after, dst, result, exact


def rounds_to(values, exact):
    """Whether each value is the nearest one to the exact result; long doubles leave near ties open."""
    with np.errstate(all="ignore"):
        half_ulp = np.abs(np.spacing(values)).astype(np.longdouble) * np.longdouble(0.5 + 2.0**-30)
        return np.abs(values.astype(np.longdouble) - exact) <= half_ulp


@st.composite
def cases(draw):
    dtype, operation = draw(st.sampled_from(OPERATIONS))
    size = np.dtype(DTYPES[dtype]).itemsize
    code, sources, _ = TABLE[operation]
    lanes = 256 // size
    form = draw(st.sampled_from(FORMS.get(operation, [0, 1, 2])))
    if form == 1:
        low, high = draw(st.integers(1, lanes)), 0
    else:
        low, high = draw(st.integers(1, 2**64 - 1)), draw(st.integers(0, 2**64 - 1)) if size == 2 else 0
    case = VectorCase(
        operation=code, form=form, maskLow=low, maskHigh=high, bytes=IMAGE,
        dst=32 * draw(st.integers(0, 3)), src0=REGION + 32 * draw(st.integers(0, 3)),
        src1=2 * REGION + 32 * draw(st.integers(0, 3)), count=draw(st.integers(0, 1500)),
        repeat=draw(st.integers(0, 6)),
        dstBlock=draw(st.integers(1, 4)), src0Block=draw(st.integers(0, 4)), src1Block=draw(st.integers(0, 4)),
        dstRepeat=draw(st.integers(0, 12)), src0Repeat=draw(st.integers(0, 12)), src1Repeat=draw(st.integers(0, 12)),
        scalar=draw(st.sampled_from(SCALARS["shift" if operation in SHIFTS else dtype])),
    )  # fmt: skip
    if sources >= 1 and draw(st.booleans()):  # in place
        case.src0, case.src0Block, case.src0Repeat = case.dst, case.dstBlock, case.dstRepeat
    written = operands(case, size)[0]
    assume(len(np.unique(written)) == written.size)  # no element written by two repeats
    assume(max((w.max() for w in operands(case, size) if w.size), default=0) < IMAGE - 4)
    return dtype, operation, case, draw(st.integers(0, 2**32))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_operation(parameters):
    dtype, operation, case, seed = parameters
    image = make_image(seed, dtype, operation)
    expected, dst, result, exact = expected_image(image, case, dtype, operation)
    got = image.copy()
    launch(kernels("vector"), f"vector_{dtype}", got, case)
    values = read(got, dst, DTYPES[dtype])
    same = values == result
    if operation in TWO_ROUNDINGS:
        same |= rounds_to(values, exact)
    if dtype in FORMATS:
        same |= np.isnan(values) & np.isnan(result)
    assert same.all(), f"{operation} {dtype}: {values[~same][:4]}, expected {result[~same][:4]}"
    write(got, dst, result)
    check_bytes(got, expected, "outside the destination")


@pytest.mark.parametrize("dtype", ["half", "float"])
@pytest.mark.parametrize(("operation", "code", "exact"), [("Exp", 22, np.exp), ("Ln", 23, np.log)])
def test_transcendental(dtype, operation, code, exact):
    kind, floating = DTYPES[dtype], FORMATS[dtype]
    x = np.random.default_rng(5).uniform(1e-3, 9, 1024).astype(kind)
    x[:6] = [0, 1, np.inf, np.nan, 65504, 6e-8]
    x[6] = -np.inf if operation == "Exp" else 2
    got = run_unary(dtype, code, x)
    with np.errstate(all="ignore"):
        wanted = exact(x.astype(np.float64))
        rounded = wanted.astype(kind)
    ulp = np.spacing(np.where(np.isfinite(rounded), rounded, 1).astype(kind)).astype(np.float64)
    finite = np.isfinite(rounded)
    assert (np.abs(got[finite].astype(np.float64) - wanted[finite]) <= np.abs(ulp[finite])).all()
    assert np.array_equal(np.isnan(got), np.isnan(rounded))
    assert np.array_equal(got[np.isinf(rounded)], rounded[np.isinf(rounded)])
    assert floating.size == kind().itemsize


@pytest.mark.parametrize("dtype", ["half", "float"])
@pytest.mark.parametrize(("code", "exact"), [(25, lambda x: 1 / x), (27, lambda x: 1 / np.sqrt(x))])
def test_reciprocals_are_as_coarse_as_the_hardware(dtype, code, exact):
    """The documents promise less than 1e-4 (float) and 1e-3 (half): a kernel that needs them must fail here."""
    kind = DTYPES[dtype]
    x = np.random.default_rng(6).uniform(0.5, 100, 4096).astype(kind)
    error = np.abs(run_unary(dtype, code, x).astype(np.float64) / exact(x.astype(np.float64)) - 1)
    assert 1e-4 < error.max() < (4e-3 if dtype == "float" else 8e-3)


def run_unary(dtype, code, x):
    image = np.concatenate([np.zeros_like(x), x]).view(np.uint8)
    case = VectorCase(operation=code, form=0, bytes=image.size, dst=0, src0=x.nbytes, src1=x.nbytes, count=len(x))
    launch(kernels("vector"), f"vector_{dtype}", image, case)
    return image.view(DTYPES[dtype])[: len(x)]


def legal(**changes):
    fields = {
        "operation": 0, "form": 1, "maskLow": 64, "bytes": IMAGE, "dst": 0, "src0": REGION, "src1": 2 * REGION,
        "count": 64, "repeat": 2, "dstBlock": 1, "src0Block": 1, "src1Block": 1,
        "dstRepeat": 8, "src0Repeat": 8, "src1Repeat": 8,
    }  # fmt: skip
    return VectorCase(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "dtype", "kind"),
    [
        ({"maskLow": 65}, "float", "limit"),
        ({"maskLow": 129}, "half", "limit"),
        ({"dst": 16}, "float", "alignment"),
        ({"src0": REGION + 4}, "float", "alignment"),
        ({"src1": 2 * REGION + 2}, "half", "alignment"),
        ({"src1": IMAGE - 32}, "float", "out_of_bounds"),
        ({"form": 0, "count": 4096, "dst": 2 * REGION, "src0": 0, "src1": 0}, "float", "out_of_bounds"),
        ({"src0": 32}, "float", "overlap"),
    ],
)
def test_refused(changes, dtype, kind):
    image = make_image(1, dtype, "Add")
    launch(kernels("vector"), f"vector_{dtype}", image.copy(), legal())
    with pytest.raises(sim.SimulatorError) as error:
        launch(kernels("vector"), f"vector_{dtype}", image.copy(), legal(**changes))
    assert (error.value.kind, error.value.instruction) == (kind, "Add")
    assert "vector.cpp" in error.value.file
