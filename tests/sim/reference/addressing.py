"""Which bytes a vector instruction touches: repeats, blocks of 32 bytes, masks in both forms."""

import numpy as np

BLOCK = 32
REPEAT = 256


def active_lanes(mask, lanes):
    """Lane numbers that a mask selects: a length (int), or two 64-bit words, low lanes first."""
    if isinstance(mask, int):
        return np.arange(mask)
    bits = mask[0] | mask[1] << 64
    return np.array([lane for lane in range(lanes) if bits >> lane & 1], dtype=np.int64)


def addresses(start, size, mask, lanes, repeat, block_stride, repeat_stride):
    """Byte addresses [repeat, active lanes] of an operand whose elements have `size` bytes."""
    lane = active_lanes(mask, lanes)
    per_block = BLOCK // size
    in_repeat = lane // per_block * block_stride * BLOCK + lane % per_block * size
    return start + np.arange(repeat)[:, None] * repeat_stride * BLOCK + in_repeat[None, :]


def read(image, where, dtype):
    """Elements of `image` (uint8 array) at byte addresses."""
    size = np.dtype(dtype).itemsize
    bytes_ = image[where[..., None] + np.arange(size)]
    return np.ascontiguousarray(bytes_).view(dtype)[..., 0]


def write(image, where, values):
    values = np.ascontiguousarray(values)
    size = values.dtype.itemsize
    image[where[..., None] + np.arange(size)] = values[..., None].view(np.uint8).reshape(*values.shape, size)
