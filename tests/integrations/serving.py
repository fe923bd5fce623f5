"""What the tests of the vLLM integration share: small models built the way vLLM builds them, and their weights."""

import contextlib
import json
import socket
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from vllm.config import DeviceConfig, ModelConfig, ParallelConfig, VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.model_executor.model_loader.utils import initialize_model

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


def free_address():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def vision_config(**changes):
    return Qwen2_5_VLVisionConfig(**{**VISION, **changes})


def join_world(rank=0, size=1, address="tcp://127.0.0.1:0"):
    """vLLM's process groups over gloo."""
    with set_current_vllm_config(config(size)):
        init_distributed_environment(size, rank, address, rank, "gloo")
        initialize_model_parallel(size, 1)


def config(size=1, **others):
    return VllmConfig(device_config=DeviceConfig(), parallel_config=ParallelConfig(tensor_parallel_size=size), **others)


def model(
    folder,
    content=MODEL,
    model_class=None,
    size=1,
    split_qkv=False,
    prefix="visual.",
    prepare=None,
    device="cpu",
    **options,
):
    """The model that vLLM builds for a config.json, with random weights in its tower.

    Args:
        model_class: None lets vLLM's registry choose.
        prepare: called with vLLM's configuration before the model is built, as a worker would.
        options: of vLLM's ModelConfig.
    """
    Path(folder).mkdir(exist_ok=True)
    save_processor(folder)
    (Path(folder) / "config.json").write_text(json.dumps(content))
    settings = config(size, model_config=model_config(folder, **options))
    if prepare is not None:
        prepare(settings)
    with default_dtype(settings.model_config.dtype), torch.device(device):
        built = initialize_model(settings, model_class=model_class).eval().requires_grad_(False)
    named = [(prefix + name, value) for name, value in checkpoint(split_qkv).items()]
    loaded = built.load_weights(iter(named))
    own = {name for name, _ in built.named_parameters() if name.startswith("visual.")}
    assert loaded == own
    return built


def model_config(folder, **options):
    options = {"dtype": "float32", "max_model_len": 256, "seed": 0, "skip_tokenizer_init": True, **options}
    return ModelConfig(model=str(folder), **options)


def save_processor(folder):
    """The smallest one that reads a Qwen2.5-VL prompt: vLLM takes the pixels' mean and deviation from it."""
    special = {301: "<|image_pad|>", 302: "<|video_pad|>", 303: "<|vision_start|>", 304: "<|vision_end|>"}
    words = {special.get(i, f"w{i}"): i for i in range(TEXT["vocab_size"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), unk_token="w0", bos_token="w1", eos_token="w2"
    )
    Qwen2_5_VLProcessor(Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor()).save_pretrained(folder)


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

    state = dict(transformers_tower(VISION, seed=seed, dtype=dtype).state_dict())
    if split_qkv:
        for name in [name for name in state if ".attn.qkv." in name]:
            for letter, part in zip("qkv", state.pop(name).chunk(3), strict=True):
                state[name.replace(".qkv.", f".{letter}.")] = part
    return state
