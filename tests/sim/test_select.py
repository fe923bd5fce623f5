"""Compare, Select, GatherMask, Gatherb and Transpose."""

import operator

import numpy as np
import pytest
from harness import check_bytes, kernels, launch, random_bits, struct
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.addressing import addresses, read
from reference.formats import FLOAT, HALF

SelectCase = struct(
    "SelectCase",
    **dict.fromkeys(
        ["operation", "mode", "bytes", "dst", "src0", "src1", "bits", "count", "repeat", "dstBlock", "dstRepeat"],
        "u32",
    ),
    srcBlock="u32", srcRepeat="u32", scalar="f32",
)  # fmt: skip
REGION = 8192
DST, SRC0, SRC1, BITS = 0, REGION, 2 * REGION, 3 * REGION
IMAGE = 4 * REGION
COMPARISONS = [operator.lt, operator.gt, operator.eq, operator.le, operator.ge, operator.ne]  # AscendC::CMPMODE
DTYPES = {"half": (np.float16, HALF), "float": (np.float32, FLOAT)}
seeds = st.integers(0, 2**32)
dtypes = st.sampled_from(list(DTYPES))
strides = st.tuples(st.integers(0, 3), st.integers(0, 10))


def make_image(seed, dtype):
    """Few different values, so that equality happens; NaNs and infinities too."""
    rng = np.random.default_rng(seed)
    kind, floating = DTYPES[dtype]
    count = IMAGE // np.dtype(kind).itemsize
    wild = random_bits(rng, kind, count, floating=floating).view(kind)
    values = np.where(rng.random(count) < 0.9, rng.integers(-3, 4, count).astype(kind), wild)
    return values.astype(kind).view(np.uint8).copy()


@settings(max_examples=100, deadline=None)
@given(dtypes, st.integers(0, 3), st.integers(0, 5), st.integers(0, 5), strides, seeds)
def test_compare(dtype, operation, mode, repeat, stride, seed):
    """Result bits are packed, whatever the strides; a bit is 1 where the comparison holds."""
    kind, _ = DTYPES[dtype]
    size = np.dtype(kind).itemsize
    lanes = 256 // size
    by_count = operation in (0, 2)
    block, step = (1, 8) if by_count else stride
    image = make_image(seed, dtype)
    a = read(image, addresses(SRC0, size, lanes, lanes, repeat, block, step), kind)
    b = read(image, addresses(SRC1, size, lanes, lanes, repeat, block, step), kind)
    b = b if operation < 2 else kind(1)
    bits = np.packbits(COMPARISONS[mode](a, b).ravel(), bitorder="little")
    expected = image.copy()
    expected[BITS : BITS + bits.size] = bits
    got = image.copy()
    launch(kernels("select"), f"select_{dtype}", got, SelectCase(
        operation=operation, mode=mode, bytes=IMAGE, dst=DST, src0=SRC0, src1=SRC1, bits=BITS, count=repeat * lanes,
        repeat=repeat, srcBlock=block, srcRepeat=step, scalar=1.0,
    ))  # fmt: skip
    check_bytes(got, expected)


