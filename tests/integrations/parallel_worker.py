"""One rank of test_vllm_parallel.py: python parallel_worker.py MODE RANK SIZE ADDRESS FOLDER."""

import sys
from pathlib import Path

import serving
import torch
from towers import batch, clip, photo
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
from vllm.model_executor.models import qwen2_5_vl as theirs
from vllm.model_executor.models.qwen2_vl import Qwen2VisionTransformer
from vllm.model_executor.models.vision import run_dp_sharded_mrope_vision_model
from vllm.plugins import load_general_plugins

from qwen_vl_npu_ops.integrations import vllm as ours


@torch.inference_mode()
def main(mode, rank, size, address, folder):
    torch.set_num_threads(1)
    load_general_plugins()
    serving.join_world(rank, size, address)
    results = {}
    for kind, model_class in {"ours": None, "theirs": theirs.Qwen2_5_VLForConditionalGeneration}.items():
        model = serving.model(
            Path(folder) / f"model-{rank}", model_class=model_class, size=size, mm_encoder_tp_mode=mode
        )
        assert isinstance(model, ours.AscendQwen2_5_VLForConditionalGeneration) == (kind == "ours")
        heads = model.visual.blocks[0].attn.num_attention_heads_per_partition
        assert heads == (serving.VISION["num_heads"] if mode == "data" else serving.VISION["num_heads"] // size)
        results[kind] = [*images(model), *videos(model)]
    settings = serving.model_config(Path(folder) / f"model-{rank}", mm_encoder_tp_mode=mode)
    results["theirs"] += qwen2_vl(size, settings, lambda tower: None)
    results["ours"] += qwen2_vl(size, settings, ours.use_our_attention)
    torch.save(results, Path(folder) / f"{mode}-{size}-{rank}.pt")


def images(model):
    pixels, grids = batch(photo("coffee", 120, 201), photo("astronaut", 171, 131), photo("rocket", 61, 87))
    return model._process_image_input(
        {"type": "pixel_values", "pixel_values": pixels, "image_grid_thw": torch.tensor(grids)}
    )


def videos(model):
    pixels, grids = clip(4, 99, 130)  # one item: data parallelism leaves a rank without any
    return model._process_video_input(
        {"type": "pixel_values_videos", "pixel_values_videos": pixels, "video_grid_thw": torch.tensor(grids)}
    )


def qwen2_vl(size, settings, change):
    """Rows of Qwen2-VL's tower, whose qkv is cut across ranks another way; `change` is done to it first."""
    sizes = {"depth": 2, "embed_dim": 320, "num_heads": 4, "hidden_size": 96, "mlp_ratio": 2}
    torch.manual_seed(0)
    with torch.inference_mode(False):
        state = Qwen2VisionTransformerPretrainedModel._from_config(Qwen2VLVisionConfig(**sizes)).state_dict()
    tower = serving.build(
        lambda: Qwen2VisionTransformer(Qwen2VLVisionConfig(**sizes)), size=size, model_config=settings
    )
    tower.load_weights(iter(state.items()))
    change(tower)
    pixels, grids = batch(photo("rocket", 61, 87), photo("coffee", 120, 201))
    grids = [list(grid) for grid in grids]
    if settings.multimodal_config.mm_encoder_tp_mode == "data":
        return run_dp_sharded_mrope_vision_model(tower, pixels, grids, rope_type="rope_3d")
    return tower(pixels, grids).split([t * h * w // 4 for t, h, w in grids])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
