import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET, assert_within_budget, over_seeds
from ops.samples import DTYPES, randn, seeded
from qwen_vl_npu_ops import ops, reference


def make(rows, columns, dtype, *, seed=0) -> dict:
    generator = seeded(seed)
    return {
        "x": randn(rows, columns, dtype=dtype, generator=generator),
        "residual": randn(rows, columns, dtype=dtype, generator=generator),
        "weight": randn(columns, dtype=dtype, generator=generator),
        "eps": 1e-6,
    }


def compared(arguments: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """rms_norm without a residual, add_rms_norm with one; the sum beside the norm."""
    op = "add_rms_norm" if "residual" in arguments else "rms_norm"
    wide = {n: a.double() if isinstance(a, torch.Tensor) else a for n, a in arguments.items()}
    results = (getattr(ops, op)(**arguments), getattr(reference, op)(**wide), getattr(reference, op)(**arguments))
    if op == "rms_norm":
        return results
    assert all(part.is_contiguous() for part in results[0])
    return tuple(torch.cat(parts, dim=1) for parts in results)


def without_residual(arguments: dict) -> dict:
    return {n: a for n, a in arguments.items() if n != "residual"}


# The tower's width, one row, none, one column, rests of vectors, of four vectors and of what is summed at a time.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "columns"), [(300, 1280), (1, 80), (0, 12), (50, 1), (33, 7), (20, 63), (17, 1025), (2, 100_003)]
)
def test_matches_reference(dtype, rows, columns):
    arguments = make(rows, columns, dtype)
    assert_within_budget(*compared(without_residual(arguments)), name="rms_norm")
    assert_within_budget(*compared(arguments), name="add_rms_norm")


@settings(max_examples=30)
@given(rows=st.integers(0, 40), columns=st.integers(1, 300), dtype=st.sampled_from(DTYPES))
def test_any_shape(rows, columns, dtype):
    def run(seed: int) -> tuple[torch.Tensor, ...]:
        return compared(make(rows, columns, dtype, seed=seed))

    assert_within_budget(*over_seeds(run, rows * columns), budget=FUZZ_BUDGET)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_rms_norm_has_the_bits_of_the_two_steps(dtype):
    arguments = make(40, 333, dtype)
    out, total = ops.add_rms_norm(**arguments)
    assert torch.equal(total, arguments["x"] + arguments["residual"])
    assert torch.equal(out, ops.rms_norm(total, arguments["weight"], arguments["eps"]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_rows(dtype):
    wide = randn(40, 90, dtype=dtype, generator=seeded())
    arguments = make(20, 50, dtype) | {"x": wide[::2, 3:53], "residual": wide[1::2, 40:]}
    contiguous = {n: a.contiguous() if isinstance(a, torch.Tensor) else a for n, a in arguments.items()}
    for got, expected in zip(ops.add_rms_norm(**arguments), ops.add_rms_norm(**contiguous), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("eps", [0.0, 1e-12, 0.5])
def test_eps(eps):
    arguments = without_residual(make(30, 40, torch.float32)) | {"eps": eps}
    arguments["x"] *= 0.1
    assert_within_budget(*compared(arguments))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_stay_in_their_rows(dtype):
    arguments = without_residual(make(40, 50, dtype))
    arguments["x"][4, 3] = torch.nan
    arguments["x"][20, 0] = torch.inf
    arguments["x"][30] = 0
    assert_within_budget(*compared(arguments))
    got = ops.rms_norm(**arguments)
    assert got[4].isnan().all()
    assert got[20].isnan().sum() == 1
    assert got[30].eq(0).all()
    assert (~got.isfinite()).sum() == 51


def test_the_squares_of_large_float16_numbers_do_not_overflow():
    x = torch.full((1, 160), 60000.0, dtype=torch.float16)
    assert torch.equal(ops.rms_norm(x, torch.ones(160, dtype=torch.float16)), torch.ones_like(x))


def test_opcheck():
    arguments = make(6, 12, torch.bfloat16)
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.add_rms_norm.default, list(arguments.values()))
    without = list(without_residual(arguments).values())
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.rms_norm.default, without)
