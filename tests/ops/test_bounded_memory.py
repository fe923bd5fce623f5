"""Memory that an operator takes beyond its result stays bounded however long a segment is."""

import subprocess
import sys

import pytest
import torch

# In a process of its own, with the high-water mark of its memory (VmHWM) set back before the call.
SCRIPT = """
import re
import sys
from pathlib import Path
import torch
from qwen_vl_npu_ops import ops

op, tokens, dtype = sys.argv[1], int(sys.argv[2]), getattr(torch, sys.argv[3])
heads, head_dim = 2, 80
ends = {n: torch.tensor([0, n], dtype=torch.int32) for n in (128, tokens)}
qkv = torch.randn(tokens, 3 * heads * head_dim).to(dtype)
angles = torch.rand(tokens, head_dim // 2)
cos, sin = angles.cos(), angles.sin()

def peak_kib():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1))

def run(n):
    if op == "rotary_window_attention":
        out = torch.empty(n, heads * head_dim, dtype=dtype)
        arguments = qkv[:n], cos[:n], sin[:n], ends[n], heads, head_dim
        return lambda: ops.rotary_window_attention_out(*arguments, out=out)
    out = torch.empty(n, heads, head_dim, dtype=dtype)
    q, k, v = qkv[:n].unflatten(1, (3, heads, head_dim)).unbind(1)
    return lambda: ops.window_attention_out(q, k, v, ends[n], out=out)

run(128)()
long = run(tokens)
Path("/proc/self/clear_refs").write_text("5")
before = peak_kib()
long()
print((peak_kib() - before) / 1024)
"""


@pytest.mark.parametrize("tokens", [10_764, 20_000])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", ["window_attention", "rotary_window_attention"])
def test_a_long_segment_takes_no_memory_to_speak_of(op, dtype, tokens):
    """20,000 tokens would need 1.5 GiB for one head's scores in fp32; a packed copy of k and v 25 MiB."""
    command = [sys.executable, "-c", SCRIPT, op, str(tokens), dtype]
    mib = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result = tokens * 2 * 80 * getattr(torch, dtype).itemsize / 2**20
    assert result / 2 < mib < result + 8, "the result's own pages, first touched by the call, and little else"
