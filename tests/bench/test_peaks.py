"""`bench peaks`: what the machine does at most, measured."""

import pytest
import torch

from qwen_vl_npu_ops import ops

FIELDS = {
    *("schema", "benchmark", "device", "settings", "machine", "versions", "peaks", "lines", "notes", "stages"),
}


def test_peaks(report):
    got = report("peaks", "--threads", 1)
    assert set(got) == FIELDS
    assert got["schema"] == 1
    assert got["machine"]["threads"] == 1
    assert got["machine"]["instruction_set"] == ops.cpu_isa()
    assert set(got["peaks"]) == {"fma_fp32", "dot_bf16", "dot_int8", "exp_fp32", "copy", "disturbed"}
    assert got["peaks"]["fma_fp32"] > got["peaks"]["exp_fp32"] > 0 < got["peaks"]["copy"]
    assert (got["peaks"]["dot_bf16"] is None) == (ops.cpu_isa() != "avx512_bf16")


def test_peak_loops_count_what_they_do():
    loop = torch.ops.qwen_vl_npu_ops._peak_loop
    for name in ("fma_fp32", "exp_fp32"):
        assert loop(name, 20) == 20 * loop(name, 1) > 0
    with pytest.raises(ValueError, match="_peak_loop: name: expected fma_fp32, dot_bf16, dot_int8 or exp_fp32, got x"):
        loop("x", 1)
