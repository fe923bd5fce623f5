"""``python -m qwen_vl_npu_ops.virtual_npu [--chip 910B2] script.py arguments``: run a script with the virtual NPU.

``-c text`` runs text, as python does. torch_npu is imported and the device ready when the script starts.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys

from . import CHIPS, VirtualNpuError, activate, environment, is_active


def main() -> None:
    """Start again in the virtual NPU's environment, and there run the script."""
    parser = argparse.ArgumentParser(prog="python -m qwen_vl_npu_ops.virtual_npu", description=__doc__.split("\n")[0])
    parser.add_argument("--chip", choices=CHIPS, default="910B1", help="the chip to be (910B1)")
    parser.add_argument("--fault", action="append", default=[], help="hang:KERNEL, skip:KERNEL, error:KERNEL, ...")
    parser.add_argument("-c", dest="text", help="run this text")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script and what it is given")
    given = parser.parse_args()
    if given.text is None and not given.arguments:
        parser.error("expected a script, or -c")
    if not is_active():
        try:
            variables = environment(given.chip, faults=given.fault)
        except VirtualNpuError as error:
            sys.exit(f"virtual NPU: {error}")
        os.execve(sys.executable, [sys.executable, "-m", __package__, *sys.argv[1:]], variables)
    activate()
    if given.text is not None:
        sys.argv = ["-c", *given.arguments]
        exec(compile(given.text, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = given.arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(given.arguments[0])))
        runpy.run_path(given.arguments[0], run_name="__main__")


main()
