"""vLLM-Ascend 0.23, its torch_npu and our plugin together, in processes that see the virtual NPU.

This process has vLLM on the CPU, for the tower that theirs is compared with.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import serving
import torch
from towers import batch, fp64_tower, photo
from vllm.model_executor.models import qwen2_5_vl as theirs

from compare import assert_within_budget
from qwen_vl_npu_ops import virtual_npu

WORKER = Path(__file__).parent / "ascend_worker.py"
PHOTOS = batch(photo("coffee", 120, 201), photo("rocket", 61, 87))
# For one graph of 3 images and 36 rows: cu_seqlens with repeated end points, and rows behind the last one.
REPLAYS = [
    batch(photo("rocket", 61, 87), photo("astronaut", 112, 56)),
    photo("coffee", 140, 160),
    batch(photo("chelsea", 56, 84), photo("rocket", 84, 56), photo("coffee", 56, 56)),
]


@pytest.fixture(scope="module", autouse=True)
def _world():
    serving.join_world(address=serving.free_address())


@pytest.fixture(scope="module", params=["ours", "ascend"])
def outputs(request, tmp_path_factory):
    """What ascend_worker.py computes; the parameter is who registers first."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.save({"photos": PHOTOS, "replays": REPLAYS}, folder / "inputs.pt")
    environment = virtual_npu.environment("910B1") | {
        "QWEN_VL_NPU_OPS_KERNELS": "on",
        "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:False",  # the virtual NPU has no virtual memory
    }
    del environment["VLLM_PLUGINS"]
    paths = [*environment["PYTHONPATH"].split(os.pathsep), *sys.path]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if Path(path).name != "cpu_platform")
    done = subprocess.run(
        [sys.executable, str(WORKER), request.param, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    print(done.stdout)
    return torch.load(folder / "outputs.pt")


def on_the_cpu(pixels, grids, dtype):
    """Rows of vLLM's own tower at `dtype`, and fp64 ones out of the same weights."""
    state = {name: value.to(dtype) for name, value in serving.checkpoint().items()}
    peer = serving.build(lambda: theirs.Qwen2_5_VisionTransformer(serving.vision_config()), dtype)
    peer.load_weights(iter(state.items()))
    pixels = pixels.to(dtype)
    return peer(pixels, [list(grid) for grid in grids]), fp64_tower(state, serving.vision_config(), pixels, grids)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_are_vllms(outputs, dtype):
    """ascend_worker.py has checked that our kernels computed them, without a wait or a copy to the host."""
    expected, exact = on_the_cpu(*PHOTOS, dtype)
    rows = outputs[str(dtype).removeprefix("torch.")]
    assert [len(item) for item in rows] == [t * h * w // 4 for t, h, w in PHOTOS[1]]
    assert_within_budget(torch.cat(rows), exact, expected)


@pytest.mark.parametrize("replay", range(len(REPLAYS)))
def test_a_captured_graph_gives_the_same_rows(outputs, replay):
    """In fp16, the dtype of the worker's last model."""
    pixels, grids = REPLAYS[replay]
    expected, exact = on_the_cpu(pixels, grids, torch.float16)
    rows = outputs["graph"][replay]
    assert [len(item) for item in rows] == [t * h * w // 4 for t, h, w in grids]
    assert_within_budget(torch.cat(rows), exact, expected)
