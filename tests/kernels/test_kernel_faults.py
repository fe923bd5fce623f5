"""The fault campaign over the operators' kernels: each synchronisation, address and buffer is broken in turn.

Every fault that executed is caught by the simulator or shows in a wrong result; the rest is listed with a reason why it
does no harm. `pytest` runs a seeded sample of each class, `pytest --full` every fault; the summary prints how many.
Adding a kernel is a row of SCENARIOS, and reasons where there are any.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from kernels.on_chip import as_tuple
from ops.samples import Attention, Rotary
from ops.test_patch_embed import make
from qwen_vl_npu_ops import ops
from qwen_vl_npu_ops import sim as simulator
from sim.faults import BESIDE, FIRST_USE, LATER, NOTHING_AFTER, SPARE, Equivalent, chosen, plants


@dataclass(frozen=True)
class Scenario:
    """One call of an operator, small, but with more than three tiles on a core so that every buffer is used again."""

    name: str
    op: str
    make: Callable[[], dict]
    max_blocks: int = 2

    def run(self, faults=()):
        """(results as bytes, device); raises what the simulator raises."""
        with simulator.device("910B1", max_blocks=self.max_blocks, faults=faults) as device:
            results = as_tuple(getattr(ops, self.op)(**self.make()))
        return [r.contiguous().view(torch.uint8) for r in results], device


def rotary(name: str, dtype: torch.dtype, **case) -> Scenario:
    return Scenario(f"rotary_qkv {name}", "rotary_qkv", lambda: Rotary(heads=16, **case).make(dtype))


def window(name: str, dtype: torch.dtype, **case) -> Scenario:
    return Scenario(f"window_attention {name}", "window_attention", lambda: Attention(**case).make(dtype), 1)


SCENARIOS = [
    rotary("by halves", torch.bfloat16, lengths=(44,)),
    rotary("interleaved", torch.float16, lengths=(26,), interleaved=True, out_head_dim=96),
    rotary("by index", torch.float16, lengths=(26,), head_dim=72, out_head_dim=80, table_dtype=None),
    rotary("in float32", torch.float32, lengths=(22,), out_head_dim=96),
    Scenario(
        "patch_embed",
        "patch_embed",
        lambda: make(200, 100, 40, torch.bfloat16, pixel_dtype=torch.float32, bias=True, index=torch.arange(1, 201)),
    ),
    window("short segments", torch.bfloat16, lengths=(17, 30, 40, 33, 64), heads=4),
    window("long segments", torch.float16, lengths=(1100, 150), heads=1, head_dim=32),
]

UNUSED = "a small case leaves the end of the buffer unused"
ROOM = "slots have room for the largest task that the shape allows, this one is smaller"
BITS = "the instruction takes a mask of bits, it has no count"
ANOTHER = "another barrier comes before the bytes are used"
SAME_VALUES = "its values are all the same, or nobody uses those lanes"
INVARIANT = "a softmax is the same whatever is subtracted from its scores"
TIMES_ZERO = "what is left there is a number in this case, and meets the zeros that fill the weights up"

EQUIVALENT = [
    Equivalent(LATER, "harmless", "sync moved", "", ("",), ("SetFlag", "CrossCoreSetFlag")),
    Equivalent(NOTHING_AFTER, "harmless", "sync moved", "rotary_qkv", ("(slot);",), ("WaitFlag",)),
    Equivalent(FIRST_USE, "harmless", "sync moved", "rotary_qkv", ("(slot_);",), ("WaitFlag",), first_only=True),
    Equivalent(BESIDE, "harmless", "sync moved", "rotary_qkv", ("MTE2_V>", "MTE3_V>", "S_V>"), ("WaitFlag",)),
    Equivalent(BESIDE, "harmless", "sync moved", "rotary_qkv", ("PipeBarrier<PIPE_V>",)),
    Equivalent(
        NOTHING_AFTER,
        "harmless",
        "sync moved",
        "patch_embed",
        ("(slot);", "+ slot);", "(TABLE_FREE);", "(GROUP_FREE);"),
        ("WaitFlag",),
    ),
    Equivalent(FIRST_USE, "harmless", "sync moved", "patch_embed", ("ROWS_FREE + rowSlot_",), ("WaitFlag",), True),
    Equivalent(FIRST_USE, "harmless", "queue sync dropped", "patch_embed", ("",), ("AllocTensor",), first_only=True),
    Equivalent(SPARE, "harmless", "queue misuse", "patch_embed", ("",), ("FreeTensor",), first_only=True),
    Equivalent(UNUSED, "harmless", "buffer shrunk", "patch_embed", ("2_,", "result_,", "biasTable_,", "1_,")),
    Equivalent(TIMES_ZERO, "harmless", "not executed", "patch_embed", ("PER_BLOCK], Bits(0)",), ("Duplicate",)),
    Equivalent(FIRST_USE, "harmless", "sync moved", "window_attention", ("",), ("WaitFlag",), first_only=True),
    Equivalent(NOTHING_AFTER, "harmless", "sync moved", "window_attention", ("(slot);", "+ slot);"), ("WaitFlag",)),
    Equivalent(BESIDE, "harmless", "sync moved", "window_attention", ("",), ("WaitFlag", "CrossCoreWaitFlag")),
    Equivalent(BESIDE, "harmless", "sync moved", "window_attention", ("PipeBarrier<PIPE_V>",)),
    Equivalent(ANOTHER, "harmless", "sync dropped", "window_attention", ("PipeBarrier<PIPE_V>",)),
    Equivalent(ROOM, "harmless", "buffer shrunk", "window_attention", ("InitBuffer",)),
    Equivalent(BITS, "harmless", "count beyond the buffer", "window_attention", ("[pitch - ATTENTION_LANES]",)),
    Equivalent(SAME_VALUES, "harmless", "address shifted", "window_attention", ("Duplicate(", "ONES")),
    Equivalent(SAME_VALUES, "harmless", "not executed", "window_attention", ("Duplicate(",)),
    Equivalent(INVARIANT, "harmless", "address shifted", "window_attention", ("BlockReduceMax", "Sub(x")),
    Equivalent(INVARIANT, "harmless", "not executed", "window_attention", ("BlockReduceMax",)),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_campaign(scenario, full, campaigns):
    campaign = campaigns["the operators' kernels"]
    expected, device = scenario.run()
    missed = []
    for planted in chosen(device.sites(), scenario.name, full):
        verdict = outcome(scenario, planted, expected)
        campaign[planted.family][verdict] += 1
        reason = planted.reason(verdict, EQUIVALENT)
        if verdict == "harmless" and reason is None:
            missed.append(str(planted))
        elif verdict == "harmless":
            campaign["reasons"][f"{scenario.op}: {reason}"] += 1
    assert not missed, f"{len(missed)} faults did nothing:\n" + "\n".join(missed)


def outcome(scenario, planted, expected) -> str:
    try:
        results, device = scenario.run([planted.fault])
    except simulator.SimulatorError:
        return "caught"
    if not any(device.fired()):
        return "not executed"
    same = all(torch.equal(r, e) for r, e in zip(results, expected, strict=True))
    return "harmless" if same else "wrong result"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_every_buffer_is_used_again(scenario):
    _, device = scenario.run()
    loads = [s for s in device.sites() if s.api.startswith("SetFlag<MTE2_")]
    assert all(s.count > 3 * scenario.max_blocks for s in loads)
    assert list(plants(device.sites()))
