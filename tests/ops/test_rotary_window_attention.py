import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET, assert_within_budget, over_seeds
from ops.samples import DTYPES, ROTARY, Rotary
from qwen_vl_npu_ops import ops, reference
from qwen_vl_npu_ops.accuracy import BUDGET
from qwen_vl_npu_ops.plan import VisionPlan

TABLES_AND_QKV = ("qkv", "cos", "sin")


def check(case: Rotary, dtype: torch.dtype, budget: float = BUDGET) -> None:
    def run(seed: int) -> tuple[torch.Tensor, ...]:
        arguments = case.make_attention(dtype, seed)
        wide = {**arguments, **{n: arguments[n].double() for n in TABLES_AND_QKV}}
        got = ops.rotary_window_attention(**arguments)
        assert got.is_contiguous()
        assert got.dtype == dtype
        return got, reference.rotary_window_attention(**wide), reference.rotary_window_attention(**arguments)

    results = over_seeds(run, case.tokens * case.heads * case.head_dim)
    assert_within_budget(*results, name=str(case), budget=budget)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROTARY)
def test_matches_reference(name, dtype):
    check(ROTARY[name], dtype)


@st.composite
def cases(draw) -> Rotary:
    head_dim = 2 * draw(st.integers(1, 64))
    return Rotary(
        lengths=tuple(draw(st.lists(st.integers(0, 70) | st.integers(250, 300), max_size=4))),
        heads=draw(st.integers(1, 4)),
        head_dim=head_dim,
        padded_dim=head_dim + 2 * draw(st.integers(0, 16)),
        out_head_dim=draw(st.none() | st.integers(head_dim // 2, head_dim // 2 + 16).map(lambda half: 2 * half)),
        interleaved=draw(st.booleans()),
        table=draw(st.sampled_from(("half", "full", "padded", "ascend"))),
        table_dtype=draw(st.sampled_from((None, torch.float32))),
        row_gap=draw(st.integers(0, 9)),
        tail=draw(st.integers(0, 3)),
    )


@settings(max_examples=60)
@given(case=cases(), dtype=st.sampled_from(DTYPES))
def test_any_shape(case, dtype):
    check(case, dtype, FUZZ_BUDGET)


def test_a_whole_frame_of_the_tower():
    """Sums over 1,296 keys, of 1.7 million elements: where long chains of additions show."""
    plan = VisionPlan.build([(1, 36, 36)], "7b")
    qkv = torch.randn(plan.num_tokens, 3 * 16 * 80, generator=torch.Generator().manual_seed(5136))
    sizes = {"cu_seqlens": plan.cu_seqlens_full, "num_heads": 16, "head_dim": 80}
    got = ops.rotary_window_attention(qkv, plan.cos, plan.sin, **sizes)
    peer = reference.rotary_window_attention(qkv, plan.cos, plan.sin, **sizes)
    exact = reference.rotary_window_attention(qkv.double(), plan.cos.double(), plan.sin.double(), **sizes)
    assert_within_budget(got, exact, peer)


def test_equals_the_two_operators_in_turn():
    case = Rotary(lengths=(64, 30))
    arguments = case.make_attention(torch.float32)
    got = ops.rotary_window_attention(**arguments)
    q, k, v = ops.rotary_qkv(**case.make(torch.float32))
    apart = ops.window_attention(q, k, v, arguments["cu_seqlens"])
    torch.testing.assert_close(got, apart.flatten(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_padded_equals_native(interleaved):
    """The scale is the real head size's, so padding changes nothing but the zeros written."""
    case = Rotary(lengths=(64, 30), interleaved=interleaved)
    native = case.make_attention(torch.float32)
    padded = {**native, "out_head_dim": 128}
    padded["qkv"] = torch.cat(
        [t.flatten(1) for t in ops.rotary_qkv(**{**case.make(torch.float32), "out_head_dim": 128})], dim=1
    )
    # Already rotated, so the padded call rotates by no angle.
    padded["cos"], padded["sin"] = torch.ones_like(native["cos"]), torch.zeros_like(native["sin"])
    wide = ops.rotary_window_attention(**padded).view(94, 4, 128)
    real = torch.cat((wide[..., :40], wide[..., 64:104]), -1) if not interleaved else wide[..., :80]
    rest = torch.cat((wide[..., 40:64], wide[..., 104:]), -1) if not interleaved else wide[..., 80:]
    torch.testing.assert_close(real.flatten(1), ops.rotary_window_attention(**native), rtol=1e-5, atol=1e-6)
    assert rest.count_nonzero() == 0


def test_garbage_in_the_padding_is_not_read():
    case = Rotary(lengths=(20,), padded_dim=128)
    arguments = case.make_attention(torch.float32)
    before = ops.rotary_window_attention(**arguments)
    arguments["qkv"].unflatten(1, (3, 4, 2, 64))[..., 40:] = torch.nan
    assert torch.equal(ops.rotary_window_attention(**arguments), before)


def test_rows_past_the_last_segment_are_zero():
    arguments = Rotary(lengths=(5,), tail=4).make_attention(torch.float32)
    arguments["qkv"][5:] = torch.nan
    assert ops.rotary_window_attention(**arguments)[5:].count_nonzero() == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_variant_writes_a_strided_out_and_nothing_else(dtype):
    arguments = Rotary(lengths=(30, 9), tail=2).make_attention(dtype)
    expected = ops.rotary_window_attention(**arguments)
    del arguments["out_head_dim"]
    buffer = torch.full((41, 400), 7, dtype=dtype)
    ops.rotary_window_attention_out(**arguments, out=buffer[:, 30:350])
    assert torch.equal(buffer[:, 30:350], expected)
    buffer[:, 30:350] = 7
    assert bool((buffer == 7).all())


def test_opcheck():
    arguments = Rotary(lengths=(5, 3)).make_attention(torch.bfloat16)
    positional = [arguments.pop(n) for n in ("qkv", "cos", "sin", "cu_seqlens", "num_heads", "head_dim")]
    torch.library.opcheck(
        torch.ops.qwen_vl_npu_ops.rotary_window_attention.default, positional, {**arguments, "max_seqlen": 5}
    )
    out = torch.empty(8, 4 * 128, dtype=torch.bfloat16)
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.rotary_window_attention_out.default, positional, {"out": out})
