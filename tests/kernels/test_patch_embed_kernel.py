"""patch_embed on the simulated chip."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import FUZZ_BUDGET
from kernels.on_chip import check, check_deterministic, on_chip, same_bits
from ops.samples import DTYPES, seeded
from ops.test_patch_embed import make
from qwen_vl_npu_ops import ops, sim


@dataclass(frozen=True)
class Embed:
    tokens: int
    columns: int
    hidden: int
    bias: bool = True
    index: torch.dtype | None = None  # of row_index
    picked: int | None = None  # rows of the result, where not as many as tokens
    cast: bool = False  # fp32 pixels
    gap: int = 0  # elements between rows of pixels

    @property
    def rows(self) -> int:
        return self.tokens if self.picked is None else self.picked

    def make(self, dtype: torch.dtype, seed: int = 0) -> dict:
        index = None
        if self.index is not None:
            index = torch.randint(max(self.tokens, 1), (self.rows,), generator=seeded(seed)).to(self.index)
        own = torch.float32 if self.cast else dtype
        columns = self.columns + self.gap
        arguments = make(
            self.tokens, columns, self.hidden, dtype, pixel_dtype=own, bias=self.bias, index=index, seed=seed
        )
        arguments["pixels"] = arguments["pixels"][:, : self.columns]
        arguments["weight"] = arguments["weight"][:, : self.columns].contiguous()
        return arguments


# What the kernel treats apart: rows that start off a block, one or two tiles, a chunk of one block, weights that stay
# in L1 and those that stream, more tasks than cores, more rounds than the vector cores may be ahead, rows too long for
# UB.
CASES = {
    "patches": Embed(100, 1176, 96),
    "patches in window order": Embed(130, 1176, 80, bias=False, index=torch.int64, cast=True),
    "narrow index": Embed(70, 48, 33, index=torch.int32),
    "rows picked and repeated": Embed(20, 50, 40, index=torch.int32, picked=90),
    "far rows": Embed(40, 40, 24, cast=True, gap=100001),
    "one of everything": Embed(1, 1, 1),
    "one row": Embed(1, 1176, 1280, cast=True),
    "one column": Embed(300, 64, 1),
    "odd sizes": Embed(77, 333, 131, cast=True),
    "every other row aligned, odd hidden": Embed(33, 24, 17, index=torch.int64),
    "short k": Embed(500, 5, 200),
    "wide": Embed(20, 30, 5000, bias=True),
    "several rounds": Embed(700, 40, 2560),
    "long k": Embed(18, 30011, 20, cast=True),
    "no rows": Embed(0, 16, 16),
    "no rows picked": Embed(9, 16, 16, index=torch.int64, picked=0),
}


def run(case: Embed, dtype: torch.dtype, **options) -> None:
    def cast_first(dtype: torch.dtype, seed: int) -> dict:
        # fp32 pixels are cast to the weight's dtype first: no error of the product. Exactly those numbers go in.
        arguments = case.make(dtype, seed)
        arguments["pixels"].copy_(arguments["pixels"].to(dtype))
        return arguments

    check("patch_embed", cast_first, dtype, case.rows * case.hidden, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_matches_reference(name, dtype):
    run(CASES[name], dtype)


@settings(max_examples=40)
@given(
    case=st.builds(
        Embed,
        tokens=st.integers(1, 200),
        columns=st.integers(1, 700),
        hidden=st.integers(1, 200),
        bias=st.booleans(),
        index=st.sampled_from((None, torch.int32, torch.int64)),
        cast=st.booleans(),
        gap=st.integers(0, 3),
    ),
    dtype=st.sampled_from(DTYPES),
    chip=st.sampled_from(sim.chips()),
)
def test_any_shape(case, dtype, chip):
    run(case, dtype, budget=FUZZ_BUDGET, chip=chip)


def test_the_real_sizes(full):
    run(Embed(4096 if full else 1000, 1176, 1280, index=torch.int64, cast=True), torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["patches", "odd sizes", "wide"])
def test_same_bits_on_any_number_of_cores(name, dtype):
    check_deterministic("patch_embed", CASES[name].make(dtype))


@pytest.mark.parametrize("options", [{"l2": "warm"}, {"races": False}, {"auto_sync": True}])
def test_options_change_no_bit(options):
    arguments = CASES["patches in window order"].make(torch.bfloat16)
    same_bits(on_chip("patch_embed", arguments, **options), on_chip("patch_embed", arguments))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cast", [False, True])
def test_nan_and_infinity_stay_in_their_row_or_column(dtype, cast):
    arguments = Embed(50, 100, 40, cast=cast).make(dtype)
    arguments["pixels"][7, 99] = torch.nan
    arguments["pixels"][49, 0] = torch.inf
    arguments["weight"][39, 99] = torch.nan
    (got,) = on_chip("patch_embed", arguments)
    assert got[7].isnan().all()
    assert not got[49].isfinite().any()
    assert got[:, 39].isnan().all()
    rest = torch.ones_like(got, dtype=torch.bool)
    rest[[7, 49]] = False
    rest[:, 39] = False
    assert got[rest].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_rows_of_an_invalid_index_are_nan(dtype, cast, index):
    arguments = Embed(60, 70, 40, index=index, cast=cast).make(dtype)
    (want,) = on_chip("patch_embed", arguments)
    limits = torch.iinfo(index)
    bad = {0: -1, 5: 60, 31: limits.max, 32: limits.min, 59: 61}
    arguments["row_index"][list(bad)] = torch.tensor(list(bad.values()), dtype=index)
    (got,) = on_chip("patch_embed", arguments)
    good = [i for i in range(60) if i not in bad]
    assert got[list(bad)].isnan().all()
    same_bits((got[good],), (want[good],))


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_an_index_may_run_past_both_ends(index):
    arguments = Embed(60, 70, 40, cast=True).make(torch.bfloat16)
    (want,) = on_chip("patch_embed", arguments)
    (got,) = on_chip("patch_embed", {**arguments, "row_index": torch.arange(-3, 65).to(index)})
    same_bits((got[3:63],), (want,))
    assert got[:3].isnan().all()
    assert got[63:].isnan().all()


def test_rows_of_pixels_may_overlap():
    arguments = Embed(40, 70, 40).make(torch.bfloat16)
    for stride in (0, 3):
        arguments["pixels"] = torch.randn(200, generator=seeded()).bfloat16().as_strided((40, 70), (stride, 1))
        got = on_chip("patch_embed", arguments)
        same_bits(got, on_chip("patch_embed", {**arguments, "pixels": arguments["pixels"].contiguous()}))


def test_every_index_is_invalid_without_rows():
    arguments = Embed(0, 16, 24, index=torch.int64, picked=3).make(torch.bfloat16)
    (got,) = on_chip("patch_embed", arguments)
    assert got.isnan().all()


def test_conv3d_weight():
    arguments = CASES["patches"].make(torch.bfloat16)
    want = on_chip("patch_embed", arguments)
    arguments["weight"] = arguments["weight"].view(96, 3, 2, 14, 14)
    same_bits(on_chip("patch_embed", arguments), want)


def test_cores_are_evenly_loaded():
    arguments = Embed(4096, 1176, 1280, bias=False).make(torch.bfloat16)
    with sim.device("910B1", races=False) as device:
        ops.patch_embed(**arguments)
    (record,) = device.report()
    cubes = [cycles for core, cycles in record.cores.items() if core.startswith("aic")]
    assert len(cubes) == 24
    assert max(cubes) <= 1.1 * sum(cubes) / len(cubes)
