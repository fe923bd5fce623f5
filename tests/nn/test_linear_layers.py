"""Which linear layers run on `ops.linear`, and that they stay ordinary linear layers."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from qwen_vl_npu_ops import _cpu_linear, ops
from qwen_vl_npu_ops.nn import Linear, use_our_linear, use_torch_linear


class Calls(TorchDispatchMode):
    """The names of the operators that run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))

    @property
    def ours(self) -> bool:
        return "qwen_vl_npu_ops::linear" in self.names


@pytest.fixture
def everywhere(monkeypatch):
    monkeypatch.setattr(_cpu_linear, "preferred", lambda dtype: dtype != torch.float64)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Linear(20, 30).requires_grad_(False)


def test_computes_what_torch_does(everywhere, layer):
    for shape in ((8, 20), (2, 3, 20), (2, 1, 4, 20)):
        x = torch.randn(shape)
        with Calls() as calls:
            got = layer(x)
        assert calls.ours
        torch.testing.assert_close(got, F.linear(x, layer.weight, layer.bias))
    assert torch.equal(layer(x.transpose(0, 2)), layer(x.transpose(0, 2).contiguous()))


def test_torch_computes_the_rest(everywhere, layer):
    x = torch.randn(8, 20)
    with_gradient = x.clone().requires_grad_()
    calls = {
        "few rows": lambda: layer(x[:2]),
        "no rows": lambda: layer(x[:0]),
        "gradient": lambda: layer(with_gradient),
        "float64": lambda: layer.double()(x.double()),
    }
    for name, call in calls.items():
        with Calls() as seen, torch.enable_grad():
            call()
        assert not seen.ours, name
    layer.float()
    with Calls() as seen, torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert not seen.ours
    with torch.enable_grad():
        layer(with_gradient).sum().backward()
    assert with_gradient.grad is not None


def test_a_tensor_subclass_of_a_quantised_weight_is_left_to_itself(everywhere, layer):
    class Quantised(torch.Tensor):
        pass

    layer.weight = nn.Parameter(layer.weight.data.as_subclass(Quantised), requires_grad=False)
    with Calls() as calls:
        layer(torch.randn(8, 20))
    assert not calls.ours


def test_errors_are_torch_s(everywhere, layer):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer(torch.randn(20, 8))


def test_hooks_and_state_are_an_ordinary_layer_s(everywhere, layer):
    seen = []
    layer.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    layer(torch.randn(8, 20))
    assert seen == [(8, 30)]
    assert isinstance(layer, nn.Linear)
    nn.Linear(20, 30).load_state_dict(layer.state_dict())


def test_compiles_into_one_graph(everywhere, layer):
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(8, 20)
    assert torch.equal(compiled(x), layer(x))


SHOW = (
    "import torch; from qwen_vl_npu_ops import _cpu_linear\n"
    "try: print([_cpu_linear.preferred(d) for d in (torch.float32, torch.float16, torch.bfloat16, torch.float64)])\n"
    "except ValueError as error: print(error)"
)


def shown(mode: str, **variables: str) -> str:
    environment = {**os.environ, _cpu_linear.VARIABLE: mode, **variables}
    done = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_variable():
    assert shown("on") == "[True, True, True, False]"
    assert shown("off") == "[False, False, False, False]"
    assert shown("fast") == f"{_cpu_linear.VARIABLE}: expected auto, on or off, got 'fast'"


@pytest.mark.parametrize("isa", ops.available_cpu_isas())
def test_by_default_where_torch_has_no_product_as_fast(isa):
    expected = [
        isa == "avx2" == ops.available_cpu_isas()[0],
        not torch.ops.mkldnn._is_mkldnn_fp16_supported(),
        not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        False,
    ]
    if isa == "neon":  # aarch64's own products are left alone
        expected = [False] * 4
    assert shown("auto", QWEN_VL_NPU_OPS_ISA=isa) == str(expected)


def test_layers_change_hands_with_all_they_have(everywhere):
    class Another(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(20, 30), Another(30, 20)).requires_grad_(False)
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    x = torch.randn(8, 20)
    assert use_our_linear(model) is model
    assert [type(layer) for layer in model] == [Linear, Another]
    with Calls() as calls:
        model(x)
    assert calls.names.count("qwen_vl_npu_ops::linear") == 1
    assert use_torch_linear(model) is model
    assert [type(layer) for layer in model] == [nn.Linear, Another]
    with Calls() as calls:
        model(x)
    assert not calls.ours
    assert seen == [1, 1]
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == before


@pytest.mark.parametrize("change", [use_our_linear, use_torch_linear])
def test_only_modules_change_hands(change):
    with pytest.raises(TypeError, match=r"module: expected a torch\.nn\.Module, got dict"):
        change({})
