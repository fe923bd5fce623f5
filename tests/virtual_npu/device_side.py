"""What the tests run in a process of their own, on the virtual NPU: ``device_side.py FUNCTION ARGUMENTS``."""

import os
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from kernels.on_chip import as_tuple, on_chip, same_bits
from ops.samples import ATTENTION, DTYPES, ROTARY
from ops.test_patch_embed import make as patch_arguments
from qwen_vl_npu_ops import npu, ops, virtual_npu
from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionTransformer
from qwen_vl_npu_ops.plan import VisionPlan
from qwen_vl_npu_ops.sim.operators import has_kernel


def patches(tokens, **changes):
    return lambda dtype, seed=0: patch_arguments(tokens, 1176, 64, dtype, seed=seed, **changes)


CASES = {
    "rotary_qkv": {name: case.make for name, case in ROTARY.items()},
    "window_attention": {name: case.make for name, case in ATTENTION.items()},
    "rotary_window_attention": {name: case.make_attention for name, case in ROTARY.items()},
    "patch_embed": {
        "as they are": patches(200),
        "one row": patches(1),
        "nothing": patches(0),
        "from float32, biased": patches(70, pixel_dtype=torch.float32, bias=True),
        "in another order": patches(130, index=torch.randperm(130, generator=torch.Generator().manual_seed(0))),
        "fewer rows": patches(130, bias=True, index=torch.arange(129, 0, -2, dtype=torch.int32)),
    },
}


def sample_add(x, y, out, claimed=None):
    torch.ops.virtual_npu_tests.sample_add(x, y, out, x.numel() if claimed is None else claimed)


def halves(seed, n=1000):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).half()


def nothing_waited():
    """The counters, once what the task queue holds is launched: the host waited for nothing since they were reset."""
    torch.npu.current_stream().npu_stream  # noqa: B018  (asking has the task queue launch it)
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


def spread(tensor):
    """On the device, with the strides that it has here."""
    if not tensor.numel():
        return tensor.npu()
    storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    return storage.npu().as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def on_device(arguments):
    return {name: spread(a) if isinstance(a, torch.Tensor) else a for name, a in arguments.items()}


def on_npu(op, arguments):
    """The results of an operator's kernel, for which nothing waited."""
    there = on_device(arguments)
    torch.npu.synchronize()
    virtual_npu.reset_counters()
    results = as_tuple(getattr(ops, op)(**there))
    counts = nothing_waited()
    assert counts.get("launch", 0) == (1 if results[0].numel() else 0), counts
    assert all(r.device.type == "npu" for r in results)
    return tuple(r.cpu() for r in results)


def operator(op, every):
    """Every result is the simulator's, bit for bit, whose accuracy the tests of the kernels check."""
    dtypes = [dtype for dtype in DTYPES if has_kernel(op, dtype)]
    assert dtypes
    for i, (name, make) in enumerate(CASES[op].items()):
        if every != "every" and (len(name) + i) % 3:
            continue
        for dtype in dtypes:
            same_bits(on_npu(op, make(dtype)), on_chip(op, make(dtype)))


def lengths_replay():
    """One graph, many cu_seqlens: launch, tiling and workspace do not depend on what they hold."""
    tokens = 64
    arguments = ATTENTION["windows of 64"].make(torch.float16)
    arguments = {n: a[:tokens] if isinstance(a, torch.Tensor) and a.dim() == 3 else a for n, a in arguments.items()}
    arguments["cu_seqlens"] = torch.tensor([0, 16, 48, tokens], dtype=torch.int32)
    there = on_device(arguments)
    ops.window_attention(**there)
    torch.npu.synchronize()
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        out = ops.window_attention(**there)
    for ends in ([0, 16, 48, 64], [0, 64, 64, 64], [0, 1, 2, 60], [0, 0, 0, 0]):
        arguments["cu_seqlens"] = torch.tensor(ends, dtype=torch.int32)
        there["cu_seqlens"].copy_(arguments["cu_seqlens"])
        torch.npu.synchronize()
        virtual_npu.reset_counters()
        graph.replay()
        counts = nothing_waited()
        assert counts["aclmdlRIExecuteAsync"] == 1
        assert "launch" not in counts  # by the host: what was captured is launched again
        same_bits((out.cpu(),), on_chip("window_attention", arguments))


