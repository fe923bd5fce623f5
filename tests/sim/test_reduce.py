"""Reductions, Brcb and Gather over masks, repeats and strides; sums are binary trees rounded at every node."""

import numpy as np
import pytest
from harness import check_bytes, kernels, launch, random_bits, struct
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference.addressing import active_lanes, addresses, read
from reference.formats import FLOAT, HALF
from reference.reductions import extreme, pair_sums, tree_sum

from qwen_vl_npu_ops import sim

ReduceCase = struct(
    "ReduceCase",
    operation="u32", form="u32", maskLow="u64", maskHigh="u64", order="u32", bytes="u32", dst="u32", src="u32",
    offsets="u32", repeat="u32", dstBlock="u32", dstRepeat="u32", srcBlock="u32", srcRepeat="u32",
    base="u32", count="u32",
)  # fmt: skip
REGION = 8192
IMAGE = 3 * REGION
DTYPES = {"half": np.float16, "float": np.float32}
FORMATS = {"half": HALF, "float": FLOAT}
# In the order of reduce.cpp.
OPERATIONS = ["WholeReduceMax", "WholeReduceMin", "WholeReduceSum"]
OPERATIONS += ["BlockReduceSum", "BlockReduceMax", "BlockReduceMin", "PairReduceSum"]
ORDERS = ["VALUE_INDEX", "INDEX_VALUE", "ONLY_VALUE", "ONLY_INDEX"]  # AscendC::ReduceOrder


def make_image(seed, kind, *, specials):
    rng = np.random.default_rng(seed)
    count = IMAGE // np.dtype(kind).itemsize
    if specials:
        elements = random_bits(rng, kind, count, floating=FORMATS["half" if kind == np.float16 else "float"])
        elements = elements.view(kind)
        elements = np.where(np.isnan(elements), kind(2.5), elements)
    else:
        elements = (rng.normal(size=count) * 8).astype(kind)
    return elements.view(np.uint8).copy()


def store(image, start, value):
    data = np.frombuffer(value.tobytes(), np.uint8)
    image[start : start + data.size] = data


def index_bits(index, kind, order):
    if order == "ONLY_INDEX":
        return np.uint32(index)
    return np.uint16(index) if kind == np.float16 else np.uint32(index)


def reduce_repeat(image, start, kind, operation, order, values, active):
    """Writes one repeat's result at byte `start`; `values` are all lanes, inactive ones neutral."""
    size = np.dtype(kind).itemsize
    per_block = 32 // size
    if operation == "WholeReduceSum":
        store(image, start, tree_sum(values))
    elif operation == "PairReduceSum":
        for i, total in enumerate(pair_sums(values)):
            if active[2 * i] or active[2 * i + 1]:
                store(image, start + i * size, total)
    elif operation.startswith("Whole"):
        value, index = extreme(values, active, operation.endswith("Max"))
        bits = index_bits(index, kind, order)
        parts = {"VALUE_INDEX": [value, bits], "INDEX_VALUE": [bits, value], "ONLY_VALUE": [value]}
        parts["ONLY_INDEX"] = [bits]
        for part in parts[order]:
            store(image, start, part)
            start += part.itemsize
    else:
        for block in range(8):
            lanes = slice(block * per_block, (block + 1) * per_block)
            if not active[lanes].any():
                continue  # the destination keeps what it held
            part = values[lanes]
            result = tree_sum(part) if operation.endswith("Sum") else None
            if result is None:
                result, _ = extreme(part, active[lanes], operation.endswith("Max"))
            store(image, start + block * size, result)


def result_stride(kind, operation, order):
    """Bytes that dstRepStride counts, and bytes that a repeat writes at most."""
    size = np.dtype(kind).itemsize
    if operation == "PairReduceSum":
        return 128, 128
    if operation.startswith("Block"):
        return 8 * size, 8 * size
    if operation == "WholeReduceSum" or order == "ONLY_VALUE":
        return size, size
    return (4, 4) if order == "ONLY_INDEX" else (2 * size, 2 * size)


def expected_image(image, case, dtype, operation, order):
    kind = DTYPES[dtype]
    size = np.dtype(kind).itemsize
    lanes = 256 // size
    mask = case.maskLow if case.form == 1 else (case.maskLow, case.maskHigh)
    active = np.zeros(lanes, bool)
    active[active_lanes(mask, lanes)] = True
    everything = addresses(case.src, size, lanes, lanes, case.repeat, case.srcBlock, case.srcRepeat)
    unit, _ = result_stride(kind, operation, order)
    after = image.copy()
    with np.errstate(all="ignore"):
        for repeat in range(case.repeat):
            values = read(image, everything[repeat], kind)
            values = np.where(active, values, kind(0))
            reduce_repeat(after, case.dst + repeat * case.dstRepeat * unit, kind, operation, order, values, active)
    return after


