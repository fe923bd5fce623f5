"""What the simulator's header declares: CANN's structs, and nothing that CANN does not know."""

import numpy as np
import pytest
from harness import kernels, launch

from qwen_vl_npu_ops import sim

# In the order of layouts.cpp; the values are those of kernel_struct_*.h.
DEFAULTS = [
    *[1, 1, 8, 8],  # BinaryRepeatParams
    *[1, 1, 8, 8],  # UnaryRepeatParams
    *[0, 0, 8, 8],  # CopyRepeatParams
    *[1, 0, 0],  # DataCopyParams
    *[1, 0],  # DataCopyExtParams
    *[0, 0, 1, 0],  # MmadParams
    *[0, 1, 0],  # FixpipeParamsV220
    0,  # Nd2NzParams
]


def test_structs_are_laid_out_and_initialised_as_in_cann():
    """That layouts.cpp compiles shows sizes and offsets; the type check shows the same of CANN's headers."""
    out = np.full(32, -1, np.int32)
    launch(kernels("layouts"), "defaults", out)
    assert out[: len(DEFAULTS)].tolist() == DEFAULTS


def kernel_with(body):
    return (
        '#include "kernel_operator.h"\n'
        'extern "C" __global__ __aicore__ void f(GM_ADDR a) {\n'
        "  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);\n"
        "  AscendC::LocalTensor<float> x, y;\n"
        f"  {body}\n}}\n"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("AscendC::Add(y, x, x);", "Add"),
        ("AscendC::SubtractRows(y, x, 64);", "SubtractRows"),
        ("AscendC::Nd2NzParams p; p.rowStride = 1;", "rowStride"),
        ("AscendC::SetFlag<AscendC::HardEvent::V_V2>(0);", "V_V2"),
        ("AscendC::LocalTensor<bfloat16_t> b; AscendC::Add(b, b, b, 64);", "Add"),
        ("AscendC::Cast(y, x, AscendC::RoundMode::CAST_UP, 64);", "CAST_UP"),
    ],
)
def test_what_cann_does_not_declare_does_not_compile(body, message):
    with pytest.raises(sim.CompileError, match=message):
        sim.compile(kernel_with(body))


def test_a_source_in_a_string_runs():
    library = sim.compile(
        kernel_with("AscendC::GlobalTensor<float> g; g.SetGlobalBuffer((__gm__ float*)a, 4); g.SetValue(1, 2.0f);")
    )
    out = np.zeros(4, np.float32)
    with sim.device("910B1"):
        library.launch("f", 1, out)
    assert out.tolist() == [0, 2, 0, 0]


STATIC = """#include "kernel_operator.h"
__global__ __vector__ void twice(__gm__ uint8_t* a, uint32_t bytes) {
  AscendC::InitSocState();
  AscendC::LocalMemAllocator<AscendC::Hardware::UB> ub;
  AscendC::LocalTensor<float> x = ub.Alloc<float>(64), y = ub.Alloc<float>(64);
  AscendC::LocalTensor<uint8_t> rest = ub.Alloc<uint8_t>(bytes);
  AscendC::GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float*)a, 64);
  AscendC::DataCopy(x, gm, 64);
  AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(EVENT_ID0);
  AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(EVENT_ID0);
  AscendC::Add(y, x, x, 64);
  AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(EVENT_ID0);
  AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(EVENT_ID0);
  AscendC::DataCopy(gm, y, 64);
}
"""


def test_the_static_tensor_style_of_the_current_devkit():
    """No TPipe, memory by LocalMemAllocator, the task type in the kernel's qualifiers; CANN 8.1 has none of these."""
    library = sim.compile(STATIC)
    data = np.arange(64, dtype=np.float32)
    with sim.device("910B1"):
        library.launch("twice", 1, data, 32)
        with pytest.raises(sim.SimulatorError) as error:
            library.launch("twice", 1, data, 192 * 1024)
    assert data.tolist() == [2.0 * i for i in range(64)]
    assert error.value.kind == "capacity"
