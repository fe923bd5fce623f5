import pytest
import torch

from qwen_vl_npu_ops import accuracy


def noisy(dtype=torch.bfloat16):
    reference = torch.randn(50, 4, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return reference, reference.to(dtype)


def test_torch_itself_passes():
    reference, peer = noisy()
    assert accuracy.compare(peer, reference, peer).passed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_element_out_of_bound_fails_and_is_named(dtype):
    reference, peer = noisy(dtype)
    got = peer.clone()
    got[7, 2, 3] += 8 * torch.finfo(dtype).eps * reference[7].abs().max()
    comparison = accuracy.compare(got, reference, peer)
    assert not comparison.passed
    assert comparison.position == (7, 2, 3)
    assert comparison.failures == 1
    assert "1 of 3200" in str(comparison)
    assert "[7, 2, 3]" in str(comparison)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_must_stand_where_the_reference_has_them(value):
    reference, peer = noisy()
    for special, plain in ((peer.clone(), reference), (peer, reference.clone())):
        (special if special is not peer else plain)[1, 1, 1] = value
        assert not accuracy.compare(special, plain, peer).passed
    reference[1, 1, 1] = value
    peer[1, 1, 1] = value
    assert accuracy.compare(peer, reference, peer).passed


def test_infinity_of_the_other_sign_fails():
    reference, peer = noisy()
    reference[0, 0, 0] = torch.inf
    got = peer.clone()
    got[0, 0, 0] = -torch.inf
    assert not accuracy.compare(got, reference, peer).passed


def test_half_ulp_is_the_error_of_one_rounding():
    values = torch.tensor([1.0, 1.5, 2.0, 100.0, 0.0], dtype=torch.float64)
    got = accuracy.half_ulp(values, torch.bfloat16)
    eps = torch.finfo(torch.bfloat16).eps
    assert got[:4].tolist() == [eps / 2, eps / 2, eps, 32 * eps]
    assert got[4] > 0


def test_empty_passes():
    empty = torch.empty(0, 3)
    assert accuracy.compare(empty, empty.double(), empty).passed


def test_shapes_and_dtypes_are_checked():
    reference, peer = noisy()
    with pytest.raises(ValueError, match="reference"):
        accuracy.compare(peer[:3], reference, peer[:3])
    with pytest.raises(TypeError, match="float64"):
        accuracy.compare(peer, reference.float(), peer)
