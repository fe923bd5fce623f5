"""The cycle model: the page's tables are what comes out, and times grow the way they must."""

import importlib.util
import json
import re
import sys
from collections import defaultdict
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import scenarios
from harness import kernels, struct
from hypothesis import given
from hypothesis import strategies as st
from test_vector import IMAGE, REGION, TABLE, VectorCase

from qwen_vl_npu_ops import sim
from qwen_vl_npu_ops.sim.native import native

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cycle-model.md").read_text()


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


cycle_model = load(ROOT / "benchmarks/cycle_model.py")
CASES = {f"{table.unit} {case.name}": case for table in cycle_model.TABLES for case in table.cases}


# ---- the page ----


@pytest.mark.parametrize("name", CASES)
def test_the_page_shows_what_the_model_says(name, full):
    case = CASES[name]
    if not case.cheap and not full:
        pytest.skip("several seconds; --full runs it")
    model = case.run()
    assert cycle_model.row(case, model) in PAGE.splitlines()
    assert abs(case.error(model)) <= case.within


def test_the_page_is_whole(full):
    for table in cycle_model.TABLES:
        assert f"### {table.title}\n\n{table.text}\n" in PAGE
        for case in table.cases:
            assert f"\n| {case.name} | " in PAGE
    if full:
        assert f"{cycle_model.BEGIN}\n\n{cycle_model.render(cycle_model.TABLES)}\n\n{cycle_model.END}" in PAGE


def test_a_pair_out_of_order_is_named():
    cases = tuple(
        cycle_model.Case(name, published, lambda: 0.0) for name, published in zip("abc", (1, 1.04, 2), strict=True)
    )
    table = cycle_model.Table("", "", "us", cases)
    assert cycle_model.out_of_order(table, {"a": 2, "b": 1, "c": 3}) == []
    assert cycle_model.out_of_order(table, {"a": 2, "b": 1, "c": 1.5}) == ["a / c"]


def test_every_constant_of_the_page_is_in_the_table_of_costs():
    costs = (ROOT / "csrc/sim/machine/cost.cpp").read_text() + (ROOT / "csrc/chip/chip.cpp").read_text()
    named = re.findall(r"`(k[A-Z]\w+)`", PAGE)
    assert named
    assert set(named) <= set(re.findall(r"\bk[A-Z]\w+", costs))


# ---- one instruction ----

REPEATS = 30


def cycles_of(operation, src0):
    """Of a kernel that runs one instruction of REPEATS repeats in fp32, without conflicts between UB's banks."""
    case = VectorCase(
        operation=TABLE[operation][0], form=1, maskLow=64, bytes=IMAGE, dst=0, src0=src0, src1=2 * REGION + 256,
        repeat=REPEATS, dstBlock=1, src0Block=1, src1Block=1, dstRepeat=8, src0Repeat=8, src1Repeat=8,
    )  # fmt: skip
    with sim.device("910B1") as device:
        kernels("vector").launch("vector_float", 1, np.zeros(IMAGE, np.uint8), case)
    return device.report()[0].cycles


@pytest.mark.parametrize("operation", ["MulAddDst", "FusedMulAdd", "FusedMulAddRelu"])
def test_a_third_read_halves_the_rate(operation):
    assert cycles_of(operation, REGION) - cycles_of("Mul", REGION) == pytest.approx(REPEATS)
    assert cycles_of(operation, 0) == cycles_of("Mul", 0)


# ---- what must hold of any kernel ----

