"""DataCopy and DataCopyPad between GM and UB: every byte that lands, and no other."""

import numpy as np
import pytest
from harness import check_bytes, kernels, launch, struct
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.moves import data_copy, data_copy_pad_in, data_copy_pad_out

from qwen_vl_npu_ops import sim

CopyCase = struct(
    "CopyCase",
    operation="u32", bytes="u32", gmBytes="u32", gm="u32", ub="u32", ubSource="u32", blockCount="u32",
    blockLength="u32", srcStride="u32", dstStride="u32", isPad="u32", leftPadding="u32", rightPadding="u32",
    count="u32", setPadValue="u32", padding="f32",
)  # fmt: skip
UB, GM = 16384, 16384
SIZES = {"half": 2, "float": 4, "int8_t": 1}
ELEMENT = {"half": np.float16, "float": np.float32, "int8_t": np.int8}
IN, OUT, PAD_IN, PAD_OUT, WITHIN, IN_COUNT, OUT_COUNT = range(7)
dtypes = st.sampled_from(list(SIZES))
seeds = st.integers(0, 2**32)


def memories(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, UB).astype(np.uint8), rng.integers(0, 256, GM).astype(np.uint8)


def run(dtype, ub_image, gm_image, **fields):
    case = CopyCase(bytes=UB, gmBytes=GM, **fields)
    launch(kernels("copy"), f"copy_{dtype}", ub_image, gm_image, case)


blocks = st.fixed_dictionaries(
    {
        "blockCount": st.integers(0, 9),
        "blockLength": st.integers(0, 12),
        "srcStride": st.integers(0, 6),
        "dstStride": st.integers(0, 6),
    }
)


@settings(max_examples=120, deadline=None)
@given(dtypes, st.sampled_from([IN, OUT, WITHIN]), blocks, st.integers(0, 40), st.integers(0, 3), seeds)
def test_data_copy_blocks(dtype, operation, shape, gm_start, ub_start, seed):
    ub, gm = memories(seed)
    gm_start *= SIZES[dtype]  # GM needs no alignment
    ub_start *= 32
    source = UB // 2 + 64
    ub_after, gm_after = ub.copy(), gm.copy()
    numbers = (shape["blockCount"], shape["blockLength"], shape["srcStride"], shape["dstStride"])
    if operation == IN:
        data_copy(ub_after, gm, ub_start, gm_start, *numbers)
    elif operation == OUT:
        data_copy(gm_after, ub, gm_start, ub_start, *numbers)
    else:
        data_copy(ub_after, ub, ub_start, source, *numbers)
    run(dtype, ub, gm, operation=operation, gm=gm_start, ub=ub_start, ubSource=source, **shape)
    check_bytes(ub, ub_after, "UB")
    check_bytes(gm, gm_after, "GM")