@settings(max_examples=100, deadline=None)
@given(dtypes, st.sampled_from([4, 5, 6, 7]), st.integers(0, 900), st.integers(0, 5), strides, seeds)
def test_select(dtype, operation, count, repeat, stride, seed):
    """A set bit takes src0, a clear one src1 or the scalar; the bits of all repeats lie behind each other, but in
    mode 0 (7 here), where every repeat takes the first ones."""
    kind, _ = DTYPES[dtype]
    size = np.dtype(kind).itemsize
    lanes = 256 // size
    block, step = stride if operation == 6 else (1, 8)
    total = repeat * lanes if operation == 6 else count
    image = make_image(seed, dtype)
    repeats = -(-total // lanes)
    a = read(image, addresses(SRC0, size, lanes, lanes, repeats, block, step), kind).ravel()[:total]
    b = read(image, addresses(SRC1, size, lanes, lanes, repeats, block, step), kind).ravel()[:total]
    b = np.full_like(a, 7) if operation == 5 else b
    bits = np.unpackbits(image[BITS:], bitorder="little")
    chosen = (np.tile(bits[:lanes], repeats) if operation == 7 else bits)[:total].astype(bool)
    result = np.where(chosen, a, b).astype(kind).view(np.uint8)
    expected = image.copy()
    expected[: result.size] = result
    got = image.copy()
    launch(kernels("select"), f"select_{dtype}", got, SelectCase(
        operation=operation, bytes=IMAGE, dst=DST, src0=SRC0, src1=SRC1, bits=BITS, count=count, repeat=repeat,
        srcBlock=block, srcRepeat=step, scalar=7.0,
    ))  # fmt: skip
    check_bytes(got, expected)


PATTERNS = {1: [0], 2: [1], 3: [0], 4: [1], 5: [2], 6: [3], 7: [0]}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([np.uint16, np.uint32]), st.integers(1, 7), st.integers(0, 6), strides, seeds)
def test_gather_mask(kind, pattern, repeat, stride, seed):
    size = np.dtype(kind).itemsize
    lanes = 256 // size
    step = {1: 2, 2: 2, 7: 1}.get(pattern, 4)
    image = np.random.default_rng(seed).integers(0, 256, IMAGE).astype(np.uint8)
    source = read(image, addresses(SRC0, size, lanes, lanes, repeat, *stride), kind)
    gathered = source[:, PATTERNS[pattern][0] :: step].ravel().view(np.uint8)
    got = image.copy()
    launch(kernels("select"), f"rearrange_{kind.__name__}_t", got, SelectCase(
        operation=7, mode=pattern, bytes=IMAGE, dst=DST, src0=SRC0, repeat=repeat, srcBlock=stride[0],
        srcRepeat=stride[1],
    ))  # fmt: skip
    check_bytes(got[: gathered.size], gathered)
    last_block = -(-gathered.size // 32) * 32  # what the rest of it holds is undefined
    check_bytes(got[last_block:], image[last_block:])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([np.uint16, np.uint32]), st.integers(0, 6), st.integers(1, 3), st.integers(0, 3), seeds
)  # fmt: skip
def test_gatherb(kind, repeat, block, gap, seed):
    """Whole blocks by byte offsets, eight to a repeat."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, IMAGE).astype(np.uint8)
    offsets = (rng.integers(0, REGION // 32, 8 * repeat) * 32).astype(np.uint32)
    image[SRC1 : SRC1 + offsets.nbytes] = offsets.view(np.uint8)
    expected = image.copy()
    for i, offset in enumerate(offsets):
        to = (i // 8 * (8 * block + gap) + i % 8 * block) * 32
        expected[to : to + 32] = image[SRC0 + offset : SRC0 + offset + 32]
    got = image.copy()
    launch(kernels("select"), f"rearrange_{kind.__name__}_t", got, SelectCase(
        operation=8, bytes=IMAGE, dst=DST, src0=SRC0, src1=SRC1, repeat=repeat, dstBlock=block,
        dstRepeat=8 * block + gap,
    ))  # fmt: skip
    check_bytes(got, expected)


@pytest.mark.parametrize("in_place", [False, True])
def test_transpose(in_place):
    image = np.arange(IMAGE // 2, dtype=np.uint16)
    source = 0 if in_place else SRC0 // 2
    expected = image.copy()
    expected[:256] = image[source : source + 256].reshape(16, 16).T.ravel()
    got = image.view(np.uint8).copy()
    launch(kernels("select"), "transpose", got, SelectCase(bytes=IMAGE, dst=DST, src0=source * 2))
    check_bytes(got, expected.view(np.uint8))


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([np.uint16, np.uint32]), st.integers(0, 5), st.integers(1, 90), strides, st.integers(0, 3), seeds
)
def test_gather_mask_with_a_pattern(kind, repeat, count, stride, pattern_stride, seed):
    """Counter mode: `count` elements of each repeat; its bits start `pattern_stride` blocks after the last one's."""
    size = np.dtype(kind).itemsize
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, IMAGE).astype(np.uint8)
    lanes = -(-count // (256 // size)) * (256 // size)
    source = read(image, addresses(SRC0, size, lanes, lanes, repeat, *stride), kind)[:, :count]
    patterns = [image[SRC1 + r * pattern_stride * 32 :] for r in range(repeat)]
    chosen = [np.unpackbits(p[: -(-count // 8)], bitorder="little")[:count].astype(bool) for p in patterns]
    gathered = np.concatenate([source[r][chosen[r]] for r in range(repeat)] or [np.zeros(0, kind)]).view(np.uint8)
    got = image.copy()
    launch(kernels("select"), f"rearrange_{kind.__name__}_t", got, SelectCase(
        operation=9, mode=pattern_stride, bytes=IMAGE, dst=DST, src0=SRC0, src1=SRC1, count=count, repeat=repeat,
        srcBlock=stride[0], srcRepeat=stride[1],
    ))  # fmt: skip
    check_bytes(got[: gathered.size], gathered)
    last_block = -(-gathered.size // 32) * 32
    check_bytes(got[last_block:], image[last_block:])


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([np.uint16, np.uint32]), st.integers(0, 4), st.integers(1, 240), st.integers(1, 2),
    st.integers(0, 2), st.integers(0, 9), seeds,
)  # fmt: skip
def test_copy_in_counter_mode(kind, repeat, count, dst_block, src_block, src_step, seed):
    """The block stride runs through all elements of a repeat, and the repeat count still applies."""
    size = np.dtype(kind).itemsize
    blocks = -(-count * size // 32)
    dst_step = blocks * dst_block
    image = np.random.default_rng(seed).integers(0, 256, IMAGE).astype(np.uint8)
    expected = image.copy()
    for r in range(repeat):
        for i in range(count):
            block, lane = divmod(i * size, 32)
            to = DST + (r * dst_step + block * dst_block) * 32 + lane
            at = SRC0 + (r * src_step + block * src_block) * 32 + lane
            expected[to : to + size] = image[at : at + size]
    got = image.copy()
    launch(kernels("select"), f"rearrange_{kind.__name__}_t", got, SelectCase(
        operation=10, bytes=IMAGE, dst=DST, src0=SRC0, count=count, repeat=repeat, dstBlock=dst_block,
        dstRepeat=dst_step, srcBlock=src_block, srcRepeat=src_step,
    ))  # fmt: skip
    check_bytes(got, expected)


@pytest.mark.parametrize("repeat", [1, 2, 5])
def test_transpose_rows(repeat):
    """TransDataTo5HD: [16, 16 r] becomes [16 r, 16]."""
    image = np.arange(IMAGE // 2, dtype=np.uint16)
    expected = image.copy()
    expected[: 256 * repeat] = image[SRC0 // 2 :][: 256 * repeat].reshape(16, 16 * repeat).T.ravel()
    got = image.view(np.uint8).copy()
    launch(kernels("select"), "transpose_rows", got, SelectCase(bytes=IMAGE, dst=DST, src0=SRC0, repeat=repeat))
    check_bytes(got, expected.view(np.uint8))
