"""Which of kernels and composition is live: the variable, the record, the chip, and doctor's verdict."""

import dataclasses
import json
import os

import pytest
import torch

from qwen_vl_npu_ops import _fused, compat, npu, ops, reference

WHERE = npu.Platform("1.0", "0123456789abcdef", "910B1", "8.1.RC1", False)
COMPOSED = torch.ops.qwen_vl_npu_ops_npu


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("QWEN_VL_NPU_OPS_CACHE", str(tmp_path))
    monkeypatch.delenv(npu.KERNELS, raising=False)
    monkeypatch.setattr(npu, "platform", lambda: WHERE)
    monkeypatch.setattr(npu, "kernels_built", lambda: True)


def on(monkeypatch, **changes):
    monkeypatch.setattr(npu, "platform", lambda: dataclasses.replace(WHERE, **changes))


@pytest.mark.parametrize("value", ["", "ON", "1", "kernels"])
def test_a_bad_value_is_an_error_that_says_what_is_expected(monkeypatch, value):
    monkeypatch.setenv(npu.KERNELS, value)
    with pytest.raises(ValueError, match=rf"{npu.KERNELS}: expected auto, on or off, got '{value}'"):
        npu.decide()


def test_until_doctor_has_passed_there_is_the_composition_and_a_hint(caplog):
    assert not npu.decide()
    assert "qwen-vl-npu-ops doctor" in caplog.text
    npu.save_record(WHERE)
    assert npu.decide()


def test_the_variable_forces_either(monkeypatch):
    monkeypatch.setenv(npu.KERNELS, "on")
    assert npu.decide()
    monkeypatch.setenv(npu.KERNELS, "off")
    npu.save_record(WHERE)
    assert not npu.decide()


@pytest.mark.parametrize(
    "changes",
    [{"package": "1.1"}, {"library": "f" * 16}, {"chip": "910B2"}, {"cann": "8.2"}, {"virtual": True}],
    ids=lambda c: next(iter(c)),
)
def test_a_verdict_holds_for_one_package_build_chip_cann_and_kind_of_device(monkeypatch, changes):
    npu.save_record(dataclasses.replace(WHERE, **changes))
    assert not npu.decide()
    # Nor does it when it lies where this one's would.
    other = dataclasses.replace(WHERE, **changes)
    os.replace(other.record, WHERE.record)
    assert not npu.decide()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-2],
        lambda text: "true",
        lambda text: text.replace('"patch_embed"', '"rotary_qkv"'),
        lambda text: text.replace('"virtual": false', '"virtual": 0'),
        lambda text: json.dumps({**json.loads(text), "more": 1}),
    ],
)
def test_a_record_that_is_not_what_was_written_says_nothing(damage):
    path = npu.save_record(WHERE)
    assert npu.has_record(WHERE)
    path.write_text(damage(path.read_text()))
    assert not npu.has_record(WHERE)
    path.write_bytes(b"\xff\xfe")
    assert not npu.has_record(WHERE)


def test_no_half_written_record_is_left(monkeypatch):
    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        npu.save_record(WHERE)
    assert not npu.has_record(WHERE)


def test_a_chip_without_kernels_gets_the_composition_and_the_names_of_those_with(monkeypatch):
    on(monkeypatch, chip="310P3")
    npu.save_record(npu.platform())
    assert not npu.decide()
    assert npu.status().reason == "there are no kernels for the chip 310P3, only for 910B1, 910B2, 910B3, 910B4"
    monkeypatch.setenv(npu.KERNELS, "on")
    with pytest.raises(RuntimeError, match=r"QWEN_VL_NPU_OPS_KERNELS=on: .*310P3, only for 910B1"):
        npu.decide()


def test_an_unknown_cann_keeps_no_verdict(monkeypatch):
    on(monkeypatch, cann=npu.UNKNOWN)
    assert not npu.decide()
    assert "no verdict can be kept" in npu.status().reason


def test_a_package_without_kernels_says_so(monkeypatch):
    monkeypatch.setattr(npu, "kernels_built", lambda: False)
    assert "built without CANN" in npu.status().reason
    monkeypatch.setenv(npu.KERNELS, "on")
    with pytest.raises(RuntimeError, match="built without CANN"):
        npu.decide()


def test_cann_s_version_is_read_out_of_its_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    assert npu.cann_version() == npu.UNKNOWN
    (tmp_path / "aarch64-linux").mkdir()
    info = tmp_path / "aarch64-linux/ascend_toolkit_install.info"
    info.write_text("package_name=Ascend-cann-toolkit\nversion=8.1.RC1\ncompatible_version=[V1]\n")
    assert npu.cann_version() == "8.1.RC1"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interleaved", [False, True])
def test_the_composition_is_the_operators_own_arithmetic(monkeypatch, dtype, interleaved):
    """With torch_npu's operators' conventions (`compat`) in place of torch_npu, and without."""
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(20, 3 * 2 * 80, generator=generator).to(dtype)
    angle = torch.rand(20, 36, generator=generator)
    ends = torch.tensor([0, 5, 5, 17])
    expected = ops.rotary_window_attention(qkv, angle, angle, ends, 2, 72, interleaved=interleaved)
    peer = reference.rotary_window_attention(qkv, angle, angle, ends, 2, 72, interleaved=interleaved)
    tolerance = 2 * (peer - expected).abs().max().item() + torch.finfo(dtype).eps
    for with_torch_npu in (False, True):
        if with_torch_npu:
            monkeypatch.setattr(_fused, "fused", lambda name, device: True)
            monkeypatch.setattr(_fused, "rotary_mul", rotary_mul)
            monkeypatch.setattr(_fused, "flash_attention", flash_attention)
        out = torch.full_like(expected, torch.nan)
        COMPOSED.rotary_window_attention(qkv, angle, angle, ends, 2, 72, 72**-0.5, interleaved, out)
        torch.testing.assert_close(out, expected, atol=tolerance, rtol=0)
        assert not out[17:].any()


def rotary_mul(x, cos, sin, interleaved):
    assert x.dtype == cos.dtype == sin.dtype
    return compat.npu_rotary_mul(x, cos, sin, "interleave" if interleaved else "half")


def flash_attention(q, k, v, lengths, scale, out):
    assert lengths.dtype == torch.int32
    assert (lengths > 0).all()
    assert q.shape[-1] % 16 == 0
    compat._npu_flash_attention_unpad(q, k, v, lengths, scale, q.shape[1], k.shape[1], out)


def test_the_table_of_fused_operators(monkeypatch):
    monkeypatch.delenv(_fused.VARIABLE, raising=False)
    assert "rms_norm" in _fused.requested("910B3")
    assert "rms_norm" in _fused.requested("910_9391")
    assert _fused.requested("310P3") == ()
    monkeypatch.setenv(_fused.VARIABLE, "none")
    assert _fused.requested("910B3") == ()
    monkeypatch.setenv(_fused.VARIABLE, "swiglu, rms_norm")
    assert _fused.requested("310P3") == ("swiglu", "rms_norm")
    monkeypatch.setenv(_fused.VARIABLE, "gelu")
    with pytest.raises(ValueError, match="expected auto, none or names out of rms_norm, add_rms_norm, swiglu"):
        _fused.requested("910B3")
    assert not _fused.fused("rms_norm", torch.device("cpu"))
