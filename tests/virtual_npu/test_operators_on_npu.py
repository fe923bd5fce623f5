"""The operators on npu tensors: torch_npu's dispatch, allocator and task queue, the kernels in the simulator."""

import pytest

ON = {"QWEN_VL_NPU_OPS_KERNELS": "on"}
OPERATORS = ("rotary_qkv", "window_attention", "rotary_window_attention", "patch_embed")


@pytest.mark.parametrize("op", OPERATORS)
def test_results_are_the_simulators_and_nothing_waits(on_virtual_npu, full, op):
    on_virtual_npu("operator", op, "every" if full else "some", timeout=1800 if full else 300, **ON)


def test_a_graph_replays_with_new_lengths(on_virtual_npu):
    on_virtual_npu("lengths_replay", **ON)


def test_order_with_other_operators_on_two_streams(on_virtual_npu):
    on_virtual_npu("order_around_operators", **ON)


def test_arguments_of_unlike_devices_are_refused(on_virtual_npu):
    on_virtual_npu("unlike_devices", **ON)


@pytest.mark.parametrize(("kernels", "dtype"), [("off", "float32"), ("off", "float16"), ("on", "float16")])
def test_the_whole_tower(on_virtual_npu, kernels, dtype):
    on_virtual_npu("tower", dtype, QWEN_VL_NPU_OPS_KERNELS=kernels)


@pytest.mark.parametrize("kind", ["hang", "skip"])
def test_planted_faults(on_virtual_npu, kind):
    on_virtual_npu("fault", kind, faults=[f"{kind}:rotary_qkv"], **ON)


def test_another_chip_gets_the_composition(on_virtual_npu):
    on_virtual_npu("not_supported", chip="310P3", QWEN_VL_NPU_OPS_KERNELS="auto")
