"""What the front pages say: their Python runs, their links, make targets and options exist."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from transformers import Qwen2VLImageProcessor

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)


@pytest.fixture
def folder(tmp_path, weights, square_photo, monkeypatch):
    """The files that the README's Python names: a checkpoint's folder, with a smaller tower, and a photograph."""
    checkpoint = shutil.copytree(weights, tmp_path / "Qwen2.5-VL-7B-Instruct")
    Qwen2VLImageProcessor().save_pretrained(checkpoint)
    Image.open(square_photo).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


def run_block(code, capsys):
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out


def test_the_readmes_tower(folder, capsys):
    code = blocks("README.md", "python")[0]
    assert len(code.strip().splitlines()) <= 10
    assert run_block(code, capsys) == "torch.Size([324, 96])\n"


def test_the_readmes_operator(capsys):
    code = blocks("README.md", "python")[1]
    promised = re.search(r"print.*# (.*)", code).group(1)
    assert run_block(code, capsys) == f"{promised}\n"


def test_there_is_no_other_python():
    assert [len(blocks(name, "python")) for name in PAGES] == [2, 0, 0]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)\)", page(name)):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_exist(name):
    targets = set(re.findall(r"^([\w-]+):", page("Makefile"), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", page(name), re.MULTILINE):
        assert target in targets


@pytest.mark.parametrize("name", PAGES)
def test_paths_exist(name):
    """Names in backticks with a slash are paths in the tree, where they are not patterns."""
    for path in re.findall(r"`((?:csrc|python|tests|docs|cmake|tools|benchmarks)/[\w./]+)`", page(name)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("command", ["encode", "doctor", "sim"])
def test_options_exist(run, command):
    text = " ".join(re.findall(rf"qwen-vl-npu-ops {command}([^`]*)", page("README.md")))
    options = run(command, "--help").stdout
    for option in re.findall(r"(?<!\S)--[a-z-]+", text):
        assert option in options
