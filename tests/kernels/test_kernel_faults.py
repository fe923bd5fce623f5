"""The fault campaign over the operators' kernels: each synchronisation, address and buffer is broken in turn.

Every fault that executed is caught by the simulator or shows in a wrong result in at least one of the operator's
scenarios; the rest is listed in `harmless.py` with the reason. `pytest` runs a seeded sample of each class, `pytest
--full` every fault; the summary prints how many. Adding a kernel is a row of SCENARIOS, and of HARMLESS where needed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from kernels.harmless import HARMLESS, Harmless, reason
from kernels.on_chip import as_tuple
from ops.samples import Attention, Rotary
from ops.test_patch_embed import make as make_patches
from qwen_vl_npu_ops import ops
from qwen_vl_npu_ops import sim as simulator
from sim.faults import chosen, plants, source, source_line


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


def window(name: str, dtype: torch.dtype, opposed: float = 0.0, **case) -> Scenario:
    """`opposed` is added to q and subtracted from k, so that all scores are far below zero."""

    def make() -> dict:
        arguments = Attention(**case).make(dtype)
        return {**arguments, "q": arguments["q"] + opposed, "k": arguments["k"] - opposed}

    return Scenario(f"window_attention {name}", "window_attention", make, 1)


def fused(name: str, dtype: torch.dtype, max_blocks: int = 1, **case) -> Scenario:
    name = f"rotary_window_attention {name}"
    return Scenario(name, "rotary_window_attention", lambda: Rotary(**case).make_attention(dtype), max_blocks)


def patches(
    name: str, max_blocks: int, *, rows: int, columns: int, hidden: int, dtype=torch.bfloat16, index=False, **options
) -> Scenario:
    """With `index`, row 0 moves to the end and out of range."""

    def make() -> dict:
        picked = torch.arange(1, rows + 1) if index else None
        return make_patches(rows, columns, hidden, dtype, bias=True, index=picked, **options)

    return Scenario(f"patch_embed {name}", "patch_embed", make, max_blocks)


SCENARIOS = [
    rotary("by halves", torch.bfloat16, lengths=(44,)),
    rotary("interleaved", torch.float16, lengths=(26,), interleaved=True, out_head_dim=96),
    rotary("by index", torch.float16, lengths=(26,), head_dim=72, out_head_dim=80, table_dtype=None),
    rotary("in float32", torch.float32, lengths=(22,), out_head_dim=96),
    patches("gathered", 2, rows=200, columns=100, hidden=40, pixel_dtype=torch.float32, index=True),
    patches("in float32", 1, rows=60, columns=1100, hidden=40, dtype=torch.float32),
    patches("streamed weights", 1, rows=40, columns=17000, hidden=16),
    patches("wide", 1, rows=20, columns=30, hidden=1500),
    patches("several rounds", 1, rows=1800, columns=200, hidden=1280),
    window("short segments", torch.bfloat16, lengths=(17, 30, 40, 33, 64), heads=4),
    window("long segments", torch.float16, lengths=(1270, 150), heads=1, head_dim=32, opposed=8.0),
    window("full slots", torch.bfloat16, lengths=(1024,), heads=1, head_dim=128),
    fused("short segments", torch.bfloat16, lengths=(17, 30, 40, 33, 64)),
    fused("long segments", torch.float16, lengths=(300, 40), heads=2, head_dim=32, table_dtype=None, max_blocks=2),
    fused("full slots", torch.bfloat16, lengths=(1024,), heads=1, head_dim=128),
]

OPERATORS = list(dict.fromkeys(scenario.op for scenario in SCENARIOS))
SAMPLE = 12  # of each class in each operator


class Run:
    """A scenario without faults: what it gives, and its call sites by place."""

    def __init__(self, scenario: Scenario):
        self.scenario = scenario
        self.expected, device = scenario.run()
        self.sites = {place(site): site for site in device.sites()}


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [Run(scenario) for scenario in SCENARIOS]


def place(site) -> tuple:
    return source(site).resolve(), site.line, site.api


def sites_of(op: str, runs: list[Run]) -> list:
    """Every call site of an operator, as the scenario has it that executes it most often."""
    sites = sorted((s for run in runs if run.scenario.op == op for s in run.sites.values()), key=lambda s: s.count)
    return list({place(site): site for site in sites}.values())


def verdict(planted, op: str, runs: list[Run]) -> str:
    """How the first scenario that notices a fault does so, the operator's own before those that share its code."""
    verdicts = set()
    for run in sorted(runs, key=lambda run: run.scenario.op != op):
        site = run.sites.get(place(planted.site))
        if site and not verdicts & {"caught", "wrong result"}:
            verdicts.add(outcome(run, replace(planted.fault, site=site)))
    return next(v for v in ("caught", "wrong result", "harmless", "not executed") if v in verdicts)


def outcome(run: Run, fault: simulator.Fault) -> str:
    try:
        results, device = run.scenario.run([fault])
    except simulator.SimulatorError:
        return "caught"
    if not any(device.fired()):
        return "not executed"
    same = all(torch.equal(r, e) for r, e in zip(results, run.expected, strict=True))
    return "harmless" if same else "wrong result"


@pytest.mark.parametrize("op", OPERATORS)
def test_campaign(op, runs, full, campaigns):
    counts, missed, planted_at, needed = campaigns[op], [], set(), set()
    for planted in chosen(sites_of(op, runs), op, full, SAMPLE):
        noticed = verdict(planted, op, runs)
        counts[planted.family][noticed] += 1
        why = reason(planted)
        planted_at.add(why)
        if noticed != "harmless":
            continue
        if why is None:
            missed.append(f"{planted}  {source_line(planted.site).strip()}")
        else:
            needed.add(why)
            counts["reasons"][why.why if isinstance(why, Harmless) else why] += 1
    assert not missed, f"{len(missed)} faults did nothing:\n" + "\n".join(missed)
    stale = {row for row in planted_at - needed if isinstance(row, Harmless)}
    assert not full or not stale, f"noticed by now: {stale}"


@pytest.mark.parametrize("row", HARMLESS, ids=lambda row: f"{row.op}: {row.line}: {row.family}")
def test_a_reason_is_for_one_place(row):
    assert len(row.places()) == 1


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_every_buffer_is_used_again(scenario):
    _, device = scenario.run()
    loads = [s for s in device.sites() if s.api.startswith("SetFlag<MTE2_")]
    assert all(s.count > 3 * scenario.max_blocks for s in loads)
    assert list(plants(device.sites()))