# Rows into UB, vector work on them, scalar reads, rows out: every term of the model on the vector cores.
SOURCE = """
#include "kernel_operator.h"
using namespace AscendC;

struct Probe {
  uint32_t rows, bytes, pitch, offset, adds, repeats, scalars, rounds;
};

extern "C" __global__ __aicore__ void probe(GM_ADDR x, GM_ADDR y, Probe p) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  TPipe pipe;
  TBuf<TPosition::VECCALC> buffer;
  pipe.InitBuffer(buffer, 128 * 1024);
  LocalTensor<float> local = buffer.Get<float>();
  LocalTensor<uint8_t> bytes = buffer.Get<uint8_t>();
  GlobalTensor<uint8_t> in, out;
  const uint32_t gap = p.pitch - p.bytes;
  const uint64_t region = (p.rows * p.pitch + 2048) / 512 * 512, share = p.rounds * region;
  in.SetGlobalBuffer((__gm__ uint8_t *)x + GetBlockIdx() * share);
  out.SetGlobalBuffer((__gm__ uint8_t *)y + GetBlockIdx() * share);
  Duplicate(local, 0.0f, 32 * 1024);
  SetFlag<HardEvent::V_MTE2>(EVENT_ID0);
  SetFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);
  for (uint32_t i = 0; i < p.rounds; ++i) {
    const uint64_t at = i * region + p.offset;
    WaitFlag<HardEvent::V_MTE2>(EVENT_ID0);
    WaitFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);
    DataCopyPad(bytes, in[at], DataCopyExtParams(p.rows, p.bytes, gap, 0, 0), DataCopyPadExtParams<uint8_t>());
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    for (uint32_t n = 0; n < p.adds; ++n) {
      PipeBarrier<PIPE_V>();
      Adds(local, local, 1.0f, 64, p.repeats, UnaryRepeatParams(1, 1, 8, 8));
    }
    // Behind the rows, so that no copy brings these lines to L2.
    for (uint32_t n = 0; n < p.scalars; ++n) in.GetValue((i + 1) * region - 768 + n * 64);
    SetFlag<HardEvent::V_MTE2>(EVENT_ID0);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopyPad(out[at], bytes, DataCopyExtParams(p.rows, p.bytes, 0, gap, 0));
    SetFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);
  }
  WaitFlag<HardEvent::V_MTE2>(EVENT_ID0);
  WaitFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);
}
"""
FIELDS = ["rows", "bytes", "pitch", "offset", "adds", "repeats", "scalars", "rounds"]
ProbeTiling = struct("Probe", **dict.fromkeys(FIELDS, "u32"))


