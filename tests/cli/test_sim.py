"""`sim`: every sample and every operator with a kernel, its files, and every way to ask for what it cannot do."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qwen_vl_npu_ops import sim
from qwen_vl_npu_ops.commands import sim as command
from qwen_vl_npu_ops.commands.sim_operators import segments
from trace_events import Trace

USAGE, FAILURE = 2, 1
SMALL = {
    "add": "--size 5000",
    "axpy": "--size 4096",
    "block_sum": "--size 3,1536",
    "matmul": "--size 144,160,96",
    "matmul_leaky_relu": "--size 160,144,96",
    "rotary_qkv": "--tokens 40 --heads 2",
    "window_attention": "--tokens 70 --heads 2 --windows 32",
    "rotary_window_attention": "--tokens 70 --heads 2 --windows 32",
    "patch_embed": "--tokens 48 --hidden 64",
}


def arguments(name, extra=""):
    return ["sim", name, *SMALL[name].split(), *extra.split()]


def report(run, name, extra=""):
    result = run(*arguments(name, extra), "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=lambda constant: pytest.fail(constant))


@pytest.mark.parametrize("name", command.kernels())
def test_json(run, name):
    got = report(run, name)
    assert set(got) == {
        *("name", "chip", "l2", "shape", "result", "kernel", "cycles", "time_us", "launch_us", "busy", "busy_by_core"),
        *("bytes", "peak_bytes", "capacity_bytes", "cores", "balance", "instructions", "repeats"),
        *("bounds_us", "bound_us", "bound_by", "ratio", "busiest"),
    }
    assert got["name"] == name
    assert "matches" in got["result"]
    assert got["cycles"] > 0
    assert got["time_us"] == pytest.approx(got["cycles"] / 1850)
    assert got["ratio"] == pytest.approx(got["time_us"] / got["bound_us"])
    assert got["ratio"] > 1
    assert got["bound_us"] == max(got["bounds_us"].values()) == got["bounds_us"][got["bound_by"]]
    kind, pipe = got["busiest"].split()
    assert got["busy_by_core"][kind][pipe] == max(max(busy.values()) for busy in got["busy_by_core"].values()) <= 1
    assert set(got["peak_bytes"]) <= set(got["capacity_bytes"])
    for memory, peak in got["peak_bytes"].items():
        assert 0 <= peak <= got["capacity_bytes"][memory]
    assert got["balance"] >= 1


@pytest.mark.parametrize("name", command.kernels())
def test_table(run, name):
    result = run(*arguments(name))
    assert result.exit_code == 0, result.output
    for text in (
        "estimated time",
        "launch, apart",
        "bound",
        "busiest pipe",
        "matches",
        "pipes",
        "memories",
        "MTE2",
        "HBM",
    ):
        assert text in result.stdout


@pytest.mark.parametrize("name", command.kernels())
def test_files(run, tmp_path, name):
    """The trace adds up to the report; the picture shows something."""
    trace, plot = tmp_path / "trace.json", tmp_path / "plot.png"
    got = report(run, name, f"--trace {trace} --plot {plot}")
    slices = Trace(trace).slices
    assert sum(s["args"]["cycles"] for all in slices.values() for s in all) > 0
    last = max(s["ts"] + s["dur"] for all in slices.values() for s in all)
    assert last == pytest.approx(got["time_us"])
    pixels = np.asarray(Image.open(plot).convert("RGB"))
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 1000
    colours = {tuple(pixel) for pixel in pixels.reshape(-1, 3)[::7]}
    assert {(0x44, 0x77, 0xAA), (0xFF, 0xFF, 0xFF)} <= colours  # MTE2's, and the paper


def test_warm_l2_is_faster_and_has_another_bound(run):
    cold, warm = (report(run, "matmul", f"--l2 {l2}") for l2 in ("cold", "warm"))
    assert warm["time_us"] < cold["time_us"]
    assert warm["bounds_us"]["hbm"] == 0 < cold["bounds_us"]["hbm"]
    assert warm["bytes"]["hbm"] < cold["bytes"]["hbm"]


def test_chips_differ(run):
    times = {chip: report(run, "add", f"--chip {chip}")["bound_us"] for chip in sim.chips()}
    assert times["910B4"] == pytest.approx(2 * times["910B1"])


def test_no_check(run, monkeypatch):
    assert report(run, "add", "--no-check")["result"] == "not checked"


def test_a_wrong_result_fails(run, monkeypatch):
    make = command.SAMPLES["axpy"].make

    def off_by_one(chip, length):
        sample = make(chip, length)
        sample.expected[7] += 1
        return sample

    monkeypatch.setitem(command.SAMPLES, "axpy", command.SAMPLES["axpy"].__class__("", {"length": 64}, off_by_one))
    result = run("sim", "axpy")
    assert result.exit_code == FAILURE
    assert result.stderr == "Error: axpy: the result is wrong: 1 of 64 elements are wrong\n"
    assert run("sim", "axpy", "--no-check").exit_code == 0


def test_a_wrong_operator_fails(run, monkeypatch):
    from qwen_vl_npu_ops import reference

    right = reference.rotary_qkv
    monkeypatch.setattr(reference, "rotary_qkv", lambda qkv, cos, sin, *a, **k: right(qkv, cos, -sin, *a, **k))
    result = run(*arguments("rotary_qkv"))
    assert result.exit_code == FAILURE
    assert result.stderr.startswith("Error: rotary_qkv: the result is wrong: ")
    assert result.stderr.count("\n") == 1


def test_list(run):
    result = run("sim", "--list")
    assert result.exit_code == 0
    for name in command.kernels():
        assert name in result.stdout


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ("", "NAME or --list"),
        ("sub", "matmul_leaky_relu, got 'sub'"),
        ("add --chip 910C", "910B4, got '910C'"),
        ("add --l2 hot", "cold, warm, got 'hot'"),
        ("add --tokens 64", "--tokens: add does not take it, only --size"),
        ("add --size 0", "--size: expected length, whole numbers from 1, got '0'"),
        ("add --size 1,2", "--size: expected length"),
        ("add --size many", "got 'many'"),
        ("axpy --size 12", "length: expected a multiple of 8, got 12"),
        ("matmul --size 64,24,64", "n: expected a multiple of 16, got 24"),
        ("matmul_leaky_relu --size 16,16,16", "m: expected a multiple of 32, got 16"),
        ("block_sum --size 9,64", "rows: expected at most 8, got 9"),
        ("block_sum --size 1,4194368", "length: expected at most"),
        ("add --trace missing/trace.json", "missing"),
        ("add --plot picture.xyz", ".xyz"),
        ("rotary_qkv --tokens 0", "--tokens"),
        ("rotary_qkv --head-dim 81", "even"),
        ("rotary_qkv --out-head-dim 40", "out_head_dim"),
        ("rotary_qkv --dtype int8", "bf16, fp16, fp32, got 'int8'"),
        ("rotary_qkv --windows 64", "--windows: rotary_qkv does not take it"),
        ("rotary_qkv --grid 1,3", "(t, h, w)"),
        ("rotary_qkv --grid 1,3,4", "divisible by 2"),
        ("window_attention --windows 64,x", "windows: expected whole numbers"),
        ("window_attention --tokens 64 --windows 60,5", "at most 64 tokens in all, got 65"),
        ("window_attention --grid 1,8,8 --windows 16", "full or nothing beside grid"),
        ("window_attention --dtype fp32", "no kernel for fp32"),
    ],
)
def test_bad_command_lines(run, args, named):
    result = run("sim", *args.split())
    assert result.exit_code == USAGE, result.output
    assert named in " ".join(result.stderr.split())
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("tokens", "windows", "grid", "lengths"),
    [
        (130, None, None, [64, 64, 2]),
        (128, "64", None, [64, 64]),
        (10, "20", None, [10]),
        (130, "full", None, [130]),
        (130, "64,0,48", None, [64, 0, 48]),
        (1, None, "1,20,16", [64, 64, 64, 64, 32, 32]),
        (1, "full", "2,8,8", [64, 64]),
    ],
)
def test_segments(tokens, windows, grid, lengths):
    cut = segments(tokens, windows, grid)
    assert sorted(cut.lengths) == sorted(lengths)
    assert cut.cu_seqlens[0] == 0
    assert (cut.row_index is None) == (grid is None)
    if grid is not None:
        assert sorted(cut.row_index.tolist()) == list(range(cut.tokens))
        assert cut.tokens == math.prod(map(int, grid.split(",")))


def test_the_installed_package_brings_the_samples(monkeypatch, tmp_path):
    """As a wheel would, without the source tree: sources out of the package's own folder."""
    from qwen_vl_npu_ops.sim import native

    installed = native._PACKAGE / "_sim_runtime" / "samples"
    for name in command.SAMPLES:
        assert (installed / name / "launch.cpp").is_file()
    monkeypatch.setattr(native, "_PACKAGE", tmp_path)
    assert native.samples_dir() == tmp_path / "_sim_runtime" / "samples"


# ---- docs/sim-command.md ----

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sim-command.md"


def labels(text):
    """The first word of each line, which does not change with the numbers."""
    return [word for line in text.splitlines() for word in re.findall(r"[A-Za-z][\w/]*", line)[:1]]


def test_the_page_shows_what_is_printed(run):
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    listing, command_line = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)[1].splitlines()
    assert run(*listing.split()[1:]).exit_code == 0
    result = run(*command_line.split()[1:], "--tokens", "512")
    assert result.exit_code == 0, result.output
    assert labels(result.stdout) == labels(shown)


def test_the_pages_options_and_files_exist(run):
    help_text = run("sim", "--help").stdout
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", PAGE.read_text())):
        assert option in help_text, option
    for target in re.findall(r"\]\(((?!https:)[^)]+)\)", PAGE.read_text()):
        assert (PAGE.parent / target).exists(), target
    for path in re.findall(r"`((?:csrc|python)/[\w./]+)`", PAGE.read_text()):
        assert (PAGE.parents[1] / path).exists(), path
