"""docs/seed-map.md names only what exists."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = (ROOT / "docs" / "seed-map.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|.*\| `([\w.]+)` \| `(\w+\.py)::(\w+)` \|$", DOCUMENT, re.MULTILINE)


def test_every_row_is_read():
    assert len(ROWS) == sum(line.startswith("|") for line in DOCUMENT.splitlines()) - 2


@pytest.mark.parametrize("name", [row[0] for row in ROWS if not row[0].startswith("integrations.")])
def test_the_counterpart_exists(name):
    parts = name.split(".")
    modules = 2 if name.startswith("compat.nn.") else 1
    module = importlib.import_module(".".join(["qwen_vl_npu_ops", *parts[:modules]]))
    assert callable(functools.reduce(getattr, parts[modules:], module))


@pytest.mark.parametrize("name", sorted({row[0] for row in ROWS if row[0].startswith("integrations.")}))
def test_the_integrations_counterpart_exists(name):
    """Read, not imported: vLLM is not there."""
    _, module, class_name = name.split(".")[:3]
    source = ROOT / "python" / "qwen_vl_npu_ops" / "integrations" / f"{module}.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    assert class_name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize(("file", "test"), sorted({row[1:] for row in ROWS}))
def test_the_test_exists(file, test):
    folder = HERE if (HERE / file).exists() else ROOT / "tests" / "integrations"
    tree = ast.parse((folder / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
