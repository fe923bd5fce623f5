"""Data movement between GM, UB and L1: what ends up where."""

import numpy as np

from .addressing import BLOCK


def data_copy(dst, src, dst_start, src_start, block_count, block_length, src_gap, dst_gap):
    """DataCopy with DataCopyParams: lengths and gaps (end to start) in 32-byte blocks."""
    length = block_length * BLOCK
    for i in range(block_count):
        to = dst_start + i * (length + dst_gap * BLOCK)
        at = src_start + i * (length + src_gap * BLOCK)
        dst[to : to + length] = src[at : at + length]


def data_copy_pad_in(ub, gm, ub_start, gm_start, rows, padding):
    """DataCopyPad GM to UB.

    `rows`: (count, bytes, gap in GM bytes, gap in UB blocks); `padding`: (left, right, element size, fill), the first
    two in elements and `fill` the padding element's bytes or None. A row is filled up to whole blocks: with its first
    element where neither side is padded, else with `fill`; without one, those bytes are left open.
    Returns which bytes of UB those are.
    """
    count, length, gm_gap, ub_gap = rows
    left, right, size, fill = padding
    row = -(-(length + (left + right) * size) // BLOCK) * BLOCK
    undefined = np.zeros(len(ub), bool)
    for i in range(count):
        to = ub_start + i * (row + ub_gap * BLOCK)
        data = gm[gm_start + i * (length + gm_gap) :][:length]
        element = data[:size] if left == right == 0 else fill
        if element is None:
            undefined[to : to + row] = True
            undefined[to + left * size : to + left * size + length] = False
        else:
            ub[to : to + row] = np.resize(np.frombuffer(bytes(element), np.uint8), row)
        ub[to + left * size : to + left * size + length] = data
    return undefined


def data_copy_pad_out(gm, ub, gm_start, ub_start, rows):
    """DataCopyPad UB to GM; every row starts at a block of UB."""
    count, length, ub_gap, gm_gap = rows
    row = -(-length // BLOCK) * BLOCK
    for i in range(count):
        at = ub_start + i * (row + ub_gap * BLOCK)
        to = gm_start + i * (length + gm_gap)
        gm[to : to + length] = ub[at : at + length]


def nd2nz(l1, gm, dst, size, p):
    """DataCopy with Nd2NzParams `p`: rows of GM cut into columns of 32 bytes, the last one filled with zeros."""
    per_block = BLOCK // size
    for nd in range(p["ndNum"]):
        for n in range(p["nValue"]):
            row = (nd * p["srcNdMatrixStride"] + n * p["srcDValue"]) * size
            for column in range(-(-p["dValue"] // per_block)):
                first = column * per_block
                width = min(per_block, p["dValue"] - first) * size
                to = dst + nd * p["dstNzMatrixStride"] * size
                to += (column * p["dstNzC0Stride"] + n * p["dstNzNStride"]) * BLOCK
                l1[to : to + BLOCK] = 0
                l1[to : to + width] = gm[row + first * size : row + first * size + width]
