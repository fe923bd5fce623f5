"""quant_config: layers whose parameters and arithmetic are another's, with W8A8's parameter set, padded and not."""

import pytest
import torch
from torch import nn
from towers import SMALL, fp64_tower, our_tower, random_pixels, refuses, relative_rms, transformers_tower

from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionTransformer, use_torch_linear
from qwen_vl_npu_ops.nn.layers import QuantLinear

GRIDS = [(1, 6, 10), (2, 4, 4)]


class W8A8:
    """vLLM-Ascend's static W8A8 linear method, in plain integers: its parameters' names, shapes and dtypes."""

    def create_weights(self, layer, input_size, output_sizes, full_input, full_output, params_dtype):
        out = sum(output_sizes)
        parameters = {
            "weight": torch.empty(out, input_size, dtype=torch.int8),
            "input_scale": torch.empty(1, dtype=params_dtype),
            "input_offset": torch.empty(1, dtype=torch.int8),
            "quant_bias": torch.empty(out, dtype=torch.int32),
            "deq_scale": torch.empty(out, dtype=torch.float32),
            "weight_scale": torch.empty(out, 1, dtype=params_dtype),
            "weight_offset": torch.empty(out, 1, dtype=params_dtype),
        }
        for name, tensor in parameters.items():
            layer.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    def apply(self, layer, x, bias):
        # The layer's own bias is inside quant_bias; nothing is loaded into it.
        steps = torch.round(x / layer.input_scale) + layer.input_offset
        total = steps.clamp(-128, 127).double() @ layer.weight.double().T + layer.quant_bias
        return (total * layer.deq_scale).to(x.dtype)


class AttentionInW8A8:
    """Stands for vLLM's QuantizationConfig; remembers the names that it was asked about."""

    def __init__(self):
        self.names = []

    def get_quant_method(self, layer, prefix):
        self.names.append(prefix)
        return W8A8() if prefix.endswith((".attn.qkv", ".attn.proj")) else None


def quantised(state):
    """The state with every attention layer quantised, as msmodelslim would write it, and what it stands for."""
    packed, meant = {}, dict(state)
    for name, tensor in state.items():
        layer, kind = name.rsplit(".", 1)
        if not layer.endswith((".attn.qkv", ".attn.proj")):
            packed[name] = tensor
        elif kind == "weight":
            scale = tensor.abs().amax(1, keepdim=True) / 127
            steps = torch.round(tensor / scale)
            input_scale, offset = torch.tensor([0.03]), 5
            deq_scale = (scale * input_scale).flatten()
            packed[f"{layer}.bias"] = bias = state[f"{layer}.bias"]
            packed |= {
                f"{layer}.weight": steps.to(torch.int8),
                f"{layer}.input_scale": input_scale,
                f"{layer}.input_offset": torch.tensor([offset], dtype=torch.int8),
                f"{layer}.quant_bias": (torch.round(bias / deq_scale) - offset * steps.sum(1)).to(torch.int32),
                f"{layer}.deq_scale": deq_scale,
                f"{layer}.weight_scale": scale,
                f"{layer}.weight_offset": torch.zeros_like(scale),
            }
            meant[name] = steps * scale
    return packed, meant


@pytest.fixture(scope="module")
def state():
    return transformers_tower(SMALL).state_dict()


def w8a8_tower(**kwargs):
    return AscendQwen2_5_VisionTransformer(SMALL, quant_config=AttentionInW8A8(), prefix="visual", **kwargs)


@pytest.mark.parametrize("interleaved", [False, True])
def test_padding_changes_no_bit(state, interleaved):
    packed, _ = quantised(state)
    pixels = random_pixels(GRIDS)
    native, padded = w8a8_tower(interleaved=interleaved), w8a8_tower(interleaved=interleaved, pad_head_dim=128)
    for tower in (native, padded):
        for _ in range(2):
            tower.load_weights(packed.items(), strict=True)
    qkv = padded.blocks[0].attn.qkv
    assert (qkv.weight.shape, qkv.weight.dtype) == ((768, 160), torch.int8)
    assert qkv.weight_scale.shape == qkv.weight_offset.shape == (768, 1)
    assert qkv.deq_scale.shape == qkv.quant_bias.shape == (768,)
    # proj's input dimension is padded: its per-channel parameters are of its output and keep their shape
    proj = padded.blocks[0].attn.proj
    assert proj.weight.shape == (160, 256)
    assert proj.weight_scale.shape == (160, 1)
    assert torch.equal(padded(pixels, GRIDS), native(pixels, GRIDS))


def test_computes_what_the_weights_mean(state):
    packed, meant = quantised(state)
    tower = w8a8_tower(pad_head_dim=128)
    tower.load_weights(packed.items(), strict=True)
    pixels = random_pixels(GRIDS)
    exact = fp64_tower(meant, SMALL, pixels, GRIDS)
    # 8-bit activations: steps of 0.03, rounded, so 0.009 rms on inputs of rms one
    assert relative_rms(tower(pixels, GRIDS), exact) < 0.03


def test_asks_about_every_linear_layer_by_its_full_name(state):
    config = AttentionInW8A8()
    tower = AscendQwen2_5_VisionTransformer(SMALL, quant_config=config, prefix="visual")
    linear = [f"visual.{name}" for name, module in tower.named_modules() if isinstance(module, nn.Linear | QuantLinear)]
    assert sorted(config.names) == sorted(linear)
    assert "visual.blocks.3.attn.qkv" in linear
    assert isinstance(tower.blocks[3].attn.qkv, QuantLinear)
    assert isinstance(tower.blocks[3].mlp.down_proj, nn.Linear)


def test_torch_quantises_the_linear_layers_once_they_are_plain(state):
    tower = our_tower(state, SMALL)
    pixels = random_pixels(GRIDS)
    expected = tower(pixels, GRIDS)
    assert relative_rms(use_torch_linear(tower)(pixels, GRIDS), expected) < 1e-5
    quantised = torch.ao.quantization.quantize_dynamic(tower, {nn.Linear})
    layers = [module for module in quantised.modules() if isinstance(module, torch.ao.nn.quantized.dynamic.Linear)]
    assert len(layers) == 4 * SMALL["depth"] + 2
    assert not any(type(module) is nn.Linear for module in quantised.modules())
    # 8-bit weights and activations, each with a step of its largest number over 127
    assert relative_rms(quantised(pixels, GRIDS), expected) < 0.1


@pytest.mark.parametrize(
    ("name", "tensor", "parts"),
    [
        ("blocks.0.attn.qkv.weight", torch.ones(480, 160), ["int8", "float32"]),
        ("blocks.0.attn.qkv.quant_bias", torch.ones(480), ["int32", "float32"]),
        ("blocks.0.attn.qkv.deq_scale", torch.ones(768), [r"\[480\]", r"\[768\]"]),
        ("blocks.0.attn.q.input_scale", torch.ones(1), ["unexpected", "input_scale"]),
    ],
)
def test_refuses_what_does_not_fit(name, tensor, parts):
    with refuses(ValueError, *parts):
        w8a8_tower(pad_head_dim=128).load_weights([(name, tensor)])
