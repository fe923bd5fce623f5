"""AscendC on the CPU: compile kernels with the host compiler and run them on a simulated Ascend 910B.

    lib = sim.compile("launch.cpp")
    with sim.device("910B1", l2="cold") as chip:
        lib.launch("add_custom", 8, x, y, z, tiling)
        print(chip.report()[-1].time_us)

What the hardware would not do, and every race, is a :class:`SimulatorError` that names kernel, core, pipe, instruction,
operand and source line. Times are estimates of a model. See ``docs/simulator.md``.
"""

from . import bounds
from .compiling import Library, compile
from .devices import Device, Fault, Record, Site, chips, device
from .native import SimulatorError, include_dir
from .rewriting import CompileError, rewrite

__all__ = [
    "CompileError",
    "Device",
    "Fault",
    "Library",
    "Record",
    "SimulatorError",
    "Site",
    "bounds",
    "chips",
    "compile",
    "device",
    "include_dir",
    "rewrite",
]
