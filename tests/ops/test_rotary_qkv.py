import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET, assert_within_budget, over_seeds
from ops.samples import DTYPES, ROTARY, Rotary
from qwen_vl_npu_ops import ops, reference
from qwen_vl_npu_ops.accuracy import BUDGET

OUTPUTS = ("q", "k", "v")


def check(case: Rotary, dtype: torch.dtype, budget: float = BUDGET) -> None:
    def run(seed: int) -> tuple[torch.Tensor, ...]:
        arguments = case.make(dtype, seed)
        wide = {n: a.double() if isinstance(a, torch.Tensor) else a for n, a in arguments.items()}
        got = ops.rotary_qkv(**arguments)
        assert all(x.is_contiguous() and x.dtype == dtype for x in got)
        return (*got, *reference.rotary_qkv(**wide), *reference.rotary_qkv(**arguments))

    results = over_seeds(run, case.tokens * case.heads * case.head_dim)
    for i, name in enumerate(OUTPUTS):
        assert_within_budget(*results[i::3], name=f"{name} of {case}", budget=budget)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROTARY)
def test_matches_reference(name, dtype):
    check(ROTARY[name], dtype)


@st.composite
def cases(draw) -> Rotary:
    head_dim = 2 * draw(st.integers(1, 64))
    padded = head_dim + 2 * draw(st.integers(0, 16))
    return Rotary(
        lengths=(draw(st.integers(0, 40)),),
        heads=draw(st.integers(1, 5)),
        head_dim=head_dim,
        padded_dim=padded,
        out_head_dim=draw(st.none() | st.integers(head_dim // 2, head_dim // 2 + 16).map(lambda half: 2 * half)),
        interleaved=draw(st.booleans()),
        table=draw(st.sampled_from(("half", "full", "padded", "ascend"))),
        table_dtype=draw(st.sampled_from((None, torch.float32))),
        row_gap=draw(st.integers(0, 9)),
    )


@settings(max_examples=60)
@given(case=cases(), dtype=st.sampled_from(DTYPES))
def test_any_shape(case, dtype):
    check(case, dtype, FUZZ_BUDGET)


def test_v_is_copied_bit_for_bit():
    arguments = Rotary(out_head_dim=128).make(torch.bfloat16)
    _, _, v = ops.rotary_qkv(**arguments)
    heads = arguments["qkv"].unflatten(1, (3, 4, 2, 40))[:, 2]
    assert torch.equal(v.unflatten(2, (2, 64))[..., :40], heads)
    assert v.unflatten(2, (2, 64))[..., 40:].count_nonzero() == 0


def test_padding_is_zero_whatever_the_input_holds_there():
    case = Rotary(padded_dim=128)
    arguments = case.make(torch.float32)
    arguments["qkv"].unflatten(1, (3, 4, 2, 64))[..., 40:] = torch.nan
    for output in ops.rotary_qkv(**arguments):
        assert output.unflatten(2, (2, 64))[..., 40:].count_nonzero() == 0
        assert output.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_stay_in_their_pair(dtype):
    case = Rotary(lengths=(3,), heads=1)
    arguments = case.make(dtype)
    arguments["qkv"][0, 5] = torch.nan
    arguments["qkv"][1, 80 + 7] = torch.inf
    q, k, _ = ops.rotary_qkv(**arguments)
    assert set(q[0, 0].isnan().nonzero().flatten().tolist()) == {5, 45}
    assert set((~k[1, 0].isfinite()).nonzero().flatten().tolist()) == {7, 47}
    assert (~q.isfinite()).sum() == 2
    assert (~k.isfinite()).sum() == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_variant_writes_strided_outputs_and_nothing_else(dtype):
    arguments = Rotary(lengths=(13,)).make(dtype)
    expected = ops.rotary_qkv(**arguments)
    del arguments["out_head_dim"]
    buffers = [torch.full((13, 4, 100), 7, dtype=dtype) for _ in OUTPUTS]
    ops.rotary_qkv_out(**arguments, **{n: b[:, :, :80] for n, b in zip(OUTPUTS, buffers, strict=True)})
    for buffer, want in zip(buffers, expected, strict=True):
        assert torch.equal(buffer[:, :, :80], want)
        assert bool((buffer[:, :, 80:] == 7).all())


def test_out_variant_fills_the_columns_of_one_matrix():
    arguments = Rotary(lengths=(13,)).make(torch.float32)
    expected = ops.rotary_qkv(**arguments)
    del arguments["out_head_dim"]
    packed = torch.empty(13, 3, 4, 80)
    ops.rotary_qkv_out(**arguments, **dict(zip(OUTPUTS, packed.unbind(1), strict=True)))
    assert torch.equal(packed, torch.stack(expected, dim=1))


def test_opcheck():
    arguments = Rotary(lengths=(5,)).make(torch.bfloat16)
    positional = [arguments.pop(n) for n in ("qkv", "cos", "sin", "num_heads", "head_dim")]
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.rotary_qkv.default, positional, arguments)
    outputs = {n: torch.empty(5, 4, 128, dtype=torch.bfloat16) for n in OUTPUTS}
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.rotary_qkv_out.default, positional, outputs)
