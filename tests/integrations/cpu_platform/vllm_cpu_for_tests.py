"""An out-of-tree platform for vLLM: the CPU, without vLLM's compiled kernels. Dispatches as Ascend's does."""

from vllm.platforms.interface import Platform, PlatformEnum


def register():
    return "vllm_cpu_for_tests.CpuForTests"


class CpuForTests(Platform):
    _enum = PlatformEnum.OOT
    device_name = "cpu"
    device_type = "cpu"
    dispatch_key = "CPU"
    dist_backend = "gloo"

    @classmethod
    def is_pin_memory_available(cls):
        return False

    @classmethod
    def get_vit_attn_backend(cls, head_size, dtype, backend=None):
        from vllm.v1.attention.backends.registry import AttentionBackendEnum

        return AttentionBackendEnum.TORCH_SDPA

    @classmethod
    def get_attn_backend_cls(cls, *args, **kwargs):
        return "vllm.v1.attention.backends.flex_attention.FlexAttentionBackend"
