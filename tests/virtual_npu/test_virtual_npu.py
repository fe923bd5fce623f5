"""The virtual NPU itself: torch_npu on it, order, counters, graphs, errors."""

import importlib.util
import os
import subprocess
import sys

import pytest


def test_torch_npu_imports_and_its_tensors_work(on_virtual_npu):
    on_virtual_npu("basics", chip="910B3")


@pytest.mark.parametrize("queue", ["0", "1", "2"])
def test_kernels_go_through_the_task_queue_and_nothing_waits(on_virtual_npu, queue):
    on_virtual_npu("task_queue", TASK_QUEUE_ENABLE=queue)


def test_streams_keep_the_order_that_events_give(on_virtual_npu):
    on_virtual_npu("two_streams")


def test_a_graph_replays_with_what_its_arguments_hold_now(on_virtual_npu):
    on_virtual_npu("capture")


def test_a_capture_refuses_what_waits(on_virtual_npu):
    on_virtual_npu("capture_refuses")


def test_an_access_out_of_bounds_is_an_error_at_the_next_synchronisation(on_virtual_npu):
    on_virtual_npu("out_of_bounds", PYTORCH_NO_NPU_MEMORY_CACHING="1")


def test_it_stays_out_of_the_ordinary_environment():
    seen = "import torch, sys; print('torch_npu' in sys.modules, hasattr(torch, 'npu'))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert importlib.util.find_spec("torch_npu") is None


def test_without_the_wheel_the_error_says_what_to_do(tmp_path):
    nowhere = {"QWEN_VL_NPU_OPS_CACHE": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    command = [sys.executable, "-m", "qwen_vl_npu_ops.virtual_npu", "-c", "pass"]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "torch_npu==" in done.stderr
    assert "QWEN_VL_NPU_OPS_TORCH_NPU" in done.stderr
    assert "Traceback" not in done.stderr
