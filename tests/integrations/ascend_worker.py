"""vLLM-Ascend's plugins and ours in one process, on the virtual NPU: python ascend_worker.py FIRST FOLDER.

FOLDER has inputs.pt; outputs.pt gets the rows of each dtype.
"""

import sys
from pathlib import Path

import torch

from qwen_vl_npu_ops import virtual_npu

DTYPES = ("bfloat16", "float16")


@torch.inference_mode()
def main(first, folder):
    virtual_npu.activate()
    register(first)
    import serving

    serving.join_world(address=serving.free_address())
    inputs = torch.load(folder / "inputs.pt")
    outputs = {}
    for dtype in DTYPES:
        model, settings = build(folder / dtype, dtype)
        check_what_is_built(model)
        outputs[dtype] = encode(model, *inputs["photos"])
        check_nothing_waits(model.visual, *inputs["photos"])
    outputs["graph"] = encode_with_graphs(model, settings, inputs["replays"])
    torch.save(outputs, folder / "outputs.pt")


def register(first):
    """What a worker does; which comes first is up to vLLM."""
    from vllm.platforms import current_platform
    from vllm.plugins import load_general_plugins
    from vllm_ascend.utils import register_ascend_customop

    assert type(current_platform).__module__ == "vllm_ascend.platform"
    steps = [load_general_plugins, register_ascend_customop]
    for step in steps if first == "ours" else reversed(steps):
        step()

    from vllm.model_executor.custom_op import op_registry_oot

    assert op_registry_oot["MMEncoderAttention"].__module__.startswith("vllm_ascend")
    assert not [op for op in op_registry_oot.values() if op.__module__.startswith("qwen_vl_npu_ops")]


def build(folder, dtype):
    """The model that vLLM's registry chooses, on the NPU, with its weights loaded; and vLLM's configuration."""
    import serving
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import process_weights_after_loading
    from vllm_ascend.ascend_config import get_ascend_config, init_ascend_config
    from vllm_ascend.utils import set_weight_prefetch_method

    kept = []

    def as_a_worker_does(settings):
        kept.append(settings)
        init_ascend_config(settings)
        with set_current_vllm_config(settings):
            set_weight_prefetch_method(get_ascend_config().weight_prefetch_config)

    model = serving.model(folder, dtype=dtype, device="npu", prepare=as_a_worker_does, skip_tokenizer_init=False)
    process_weights_after_loading(model.visual, kept[0].model_config, torch.device("npu"))
    return model, kept[0]


def check_what_is_built(model):
    """Our tower and attention, vLLM-Ascend's layers."""
    from qwen_vl_npu_ops.integrations import vllm as ours

    assert type(model) is ours.AscendQwen2_5_VLForConditionalGeneration
    tower = model.visual
    assert type(tower) is ours.AscendQwen2_5_VisionTransformer
    assert tower.device.type == "npu"
    for block in tower.blocks:
        assert type(block.attn) is ours.AscendQwen2_5_VisionAttention
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.gate_up_proj, block.mlp.act_fn, block.norm1):
            assert type(layer).__module__.startswith("vllm_ascend"), type(layer)


def encode(model, pixels, grids):
    """Rows of each image, through the model's own entry point; pixels come from the host as vLLM's do."""
    dtype = model.visual.dtype
    rows = model._process_image_input(
        {"type": "pixel_values", "pixel_values": pixels.to("npu", dtype), "image_grid_thw": torch.tensor(grids)}
    )
    return [item.cpu() for item in rows]


def check_nothing_waits(tower, pixels, grids):
    """The kernels of the tower are ours, and the host waits for nothing and copies nothing back."""
    pixels = pixels.to("npu", tower.dtype)
    metadata = tower.prepare_encoder_metadata(grids)
    torch.npu.synchronize()
    virtual_npu.reset_counters()
    tower(pixels, None, encoder_metadata=metadata)
    torch.npu.current_stream().npu_stream  # noqa: B018  (asking has the task queue launch what it holds)
    counts = virtual_npu.counters()
    launches = {name: n for name, n in counts.items() if name.startswith("launch:")}
    print(tower.dtype, launches)
    kernels = [name.split(":")[1].rsplit("_", 1)[0] for name in launches]  # their names end with the dtype's
    assert sorted(zip(kernels, launches.values(), strict=True)) == [
        ("patch_embed", 1),
        ("rotary_window_attention", len(tower.blocks)),
    ]
    assert virtual_npu.synchronisations(counts) == 0, counts
    assert counts.get("copy:device_to_host", 0) == 0, counts


def encode_with_graphs(model, settings, batches):
    """Rows of each batch out of vLLM-Ascend's encoder graphs, one of which is captured for all of them."""
    from vllm_ascend.worker.encoder_acl_graph import EncoderAclGraphManager

    settings.compilation_config.encoder_cudagraph_token_budgets = [36]
    settings.compilation_config.encoder_cudagraph_max_vision_items_per_batch = 3
    manager = EncoderAclGraphManager(settings, torch.device("npu"), model.visual.dtype, model)
    manager.capture()
    outputs = []
    for pixels, grids in batches:
        batch = {"pixel_values": pixels.to("npu", model.visual.dtype), "image_grid_thw": grids}
        virtual_npu.reset_counters()
        rows = manager.execute(batch)
        counts = virtual_npu.counters()
        assert counts["aclmdlRIExecuteAsync"] == 1, counts
        assert "launch" not in counts, counts  # what runs is what was captured
        outputs.append([item.cpu() for item in rows])
    assert manager.get_cumulative_stats()["graph_misses"] == 0
    return outputs


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
