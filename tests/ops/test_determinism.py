"""The same bits whatever the number of threads, which are really used."""

import subprocess
import sys

import pytest
import torch

from ops.samples import ATTENTION, DTYPES, ROTARY, randn, seeded
from qwen_vl_npu_ops import ops

ROTARY_CASES = ("windows of 64", "ragged with a tail", "one long segment", "padded out")
ATTENTION_CASES = ("windows of 64", "long segments", "long, grouped heads", "ragged with a tail")


def calls(dtype: torch.dtype) -> dict:
    generator = seeded()

    def patches(tokens: int, pixels: torch.dtype, index: bool) -> dict:
        return {
            "pixels": randn(tokens, 1176, dtype=pixels, generator=generator),
            "weight": randn(1280, 1176, dtype=dtype, generator=generator),
            "bias": randn(1280, dtype=dtype, generator=generator),
            "row_index": torch.randperm(tokens, generator=generator) if index else None,
        }

    def product(tokens: int, rows: int) -> dict:
        x, weight, bias = ((tokens, 1176), (rows, 1176), (rows,))
        return {
            "x": randn(*x, dtype=dtype, generator=generator),
            "weight": randn(*weight, dtype=dtype, generator=generator),
            "bias": randn(*bias, dtype=dtype, generator=generator),
        }

    def rows(**widths: int) -> dict:
        return {name: randn(333, width, dtype=dtype, generator=generator) for name, width in widths.items()}

    weight = randn(1280, dtype=dtype, generator=generator)

    return {
        **{f"linear, {t} tokens, {n} rows": (ops.linear, product(t, n)) for t, n in ((1, 7), (700, 333))},
        "rms_norm": (ops.rms_norm, rows(x=1280) | {"weight": weight}),
        "add_rms_norm": (ops.add_rms_norm, rows(x=1280, residual=1280) | {"weight": weight}),
        "silu_and_mul": (ops.silu_and_mul, rows(gate_up=700)),
        **{f"rotary_qkv, {n}": (ops.rotary_qkv, ROTARY[n].make(dtype)) for n in ROTARY_CASES},
        **{
            f"rotary_window_attention, {n}": (ops.rotary_window_attention, ROTARY[n].make_attention(dtype))
            for n in ROTARY_CASES
        },
        **{f"window_attention, {n}": (ops.window_attention, ATTENTION[n].make(dtype)) for n in ATTENTION_CASES},
        # GEMM libraries split few or odd rows among threads in ways of their own.
        **{
            f"patch_embed, {tokens} tokens": (ops.patch_embed, patches(tokens, pixels, index))
            for tokens, pixels, index in (
                (1, dtype, False),
                (5, dtype, False),
                (7, torch.float32, False),
                (1300, torch.float32, True),
                (2055, torch.float32, True),
            )
        },
    }


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_with_one_two_and_three_threads(dtype, threads):
    for name, (op, arguments) in calls(dtype).items():
        results = []
        for count in (1, 2, 3):
            threads(count)
            result = op(**arguments)
            results.append(result if isinstance(result, tuple) else (result,))
        for other in results[1:]:
            assert all(map(torch.equal, results[0], other)), name


# In a process of its own, where nothing else has started threads before.
COUNT_THREADS = """
import os
import torch
from qwen_vl_npu_ops import ops

torch.set_num_threads(3)
qkv, table = torch.empty(600, 3 * 8 * 80), torch.empty(600, 40)  # zeros() would start threads of its own
before = len(os.listdir("/proc/self/task"))
ops.OP
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.parametrize(
    "call",
    [
        "rotary_qkv(qkv, table, table, 8, 80)",
        "rotary_window_attention(qkv, table, table, torch.tensor([0, 600]), 8, 80)",
        "window_attention(*qkv.view(600, 3, 8, 80).unbind(1), torch.tensor([0, 600]))",
        "linear(qkv, qkv[:300])",
        "rms_norm(qkv, qkv[0])",
        "silu_and_mul(qkv)",
    ],
)
def test_all_threads_work(call):
    script = COUNT_THREADS.replace("OP", call)
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert int(run.stdout) >= 2
