"""`bench tower`: reports of a small tower, tables, and every wrong way to ask."""

import numpy as np
import pytest
import torch
import torch._dynamo.utils
from PIL import Image

from qwen_vl_npu_ops.bench import memory, peers, pictures, stages

IMPLEMENTATIONS = ["ours", "transformers sdpa", "transformers eager", "GEMMs alone"]

pytestmark = pytest.mark.usefixtures("small")


def test_report(report):
    got = report("tower", "--tokens", "32,16", "--dtype", "fp32,bf16", "--layers", 4, "--rounds", 2)
    assert got["benchmark"] == "tower"
    assert got["settings"]["layers"] == 4
    assert got["settings"]["full_layers"] == [3]
    assert any(note.startswith("4 of 8 layers run, 1 of them") for note in got["notes"])
    assert [(line["case"], line["dtype"], line["tokens"]) for line in got["lines"][:: len(IMPLEMENTATIONS)]] == [
        *(("tower", "fp32", 32), ("tower", "fp32", 16), ("tower", "bf16", 32), ("tower", "bf16", 16)),
    ]
    for start in range(0, len(got["lines"]), len(IMPLEMENTATIONS)):
        lines = got["lines"][start : start + len(IMPLEMENTATIONS)]
        assert [line["implementation"] for line in lines] == IMPLEMENTATIONS
        ours, *_, gemms = lines
        for line in lines:
            assert line["timing"]["rounds"] == 2
            assert line["gflops"] > 0
            assert line["of_peak"] == pytest.approx(line["bound"] / line["timing"]["median"])
            assert line["times_ours"] == pytest.approx(line["at_full_depth"] / ours["at_full_depth"])
            assert line["over_gemms"] == pytest.approx(line["at_full_depth"] / gemms["at_full_depth"])
            if line is not gemms:
                assert 0 < line["rms_error"] < (0.02 if line["dtype"] == "bf16" else 1e-5)
                assert line["cosine"] == pytest.approx(1.0, abs=1e-3)


def test_stages(report):
    got = report("tower", "--tokens", 64, "--dtype", "fp32", "--layers", 4, "--rounds", 1, "--no-check")
    assert all(line["rms_error"] is None for line in got["lines"])
    for name in IMPLEMENTATIONS[:-1]:
        found = {stage["stage"]: stage["seconds"] for stage in got["stages"] if stage["implementation"] == name}
        assert list(found) == list(stages.STAGES)
        composed = name != "ours"
        assert (found["rotary"] > 0) == composed  # ours is inside attention
        for stage in set(stages.STAGES) - {"rotary"}:
            assert found[stage] > 0, stage
    assert {stage["implementation"] for stage in got["stages"]} == set(IMPLEMENTATIONS[:-1])


def test_whole_tower_and_one_peer(report):
    got = report("tower", "--tokens", 64, "--dtype", "fp32", "--rounds", 1, "--peer", "sdpa", "--no-stages")
    assert got["settings"]["layers"] == 8
    assert [line["implementation"] for line in got["lines"]] == ["ours", "transformers sdpa", "GEMMs alone"]
    assert got["lines"][0]["at_full_depth"] == got["lines"][0]["timing"]["median"]
    assert got["stages"] == []


