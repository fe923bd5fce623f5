"""Which of the modules' small steps run on our CPU operators, and that torch computes the rest as before."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from qwen_vl_npu_ops import _cpu_linear, nn
from qwen_vl_npu_ops.nn.layers import MLP_ROWS, add_mlp, row_blocks
from qwen_vl_npu_ops.plan import VisionPlan

OURS = {"rms_norm", "add_rms_norm", "silu_and_mul"}


class Calls(TorchDispatchMode):
    """Counts how often each of our operators runs inside."""

    def __init__(self):
        super().__init__()
        self.ours = dict.fromkeys(OURS, 0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("qwen_vl_npu_ops::")
        if name in self.ours:
            self.ours[name] += 1
        return func(*args, **(kwargs or {}))


def calls(call) -> dict:
    with Calls() as seen:
        call()
    return {name: count for name, count in seen.ours.items() if count}


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = nn.AscendQwen2_5_VisionBlock(160, 2, 220)
    for norm in (block.norm1, block.norm2):
        norm.weight.copy_(torch.randn(160))
    return block


@pytest.fixture
def arguments():
    plan = VisionPlan.build([(1, 6, 10)], {"hidden_size": 160, "num_heads": 2})
    x = torch.randn(plan.num_tokens, 160, generator=torch.Generator().manual_seed(1))
    return x, plan.cu_seqlens_window, plan.cos, plan.sin


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_block_runs_on_our_operators(block, arguments, dtype):
    block.to(dtype)
    x, *rest = arguments
    assert calls(lambda: block(x.to(dtype), *rest)) == {"rms_norm": 1, "add_rms_norm": 1, "silu_and_mul": 1}


def test_a_norm_that_somebody_listens_to_is_called_as_before(block, arguments):
    expected, seen = block(*arguments), []
    block.norm2.register_forward_hook(lambda module, args, output: seen.append((args, output)))
    with Calls() as running:
        assert torch.equal(block(*arguments), expected)
    assert running.ours == {"rms_norm": 2, "add_rms_norm": 0, "silu_and_mul": 1}
    [((given,), output)] = seen
    torch.testing.assert_close(output, F.rms_norm(given, (160,), block.norm2.weight, 1e-6))


def test_another_norm_of_the_caller_s_is_called_as_it_is(arguments):
    block = nn.AscendQwen2_5_VisionBlock(160, 2, 220, norm_layer=torch.nn.RMSNorm)
    assert calls(lambda: block(*arguments)) == {"silu_and_mul": 1}


@pytest.mark.parametrize("shape", [(7, 160), (7, 1, 160), (2, 3, 160), (0, 160), (160,)])
def test_any_number_of_dimensions(shape):
    norm = nn.RMSNorm(160).requires_grad_(False)
    x = torch.randn(shape)
    assert calls(lambda: norm(x)) == {"rms_norm": 1}
    torch.testing.assert_close(norm(x), F.rms_norm(x, (160,), eps=1e-6))
    assert calls(lambda: nn.silu_and_mul(x)) == {"silu_and_mul": 1}
    gate, up = x.chunk(2, dim=-1)
    torch.testing.assert_close(nn.silu_and_mul(x), F.silu(gate) * up)


def test_views_with_gaps_and_other_dtypes_are_torch_s():
    norm = nn.RMSNorm(20).requires_grad_(False)
    spread = torch.randn(8, 40)[:, ::2]
    assert calls(lambda: (norm(spread), nn.silu_and_mul(spread))) == {}
    assert torch.equal(norm(spread), F.rms_norm(spread, (20,), norm.weight, 1e-6))
    assert calls(lambda: (norm.double()(spread.double()), nn.silu_and_mul(spread.double()))) == {}


def test_gradients_and_autocast_are_torch_s():
    norm = nn.RMSNorm(20)
    x = torch.randn(8, 20, requires_grad=True)
    with torch.enable_grad():
        assert calls(lambda: (norm(x), nn.silu_and_mul(x))) == {}
        (norm(x).sum() + nn.silu_and_mul(x).sum()).backward()
    assert x.grad is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert calls(lambda: (norm(x.detach()), nn.silu_and_mul(x.detach()))) == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [0, 1, 1535, 1536, 5000])
def test_some_rows_of_an_mlp_at_a_time_have_the_bits_of_all_at_once(monkeypatch, dtype, rows):
    monkeypatch.setattr(_cpu_linear, "preferred", lambda dtype: True)
    torch.manual_seed(0)
    mlp = nn.AscendQwen2_5_VisionMLP(40, 60, True).to(dtype)
    x, total = torch.randn(2, rows, 40).to(dtype)
    expected = total + mlp(x)
    assert torch.equal(add_mlp(total.clone(), x, mlp), expected)


def test_an_mlp_takes_some_rows_at_a_time(monkeypatch):
    taken = []
    mlp = nn.AscendQwen2_5_VisionMLP(40, 60, True)
    forward = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda x: taken.append(len(x)) or forward(x))
    for rows in (1, MLP_ROWS, 4900):
        taken.clear()
        add_mlp(torch.zeros(rows, 40), torch.zeros(rows, 40), mlp)
        assert taken == row_blocks(rows)
        assert sum(taken) == rows
        assert max(taken) <= 1.5 * MLP_ROWS


@pytest.mark.parametrize("watched", ["mlp", "mlp.gate_up_proj", "norm2"])
def test_what_somebody_listens_to_runs_once_on_all_rows(monkeypatch, block, arguments, watched):
    monkeypatch.setattr("qwen_vl_npu_ops.nn.layers.MLP_ROWS", 16)
    x, *rest = arguments
    expected, seen = block(x, *rest), []
    block.get_submodule(watched).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    torch.testing.assert_close(block(x, *rest), expected)
    [rows] = seen
    assert len(rows) == len(x)
    kept = rows.clone()
    block(x, *rest)
    assert torch.equal(rows, kept)


def test_the_input_of_a_block_stays_as_it_is(block, arguments):
    before = arguments[0].clone()
    block(*arguments)
    assert torch.equal(arguments[0], before)
