"""Kernels after the vendor's public samples run, give the right numbers, and raise no false alarm."""

import numpy as np
import pytest
import scenarios
from harness import sample

from qwen_vl_npu_ops import sim

SCENARIOS = {
    "add-one-core": scenarios.add(blocks=1, total=16, tile=16),
    "add-tail": scenarios.add(blocks=3, total=1001, tile=128),
    "add-one-element": scenarios.add(blocks=2, total=1, tile=16),
    "add-fewer-tiles-than-cores": scenarios.add(blocks=40, total=500, tile=64),
    "add-all-cores": scenarios.add(blocks=48, total=100003, tile=512),
    "axpy": scenarios.axpy(),
    "axpy-one-tile": scenarios.axpy(blocks=4, length=4096, tile=1024),
    "matmul-one-tile": scenarios.matmul(blocks=1, shape=(16, 16, 16), base=(16, 16, 16)),
    "matmul": scenarios.matmul(),
    "matmul-deep": scenarios.matmul(blocks=2, shape=(32, 64, 512), base=(32, 64, 64)),
    "matmul-edges": scenarios.matmul(blocks=3, shape=(80, 112, 96), base=(64, 64, 64)),
    "matmul-big-tile": scenarios.matmul(blocks=2, shape=(256, 256, 128), base=(128, 128, 64)),
    "leaky-relu": scenarios.matmul_leaky_relu(),
    "leaky-relu-one-tile": scenarios.matmul_leaky_relu(blocks=1, shape=(32, 32, 32)),
    "leaky-relu-edges": scenarios.matmul_leaky_relu(blocks=3, shape=(160, 112, 48), base=(64, 64, 48)),
    "leaky-relu-all-cores": scenarios.matmul_leaky_relu(blocks=20, shape=(640, 64, 32)),
    "block-sum": scenarios.block_sum(),
    "block-sum-all-cores": scenarios.block_sum(blocks=40, repeats=2),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_result(name):
    results, chip = SCENARIOS[name].run()
    SCENARIOS[name].check(results)
    (record,) = chip.report()
    assert record.kernel == f"sample_{SCENARIOS[name].name}"
    assert record.cycles > 0


@pytest.mark.parametrize("name", [n for n in SCENARIOS if "all-cores" not in n or "block" in n])
@pytest.mark.parametrize("options", [{"auto_sync": True}, {"races": False}, {"l2": "warm"}, {"trace": True}])
def test_options_change_no_result(name, options):
    results, _ = SCENARIOS[name].run(**options)
    SCENARIOS[name].check(results)


@pytest.mark.parametrize("chip", ["910B1", "910B2", "910B3", "910B4"])
def test_every_chip(chip):
    for scenario in scenarios.SMALL:
        results, _ = scenario.run(chip)
        scenario.check(results)


@pytest.mark.parametrize("scenario", scenarios.SMALL, ids=lambda s: s.name)
def test_two_runs_are_the_same(scenario):
    reports = []
    for _ in range(2):
        results, chip = scenario.run()
        record = chip.report()[0]
        reports.append((record.cycles, record.cores, record.bytes, {k: v.tobytes() for k, v in results.items()}))
    assert reports[0] == reports[1]


def test_kernel_and_launcher_are_the_same():
    scenario = scenarios.axpy()
    direct = [a.copy() for a in scenario.arrays]
    with sim.device("910B1"):
        assert {"sample_axpy", "launch_sample_axpy"} <= set(sample("axpy").kernels)
        sample("axpy").launch("sample_axpy", scenario.blocks, *direct, scenario.tiling)
    results, _ = scenario.run()
    np.testing.assert_array_equal(direct[1], results[1])
