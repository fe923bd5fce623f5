import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET, assert_within_budget, over_seeds
from ops.samples import DTYPES, randn, seeded
from qwen_vl_npu_ops import ops, reference


def make(tokens, columns, rows, dtype, *, bias=False, seed=0) -> dict:
    generator = seeded(seed)
    return {
        "x": randn(tokens, columns, dtype=dtype, generator=generator),
        "weight": randn(rows, columns, dtype=dtype, generator=generator) * columns**-0.5,
        "bias": randn(rows, dtype=dtype, generator=generator) if bias else None,
    }


def compared(arguments: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    got = ops.linear(**arguments)
    assert got.is_contiguous()
    assert got.dtype == arguments["x"].dtype
    wide = {n: a if a is None else a.double() for n, a in arguments.items()}
    return got, reference.linear(**wide), reference.linear(**arguments)


# The tower's layers, and sizes that leave a part of every block: 48 rows, 512 tokens, panels and vectors.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("tokens", "columns", "rows"),
    [(256, 1280, 480), (100, 3420, 96), (513, 80, 49), (1031, 7, 50), (1, 33, 1), (0, 12, 8), (5, 5120, 13)],
)
def test_matches_reference(dtype, bias, tokens, columns, rows):
    assert_within_budget(*compared(make(tokens, columns, rows, dtype, bias=bias)))


@settings(max_examples=40)
@given(
    tokens=st.integers(0, 70),
    columns=st.integers(1, 150),
    rows=st.integers(1, 100),
    dtype=st.sampled_from(DTYPES),
    bias=st.booleans(),
)
def test_any_shape(tokens, columns, rows, dtype, bias):
    def run(seed: int) -> tuple[torch.Tensor, ...]:
        return compared(make(tokens, columns, rows, dtype, bias=bias, seed=seed))

    assert_within_budget(*over_seeds(run, tokens * rows), budget=FUZZ_BUDGET)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_x_and_weight(dtype):
    x = randn(40, 70, dtype=dtype, generator=seeded())[::2, 3:63]
    weight = randn(55, 90, dtype=dtype, generator=seeded(1))[:, 20:80]
    assert_within_budget(*compared({"x": x, "weight": weight, "bias": None}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_the_others(dtype):
    arguments = make(600, 100, 60, dtype, bias=True)
    whole = ops.linear(**arguments)
    for rows in (slice(0, 1), slice(511, 514), slice(37, 60)):
        assert torch.equal(ops.linear(**arguments | {"x": arguments["x"][rows]}), whole[rows])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_stay_in_their_rows(dtype):
    arguments = make(40, 12, 50, dtype)
    arguments["weight"] = arguments["weight"].abs() + 1
    arguments["x"][4, 3] = torch.nan
    arguments["x"][20, 0] = torch.inf
    got = ops.linear(**arguments)
    assert got[4].isnan().all()
    assert (got[20] == torch.inf).all()
    assert (~got.isfinite()).sum() == 100


def test_opcheck():
    arguments = make(6, 12, 8, torch.bfloat16, bias=True)
    torch.library.opcheck(torch.ops.qwen_vl_npu_ops.linear.default, list(arguments.values()))


def test_elsewhere_than_on_the_cpu_is_refused():
    class Elsewhere(torch.Tensor):
        @property
        def device(self):
            return torch.device("cuda")

    arguments = make(6, 12, 8, torch.float32)
    with pytest.raises(ValueError, match="linear: x: expected a tensor on the cpu, got one on cuda"):
        ops.linear(arguments["x"].as_subclass(Elsewhere), arguments["weight"])
