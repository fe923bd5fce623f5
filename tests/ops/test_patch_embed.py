import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET, assert_within_budget, over_seeds
from ops.samples import DTYPES, randn, seeded
from qwen_vl_npu_ops import ops, reference


def make(tokens, columns, hidden, dtype, *, pixel_dtype=None, bias=False, index=None, seed=0) -> dict:
    generator = seeded(seed)
    return {
        "pixels": randn(tokens, columns, dtype=pixel_dtype or dtype, generator=generator),
        "weight": randn(hidden, columns, dtype=dtype, generator=generator) * columns**-0.5,
        "bias": randn(hidden, dtype=dtype, generator=generator) if bias else None,
        "row_index": index,
    }


def compared(arguments: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    got = ops.patch_embed(**arguments)
    assert got.is_contiguous()
    assert got.dtype == arguments["weight"].dtype
    wide = {n: a.double() if a is not None and a.is_floating_point() else a for n, a in arguments.items()}
    # fp32 pixels are cast to the weight's dtype first, which is part of the contract and not an error of the product.
    wide["pixels"] = arguments["pixels"].to(arguments["weight"].dtype).double()
    return got, reference.patch_embed(**wide), reference.patch_embed(**arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pixel_dtype", ["float32", "own"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("index", [None, torch.int32, torch.int64])
def test_matches_reference(dtype, pixel_dtype, bias, index):
    order = None if index is None else torch.randperm(700, generator=seeded()).to(index)
    own = dtype if pixel_dtype == "own" else torch.float32
    assert_within_budget(*compared(make(700, 1176, 64, dtype, pixel_dtype=own, bias=bias, index=order)))


@settings(max_examples=40)
@given(
    tokens=st.integers(0, 40) | st.sampled_from((2047, 2048, 2049)),
    columns=st.integers(1, 40),
    hidden=st.integers(1, 20),
    dtype=st.sampled_from(DTYPES),
    cast=st.booleans(),
    bias=st.booleans(),
    picked=st.none() | st.integers(0, 50),
)
def test_any_shape(tokens, columns, hidden, dtype, cast, bias, picked):
    rows = tokens if picked is None else picked if tokens else 0

    def run(seed: int) -> tuple[torch.Tensor, ...]:
        index = None if picked is None else torch.randint(max(tokens, 1), (rows,), generator=seeded(seed))
        pixel_dtype = torch.float32 if cast else dtype
        return compared(
            make(tokens, columns, hidden, dtype, pixel_dtype=pixel_dtype, bias=bias, index=index, seed=seed)
        )

    assert_within_budget(*over_seeds(run, rows * hidden), budget=FUZZ_BUDGET)


def test_conv3d_weight():
    arguments = make(30, 3 * 2 * 14 * 14, 32, torch.float32)
    matrix = ops.patch_embed(**arguments)
    arguments["weight"] = arguments["weight"].view(32, 3, 2, 14, 14)
    assert torch.equal(ops.patch_embed(**arguments), matrix)
    conv = torch.nn.functional.conv3d(
        arguments["pixels"].view(30, 3, 2, 14, 14), arguments["weight"], stride=(2, 14, 14)
    )
    torch.testing.assert_close(matrix, conv.flatten(1), rtol=1e-4, atol=1e-4)


def test_rows_may_repeat_and_be_left_out():
    arguments = make(10, 12, 8, torch.float32)
    index = torch.tensor([3, 3, 9, 0])
    want = ops.patch_embed(arguments["pixels"][index], arguments["weight"])
    assert torch.equal(ops.patch_embed(arguments["pixels"], arguments["weight"], row_index=index), want)


def test_strided_pixels_and_weight():
    wide = randn(20, 60, dtype=torch.float32, generator=seeded())
    weight = randn(48, 8, dtype=torch.float32, generator=seeded(1)).t()
    for index in (None, torch.arange(19, -1, -1)):
        strided = {"pixels": wide[:, 6:54], "weight": weight, "bias": None, "row_index": index}
        assert_within_budget(*compared(strided))


def test_nan_stays_in_its_row():
    arguments = make(10, 12, 8, torch.bfloat16, pixel_dtype=torch.float32)
    arguments["pixels"][4, 3] = torch.nan
    got = ops.patch_embed(**arguments)
    assert got[4].isnan().all()
    assert got.isnan().sum() == 8


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_variant_writes_a_strided_out_and_nothing_else(dtype):
    order = torch.randperm(20, generator=seeded())
    arguments = make(20, 36, 16, dtype, pixel_dtype=torch.float32, bias=True, index=order)
    buffer = torch.full((20, 20), 7, dtype=dtype)
    ops.patch_embed_out(**arguments, out=buffer[:, 2:18])
    assert torch.equal(buffer[:, 2:18], ops.patch_embed(**arguments))
    buffer[:, 2:18] = 7
    assert bool((buffer == 7).all())


def test_opcheck():
    arguments = make(6, 12, 8, torch.bfloat16, pixel_dtype=torch.float32, bias=True, index=torch.arange(6))
    positional = [arguments[n] for n in ("pixels", "weight", "bias")]
    keywords = {"row_index": arguments["row_index"]}
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.patch_embed.default, positional, keywords)
    keywords["out"] = torch.empty(6, 8, dtype=torch.bfloat16)
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.patch_embed_out.default, positional, keywords)
