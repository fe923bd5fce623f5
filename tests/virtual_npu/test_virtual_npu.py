"""The virtual NPU itself: torch_npu on it, order, counters, graphs, errors."""

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
