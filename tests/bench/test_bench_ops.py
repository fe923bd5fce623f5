"""`bench ops`: reports, peers, pictures, and every wrong way to ask."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from clocks import Steps
from PIL import Image

from qwen_vl_npu_ops import ops
from qwen_vl_npu_ops._calls import as_tuple
from qwen_vl_npu_ops.bench import compare, compare_towers, operators, peers, timing
from qwen_vl_npu_ops.bench.cases import Batch

BATCH = Batch("two", ((1, 4, 6), (2, 8, 10)))
CASES = [
    *("rotary_qkv", "window_attention, windows", "window_attention, full"),
    *("rotary_window_attention, windows", "rotary_window_attention, full", "patch_embed"),
    *(f"linear, {name}" for name in ("qkv", "proj", "gate_up", "down")),
    *("rms_norm", "add_rms_norm", "silu_and_mul"),
]

pytestmark = pytest.mark.usefixtures("small")


def cases(**options):
    found = operators.cases(BATCH, torch.float32, options.get("windows"), operators.OPERATORS)
    return {case.name: case for case in found}


def test_ops(report):
    got = report("ops", "--tokens", "16", "--dtype", "fp32,bf16", "--rounds", 2)
    assert got["versions"]["torch"] == torch.__version__
    assert got["settings"]["grids"] == {"16": [[1, 4, 4]]}
    for dtype in ("fp32", "bf16"):
        lines = [line for line in got["lines"] if line["dtype"] == dtype]
        assert {line["case"] for line in lines if line["ours"]} == set(CASES)
        for line in lines:
            if line["timing"] is None:
                assert line["note"]
                continue
            seconds = line["timing"]["median"]
            assert line["timing"]["low"] <= seconds <= line["timing"]["high"]
            ours = next(x for x in lines if x["case"] == line["case"] and x["ours"])
            assert line["times_ours"] == pytest.approx(seconds / ours["timing"]["median"])
            assert line["of_peak"] == pytest.approx(line["bound"] / seconds)
            assert line["implementation"] == "copy of qkv" or 0 < line["rms_error"] < 0.02
            if line["ours"]:
                assert 0 < line["worst"] <= 1
                assert line["cosine"] == pytest.approx(1.0, abs=1e-4)


def test_elements_out_of_budget_are_counted(report, monkeypatch):
    true_norm = ops.rms_norm

    def wrong_norm(x, weight):
        result = true_norm(x, weight)
        result[3, :5] += 1.0
        return result

    monkeypatch.setattr(ops, "rms_norm", wrong_norm)
    ours, *_ = report("ops", "rms_norm", "--tokens", 16, "--dtype", "fp32", "--rounds", 1)["lines"]
    assert ours["worst"] > 1000
    assert ours["note"] == f"5 of {16 * 160} elements are off by more than twice torch's error"


def test_table(run):
    result = run("ops", "patch_embed", "--tokens", "64", "--rounds", 1, "--no-check")
    assert result.exit_code == 0, result.output
    for text in ("measured peaks", "patch_embed, bf16, 64 tokens", "ours", "torch composition", "rounds dropped"):
        assert text in result.stdout
    assert "…" not in result.stdout  # in 80 columns


def test_real_images(report, tmp_path):
    Image.new("RGB", (112, 56)).save(tmp_path / "small.png")
    got = report("ops", "rotary_qkv", "--image", tmp_path / "small.png", "--rounds", 1, "--no-check")
    ((name, grids),) = got["settings"]["grids"].items()
    assert name == "1 input"
    assert got["lines"][0]["tokens"] == grids[0][0] * grids[0][1] * grids[0][2]


@pytest.mark.parametrize("name", CASES)
def test_peers_compute_the_same(name):
    case = cases()[name]
    expected = case.double().composition()
    with torch.inference_mode():
        found = operators.cpu_peers(case, compiled=False)
        assert len(found) >= 2
        for peer, function in {"ours": case.run, **found}.items():
            if peer == "copy of qkv":
                assert torch.equal(function(), case.tensors["qkv"])
            else:
                rms, cosine = compare.rms_and_cosine(as_tuple(function()), expected)
                assert rms < 1e-6, peer
                assert cosine == pytest.approx(1.0)


def test_compiled_peers_are_those_without_windows():
    assert {name for name, case in cases().items() if "torch.compile" in operators.cpu_peers(case, compiled=True)} == {
        *("rotary_qkv", "patch_embed", "rms_norm", "add_rms_norm", "silu_and_mul"),
        *(f"linear, {name}" for name in ("qkv", "proj", "gate_up", "down")),
    }


def test_windows_of_a_length():
    case = cases(windows=50)["window_attention, windows"]
    assert case.tensors["cu_seqlens"].tolist() == [0, 50, 100, 150, 184]
    assert case.work.exps == 2 * (3 * 50**2 + 34**2)


def test_eager_scores_have_a_limit(monkeypatch):
    tensors = cases()["rotary_window_attention, full"].tensors
    assert peers.eager_bytes(tensors["cu_seqlens"], 2) == 4 * 2 * 80**2

    def found():
        return set(peers.transformers_operator("rotary_window_attention", tensors, operators.SIZES))

    assert found() == {"transformers sdpa", "transformers eager"}
    monkeypatch.setattr(peers, "LARGEST_SCORES", 4 * 2 * 80**2 - 1)
    assert found() == {"transformers sdpa"}


def test_peers_that_fail_or_take_too_long():
    clock = Steps()

    def broken():
        raise RuntimeError("no compiler\nat all")

    functions = {"ours": clock.call(0.1), "like": clock.call(0.2), "slow": clock.call(3.0), "broken": broken}
    found = compare.sort(functions, clock)
    assert set(found.usable) == {"ours", "like"}
    assert found.slow["slow"].median == pytest.approx(3.0)
    assert found.slow["slow"].rounds == 1
    assert found.failures == {"broken": "RuntimeError: no compiler"}
    with pytest.raises(RuntimeError, match="no compiler"):
        compare.sort({"ours": broken}, clock)


def test_contended_cases_have_lines_without_times():
    waits = iter(range(1000))
    clock = Steps()
    clock.waited = lambda: next(waits)
    clock.now = lambda: next(waits)
    peaks = compare.Peaks(1e9, None, None, 1e9, 1e9)
    lines = compare.on_cpu(cases()["rotary_qkv"], peaks, 1, check=False, compiled=False, clock=clock)
    assert lines
    for line in lines:
        assert line.timing is None
        assert line.note == "other processes took the cores in each of 3 rounds"


def test_pictures_of_nothing(run, monkeypatch, tmp_path):
    def contended(*args, **options):
        raise timing.ContendedError("none")

    monkeypatch.setattr(compare, "interleave", contended)
    monkeypatch.setattr(compare_towers, "interleave", contended)
    for benchmark in (["ops", "rotary_qkv"], ["tower", "--peer", "none", "--no-check"]):
        path = tmp_path / f"{benchmark[0]}.png"
        result = run(*benchmark, "--tokens", "16", "--dtype", "fp32", "--rounds", 1, "--plot", path)
        assert result.exit_code == 0, result.output
        assert ": none" in result.stdout
        assert path.is_file()


def test_sim(report):
    got = report("ops", "--device", "sim", "--tokens", "64", "--dtype", "bf16,fp32")
    assert got["peaks"] is None
    assert "estimates" in got["notes"][0]
    missing = [line for line in got["lines"] if line["timing"] is None]
    assert {(line["implementation"], line["dtype"], line["note"]) for line in missing} == {
        ("ours", "fp32", "no kernel for fp32"),
    }
    found = [line for line in got["lines"] if line["timing"] is not None]
    for ours, roofline in zip(found[::2], found[1::2], strict=True):
        assert (ours["implementation"], roofline["implementation"]) == ("ours", "roofline")
        assert 0 < ours["of_peak"] < 1
        assert ours["of_peak"] == pytest.approx(roofline["times_ours"])
        assert 0 < ours["rms_error"] < 0.01
        assert roofline["note"].startswith("bound by ")


def test_sim_table(run):
    result = run("ops", "rotary_qkv", "--device", "sim", "--tokens", "64")
    assert result.exit_code == 0, result.output
    for text in ("of bound", "estimates", "us", "roofline"):
        assert text in result.stdout


def test_npu():
    asked = "bench ops rotary_qkv patch_embed --device npu --tokens 16 --rounds 1 --contended 1000 --json"
    command = [sys.executable, "-m", "qwen_vl_npu_ops.virtual_npu", "-c", "from qwen_vl_npu_ops.cli import app; app()"]
    done = subprocess.run([*command, *asked.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout[done.stdout.index("{") :])
    assert [(line["case"], line["implementation"]) for line in got["lines"]] == [
        (case, name) for case in ("rotary_qkv", "patch_embed") for name in ("ours", "torch_npu composition")
    ]
    for line in got["lines"]:
        assert line["timing"]["median"] > 0
        assert 0 < line["rms_error"] < 0.01
    assert any("this NPU is virtual" in note for note in got["notes"])


@pytest.mark.parametrize("device", ["cpu", "sim"])
def test_plot(run, tmp_path, device):
    path = tmp_path / "plot.png"
    result = run("ops", "rotary_qkv", "--device", device, "--tokens", "64", "--rounds", 1, "--plot", path)
    assert result.exit_code == 0, result.output
    pixels = np.asarray(Image.open(path).convert("RGB"))
    colours = {tuple(pixel) for pixel in pixels.reshape(-1, 3)}
    assert {(0xFF, 0xFF, 0xFF), (0x22, 0x22, 0x22)} <= colours
    assert len(colours) > 20


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ("ops softmax", "OPERATOR: expected one of rotary_qkv, window_attention"),
        ("ops linear --device sim", "rotary_window_attention, patch_embed on sim, got 'linear'"),
        ("ops --device gpu", "expected one of cpu, sim, npu, got 'gpu'"),
        ("ops --dtype bf16,int8", "--dtype: expected bf16, fp16, fp32, with commas between them, got 'int8'"),
        ("ops --tokens 10", "tokens: expected a multiple of 4, got 10"),
        ("ops --tokens many", "got 'many'"),
        ("ops --rounds 0", "--rounds"),
        ("ops --windows 0", "--windows"),
        ("ops --threads 4096", "--threads: expected at most"),
        ("peaks --threads 4096", "--threads: expected at most"),
        ("ops --device sim --chip 910C", "--chip: expected one of 910B1, 910B2, 910B3, 910B4, got '910C'"),
        ("ops --device sim --l2 hot", "cold, warm, got 'hot'"),
        ("ops --plot picture.xyz", ".xyz"),
        ("ops --plot missing/picture.png", "missing"),
        ("ops --image missing.png", "missing.png"),
    ],
)
def test_bad_command_lines(refuses, args, named):
    refuses(args, named)


def test_no_npu_is_one_line(needs_an_npu):
    needs_an_npu("ops")