@settings(max_examples=60, deadline=None)
@given(dtypes, st.sampled_from([IN_COUNT, OUT_COUNT]), st.integers(0, 100), st.integers(0, 40), seeds)
def test_data_copy_count(dtype, operation, count_blocks, gm_start, seed):
    ub, gm = memories(seed)
    gm_start *= SIZES[dtype]
    ub_after, gm_after = ub.copy(), gm.copy()
    length = count_blocks * 32
    if operation == IN_COUNT:
        ub_after[64 : 64 + length] = gm[gm_start : gm_start + length]
    else:
        gm_after[gm_start : gm_start + length] = ub[64 : 64 + length]
    run(dtype, ub, gm, operation=operation, gm=gm_start, ub=64, count=length // SIZES[dtype])
    check_bytes(ub, ub_after, "UB")
    check_bytes(gm, gm_after, "GM")


rows = st.fixed_dictionaries(
    {
        "blockCount": st.integers(0, 9),
        "blockLength": st.integers(0, 90),
        "srcStride": st.integers(0, 70),
        "dstStride": st.integers(0, 6),
    }
)


@settings(max_examples=150, deadline=None)
@given(dtypes, rows, st.integers(0, 8), st.integers(0, 8), st.sampled_from(["pad", "none", "register"]), seeds)
def test_data_copy_pad_in(dtype, shape, left, right, fill, seed):
    size = SIZES[dtype]
    if fill == "none":
        left = right = 0  # without a value the padding is left open: see the next test
    shape = shape | {"blockLength": shape["blockLength"] * size}
    ub, gm = memories(seed)
    numbers = (shape["blockCount"], shape["blockLength"], shape["srcStride"], shape["dstStride"])
    element = ELEMENT[dtype](3).tobytes()
    after = ub.copy()
    if shape["blockLength"] > 0:
        data_copy_pad_in(after, gm, 32, 3 * size, numbers, (left, right, size, element))
    run(
        dtype, ub, gm, operation=PAD_IN, gm=3 * size, ub=32, isPad=fill == "pad", leftPadding=left,
        rightPadding=right, padding=3, setPadValue=fill == "register", **shape,
    )  # fmt: skip
    check_bytes(ub, after, "UB")


@settings(max_examples=100, deadline=None)
@given(dtypes, rows, seeds)
def test_data_copy_pad_out(dtype, shape, seed):
    size = SIZES[dtype]
    shape = shape | {"blockLength": shape["blockLength"] * size}
    shape["srcStride"], shape["dstStride"] = shape["dstStride"], shape["srcStride"]
    ub, gm = memories(seed)
    numbers = (shape["blockCount"], shape["blockLength"], shape["srcStride"], shape["dstStride"])
    after = gm.copy()
    data_copy_pad_out(after, ub, 5 * size, 64, numbers)
    untouched = ub.copy()
    run(dtype, ub, gm, operation=PAD_OUT, gm=5 * size, ub=64, **shape)
    check_bytes(gm, after, "GM")
    check_bytes(ub, untouched, "UB")


def test_padding_without_a_value_is_not_data():
    """isPad=false with padding leaves garbage there; reading it is an error, here the copy back to GM."""
    ub, gm = memories(1)
    with pytest.raises(sim.SimulatorError) as error:
        run("half", ub, gm, operation=PAD_IN, blockCount=1, blockLength=20, leftPadding=2, rightPadding=4)
    assert error.value.kind == "uninitialised"
    assert error.value.instruction == "DataCopy"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"operation": IN, "blockCount": 4096, "blockLength": 1}, "limit"),
        ({"operation": IN, "blockCount": 1, "blockLength": 1, "ub": 16}, "alignment"),
        ({"operation": OUT, "blockCount": 1, "blockLength": 1, "ub": 48}, "alignment"),
        ({"operation": IN, "blockCount": 2, "blockLength": 300}, "out_of_bounds"),
        ({"operation": IN, "blockCount": 1, "blockLength": 2, "gm": GM - 32}, "out_of_bounds"),
        ({"operation": OUT, "blockCount": 1, "blockLength": 2, "gm": GM - 32}, "out_of_bounds"),
        ({"operation": PAD_IN, "blockCount": 1, "blockLength": 4, "gm": GM - 2}, "out_of_bounds"),
        ({"operation": PAD_OUT, "blockCount": 1, "blockLength": 4, "gm": GM - 2}, "out_of_bounds"),
        ({"operation": PAD_IN, "blockCount": 4096, "blockLength": 2}, "limit"),
        ({"operation": PAD_IN, "blockCount": 1, "blockLength": 2097152}, "limit"),
        ({"operation": PAD_IN, "blockCount": 1, "blockLength": 2, "isPad": 1, "leftPadding": 17}, "limit"),
        ({"operation": PAD_IN, "blockCount": 1, "blockLength": 2, "isPad": 1, "rightPadding": 17}, "limit"),
        ({"operation": PAD_IN, "blockCount": 1, "blockLength": 3}, "alignment"),
    ],
)
def test_refused(fields, kind):
    ub, gm = memories(2)
    with pytest.raises(sim.SimulatorError) as error:
        run("half", ub, gm, **fields)
    assert error.value.kind == kind
    assert error.value.instruction.startswith("DataCopy")
    assert "copy.cpp" in error.value.file
