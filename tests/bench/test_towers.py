"""Towers that `bench tower` compares: shallow ones, transformers' on our weights, GEMMs alone, stages of a forward."""

import shutil
import sys

import pytest
import torch
import torch.nn.functional as F
from clocks import Steps, Ticks
from torch import nn

from qwen_vl_npu_ops.bench import compare, compare_towers, memory, stages, towers
from qwen_vl_npu_ops.config import VisionConfig
from qwen_vl_npu_ops.plan import VisionPlan

WHOLE = VisionConfig.of("7b")
SMALL = VisionConfig(
    depth=4, hidden_size=160, num_heads=2, intermediate_size=220, out_hidden_size=96, fullatt_block_indexes=(1, 3)
)
GRIDS = ((1, 4, 6), (2, 8, 10))


@pytest.mark.parametrize(
    ("layers", "full"), [(2, (1,)), (4, (3,)), (8, (7,)), (12, (5, 11)), (16, (7, 15)), (32, (7, 15, 23, 31))]
)
def test_shallow_towers_keep_the_mix(layers, full):
    config = towers.shallow(WHOLE, layers)
    assert (config.depth, config.fullatt_block_indexes) == (layers, full)
    assert config.hidden_size == WHOLE.hidden_size


@pytest.mark.parametrize("layers", [0, 1, 33])
def test_no_such_shallow_tower(layers):
    with pytest.raises(ValueError, match=f"--layers: expected 2 to 32, got {layers}"):
        towers.shallow(WHOLE, layers)


def test_times_at_full_depth():
    # 3 window layers took 6 s, one over whole frames 5 s: 28 and 4 of them take 56 and 20.
    assert towers.Parts(1.0, 6.0, 5.0).at_full_depth(towers.shallow(WHOLE, 4), WHOLE) == 1.0 + 56.0 + 20.0
    assert towers.Parts(1.0, 28.0, 4.0).at_full_depth(WHOLE, WHOLE) == 33.0


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_transformers_computes_the_same_on_our_memory(implementation):
    ours = towers.build(SMALL, torch.float32)
    theirs = towers.transformers_tower(ours, implementation)
    assert theirs.blocks[1].mlp.up_proj.weight.data_ptr() == ours.blocks[1].mlp.gate_up_proj.weight[220:].data_ptr()
    pixels, grids = towers.random_pixels(184, SMALL), torch.tensor(GRIDS)
    with torch.inference_mode():
        expected = towers.exact(ours, pixels, VisionPlan.build(GRIDS, SMALL))
        for tower in (ours, theirs):
            rms, cosine = compare.rms_and_cosine((towers.call(tower, pixels, grids),), (expected,))
            assert 0 < rms < 2e-6
            assert cosine == pytest.approx(1.0)