@st.composite
def reductions(draw):
    dtype = draw(st.sampled_from(list(DTYPES)))
    operation = draw(st.sampled_from(OPERATIONS))
    order = draw(st.sampled_from(ORDERS)) if operation in OPERATIONS[:2] else "VALUE_INDEX"
    kind = DTYPES[dtype]
    lanes = 256 // np.dtype(kind).itemsize
    form = draw(st.sampled_from([1, 2]))
    low, high = draw(st.integers(1, lanes)), 0
    if form == 2:
        bits = draw(st.integers(1, 2**lanes - 1))
        low, high = bits & (2**64 - 1), bits >> 64
    unit, span = result_stride(kind, operation, order)
    repeat = draw(st.integers(0, 6))
    step = draw(st.integers(1, 20))
    assume(repeat < 2 or step * unit >= span)
    case = ReduceCase(
        operation=OPERATIONS.index(operation), form=form, maskLow=low, maskHigh=high, order=ORDERS.index(order),
        bytes=IMAGE, dst=32 * draw(st.integers(0, 3)), src=REGION + 32 * draw(st.integers(0, 3)), repeat=repeat,
        dstRepeat=step, srcBlock=draw(st.integers(0, 4)), srcRepeat=draw(st.integers(0, 12)),
    )  # fmt: skip
    return dtype, operation, order, case, draw(st.integers(0, 2**32))


@settings(max_examples=200, deadline=None)
@given(reductions())
def test_reduction(parameters):
    dtype, operation, order, case, seed = parameters
    image = make_image(seed, DTYPES[dtype], specials=not operation.endswith("Sum"))
    expected = expected_image(image, case, dtype, operation, order)
    got = image.copy()
    launch(kernels("reduce"), f"reduce_{dtype}", got, case)
    check_bytes(got, expected, f"{operation} {dtype} {order}")


def test_a_sum_overflows_to_infinity_where_its_tree_does():
    image = np.full(128, 60000, np.float16)
    image[1::2] = -60000
    image[:2] = [60000, 60000]
    data = np.concatenate([np.zeros(128, np.float16), image]).view(np.uint8)
    launch(kernels("reduce"), "reduce_half", data, ReduceCase(
        operation=2, form=1, maskLow=128, bytes=512, dst=0, src=256, repeat=1, dstRepeat=1, srcBlock=1, srcRepeat=8,
    ))  # fmt: skip
    assert data.view(np.float16)[0] == np.inf


@settings(max_examples=80, deadline=None)
@given(
    dtype=st.sampled_from(list(DTYPES)), repeat=st.integers(0, 6), block=st.integers(1, 3), gap=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_brcb(dtype, repeat, block, gap, seed):
    kind = DTYPES[dtype]
    size = np.dtype(kind).itemsize
    image = np.random.default_rng(seed).integers(0, 256, IMAGE).astype(np.uint8)
    stride = 8 * block + gap
    case = ReduceCase(operation=7, bytes=IMAGE, dst=0, src=REGION, repeat=repeat, dstBlock=block, dstRepeat=stride)
    expected = image.copy()
    for i in range(8 * repeat):
        start = (i // 8 * stride + i % 8 * block) * 32
        expected[start : start + 32] = np.resize(image[REGION + i * size :][:size], 32)
    got = image.copy()
    launch(kernels("reduce"), f"move_{dtype}", got, case)
    check_bytes(got, expected)


@settings(max_examples=80, deadline=None)
@given(
    dtype=st.sampled_from(list(DTYPES)), form=st.sampled_from([0, 1]), count=st.integers(0, 900),
    length=st.integers(1, 64), repeat=st.integers(0, 5), stride=st.integers(8, 11), base=st.integers(0, 8),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_gather(dtype, form, count, length, repeat, stride, base, seed):
    kind = DTYPES[dtype]
    size = np.dtype(kind).itemsize
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, IMAGE).astype(np.uint8)
    # Offsets are bytes; repeat r reads the next whole repeat of them.
    offsets = (rng.integers(0, 1000, REGION // 4) * size).astype(np.uint32)
    image[2 * REGION :] = offsets.view(np.uint8)
    case = ReduceCase(
        operation=8, form=form, maskLow=length, bytes=IMAGE, dst=0, src=REGION, offsets=2 * REGION, repeat=repeat,
        dstRepeat=stride, base=base * size, count=count,
    )  # fmt: skip
    expected = image.copy()
    lanes = 256 // size
    pairs = [(i, i * size) for i in range(count)]
    if form == 1:
        pairs = [(r * lanes + i, r * stride * 32 + i * size) for r in range(repeat) for i in range(length)]
    for i, to in pairs:
        at = REGION + base * size + int(offsets[i])
        expected[to : to + size] = image[at : at + size]
    got = image.copy()
    launch(kernels("reduce"), f"move_{dtype}", got, case)
    check_bytes(got, expected)


def whole_sum(**changes):
    fields = {
        "operation": 2, "form": 1, "maskLow": 64, "bytes": IMAGE, "dst": 0, "src": REGION, "repeat": 2,
        "dstRepeat": 1, "srcBlock": 1, "srcRepeat": 8,
    }  # fmt: skip
    return ReduceCase(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"maskLow": 65}, "limit"),
        ({"src": REGION + 8}, "alignment"),
        ({"dst": 2}, "alignment"),
        ({"operation": 3, "dst": 16}, "alignment"),
        ({"repeat": 256}, "limit"),
        ({"srcRepeat": 65536}, "limit"),
        ({"src": IMAGE - 256}, "out_of_bounds"),
    ],
)
def test_refused(changes, kind):
    image = make_image(1, np.float32, specials=False)
    launch(kernels("reduce"), "reduce_float", image.copy(), whole_sum())
    with pytest.raises(sim.SimulatorError) as error:
        launch(kernels("reduce"), "reduce_float", image.copy(), whole_sum(**changes))
    assert error.value.kind == kind
    assert "ReduceSum" in error.value.instruction
