import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET, assert_within_budget, over_seeds
from ops.samples import ATTENTION, DTYPES, Attention, cu_seqlens
from qwen_vl_npu_ops import ops, reference
from qwen_vl_npu_ops.accuracy import BUDGET


def check(case: Attention, dtype: torch.dtype, budget: float = BUDGET) -> None:
    def run(seed: int) -> tuple[torch.Tensor, ...]:
        arguments = case.make(dtype, seed)
        wide = {**arguments, **{n: arguments[n].double() for n in "qkv"}}
        got = ops.window_attention(**arguments)
        assert got.is_contiguous()
        assert got.dtype == dtype
        return got, reference.window_attention(**wide), reference.window_attention(**arguments)

    results = over_seeds(run, case.tokens * case.heads * (case.value_dim or case.head_dim))
    assert_within_budget(*results, name=str(case), budget=budget)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ATTENTION)
def test_matches_reference(name, dtype):
    check(ATTENTION[name], dtype)


@st.composite
def cases(draw) -> Attention:
    kv_heads = draw(st.integers(1, 3))
    return Attention(
        lengths=tuple(draw(st.lists(st.integers(0, 70) | st.integers(250, 300), max_size=4))),
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        head_dim=2 * draw(st.integers(1, 70)),
        value_dim=2 * draw(st.integers(1, 70)),
        tail=draw(st.integers(0, 3)),
        layout=draw(st.sampled_from(("dense", "packed", "heads first"))),
        index_dtype=draw(st.sampled_from((torch.int32, torch.int64))),
    )


@settings(max_examples=60)
@given(case=cases(), dtype=st.sampled_from(DTYPES))
def test_any_shape(case, dtype):
    check(case, dtype, FUZZ_BUDGET)


@pytest.mark.parametrize("max_seqlen", [0, 1, 64, 10**9])
def test_max_seqlen_is_only_a_hint(max_seqlen):
    arguments = ATTENTION["ragged with a tail"].make(torch.bfloat16)
    expected = ops.window_attention(**arguments)
    assert torch.equal(ops.window_attention(**arguments, max_seqlen=max_seqlen), expected)


def test_rows_past_the_last_segment_are_zero():
    arguments = Attention(lengths=(5,), tail=4).make(torch.float32)
    arguments["v"][5:] = torch.nan
    assert ops.window_attention(**arguments)[5:].count_nonzero() == 0


def test_segments_do_not_see_each_other():
    arguments = Attention(lengths=(20, 30, 14)).make(torch.float32)
    before = ops.window_attention(**arguments)
    for name in "qkv":
        arguments[name][20:50] = torch.nan
    after = ops.window_attention(**arguments)
    assert after[20:50].isnan().all()
    assert torch.equal(after[:20], before[:20])
    assert torch.equal(after[50:], before[50:])


# (what is planted, in which tensor, at which token): the scores or values it makes special.
SPECIALS = {
    "nan in q": (torch.nan, "q", 3),
    "nan in k": (torch.nan, "k", 3),
    "nan in v": (torch.nan, "v", 3),
    "inf in q": (torch.inf, "q", 3),
    "inf in k": (torch.inf, "k", 3),
    "-inf in k": (-torch.inf, "k", 3),
    "inf in v": (torch.inf, "v", 3),
    "inf in k of a later block": (torch.inf, "k", 600),
    "-inf in k of a later block": (-torch.inf, "k", 600),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIALS)
