"""What the tests run in a process of their own, on the virtual NPU: ``device_side.py FUNCTION ARGUMENTS``."""

import os
import sys

import pytest
import torch

from qwen_vl_npu_ops import virtual_npu


def sample_add(x, y, out, claimed=None):
    torch.ops.virtual_npu_tests.sample_add(x, y, out, x.numel() if claimed is None else claimed)


def halves(seed, n=1000):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).half()


def nothing_waited():
    counts = virtual_npu.counters()
    assert virtual_npu.synchronisations(counts) == 0, counts
    assert counts.get("copy:device_to_host", 0) == 0, counts
    return counts


def basics():
    assert torch.npu.is_available()
    assert torch.npu.device_count() == 1
    assert torch.npu.get_device_name(0) == "Ascend" + os.environ["QWEN_VL_NPU_OPS_VIRTUAL_CHIP"]
    x = halves(0)
    y = x.npu()
    assert y.device == torch.device("npu:0")
    assert torch.equal(y.cpu(), x)
    pinned = x.pin_memory()
    assert torch.equal(pinned.to("npu", non_blocking=True).cpu(), x)
    event = torch.npu.Event(enable_timing=True)
    later = torch.npu.Event(enable_timing=True)
    event.record()
    later.record()
    torch.npu.synchronize()
    assert event.query()
    assert event.elapsed_time(later) >= 0
    before = torch.npu.mem_get_info()[0]
    big = torch.empty(1 << 26, dtype=torch.uint8, device="npu")
    address = big.data_ptr()
    assert before - torch.npu.mem_get_info()[0] >= 1 << 26
    del big
    torch.npu.empty_cache()
    assert torch.npu.mem_get_info()[0] == before
    assert torch.empty(1 << 26, dtype=torch.uint8, device="npu").data_ptr() == address
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(1 << 40, dtype=torch.uint8, device="npu")


def task_queue():
    x, y = halves(1), halves(2)
    a, b = x.npu(), y.npu()
    out = torch.zeros(1000, dtype=torch.float16).npu()
    sample_add(a, b, out)  # whatever happens once has happened
    torch.npu.synchronize()
    virtual_npu.reset_counters()
    for _ in range(5):
        sample_add(a, out, out)
    torch.npu.current_stream().npu_stream  # noqa: B018  (has the task queue launch what it holds)
    counts = nothing_waited()
    assert counts["launch:sample_add"] == counts["launch"] == 5, counts
    expected = x + y
    for _ in range(5):
        expected = x + expected
    assert torch.equal(out.cpu(), expected)
    assert virtual_npu.counters()["copy:device_to_host"] == 1


def two_streams():
    x, y = halves(3).npu(), halves(4).npu()
    first, second = torch.npu.Stream(), torch.npu.Stream()
    for waits in (True, False):
        one = torch.full((1000,), 9, dtype=torch.float16).npu()
        two = torch.full((1000,), 9, dtype=torch.float16).npu()
        torch.npu.synchronize()
        with virtual_npu.held(first):
            with torch.npu.stream(first):
                sample_add(x, y, one)
                done = torch.npu.Event()
                done.record()
            with torch.npu.stream(second):
                if waits:
                    second.wait_event(done)
                sample_add(one, x, two)
            if waits:
                assert not second.query()
                assert not done.query()
            else:
                second.synchronize()  # which the stream that is held does not keep from ending
        torch.npu.synchronize()
        base = x.cpu() + y.cpu() if waits else torch.full((1000,), 9, dtype=torch.float16)
        assert torch.equal(two.cpu(), base + x.cpu())
    # Back and forth, many times: each step needs the one before on the other stream.
    total = torch.zeros(1000, dtype=torch.float16).npu()
    one = torch.ones(1000, dtype=torch.float16).npu()
    torch.npu.synchronize()
    for i in range(40):
        stream, other = (first, second) if i % 2 else (second, first)
        stream.wait_stream(other)
        with torch.npu.stream(stream):
            sample_add(total, one, total)
    torch.npu.synchronize()
    assert torch.equal(total.cpu(), torch.full((1000,), 40, dtype=torch.float16))


def capture():
    x, y = halves(5).npu(), halves(6).npu()
    out = torch.zeros(1000, dtype=torch.float16).npu()
    side = torch.npu.Stream()
    torch.npu.synchronize()
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        sample_add(x, y, out)
        side.wait_stream(torch.npu.current_stream())
        with torch.npu.stream(side):
            sample_add(out, out, out)
        torch.npu.current_stream().wait_stream(side)
        inner = torch.empty_like(out)  # from the graph's own pool
        sample_add(out, x, inner)
    torch.npu.synchronize()
    assert torch.equal(out.cpu(), torch.zeros(1000, dtype=torch.float16)), "a capture ran what it captured"
    for seed in (7, 8):
        new = halves(seed)
        x.copy_(new)
        torch.npu.synchronize()
        virtual_npu.reset_counters()
        graph.replay()
        nothing_waited()
        doubled = (new + y.cpu()) + (new + y.cpu())
        assert torch.equal(out.cpu(), doubled)
        assert torch.equal(inner.cpu(), doubled + new)


def capture_refuses():
    x = halves(9).npu()
    torch.npu.synchronize()

    def refused(call):
        with pytest.raises(RuntimeError, match="107030"):
            call()

    for call in (x.cpu, torch.npu.synchronize, lambda: torch.npu.current_stream().synchronize()):
        # The capture that it was in is lost.
        with pytest.raises(RuntimeError, match="107030"), torch.npu.graph(torch.npu.NPUGraph()):
            refused(call)
    assert torch.equal(x.cpu(), halves(9))


def out_of_bounds():
    x = halves(10)
    a, b, out = x.npu(), x.npu(), torch.zeros(1000, dtype=torch.float16).npu()
    torch.npu.synchronize()
    sample_add(a, b, out, claimed=4000)
    with pytest.raises(RuntimeError, match=r"507015(.|\n)*out_of_bounds(.|\n)*sample_add"):
        torch.npu.synchronize()
    with pytest.raises(RuntimeError, match="507015"):  # the stream is lost
        torch.npu.synchronize()
    os._exit(0)  # torch_npu's own end would wait for the device once more


if __name__ == "__main__":
    virtual_npu.activate()
    torch.ops.load_library(os.environ["SAMPLE_LIBRARY"])
    globals()[sys.argv[1]](*sys.argv[2:])
