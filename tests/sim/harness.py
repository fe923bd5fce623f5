"""Compiling test kernels once, and running one case on images of memory."""

import ctypes
import functools
from pathlib import Path

import numpy as np

from qwen_vl_npu_ops import sim

KERNELS = Path(__file__).parent / "kernels"
SAMPLES = Path(__file__).parents[2] / "csrc" / "sim" / "samples"


@functools.cache
def _compiled(source):
    try:
        return sim.compile(source)
    except sim.CompileError as error:  # kept too: hypothesis would compile again for every example
        return error


def _library(source):
    library = _compiled(source)
    if isinstance(library, sim.CompileError):
        raise library
    return library


def kernels(name):
    """The library of tests/sim/kernels/<name>.cpp."""
    return _library(KERNELS / f"{name}.cpp")


def sample(name):
    """The library of a sample kernel, compiled from its launch.cpp as CANN would."""
    return _library(SAMPLES / name / "launch.cpp")


def struct(name, **fields):
    """A ctypes.Structure class; `fields` are types, by their C names."""
    types = {"u32": ctypes.c_uint32, "u64": ctypes.c_uint64, "f32": ctypes.c_float}
    layout = [(key, types[kind]) for key, kind in fields.items()]
    shown = property(lambda self: {key: getattr(self, key) for key in fields})
    return type(name, (ctypes.Structure,), {"_fields_": layout, "fields": shown, "__repr__": lambda s: str(s.fields)})


def launch(library, kernel, *arguments, blocks=1):
    with sim.device("910B1"):
        library.launch(kernel, blocks, *arguments)


def check_bytes(got, expected, context=""):
    """Equality of two images, naming the first byte that differs."""
    wrong = np.flatnonzero(got != expected)
    if wrong.size:
        at = wrong[0]
        raise AssertionError(
            f"{wrong.size} bytes differ, the first at {at}: {got[at]:#x}, expected {expected[at]:#x} {context}"
        )


def random_bits(rng, dtype, count, *, floating=None):
    """Elements with every kind of value: everyday numbers, tiny, huge, zeros, infinities and NaNs of a format."""
    if floating is None:
        return rng.integers(-100, 100, count).astype(dtype)
    everyday = floating.encode(floating.round(rng.normal(size=count).astype(np.longdouble) * 4, "RINT"))
    anything = rng.integers(0, 2 ** (8 * floating.size), count).astype(floating.storage)
    return np.where(rng.random(count) < 0.8, everyday, anything)
