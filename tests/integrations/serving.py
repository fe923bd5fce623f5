"""What the tests of the vLLM integration share: small models built the way vLLM builds them, and their weights."""

import contextlib
import json
import os

import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from vllm.config import DeviceConfig, ModelConfig, ParallelConfig, VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel

# Two heads of 80 for each of two ranks; both kinds of layers.
VISION = {
    "depth": 4,
    "hidden_size": 320,
    "num_heads": 4,
    "intermediate_size": 220,
    "out_hidden_size": 96,
    "fullatt_block_indexes": [1, 3],
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "window_size": 112,
}
TEXT = {
    "vocab_size": 320,
    "hidden_size": 96,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rope_scaling": {"type": "mrope", "mrope_section": [4, 4, 4]},
}
MODEL = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "vision_config": {"model_type": "qwen2_5_vl", **VISION},
    "image_token_id": 301,
    "video_token_id": 302,
    "vision_start_token_id": 303,
    "vision_end_token_id": 304,
    "torch_dtype": "float32",
    **TEXT,
}


def vision_config(**changes):
    return Qwen2_5_VLVisionConfig(**{**VISION, **changes})


def join_world(rank=0, size=1, address="tcp://127.0.0.1:0"):
    """vLLM's process groups over gloo."""
    with set_current_vllm_config(config(size)):
        init_distributed_environment(size, rank, address, rank, "gloo")
        initialize_model_parallel(size, 1)


def config(size=1, **others):
    return VllmConfig(
        device_config=DeviceConfig(device="cpu"), parallel_config=ParallelConfig(tensor_parallel_size=size), **others
    )


def model_config(folder, content=MODEL, **options):
    """vLLM's configuration of a model whose config.json is `content`."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(content, file)
    with open(os.path.join(folder, "generation_config.json"), "w") as file:
        json.dump({}, file)
    return ModelConfig(
        model=str(folder), skip_tokenizer_init=True, dtype="float32", max_model_len=256, seed=0, **options
    )


def build(factory, dtype=torch.float32, **options):
    """What `factory` returns, under vLLM's configuration and with this dtype, as vLLM's loader does."""
    with set_current_vllm_config(config(**options)), default_dtype(dtype):
        return factory().eval().requires_grad_(False)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def checkpoint(split_qkv=False, seed=0, dtype=torch.float32):
    """Random weights of the tower, by Hugging Face's names; q, k and v in one tensor or in three."""
    from towers import transformers_tower

    sizes = {name: value for name, value in VISION.items()}
    state = dict(transformers_tower(sizes, seed=seed, dtype=dtype).state_dict())
    if split_qkv:
        for name in [name for name in state if ".attn.qkv." in name]:
            for letter, part in zip("qkv", state.pop(name).chunk(3), strict=True):
                state[name.replace(".qkv.", f".{letter}.")] = part
    return state