def test_no_peer_and_the_environment(run, report, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    args = ("tower", "--tokens", 16, "--dtype", "fp32", "--layers", 2, "--rounds", 1, "--peer", "none", "--no-check")
    got = report(*args)
    assert [line["implementation"] for line in got["lines"]] == ["ours", "GEMMs alone"]
    assert got["machine"]["environment"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert "GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in run(*args).stdout


def test_compiled_peer(report, monkeypatch):
    calls = []

    def compiled(tower):
        def call(pixels, grids):
            calls.append(len(pixels))
            return tower(pixels, grids)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    got = report("tower", "--tokens", "64,16", "--dtype", "fp32", "--layers", 4, "--rounds", 2, "--compile")
    assert calls == [64] * 4 + [16] * 4  # one to compile and one to see how long it takes, then two rounds
    for ours, line in zip(got["lines"][::5], got["lines"][3::5], strict=True):
        assert (ours["implementation"], line["implementation"]) == ("ours", "transformers compiled")
        assert line["times_ours"] == pytest.approx(line["timing"]["median"] / ours["timing"]["median"])
        assert line["over_gemms"] is line["at_full_depth"] is None  # its layers are not told apart
        assert line["note"] == "x ours is of the 4 layers that run"
        assert 0 < line["rms_error"] < 1e-5


@pytest.mark.slow
def test_torch_compile(report):
    args = ("tower", "--tokens", 16, "--dtype", "fp32", "--layers", 2, "--rounds", 1, "--peer", "none", "--compile")
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    ours, compiled, gemms = report(*args)["lines"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > graphs
    assert compiled["implementation"] == "transformers compiled"
    assert compiled["timing"]["rounds"] == ours["timing"]["rounds"] == gemms["timing"]["rounds"] == 1
    assert 0 < compiled["rms_error"] < 1e-5


def test_memory(run, report, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "transient", lambda *request: asked.append(request) or 3 << 20)
    args = ("tower", "--tokens", 32, "--dtype", "fp32", "--layers", 2, "--rounds", 1, "--no-check", "--memory")
    got = report(*args)
    assert [line["transient"] for line in got["lines"]] == [3 << 20, 3 << 20, 3 << 20, None]
    assert [(name, grids, dtype) for name, grids, _, dtype, _ in asked] == [
        (name, ((1, 4, 8),), "fp32") for name in (None, "sdpa", "eager")
    ]
    assert "tower, fp32, 32 tokens, ours: 3 MiB beyond model and input" in run(*args).stdout


def test_eager_scores_have_a_limit(report, monkeypatch):
    monkeypatch.setattr(peers, "LARGEST_SCORES", 4 * 2 * 64**2 - 1)
    got = report("tower", "--tokens", 64, "--dtype", "fp32", "--layers", 2, "--rounds", 1, "--no-check")
    assert {line["implementation"]: line["timing"] is None for line in got["lines"]} == {
        "ours": False,
        "transformers sdpa": False,
        "transformers eager": True,
        "GEMMs alone": False,
    }


def test_without_transformers(report, monkeypatch):
    monkeypatch.setattr(peers, "have_transformers", lambda: False)
    got = report("tower", "--tokens", 64, "--dtype", "fp32", "--layers", 2, "--rounds", 1, "--compile")
    assert [line["implementation"] for line in got["lines"]] == ["ours", "GEMMs alone"]
    assert got["lines"][0]["rms_error"] < 1e-5
    assert any("transformers is not installed" in note for note in got["notes"])


def test_real_images_have_their_own_pixels(report, tmp_path):
    Image.new("RGB", (112, 56), "red").save(tmp_path / "red.png")
    got = report("tower", "--image", tmp_path / "red.png", "--dtype", "fp32", "--rounds", 1, "--peer", "sdpa")
    ((name, grids),) = got["settings"]["grids"].items()
    assert got["lines"][0]["case"] == f"tower, {name}" == "tower, 1 input"
    assert got["lines"][0]["tokens"] == grids[0][0] * grids[0][1] * grids[0][2]
    assert got["lines"][0]["rms_error"] < 1e-5


def test_table(run):
    result = run("tower", "--tokens", 64, "--dtype", "fp32", "--layers", 2, "--rounds", 1)
    assert result.exit_code == 0, result.output
    for text in ("tower, fp32, 64 tokens", "x GEMMs", "GEMMs alone", "attention, windows", "shapes by"):
        assert text in result.stdout
    assert "…" not in result.stdout  # in 80 columns


def test_sim(report):
    got = report("tower", "--device", "sim", "--tokens", 64, "--dtype", "bf16", "--l2", "warm")
    ours, roofline, *parts = got["lines"]
    assert roofline["implementation"] == "roofline"
    assert roofline["timing"]["median"] == roofline["bound"] == ours["bound"]
    assert [line["implementation"] for line in parts] == [
        *("patch_embed", "6 x attention, windows", "2 x attention, full", "GEMMs, their bound"),
    ]
    for key in ("median", "low", "high"):
        assert ours["timing"][key] == pytest.approx(sum(line["timing"][key] for line in parts))
    assert ours["bound"] == pytest.approx(sum(line["bound"] for line in parts))
    assert 0 < ours["of_peak"] < parts[-1]["of_peak"] == 1.0
    assert got["peaks"] is None
    assert any("estimates" in note for note in got["notes"])


def test_sim_table(run):
    result = run("tower", "--device", "sim", "--tokens", 64, "--dtype", "fp16", "--layers", 2)
    assert result.exit_code == 0, result.output
    for text in ("1 x attention, full", "of bound", "norms, activations and residual sums are left out"):
        assert text in " ".join(result.stdout.split())
    assert "…" not in result.stdout  # in 80 columns


def colours(path):
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in np.unique(pixels.reshape(-1, 3), axis=0)}


def test_pictures(run, tmp_path):
    path = tmp_path / "tower.png"
    args = ("--tokens", "32,16", "--dtype", "fp32", "--layers", 2, "--rounds", 1, "--no-check", "--plot", path)
    result = run("tower", *args)
    assert result.exit_code == 0, result.output
    # Of the stages, and of four implementations' lines.
    assert {*pictures.STAGE_COLOURS, *pictures.COLOURS[:4], pictures.INK} <= colours(path)


def test_picture_of_estimates(run, tmp_path):
    path = tmp_path / "sim.png"
    result = run("tower", "--device", "sim", "--tokens", 16, "--plot", path)
    assert result.exit_code == 0, result.output
    assert {pictures.INK, pictures.COLOURS[0]} <= colours(path)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ("tower --layers 1", "--layers: expected 2 to 8, got 1"),
        ("tower --layers 9", "--layers: expected 2 to 8, got 9"),
        ("tower --peer flash", "--peer: expected one of sdpa, eager, none, got 'flash'"),
        ("tower --device sim --dtype fp32", "--dtype: expected one that attention has a kernel for, got fp32"),
        ("tower --device sim --chip 910C", "--chip: expected one of 910B1, 910B2, 910B3, 910B4, got '910C'"),
        ("tower --tokens 10", "tokens: expected a multiple of 4, got 10"),
        ("tower --dtype int8", "--dtype: expected bf16, fp16, fp32, with commas between them, got 'int8'"),
        ("tower --rounds 0", "--rounds"),
        ("tower --threads 4096", "--threads: expected at most"),
        ("tower --plot picture.xyz", ".xyz"),
        ("tower --video missing.mp4", "missing.mp4"),
    ],
)
def test_bad_command_lines(refuses, args, named):
    refuses(args, named)


def test_no_npu_is_one_line(needs_an_npu):
    needs_an_npu("tower")
