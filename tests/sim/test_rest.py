"""What is left: whole-tensor reductions, CreateVecIndex, dequantisation, atomics, bfloat16, quantising Fixpipe."""

import numpy as np
import pytest
from harness import check_bytes, kernels, launch, struct
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.cube import to_nz, to_zn, to_zz

RestCase = struct(
    "RestCase",
    **dict.fromkeys(
        ["operation", "bytes", "dst", "src", "work", "count", "repeat", "repeatStride", "withIndex"], "u32"
    ),
    scalar="f32",
)
TileCase = struct("TileCase", rows="u32", columns="u32", relu="u32", scale="u64")
FillCase = struct("FillCase", bytes="u32", repeatTimes="u32", blockNum="u32", dstGap="u32", value="f32")
Load3DCase = struct(
    "Load3DCase",
    **dict.fromkeys(["height", "width", "filter", "stride", "dilation", "padding", "m", "k"], "u32"),
    padValue="f32",
)
REGION = 8192
DTYPES = {"half": np.float16, "float": np.float32}
REDUCE_SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_SUM_REPEATS, REPEAT_REDUCE_SUM, CREATE_VEC_INDEX = range(6)
dtypes = st.sampled_from(list(DTYPES))
seeds = st.integers(0, 2**32)


def run(dtype, operation, source, **fields):
    kind = DTYPES[dtype]
    image = np.zeros(3 * REGION // np.dtype(kind).itemsize, kind)
    image[len(image) // 3 :][: len(source)] = source
    image = image.view(np.uint8)
    case = RestCase(operation=operation, bytes=image.size, dst=0, src=REGION, work=2 * REGION, **fields)
    launch(kernels("rest"), f"rest_{dtype}", image, case)
    return image[:REGION].view(kind)


def small_integers(seed, dtype, count):
    """Sums of these are exact in half, in any order."""
    return np.random.default_rng(seed).integers(-1, 2, count).astype(DTYPES[dtype])


@settings(max_examples=50, deadline=None)
@given(dtypes, st.integers(1, 1500), seeds)
def test_reduce_sum(dtype, count, seed):
    source = small_integers(seed, dtype, 2000)
    assert run(dtype, REDUCE_SUM, source, count=count)[0] == source[:count].sum(dtype=np.float64)


@settings(max_examples=50, deadline=None)
@given(dtypes, st.sampled_from([REDUCE_MAX, REDUCE_MIN]), st.integers(1, 1500), st.booleans(), seeds)
def test_reduce_extreme(dtype, operation, count, with_index, seed):
    source = np.random.default_rng(seed).integers(-50, 50, 2000).astype(DTYPES[dtype])
    result = run(dtype, operation, source, count=count, withIndex=int(with_index))
    at = np.argmax(source[:count]) if operation == REDUCE_MAX else np.argmin(source[:count])
    assert result[0] == source[at]
    if with_index:
        assert result[1:2].view(np.uint16 if dtype == "half" else np.uint32)[0] == at


@settings(max_examples=50, deadline=None)
@given(dtypes, st.integers(1, 64), st.integers(1, 6), st.integers(0, 12), seeds)
def test_sums_over_repeats(dtype, lanes, repeat, stride, seed):
    source = small_integers(seed, dtype, 2000)
    step = stride * 32 // source.itemsize
    sums = [source[i * step : i * step + lanes].sum(dtype=np.float64) for i in range(repeat)]
    fields = {"count": lanes, "repeat": repeat, "repeatStride": stride}
    assert run(dtype, REDUCE_SUM_REPEATS, source, **fields)[0] == sum(sums)
    assert run(dtype, REPEAT_REDUCE_SUM, source, **fields)[:repeat].tolist() == sums


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("count", [1, 8, 63, 64, 200, 500])
def test_create_vec_index(dtype, count):
    result = run(dtype, CREATE_VEC_INDEX, [], count=count, scalar=3.0)
    assert result[:count].tolist() == list(range(3, 3 + count))
    assert not result[count:].any()


def test_dequantise():
    """int32 times the scale, rounded to half."""
    values = np.random.default_rng(1).integers(-(2**15), 2**15, 512).astype(np.int32)
    image = np.concatenate([np.zeros(1024, np.uint8), values.view(np.uint8)])
    launch(kernels("rest"), "dequantise", image, RestCase(bytes=image.size, src=1024, count=512, scalar=0.125))
    np.testing.assert_array_equal(image[:1024].view(np.float16), (values * 0.125).astype(np.float16))


@pytest.mark.parametrize("operation", range(3))
def test_bfloat16_moves(operation):
    rng = np.random.default_rng(operation)
    image = rng.integers(0, 2**16, 3 * REGION // 2).astype(np.uint16)
    source = image[REGION // 2 :]
    offsets = (rng.integers(0, 512, 100) * 2).astype(np.uint32)
    image[REGION : REGION + 200] = offsets.view(np.uint16)
    expected = image.copy()
    if operation == 0:
        expected[:512].reshape(4, 128)[:, :100] = source[:512].reshape(4, 128)[:, :100]
    elif operation == 1:
        expected[: 4 * 128] = np.repeat(source[:32], 16)
    else:
        expected[:100] = source[offsets // 2]
    got = image.view(np.uint8).copy()
    case = RestCase(operation=operation, bytes=got.size, src=REGION, work=2 * REGION, count=100, repeat=4)
    launch(kernels("rest"), "move_bfloat16", got, case)
    check_bytes(got, expected.view(np.uint8))


@pytest.mark.parametrize("dtype", ["half", "float", "int32_t"])
@pytest.mark.parametrize(("operation", "reduce"), list(enumerate([np.add, np.maximum, np.minimum])))
def test_atomics(dtype, operation, reduce):
    """Several cores into the same bytes: no race, whatever the order."""
    kind = DTYPES.get(dtype, np.int32)
    sources = np.random.default_rng(operation).integers(-50, 50, (6, 128)).astype(kind)
    out = np.full(128, 3, kind)
    expected = reduce.reduce(sources, axis=0, initial=3).astype(kind)
    launch(kernels("rest"), f"atomic_{dtype}", sources, out, operation, 128, blocks=6)
    np.testing.assert_array_equal(out, expected)


def float_bits(value):
    return int(np.float32(value).view(np.uint32))


@pytest.mark.parametrize("relu", [0, 1])
def test_fixpipe_quantises(relu):
    """Scalar modes: times a scale whose bits are the low 32 of deqScalar; bit 46 makes the 8-bit result signed."""
    rng = np.random.default_rng(relu)
    a, b = rng.integers(-9, 9, (32, 32)).astype(np.int8), rng.integers(-9, 9, (32, 48)).astype(np.int8)
    product = a.astype(np.int32) @ b.astype(np.int32)
    product = np.maximum(product, 0) if relu else product
    half_out, int8_out = np.zeros(product.shape, np.float16), np.zeros(product.shape, np.int8)
    fractals = to_zz(a), to_zn(b)
    case = TileCase(rows=32, columns=48, relu=relu, scale=float_bits(0.25))
    launch(kernels("cube_rest"), "quantise_int32_half", *fractals, half_out, case)
    np.testing.assert_array_equal(half_out, (product * 0.25).astype(np.float16))
    case.scale = float_bits(0.5) | 1 << 46
    launch(kernels("cube_rest"), "quantise_int32_int8", *fractals, int8_out, case)
    np.testing.assert_array_equal(int8_out, np.clip(np.rint(product * 0.5), -128, 127).astype(np.int8))


def test_fixpipe_to_l1():
    rng = np.random.default_rng(2)
    a, b = rng.integers(-9, 9, (32, 16)).astype(np.float16), rng.integers(-9, 9, (16, 48)).astype(np.float16)
    out = np.zeros(32 * 48, np.float16)
    launch(kernels("cube_rest"), "fixpipe_to_l1", to_zz(a), to_zn(b), out, TileCase(rows=32, columns=48))
    np.testing.assert_array_equal(out, to_nz(a @ b, 32))


@pytest.mark.parametrize(("repeat", "blocks", "gap"), [(0, 4, 0), (1, 16, 0), (3, 2, 5), (5, 1, 1)])
def test_fill_l1(repeat, blocks, gap):
    """blockNum blocks of 32 bytes per repeat, dstGap blocks between them."""
    image = np.random.default_rng(3).integers(-9, 9, 2048).astype(np.float16)
    expected = image.copy()
    for i in range(repeat):
        start = i * (blocks + gap) * 16
        expected[start : start + blocks * 16] = 7
    case = FillCase(bytes=4096, repeatTimes=repeat, blockNum=blocks, dstGap=gap, value=7)
    launch(kernels("cube_rest"), "fill_l1", image, case)
    np.testing.assert_array_equal(image, expected)


def im2col(image, size, stride, dilation, padding, value):
    """[positions, size * size * channels] of a map [height, width, channels]: filter rows, columns, channels."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), constant_values=value)
    reach = dilation * (size - 1) + 1
    rows = range(0, padded.shape[0] - reach + 1, stride)
    columns = range(0, padded.shape[1] - reach + 1, stride)
    windows = [padded[y : y + reach : dilation, x : x + reach : dilation] for y in rows for x in columns]
    return np.stack([window.ravel() for window in windows])


@pytest.mark.parametrize(
    ("shape", "size", "stride", "dilation", "padding"),
    [((4, 4), 1, 1, 1, 0), ((8, 8), 3, 1, 1, 1), ((8, 8), 3, 2, 1, 1), ((6, 10), 2, 1, 2, 0), ((4, 8), 2, 2, 1, 2)],
)
def test_load3d(shape, size, stride, dilation, padding):
    image = np.random.default_rng(4).integers(-9, 9, (*shape, 16)).astype(np.float16)
    expected = im2col(image, size, stride, dilation, padding, 5)
    k, positions = size * size * 16, len(expected)
    m = positions // 16 * 16  # whole fractals
    out = np.zeros((m, k), np.float32)
    case = Load3DCase(
        height=shape[0], width=shape[1], filter=size, stride=stride, dilation=dilation, padding=padding, m=m, k=k,
        padValue=5,
    )  # fmt: skip
    launch(kernels("cube_rest"), "load3d", image, to_zn(np.eye(k, dtype=np.float16)), out, case)
    np.testing.assert_array_equal(out, expected[:m])
