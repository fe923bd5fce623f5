import pytest
import torch

from qwen_vl_npu_ops.commands.plot import pca_colours


def test_colours_are_the_principal_components():
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(40, 3, generator=generator))
    rows = torch.rand(500, 3, generator=generator) * torch.tensor([9.0, 3.0, 1.0])
    colours = pca_colours(rows @ axes.T + 5)
    assert colours.min() == 0
    assert colours.max() == 1
    for i in range(3):
        correlation = torch.corrcoef(torch.stack((colours[:, i], rows[:, i])))[0, 1]
        assert correlation.abs() > 0.99
    assert torch.equal(colours, pca_colours(rows @ axes.T + 5))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_embeddings(rows):
    colours = pca_colours(torch.randn(rows, 8, generator=torch.Generator().manual_seed(0)).bfloat16())
    assert colours.shape == (rows, 3)
    assert colours.isfinite().all()
