"""window_attention and rotary_window_attention on the simulated chip."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET
from kernels.on_chip import check, check_deterministic, on_chip, same_bits
from ops.samples import ATTENTION, ROTARY, Attention, Rotary
from ops.test_rotary_window_attention import cases as rotary_cases
from ops.test_window_attention import cases
from qwen_vl_npu_ops import ops, reference, sim

DTYPES = (torch.float16, torch.bfloat16)  # float32 is composed

# What the kernel treats apart: tasks over short and long segments in any order, single rows at the end of a fractal,
# blocks of keys, uneven shares of the two vector cores.
WINDOW = {
    **ATTENTION,
    "one head of 64": Attention(heads=1),
    "odd heads": Attention(lengths=(64, 30, 17), heads=5),
    "one row in the last fractal": Attention(lengths=(1, 17, 65, 113), heads=3),
    "128 and one more": Attention(lengths=(128, 129), heads=2),
    "short and long in turn": Attention(lengths=(64, 200, 3, 140, 16, 300), heads=2),
    "two blocks of keys": Attention(lengths=(1100,), heads=1),
    "many blocks of keys": Attention(lengths=(40, 2100, 7), heads=1),
    "wide heads": Attention(lengths=(70, 40), heads=2, head_dim=256),
    "wide heads, blocks of keys": Attention(lengths=(600,), heads=1, head_dim=192, value_dim=256),
    "zero scale": Attention(lengths=(30, 200), scale=0.0),
    "many windows": Attention(lengths=(16,) * 60 + (5, 0, 0, 9), heads=3),
}
ROTATED = {
    **ROTARY,
    "heads of 96 padded to 112": Rotary(lengths=(64, 26), head_dim=96, out_head_dim=112, heads=3),
    "ragged windows": Rotary(lengths=(33, 1, 17, 64, 48), heads=5),
    "ragged windows of an image": Rotary(lengths=(64, 64, 48, 64, 16, 64, 64, 32), heads=16),
    "short and long": Rotary(lengths=(64, 200), heads=2),
    "short and long, interleaved": Rotary(lengths=(64, 200), heads=2, interleaved=True, out_head_dim=96),
}


def run_window(case: Attention, dtype: torch.dtype, **options) -> None:
    check("window_attention", case.make, dtype, case.tokens * case.heads * (case.value_dim or case.head_dim), **options)


def run_rotary(case: Rotary, dtype: torch.dtype, **options) -> None:
    elements = case.tokens * case.heads * case.head_dim
    check("rotary_window_attention", case.make_attention, dtype, elements, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WINDOW)
def test_window_attention_matches_reference(name, dtype):
    run_window(WINDOW[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROTATED)
def test_rotary_window_attention_matches_reference(name, dtype):
    run_rotary(ROTATED[name], dtype)


# One core has enough tasks to load two together, from the boundary of 512 bytes before their first head.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        Attention(lengths=(64, 40, 3), heads=16),
        Attention(lengths=(40, 64), heads=16, layout="packed"),
        Attention(lengths=(64, 150, 40, 64), heads=16, head_dim=16),
        Attention(lengths=(60, 60), heads=12, kv_heads=4),
    ],
    ids=["dense", "packed", "beside a long segment", "grouped heads"],
)
def test_two_tasks_to_a_load(case, dtype):
    run_window(case, dtype, max_blocks=1)


@settings(max_examples=25)
@given(case=cases(), dtype=st.sampled_from(DTYPES), chip=st.sampled_from(sim.chips()))
def test_any_window_attention(case, dtype, chip):
    run_window(case, dtype, budget=FUZZ_BUDGET, chip=chip)


@settings(max_examples=25)
@given(case=rotary_cases(), dtype=st.sampled_from(DTYPES), chip=st.sampled_from(sim.chips()))
def test_any_rotary_window_attention(case, dtype, chip):
    run_rotary(case, dtype, budget=FUZZ_BUDGET, chip=chip)


def test_a_segment_of_ten_thousand_tokens(full):
    run_window(Attention(lengths=(10400 if full else 4500, 60), heads=1), torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["short and long in turn", "many windows", "two blocks of keys"])
def test_same_bits_on_any_number_of_cores(name, dtype):
    check_deterministic("window_attention", WINDOW[name].make(dtype))


@pytest.mark.parametrize("name", ["ragged windows", "short and long"])
def test_rotary_same_bits_on_any_number_of_cores(name):
    check_deterministic("rotary_window_attention", ROTATED[name].make_attention(torch.bfloat16))


@pytest.mark.parametrize("name", ["windows of 64", "short and long in turn"])
@pytest.mark.parametrize("options", [{"l2": "warm"}, {"races": False}, {"auto_sync": True}])
def test_options_change_no_bit(name, options):
    arguments = WINDOW[name].make(torch.bfloat16)
    same_bits(on_chip("window_attention", arguments, **options), on_chip("window_attention", arguments))


# (cu_seqlens, rows of NaN, rows of zero) for 100 tokens.
INVALID = [
    ([5, 50, 100], range(5), ()),
    ([0, 50, 30, 90], range(50, 90), range(90, 100)),
    ([-3, 20, 60], range(20), range(60, 100)),
    ([0, 60, 200], range(60, 100), ()),
    ([0, 40, 40, 10**9, -(10**9)], range(40, 100), ()),
    ([70, 60, 50], range(70), range(70, 100)),
    ([101, 101], range(100), ()),
    ([0, 0], (), range(100)),
]


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(("ends", "nan", "zero"), INVALID)
@pytest.mark.parametrize("op", ["window_attention", "rotary_window_attention"])
def test_invalid_lengths_give_nan_in_their_rows_alone(op, ends, nan, zero, index_dtype):
    case = Rotary(lengths=(100,)) if op.startswith("rotary") else Attention(lengths=(100,))
    arguments = (case.make_attention if op.startswith("rotary") else case.make)(torch.bfloat16)
    arguments["cu_seqlens"] = torch.tensor(ends, dtype=index_dtype)
    (out,) = on_chip(op, arguments)
    rows = out.flatten(1)
    is_nan, is_zero = rows.isnan().all(1), (rows == 0).all(1)
    assert is_nan.nonzero().flatten().tolist() == list(nan)
    assert is_zero.nonzero().flatten().tolist() == list(zero)
    assert rows[~is_nan].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [(30, 34, 36), (300,), (1200,)])
def test_nan_and_infinity_as_in_the_reference(lengths, dtype):
    arguments = Attention(lengths=lengths, heads=2).make(dtype)
    arguments["q"][3, 0, 5] = torch.nan
    arguments["k"][lengths[0] + 10 if len(lengths) > 1 else 40, 1, 3] = torch.inf
    arguments["v"][-5, 0, 2] = torch.nan
    (out,) = on_chip("window_attention", arguments)
    wide = {n: a.double() if torch.is_tensor(a) and a.is_floating_point() else a for n, a in arguments.items()}
    assert torch.equal(out.isnan(), reference.window_attention(**wide).isnan())


@pytest.mark.parametrize("lengths", [(64, 20), (1200,)])
@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_large_finite_scores_stay_finite(lengths, scale):
    arguments = Attention(lengths=lengths, heads=1, scale=scale).make(torch.bfloat16)
    arguments["q"] *= 1e15
    arguments["k"] *= 1e15
    (out,) = on_chip("window_attention", arguments)
    assert out.isfinite().all()


def test_launch_does_not_depend_on_the_lengths():
    """The same tiling and workspace serve any contents: only shapes decide them."""
    arguments = Attention(lengths=(100,)).make(torch.float16)
    for ends in ([0, 100, 100], [0, 1, 100], [0, 0, 0]):
        arguments["cu_seqlens"] = torch.tensor(ends)
        (out,) = on_chip("window_attention", arguments)
        expected = reference.window_attention(**arguments)
        assert torch.allclose(out.float(), expected.float(), atol=2e-3)


@pytest.mark.parametrize("out_heads_first", [False, True])
def test_writes_out_and_nothing_else(out_heads_first):
    arguments = WINDOW["short and long in turn"].make(torch.bfloat16)
    tokens, heads, dim = arguments["q"].shape
    memory = torch.full((heads, tokens, dim + 8) if out_heads_first else (tokens, heads, dim + 8), 7.0)
    memory = memory.to(torch.bfloat16)
    out = memory[..., :dim]
    with sim.device("910B1"):
        written = out.transpose(0, 1) if out_heads_first else out
        torch.ops.qwen_vl_npu_ops.window_attention_out(**arguments, max_seqlen=None, out=written)
        expected = ops.window_attention(**arguments)
    assert torch.equal(written, expected)
    assert (memory[..., dim:] == 7).all()


def test_cores_are_evenly_loaded():
    """A ragged batch of windows and a 64-window image: no cube core works more than a tenth longer than the mean."""
    ragged = (64, 64, 48, 64, 16, 64, 64, 32, 64, 64, 64, 48, 64, 24) * 6
    for lengths in (ragged, (64,) * 64):
        arguments = Attention(lengths=lengths, heads=16).make(torch.bfloat16)
        with sim.device("910B1", races=False) as chip:
            ops.window_attention(**arguments)
        cycles = [c for core, c in chip.report()[0].cores.items() if core.startswith("aic")]
        assert len(cycles) == 24
        assert max(cycles) <= 1.1 * sum(cycles) / len(cycles)