def unlike_devices():
    arguments = ATTENTION["windows of 64"].make(torch.float16)
    there = on_device(arguments)
    for wrong in ("k", "cu_seqlens"):
        with pytest.raises(ValueError, match=rf"{wrong}: expected .*npu:0.*, got .*cpu"):
            ops.window_attention(**{**there, wrong: arguments[wrong]})
    with pytest.raises(ValueError, match="q: expected"):
        ops.window_attention(**{**there, "q": there["q"].transpose(1, 2)})


def order_around_operators():
    """Between ATen's operators and our kernels, on two streams."""
    arguments = ROTARY["windows of 64"].make(torch.float32)
    there = on_device(arguments)
    first, second = torch.npu.Stream(), torch.npu.Stream()
    torch.npu.synchronize()
    with virtual_npu.held(first):
        with torch.npu.stream(first):
            doubled = there["qkv"] * 2
            q, _, _ = ops.rotary_qkv(**{**there, "qkv": doubled})
        second.wait_stream(first)
        with torch.npu.stream(second):
            result = ops.rotary_qkv(**{**there, "qkv": torch.cat((q, q, q), 1).flatten(1) + 1})[1]
        assert not second.query()
    torch.npu.synchronize()
    q, _, _ = on_chip("rotary_qkv", {**arguments, "qkv": arguments["qkv"] * 2})
    again = {**arguments, "qkv": torch.cat((q, q, q), 1).flatten(1) + 1}
    same_bits((result.cpu(),), on_chip("rotary_qkv", again)[1:2])


def tower(name):
    dtype = getattr(torch, name)
    sizes = {"depth": 3, "hidden_size": 160, "num_heads": 2, "intermediate_size": 224, "out_hidden_size": 96}
    torch.manual_seed(0)
    here = AscendQwen2_5_VisionTransformer({**sizes, "fullatt_block_indexes": [1]})
    for parameter in here.parameters():
        parameter.normal_(0, 0.1)
    there = AscendQwen2_5_VisionTransformer({**sizes, "fullatt_block_indexes": [1]})
    there.load_state_dict(here.state_dict())
    here, there = here.to(dtype), there.to("npu", dtype)
    grids = [[1, 6, 10], [2, 4, 8]]
    pixels = torch.randn(sum(t * h * w for t, h, w in grids), there.patch_embed.patch_dim).to(dtype)
    on_npu = pixels.npu()
    plan = VisionPlan.build(grids, there.config, device="npu", dtype=dtype)
    there(on_npu, plan=plan)
    torch.npu.synchronize()
    virtual_npu.reset_counters()
    result = there(on_npu, plan=plan)
    if os.environ["QWEN_VL_NPU_OPS_KERNELS"] == "on":
        counts = nothing_waited()
        assert counts["launch"] == 1 + 3, counts  # the patch embedding, and attention in each layer
    else:
        assert "launch" not in virtual_npu.counters()
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    expected = here(pixels, grids)
    torch.testing.assert_close(result.cpu(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


def fault(kind):
    arguments = on_device(ROTARY["windows of 64"].make(torch.float16))
    q, _, _ = ops.rotary_qkv(**arguments)
    done = torch.npu.Event()
    done.record()
    if kind == "hang":
        time.sleep(1)
        assert not done.query()
        os._exit(0)
    torch.npu.synchronize()
    assert torch.equal(q.cpu(), torch.zeros_like(q.cpu())) or q.cpu().isnan().all()


def not_supported():
    arguments = ROTARY["windows of 64"].make(torch.float16)
    assert not npu.status().kernels
    assert "310P3" in npu.status().reason
    assert "910B1" in npu.status().reason
    got = ops.rotary_qkv(**on_device(arguments))
    for g, w in zip(got, ops.rotary_qkv(**arguments), strict=True):
        torch.testing.assert_close(g.cpu(), w)


if __name__ == "__main__":
    virtual_npu.activate()
    torch.ops.load_library(os.environ["SAMPLE_LIBRARY"])
    globals()[sys.argv[1]](*sys.argv[2:])
