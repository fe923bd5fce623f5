"""vLLM-Ascend's plugins and ours in one process, on the virtual NPU: python ascend_worker.py FIRST FOLDER."""

import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from qwen_vl_npu_ops import virtual_npu


class Recorder(TorchDispatchMode):
    """Names of the operators that run, in order."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def main(first, folder):
    virtual_npu.activate()
    from vllm.platforms import current_platform

    assert type(current_platform).__module__ == "vllm_ascend.platform"

    from vllm.config import set_current_vllm_config
    from vllm.plugins import load_general_plugins
    from vllm_ascend.ascend_config import get_ascend_config, init_ascend_config
    from vllm_ascend.utils import register_ascend_customop, set_weight_prefetch_method

    # A worker does both; which comes first is up to vLLM.
    steps = [load_general_plugins, register_ascend_customop]
    for step in steps if first == "ours" else reversed(steps):
        step()

    import serving
    from vllm.model_executor.custom_op import op_registry_oot

    from qwen_vl_npu_ops.integrations import vllm as ours

    assert op_registry_oot["MMEncoderAttention"].__module__.startswith("vllm_ascend")
    assert not [op for op in op_registry_oot.values() if op.__module__.startswith("qwen_vl_npu_ops")]

    def as_a_worker_does(settings):
        init_ascend_config(settings)
        with set_current_vllm_config(settings):
            set_weight_prefetch_method(get_ascend_config().weight_prefetch_config)

    serving.join_world(address=serving.free_address())
    model = serving.model(folder, prepare=as_a_worker_does)
    assert type(model) is ours.AscendQwen2_5_VLForConditionalGeneration
    tower = model.visual
    assert type(tower) is ours.AscendQwen2_5_VisionTransformer
    for block in tower.blocks:
        assert type(block.attn) is ours.AscendQwen2_5_VisionAttention
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.gate_up_proj, block.norm1):
            assert type(layer).__module__.startswith("vllm_ascend"), type(layer)
    with torch.inference_mode():
        check_blocks(tower)


def check_blocks(tower):
    """What the blocks call, on the meta device: any look at a tensor's contents from the host raises there."""
    grids = [(1, 8, 12), (2, 4, 6)]
    tokens = sum(t * h * w for t, h, w in grids)
    metadata = tower.prepare_encoder_metadata(grids, device=torch.device("cpu"))
    metadata = {n: v.to("meta") if isinstance(v, torch.Tensor) and v.dim() else v for n, v in metadata.items()}
    pixels = torch.empty(tokens, 1176, device="meta")
    tower.to("meta")
    with Recorder() as recorder:
        rows = tower(pixels, None, encoder_metadata=metadata)
    assert rows.shape == (tokens // 4, tower.out_hidden_size)
    names = recorder.names
    print("\n".join(names))
    assert names.count("qwen_vl_npu_ops::patch_embed") == 1
    assert names.count("qwen_vl_npu_ops::rotary_window_attention") == len(tower.blocks)
    blocks = names[names.index("qwen_vl_npu_ops::patch_embed") :]
    assert not {"aten::_local_scalar_dense", "aten::nonzero", "aten::_to_copy", "aten::copy_"} & set(blocks)
    assert not [name for name in blocks if "flash" in name or "infer_attention" in name or "rotary_mul" in name]


if __name__ == "__main__":
    main(*sys.argv[1:])