class FakeTower(nn.Module):
    """Two layers, the second over whole frames; each call takes what `seconds` says of its layer."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Identity() for _ in seconds)
        self.clock, self.seconds = clock, seconds

    def forward(self, pixels, grids):
        self.clock.time += 1.0
        for block, seconds in zip(self.blocks, self.seconds, strict=True):
            block.register_forward_pre_hook(lambda *_, s=seconds: setattr(self.clock, "time", self.clock.time + s))
            block(pixels)
        self.clock.time += 0.5
        return pixels


def test_runners_tell_layers_apart():
    clock = Steps()
    tower = FakeTower(clock, [2.0, 8.0])
    runner = towers.Runner(tower, tower, (1,), clock)
    runner.take(torch.ones(3), torch.ones(3))
    runner()
    assert runner.last == towers.Parts(ends=1.5, windows=2.0, full=8.0)
    assert runner.parts == []
    runner.keep()
    assert runner.parts == [runner.last]
    assert torch.equal(runner.rows, torch.ones(3))
    runner.take(torch.ones(4), torch.ones(3))
    assert runner.parts == []


def test_gemms_are_the_towers():
    tower = towers.build(SMALL, torch.float32)
    with torch.inference_mode():
        gemms = towers.Gemms(tower, 64, Ticks())
        gemms()
    assert set(gemms.ways) == {
        *("64 x 1176 -> 160", "64 x 160 -> 480", "64 x 160 -> 160", "64 x 160 -> 440", "64 x 220 -> 160"),
        *("16 x 640 -> 640", "16 x 640 -> 96"),
    }
    assert gemms.last == towers.Parts(1.0, 2.0, 2.0)  # one tick each for the ends and for every layer


def test_the_fastest_way_wins(monkeypatch):
    clock, rows = Steps(), {"slow start": [], "hopeless": [], "best": []}

    def way(name, few, many):
        def function(x):
            clock.time += few if len(x) == towers.FEW_ROWS else many
            rows[name].append(len(x))

        return lambda weight, bias: function

    def unknown(weight, bias):
        raise RuntimeError("no such dtype")

    ways = {"slow start": way("slow start", 1.0, 9.0), "hopeless": way("hopeless", 1.4, 1.0)}
    monkeypatch.setattr(towers, "WAYS", {**ways, "unknown": unknown, "best": way("best", 1.2, 8.0)})
    assert towers.fastest(torch.ones(1000, 4), torch.ones(5, 4), None, clock) == "best"
    assert 1000 in rows["slow start"]
    assert 1000 not in rows["hopeless"]


class Attention(nn.Module):
    def forward(self, x):
        x = F.linear(x, x) * 2 + 1  # two functions of rotary
        return F.linear(torch.add(x @ x, x @ x), x)  # three of attention


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2, self.attn = Norm(), Norm(), Attention()

    def forward(self, x):
        x = self.attn(self.norm1(x))
        return F.linear(F.silu(F.linear(self.norm2(x), x)), x) + x


class Norm(nn.Module):
    def forward(self, x):
        return x.mul(2).mul(2)


class Ends(nn.Module):
    def forward(self, x):
        return F.linear(x, x)


def test_stages_of_a_forward():
    tower = nn.Module()
    tower.patch_embed, tower.merger = Ends(), Ends()
    tower.blocks = nn.ModuleList([Block(), Block()])
    recorder = stages.Recorder(tower, (1,), Ticks(), composed=True)
    x = torch.ones(4, 4)
    with recorder.recording():
        x = tower.patch_embed(x)
        for block in tower.blocks:
            x = block(x)
        x = tower.merger(x)
    linear, norms, activation = ("linear layers", 4.0), ("norms", 2.0), ("activation", 1.0)
    expected = {("ends", "patch embedding"): 1.0, ("ends", "merger"): 1.0}
    for kind in ("windows", "full"):
        found = dict([linear, norms, activation, ("rotary", 2.0), (f"attention, {kind}", 3.0), ("rest", 1.0)])
        expected |= {(kind, stage): seconds for stage, seconds in found.items()}
    assert recorder.seconds == expected
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tower.modules())

    whole = VisionConfig(depth=8, fullatt_block_indexes=(0, 1, 2))
    shallow = VisionConfig(depth=2, fullatt_block_indexes=(1,))
    found = stages.at_full_depth(recorder.seconds, towers.Parts(10.0, 20.0, 30.0), shallow, whole)
    assert set(found) == set(stages.STAGES)
    assert found["linear layers"] == 8 * 4.0
    assert found["attention, windows"] == 5 * 3.0
    assert found["attention, full"] == 3 * 3.0
    assert found["patch embedding"] == found["merger"] == 1.0
    assert sum(found.values()) == pytest.approx(10.0 + 5 * 20.0 + 3 * 30.0)


class Call(towers.Timed):
    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def __call__(self):
        self.calls += 1
        self.clock.time += self.seconds
        self.last = towers.Parts(ends=self.seconds)


def test_slow_peers_are_called_once():
    clock = Steps()
    timed = {"ours": Call(clock, 5.0), "like": Call(clock, 12.0), "slow": Call(clock, 20.0)}
    timings, notes = compare_towers.measure(timed, 3, clock)
    assert {name: call.calls for name, call in timed.items()} == {"ours": 4, "like": 4, "slow": 1}
    assert {name: len(call.parts) for name, call in timed.items()} == {"ours": 3, "like": 3, "slow": 1}
    assert {name: timing.median for name, timing in timings.items()} == {"ours": 5.0, "like": 12.0, "slow": 20.0}
    assert notes == {"ours": "", "like": "", "slow": "one call, too slow for rounds; threads waited 0% of it"}


def test_failing_peers_leave_a_note():
    clock = Steps()

    class Broken(towers.Timed):
        def __call__(self):
            raise RuntimeError("no compiler\nat all")

    timings, notes = compare_towers.measure({"ours": Call(clock, 1.0), "broken": Broken()}, 1, clock)
    assert set(timings) == {"ours"}
    assert notes["broken"] == "RuntimeError: no compiler"
    with pytest.raises(RuntimeError, match="no compiler"):
        compare_towers.measure({"ours": Broken()}, 1, clock)


def test_contended_rounds_leave_notes():
    clock = Steps()
    waits = iter(range(1000))
    clock.waited = lambda: 10.0 * next(waits)
    timings, notes = compare_towers.measure({"ours": Call(clock, 1.0)}, 2, clock)
    assert timings == {}
    assert notes == {"ours": "other processes took the cores in each of 6 rounds"}


def test_memory_of_a_forward():
    grids = ((1, 64, 64),)
    size = memory.transient(None, grids, SMALL, "fp32", 1)
    # At the least the hidden rows and qkv are there at once; at the most a dozen rows as wide as gate and up.
    assert 4096 * 4 * (160 + 480) < size < 4096 * 4 * 440 * 12


def test_memory_of_a_process_that_dies(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert memory.transient(None, ((1, 4, 4),), SMALL, "fp32", 1) is None
