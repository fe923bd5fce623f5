"""Tensor parallelism and data parallelism of the encoder, on ranks of their own over gloo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import serving
import torch
from towers import relative_rms

WORKER = Path(__file__).parent / "parallel_worker.py"


def run(mode, size, folder):
    """Each rank's results: {"ours", "theirs"} -> rows of each item."""
    address = serving.free_address()
    ranks = [
        subprocess.Popen(
            [sys.executable, str(WORKER), mode, str(rank), str(size), address, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for rank in range(size)
    ]
    try:
        logs = [rank.communicate(timeout=600)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank, log in zip(ranks, logs, strict=True):
        assert rank.returncode == 0, log[-4000:]
    return [torch.load(folder / f"{mode}-{size}-{rank}.pt") for rank in range(size)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run("weights", 1, tmp_path_factory.mktemp("alone"))[0]["ours"]


@pytest.mark.parametrize("mode", ["weights", "data"])
def test_two_ranks_equal_one(alone, mode, tmp_path):
    ranks = run(mode, 2, tmp_path)
    for results in ranks:
        assert [len(rows) for rows in results["ours"]] == [len(rows) for rows in alone]
        for rows, expected, peer in zip(results["ours"], alone, results["theirs"], strict=True):
            assert relative_rms(rows, expected) <= 2e-6
            assert relative_rms(rows, peer) <= 2e-6
    for first, second in zip(ranks[0]["ours"], ranks[1]["ours"], strict=True):
        assert torch.equal(first, second)
