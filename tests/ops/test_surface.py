"""ops.py, the schemas and the fakes say the same."""

import inspect
import os
import subprocess
import sys

import pytest
import torch

from ops.samples import Rotary
from qwen_vl_npu_ops import ops

NAMES = [name for name in ops.__all__ if not name.endswith(("isa", "isas"))]


@pytest.mark.parametrize("name", NAMES)
def test_the_function_has_the_schema_s_arguments(name):
    schema = getattr(torch.ops.qwen_vl_npu_ops, name).default._schema
    parameters = inspect.signature(getattr(ops, name)).parameters.values()
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    python = [(p.name, p.kind is keyword_only, p.default) for p in parameters]
    native = [
        (a.name, a.kwarg_only, a.default_value if a.has_default_value() else inspect.Parameter.empty)
        for a in schema.arguments
    ]
    assert python == native


def test_nothing_else_is_registered_for_users():
    registered = {s for s in torch._C._dispatch_get_all_op_names() if s.startswith("qwen_vl_npu_ops::")}
    names = {name.split("::")[1].split(".")[0] for name in registered}
    assert {name for name in names if not name.startswith("_")} == set(ops.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_every_function_documents_every_argument(name):
    function = getattr(ops, name.removesuffix("_out"))
    for parameter in inspect.signature(function).parameters:
        assert f"{parameter}:" in function.__doc__ or f"{parameter}, " in function.__doc__, parameter


def test_an_unknown_instruction_set_is_a_value_error():
    script = "import qwen_vl_npu_ops.ops as ops\ntry:\n    ops.cpu_isa()\nexcept ValueError as e:\n    print(e)"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "QWEN_VL_NPU_OPS_ISA": "avx1024"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "QWEN_VL_NPU_OPS_ISA" in run.stdout
    assert "avx1024" in run.stdout


def test_compiles_without_a_break_for_every_length():
    """Fakes with symbolic sizes: one graph for all numbers of tokens."""

    def call(qkv, cos, sin, cu_seqlens):
        q, k, v = ops.rotary_qkv(qkv, cos, sin, 4, 80)
        apart = ops.window_attention(q, k, v, cu_seqlens)
        return apart.flatten(1) + ops.rotary_window_attention(qkv, cos, sin, cu_seqlens, 4, 80)

    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for lengths in ((30, 9), (64, 64, 3), (5, 6)):
            arguments = Rotary(lengths=lengths).make_attention(torch.float32)
            inputs = [arguments[n] for n in ("qkv", "cos", "sin", "cu_seqlens")]
            torch.testing.assert_close(compiled(*inputs), call(*inputs), rtol=0, atol=0)
