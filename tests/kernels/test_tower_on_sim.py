"""The whole tower on the simulated chip: real head size, window and full layers, against transformers'."""

from collections import Counter

import pytest
import torch

from nn.towers import (
    SMALL,
    at_dtype,
    batch,
    fp64_tower,
    our_tower,
    photo,
    relative_rms,
    run_transformers,
    transformers_tower,
)
from qwen_vl_npu_ops import sim

CALLS = {"patch_embed": 1, "rotary_window_attention": SMALL["depth"]}


@pytest.fixture(scope="module")
def pictures():
    """Two photos of odd sizes: ragged windows, two full segments."""
    return batch(photo("astronaut", 131, 171), photo("coffee", 97, 83))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"pad_head_dim": 128}], ids=["head size 80", "padded to 128"])
def test_as_accurate_as_transformers(pictures, dtype, options):
    pixels, grids = pictures
    peer = at_dtype(transformers_tower(SMALL), dtype)
    exact = fp64_tower(peer.state_dict(), peer.config, pixels.to(dtype), grids)
    tower = our_tower(peer.state_dict(), peer.config, dtype, **options)
    with sim.device("910B1") as chip:
        got = tower(pixels, grids)
    kernels = Counter(next(op for op in CALLS if record.kernel.startswith(op)) for record in chip.report())
    assert kernels == CALLS, "something ran elsewhere"
    assert got.dtype == dtype
    assert relative_rms(got, exact) <= 1.02 * relative_rms(run_transformers(peer, pixels, grids), exact)