def test_nan_and_infinity_as_torch_has_them(name, dtype):
    value, argument, token = SPECIALS[name]
    arguments = Attention(lengths=(700, 9), heads=2).make(dtype)
    arguments[argument][token, 0, 5] = value
    got = ops.window_attention(**arguments)
    # Plain softmax, since torch's own fused attention differs from it where a score is infinite.
    q, k, v = (arguments[n].double()[:700].transpose(0, 1) for n in "qkv")
    expected = torch.softmax(q @ k.transpose(1, 2) * 80**-0.5, dim=-1) @ v
    assert torch.equal(got[:700].isnan(), expected.transpose(0, 1).isnan())
    assert torch.equal(got[:700].isinf(), expected.transpose(0, 1).isinf())
    assert got[700:].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_of_weight_zero_add_nothing(dtype):
    """A first block of keys with scores of -inf must not poison the running maximum."""
    tokens = 900
    q = torch.ones(tokens, 1, 2, dtype=dtype)
    k = torch.zeros(tokens, 1, 2, dtype=dtype)
    k[: tokens - 3, :, 0] = -torch.inf
    v = torch.arange(tokens).remainder(7).to(dtype)[:, None, None].repeat(1, 1, 2)
    got = ops.window_attention(q, k, v, cu_seqlens((tokens,)))
    expected = v[-3:].double().mean(0).expand(tokens, 1, 2)
    torch.testing.assert_close(got.double(), expected, rtol=1e-2, atol=0)


@pytest.mark.parametrize("scale", [None, -0.1, 3.0])
@pytest.mark.parametrize("head_dim", [80, 72, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_finite_scores_stay_finite(dtype, head_dim, scale):
    """Scores beyond 1e9: their rounding errors alone are larger than what an exponential takes."""
    arguments = Attention(lengths=(200,), head_dim=head_dim).make(dtype)
    size = 600 if dtype == torch.float16 else 1e6
    arguments["q"], arguments["k"], arguments["scale"] = arguments["q"] * size, arguments["k"] * size, scale
    exact = reference.window_attention(**{**arguments, **{n: arguments[n].double() for n in "qkv"}})
    got = ops.window_attention(**arguments)
    assert got.isfinite().all()
    # Weights are 0 or 1 but for near ties, where even the scores' order is beyond fp32.
    right = (got.double() - exact).abs().amax(-1) < 0.02
    assert right.double().mean() > 0.95


def test_every_score_minus_infinity_is_nan_as_in_softmax():
    q = torch.ones(4, 1, 2)
    k = torch.full((4, 1, 2), -torch.inf)
    assert ops.window_attention(q, k, q, cu_seqlens((4,))).isnan().all()


def test_scores_beyond_fp16_do_not_overflow():
    """q k^T of 128 * 60 * 60 = 460,800 is past fp16's largest number; sums are kept in fp32."""
    q = torch.full((8, 1, 128), 60.0, dtype=torch.float16)
    v = torch.arange(8, dtype=torch.float16)[:, None, None].repeat(1, 1, 128)
    got = ops.window_attention(q, q, v, cu_seqlens((8,)), scale=1.0)
    assert torch.equal(got, torch.full_like(got, 3.5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_variant_writes_a_strided_out_and_nothing_else(dtype):
    arguments = Attention(lengths=(30, 9), tail=2).make(dtype)
    buffer = torch.full((41, 6, 90), 7, dtype=dtype)
    ops.window_attention_out(**arguments, out=buffer[:, 1:5, 4:84])
    assert torch.equal(buffer[:, 1:5, 4:84], ops.window_attention(**arguments))
    buffer[:, 1:5, 4:84] = 7
    assert bool((buffer == 7).all())


def test_out_may_be_heads_first():
    arguments = Attention(lengths=(30, 9)).make(torch.float32)
    out = torch.empty(4, 39, 80).transpose(0, 1)
    ops.window_attention_out(**arguments, out=out)
    assert torch.equal(out, ops.window_attention(**arguments))


def test_opcheck():
    arguments = Attention(lengths=(5, 3), heads=4, kv_heads=2, value_dim=8).make(torch.bfloat16)
    positional = [arguments.pop(n) for n in ("q", "k", "v", "cu_seqlens")]
    keywords = {**arguments, "max_seqlen": 5}
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.window_attention.default, positional, keywords)
    out = torch.empty(8, 4, 8, dtype=torch.bfloat16)
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.window_attention_out.default, positional, {**keywords, "out": out})
