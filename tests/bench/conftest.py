import json
import os

import pytest
from typer.testing import CliRunner

from qwen_vl_npu_ops.bench import operators, peaks, timing
from qwen_vl_npu_ops.bench.record import Peaks
from qwen_vl_npu_ops.cli import app
from qwen_vl_npu_ops.config import VisionConfig

SIZES = {"depth": 8, "hidden_size": 160, "num_heads": 2, "intermediate_size": 220, "out_hidden_size": 96}


@pytest.fixture
def small(monkeypatch):
    """A small tower in place of the 7B one, windows and whole frames mixed as in that; peaks as they may be."""
    monkeypatch.setattr(peaks, "measure", lambda: Peaks(2e11, None, None, 6e9, 2e10))
    monkeypatch.setattr(operators, "SIZES", VisionConfig(**SIZES, fullatt_block_indexes=(3, 7)))


@pytest.fixture
def run(monkeypatch):
    """Run `bench` on however busy a machine; the result has exit_code, stdout and stderr."""
    monkeypatch.setattr(timing.SystemClock, "waited", lambda self: 0.0)

    def invoke(*args):
        return CliRunner().invoke(app, ["bench", *(str(arg) for arg in args)])

    return invoke


@pytest.fixture
def report(run):
    """The JSON report of a command line."""

    def invoke(*args):
        result = run(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout, parse_constant=lambda constant: pytest.fail(constant))

    return invoke


@pytest.fixture
def refuses(run):
    """Checks that a command line is a usage error that names what is wrong."""

    def check(args, named):
        result = run(*args.split())
        assert result.exit_code == 2, result.output
        assert named in " ".join(result.stderr.split())
        assert result.stdout == ""

    return check


@pytest.fixture
def needs_an_npu(run):
    """Checks that a benchmark says in a line that there is no NPU."""

    def check(benchmark):
        result = run(benchmark, "--device", "npu")
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: --device npu: torch_npu")
        assert result.stderr.count("\n") == 1

    return check


@pytest.fixture
def cores():
    return len(os.sched_getaffinity(0))
