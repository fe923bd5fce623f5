"""docs/simulator.md is true: its sources are the sample's, its commands run, its output is what comes out."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "simulator.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    return BLOCK.findall(PAGE.read_text())


def test_the_kernel_shown_is_the_sample():
    shown = [text for language, text in blocks() if language == "cpp"]
    sample = ROOT / "csrc/sim/samples/axpy"
    assert shown == [(sample / "kernel.h").read_text(), (sample / "launch.cpp").read_text()]
    assert len(shown[0].splitlines()) <= 40


def transcript(folder):
    """(what the page says is printed, what is) for each Python block, run in order in one folder."""
    namespace, printed = {"__name__": "__main__"}, ""
    for language, text in blocks():
        if language == "sh":
            command = text.replace("python ", f"{sys.executable} ")
            subprocess.run(command, shell=True, check=True, cwd=folder)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, str(PAGE), "exec"), namespace)
            printed = out.getvalue().replace(str(folder), "/home/you")
        elif language == "text":
            yield text, printed


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("csrc", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    pairs = list(transcript(tmp_path.resolve()))
    assert len(pairs) == 3
    for said, printed in pairs:
        assert printed == said


@pytest.mark.parametrize(
    "name", ["tests/sim/test_faults.py", "tests/kernel_rules/test_type_check.py", "csrc/sim/samples/axpy"]
)
def test_what_the_page_names_exists(name):
    assert f"`{name}`" in PAGE.read_text()
    assert (ROOT / name).exists()
