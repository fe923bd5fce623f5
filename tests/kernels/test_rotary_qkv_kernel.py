"""rotary_qkv on the simulated chip."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET
from kernels.on_chip import check, check_deterministic, on_chip, same_bits
from ops.samples import DTYPES, ROTARY, Rotary
from ops.test_rotary_qkv import cases
from qwen_vl_npu_ops import ops, sim

# What the kernel treats apart: halves that do not start on a block, rows that do not fit UB, heads past 255 repeats.
CORNERS = {
    **ROTARY,
    "more tokens than a tile": Rotary(lengths=(500,), heads=16),
    "padded rows in a tile": Rotary(lengths=(300,), heads=16, out_head_dim=128),
    "head 72, padded out": Rotary(lengths=(9,), head_dim=72, out_head_dim=80),
    "head 72, one head": Rotary(lengths=(9,), head_dim=72, heads=1),
    "head 72, full 16-bit table": Rotary(lengths=(9,), head_dim=72, table="full", table_dtype=None),
    "interleaved, 16-bit full table": Rotary(lengths=(9,), interleaved=True, table="full", table_dtype=None),
    "interleaved, padded in, native out": Rotary(
        lengths=(9,), interleaved=True, padded_dim=96, out_head_dim=80, table="padded"
    ),
    "many heads": Rotary(lengths=(3,), heads=150, head_dim=16),
    "heads in groups": Rotary(lengths=(3,), heads=75, head_dim=256),
    "heads in groups, by index": Rotary(lengths=(2,), heads=40, head_dim=254, padded_dim=256),
    "far rows": Rotary(lengths=(5,), row_gap=100001),
}


def run(case: Rotary, dtype: torch.dtype, **options) -> None:
    check("rotary_qkv", case.make, dtype, case.tokens * case.heads * case.head_dim, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CORNERS)
def test_matches_reference(name, dtype):
    run(CORNERS[name], dtype)


@settings(max_examples=40)
@given(case=cases(), dtype=st.sampled_from(DTYPES), chip=st.sampled_from(sim.chips()))
def test_any_shape(case, dtype, chip):
    run(case, dtype, budget=FUZZ_BUDGET, chip=chip)


def test_a_large_image(full):
    tokens = 20000 if full else 5000
    run(Rotary(lengths=(tokens,), heads=2), torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["ragged with a tail", "interleaved", "head 72", "heads in groups"])
def test_same_bits_on_any_number_of_cores(name, dtype):
    check_deterministic("rotary_qkv", CORNERS[name].make(dtype))


@pytest.mark.parametrize("options", [{"l2": "warm"}, {"races": False}, {"auto_sync": True}])
def test_options_change_no_bit(options):
    arguments = ROTARY["windows of 64"].make(torch.bfloat16)
    same_bits(on_chip("rotary_qkv", arguments, **options), on_chip("rotary_qkv", arguments))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["windows of 64", "interleaved", "head 72", "padded out"])
def test_nan_and_infinity_stay_in_their_pair(name, dtype):
    case = CORNERS[name]
    arguments = case.make(dtype)
    dim, out = case.head_dim, case.out_head_dim or case.head_dim
    arguments["qkv"][0, 5] = torch.nan
    arguments["qkv"][1, dim + 6] = torch.inf
    q, k, v = on_chip("rotary_qkv", arguments)
    pair = (5, 4) if case.interleaved else (5, 5 + out // 2)
    assert set(q[0, 0].isnan().nonzero().flatten().tolist()) == set(pair)
    pair = (6, 7) if case.interleaved else (6, 6 + out // 2)
    assert set((~q[1, 1].isfinite()).nonzero().flatten().tolist()) == set(pair)
    assert (~q.isfinite()).sum() == 4
    assert k.isfinite().all()
    assert v.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True])
def test_padding_is_zero_whatever_the_input_holds_there(dtype, interleaved):
    case = Rotary(lengths=(9,), padded_dim=128, out_head_dim=96, interleaved=interleaved)
    arguments = case.make(dtype)
    halves = arguments["qkv"].unflatten(1, (3, 4, 2, 64))
    if interleaved:
        arguments["qkv"].unflatten(1, (3, 4, 128))[..., 80:] = torch.nan
    else:
        halves[..., 40:] = torch.nan
    for output in on_chip("rotary_qkv", arguments):
        padding = output[..., 80:] if interleaved else output.unflatten(2, (2, 48))[..., 40:]
        assert padding.count_nonzero() == 0
        assert output.isfinite().all()


@pytest.mark.parametrize("name", ["windows of 64", "padded out", "padded by two", "interleaved, padded out"])
def test_v_is_copied(name):
    arguments = CORNERS[name].make(torch.float16)
    same_bits(on_chip("rotary_qkv", arguments)[2:], ops.rotary_qkv(**arguments)[2:])