@dataclass(frozen=True)
class Probe:
    rows: int = 8
    bytes: int = 1024
    pitch: int = 4608
    offset: int = 0
    adds: int = 1
    repeats: int = 8
    scalars: int = 0
    rounds: int = 2

    def records(self, cores=1, chip="910B1", launches=1, **options):
        share = self.rounds * ((self.rows * self.pitch + 2048) // 512 * 512)
        x, y = (np.zeros(share * cores, np.uint8) for _ in range(2))
        with sim.device(chip, races=False, **options) as device:
            for _ in range(launches):
                library().launch("probe", cores, x, y, ProbeTiling(*astuple(self)))
            return device.report()

    def record(self, *arguments, **options):
        return self.records(*arguments, **options)[0]

    def cycles(self, cores=1, **options):
        return self.record(cores, **options).cycles


def library(made=[]):  # noqa: B006
    if not made:
        made.append(sim.compile(SOURCE))
    return made[0]


PROBES = st.builds(
    Probe,
    rows=st.integers(1, 16),
    bytes=st.integers(1, 64).map(lambda n: 64 * n),
    pitch=st.sampled_from([4608, 4640, 4700, 5001, 8192]),
    offset=st.sampled_from([0, 1, 32, 96, 480, 512]),
    adds=st.integers(0, 4),
    repeats=st.integers(1, 200),
    scalars=st.integers(0, 8),
    rounds=st.integers(1, 4),
)
CORES = st.sampled_from([1, 2, 7, 24, 48])
CHIPS = st.sampled_from(["910B1", "910B2", "910B3", "910B4"])


@given(PROBES, st.sampled_from(["rows", "bytes", "adds", "repeats", "scalars", "rounds"]), st.integers(1, 3))
def test_more_work_is_never_faster(probe, field, more):
    step = 64 if field == "bytes" else 1
    larger = replace(probe, **{field: getattr(probe, field) + step * more})
    assert larger.cycles() >= probe.cycles()


@given(PROBES, st.sampled_from([(0, 32), (0, 1), (0, 480), (32, 33), (512, 544)]))
def test_alignment_never_costs(probe, offsets):
    aligned, shifted = (replace(probe, pitch=4608, offset=offset) for offset in offsets)
    assert aligned.cycles() <= shifted.cycles()


@given(PROBES, CORES, CHIPS)
def test_warm_is_never_slower_than_cold(probe, cores, chip):
    warm, cold = (probe.record(cores, chip, l2=state) for state in ("warm", "cold"))
    assert warm.cycles <= cold.cycles
    assert warm.bytes["hbm"] == 0


@given(PROBES, st.sampled_from([(1, 2), (2, 24), (24, 48)]))
def test_company_never_helps(probe, cores):
    """A core's share takes no less time when more cores have one of their own."""
    few, many = (probe.cycles(n) for n in cores)
    assert many >= few * (1 - 1e-9)


@given(PROBES, st.sampled_from([(1, 2), (2, 8), (8, 24), (24, 48)]))
def test_the_same_work_takes_fewer_cores_no_less_time(probe, cores):
    few, many = (replace(probe, rounds=48 // n).cycles(n) for n in cores)
    assert many <= few * 1.01  # how cores interleave on what they share


@given(PROBES, CORES, CHIPS)
def test_no_launch_beats_its_memory_or_its_busiest_pipe(probe, cores, chip):
    record = probe.record(cores, chip)
    rates = native().chip(chip)
    rows = probe.rounds * probe.rows * probe.bytes * cores
    assert record.time_us * rates["hbm_gbps"] * 1e3 >= 2 * rows
    assert record.bytes["hbm"] >= 2 * rows
    assert record.time_us * rates["l2_gbps"] * 1e3 >= record.bytes["hbm"] + record.bytes["l2"]
    assert all(0 <= share <= 1 for share in record.busy.values())
    assert max(record.cores.values()) == record.cycles
    assert probe.record(cores, chip) == record


@given(PROBES, CORES)
def test_only_kept_carries_over(probe, cores):
    for l2 in ("cold", "warm"):
        first, second = probe.records(cores, l2=l2, launches=2)
        assert first == second
    first, second = probe.records(cores, l2="kept", launches=2)
    assert first == probe.record(cores)
    assert second == probe.record(cores, l2="warm")


# ---- traces ----


@pytest.mark.parametrize("scenario", scenarios.SMALL, ids=lambda s: s.name)
def test_a_trace_adds_up(scenario, tmp_path):
    """Slices of a pipe lie one after the other within the core's time, and sum to what the report says."""
    _, chip = scenario.run(trace=True)
    (record,) = chip.report()
    chip.trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    pipes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    cores = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    slices, busy = defaultdict(list), defaultdict(float)
    for event in events:
        if event["ph"] != "X" or (event["pid"], event["tid"]) not in pipes:
            continue
        pipe = pipes[event["pid"], event["tid"]]
        slices[cores[event["pid"]], pipe].append((event["ts"], event["ts"] + event["dur"]))
        busy[pipe] += event["args"]["cycles"]
    for (core, _), spans in slices.items():
        ends = [0, *(end for _, end in spans)]
        assert all(begin >= end - 1e-6 for (begin, _), end in zip(spans, ends, strict=False))
        assert spans[-1][1] <= record.cores[core] / 1850 + 1e-6
    kinds = [name.rstrip("0123456789_") for name in record.cores]
    for pipe, share in record.busy.items():
        users = (
            kinds.count("aic") if pipe in ("M", "MTE1", "FIX") else kinds.count("aiv") if pipe == "V" else len(kinds)
        )
        assert busy[pipe] == pytest.approx(share * record.cycles * users)
