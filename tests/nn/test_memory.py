"""What a forward takes for a while stays bounded, and for a whole 1080p image holds no matrix of attention scores."""

import subprocess
import sys

import pytest

TOKENS = 10764
HEADS = 4

# The peak never falls, so the measurement needs a process of its own. (VmHWM, as ru_maxrss starts with the parent's.)
SCRIPT = f"""
import re, torch
from pathlib import Path
from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionBlock
from qwen_vl_npu_ops.plan import VisionPlan

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024

torch.set_grad_enabled(False)
plan = VisionPlan.build([(1, 78, 138)], {{"hidden_size": {HEADS * 80}, "num_heads": {HEADS}}})
block = AscendQwen2_5_VisionBlock({HEADS * 80}, {HEADS}, 320).to(torch.DTYPE)
x = torch.randn({TOKENS}, {HEADS * 80}, dtype=torch.DTYPE)
block(x[:64], plan.cu_seqlens_window[:2], plan.cos[:64], plan.sin[:64])  # whatever is allocated once
before = peak()
block(x, plan.cu_seqlens_full, plan.cos, plan.sin)
print(peak() - before)
"""


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_a_block_on_a_whole_1080p_image_is_bounded(dtype, size):
    script = SCRIPT.replace("DTYPE", dtype)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    grown = int(done.stdout)
    one_heads_scores = TOKENS * TOKENS * size
    # The block's own tensors, a dozen times x in fp32 at most.
    activations = TOKENS * HEADS * 80 * 4 * 12
    assert activations < one_heads_scores
    assert 0 < grown < activations


# Layers come one after the other, so that two are as good as all; the small forward allocates what stays.
TOWER = """
import re, torch
from pathlib import Path
from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionTransformer

torch.set_grad_enabled(False)
config = {"hidden_size": 1280, "num_heads": 16, "depth": 2, "fullatt_block_indexes": [1]}
tower = AscendQwen2_5_VisionTransformer(config).to(torch.DTYPE)
pixels = torch.randn(4900, 1176)
tower(pixels[:64], [(1, 8, 8)])

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024

Path("/proc/self/clear_refs").write_text("5")
before = peak()
tower(pixels, [(1, 70, 70)])
print(peak() - before)
"""


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 150), ("float32", 300)])
def test_the_7b_tower_s_layers_on_4900_tokens_take_little_memory(dtype, bound):
    command = [sys.executable, "-c", TOWER.replace("DTYPE", dtype)]
    mib = float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout)
    assert 0 < mib <= bound
