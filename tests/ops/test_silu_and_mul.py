import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET, assert_within_budget, over_seeds
from ops.samples import DTYPES, randn, seeded
from qwen_vl_npu_ops import ops, reference


def make(rows, columns, dtype, *, seed=0, spread=1.0) -> torch.Tensor:
    return randn(rows, 2 * columns, dtype=dtype, generator=seeded(seed)) * spread


def compared(gate_up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    got = ops.silu_and_mul(gate_up)
    assert got.is_contiguous()
    return got, reference.silu_and_mul(gate_up.double()), reference.silu_and_mul(gate_up)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [1.0, 20.0])
@pytest.mark.parametrize(("rows", "columns"), [(300, 3420), (1, 80), (0, 12), (3, 0), (50, 1), (33, 7), (2, 50_003)])
def test_matches_reference(dtype, spread, rows, columns):
    assert_within_budget(*compared(make(rows, columns, dtype, spread=spread)))


@settings(max_examples=30)
@given(rows=st.integers(0, 40), columns=st.integers(1, 150), dtype=st.sampled_from(DTYPES))
def test_any_shape(rows, columns, dtype):
    def run(seed: int) -> tuple[torch.Tensor, ...]:
        return compared(make(rows, columns, dtype, seed=seed))

    assert_within_budget(*over_seeds(run, rows * columns), budget=FUZZ_BUDGET)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_rows(dtype):
    gate_up = make(40, 50, dtype)[::2, 3:63]
    assert torch.equal(ops.silu_and_mul(gate_up), ops.silu_and_mul(gate_up.contiguous()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_over_the_whole_range_of_gate(dtype):
    """One token for each gate, so that each is held to its own size and not to the largest in its row."""
    gate = torch.cat((torch.linspace(-87, 89, 5000), torch.tensor([-0.0, 0.0, 1e-30, -1e-30, 6e4, -6e4]))).to(dtype)
    assert_within_budget(*compared(torch.stack((gate, torch.ones_like(gate)), dim=1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_where_torch_has_them(dtype):
    values = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -1e4, 1e4, 1.0])
    gate, up = torch.meshgrid(values, values, indexing="ij")
    gate_up = torch.cat((gate, up), dim=1).to(dtype)
    got, _, peer = compared(gate_up)
    torch.testing.assert_close(got, peer, equal_nan=True, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=0)


def test_opcheck():
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.silu_and_mul.default, [make(6, 12, torch.bfloat16)])


@pytest.mark.parametrize("up", [1.0, -3.7, torch.inf, torch.nan])
def test_every_bfloat16_gives_float32_s_result_rounded_once(up):
    gate = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    gate_up = torch.stack([gate, torch.full_like(gate, up)]).view(1, -1)
    want = ops.silu_and_mul(gate_up.float()).bfloat16()
    subnormal = 2.0**-126  # which some instruction sets take for zero
    torch.testing.assert_close(ops.silu_and_mul(gate_up), want, rtol=0, atol=subnormal, equal_nan=True)
