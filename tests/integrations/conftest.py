import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "nn"))


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield
