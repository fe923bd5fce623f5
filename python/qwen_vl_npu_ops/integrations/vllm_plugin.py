"""The entry point that vLLM calls in each of its processes (group ``vllm.general_plugins``).

Registers models by name only: vLLM imports `integrations.vllm` when it builds one of them.

``QWEN_VL_NPU_OPS_DISABLE=1`` leaves everything to vLLM. ``QWEN_VL_NPU_OPS_MODELS``, names of `SHARED` separated by
commas, also gives our attention to models that share vLLM's attention module.
"""

from __future__ import annotations

import logging
import os
import re

DISABLE = "QWEN_VL_NPU_OPS_DISABLE"
MODELS = "QWEN_VL_NPU_OPS_MODELS"

# vLLM's releases that the towers here are tested with, by minor version; `integrations.vllm` has an adapter for each.
SUPPORTED = ("0.23", "0.31")

CLASSES = "qwen_vl_npu_ops.integrations.vllm"

# Architectures as config.json names them, and the class here.
TOWERS = {
    "Qwen2_5_VLForConditionalGeneration": "AscendQwen2_5_VLForConditionalGeneration",
    "Qwen2_5OmniModel": "AscendQwen2_5OmniThinkerForConditionalGeneration",
    "Qwen2_5OmniForConditionalGeneration": "AscendQwen2_5OmniThinkerForConditionalGeneration",
}
SHARED = {
    "qwen2_vl": {"Qwen2VLForConditionalGeneration": "AscendQwen2VLForConditionalGeneration"},
    "qwen3_vl": {
        "Qwen3VLForConditionalGeneration": "AscendQwen3VLForConditionalGeneration",
        "Qwen3VLMoeForConditionalGeneration": "AscendQwen3VLMoeForConditionalGeneration",
    },
    "qwen3_omni": {"Qwen3OmniMoeForConditionalGeneration": "AscendQwen3OmniMoeThinkerForConditionalGeneration"},
}

# vLLM shows what loggers below its own say.
log = logging.getLogger("vllm.qwen_vl_npu_ops")


def register() -> None:
    """Register our models with vLLM. May be called again; never raises, as vLLM would not start."""
    if os.environ.get(DISABLE, "0") == "1":
        log.info("%s=1: vLLM keeps its own vision towers", DISABLE)
        return
    try:
        _register()
    except Exception as error:  # whatever it is, vLLM's own models still work
        log.warning("not registered, vLLM keeps its own vision towers: %s: %s", type(error).__name__, error)


def version() -> str:
    """vLLM's minor version, as "0.31"."""
    import vllm

    found = re.match(r"\d+\.\d+", vllm.__version__)
    return found[0] if found else vllm.__version__


def _register() -> None:
    from vllm.model_executor.models.registry import ModelRegistry

    if version() not in SUPPORTED:
        log.warning("vLLM %s is not one of %s: it keeps its own vision towers", version(), ", ".join(SUPPORTED))
        return
    for architecture, name in {**TOWERS, **_asked_for()}.items():
        path = f"{CLASSES}:{name}"
        known = ModelRegistry.models.get(architecture)
        if getattr(known, "module_name", None) != CLASSES:  # vLLM warns when something is registered again
            ModelRegistry.register_model(architecture, path)


def _asked_for() -> dict[str, str]:
    names = [name.strip() for name in os.environ.get(MODELS, "").split(",") if name.strip()]
    for name in names:
        if name not in SHARED:
            log.warning("%s: expected names out of %s, got %r, which is left alone", MODELS, ", ".join(SHARED), name)
    return {architecture: ours for name in names for architecture, ours in SHARED.get(name, {}).items()}
