"""The cube core's layouts: fractals of 16 rows x 32 bytes, and what Fixpipe writes where."""

import numpy as np


def fractal_columns(dtype):
    return 32 // np.dtype(dtype).itemsize


def _padded(matrix, rows, columns):
    height = -(-matrix.shape[0] // rows) * rows
    width = -(-matrix.shape[1] // columns) * columns
    result = np.zeros((height, width), matrix.dtype)
    result[: matrix.shape[0], : matrix.shape[1]] = matrix
    return result


def to_zz(a):
    """L0A: fractals of 16 x C0, row-major inside, row by row of fractals. C0 = 32 bytes of elements."""
    c0 = fractal_columns(a.dtype)
    a = _padded(a, 16, c0)
    return a.reshape(a.shape[0] // 16, 16, a.shape[1] // c0, c0).transpose(0, 2, 1, 3).ravel()


def to_zn(b):
    """L0B: fractals of C0 x 16, column-major inside, row by row of fractals."""
    c0 = fractal_columns(b.dtype)
    b = _padded(b, c0, 16)
    return b.reshape(b.shape[0] // c0, c0, b.shape[1] // 16, 16).transpose(0, 2, 3, 1).ravel()


def to_nz(c, rows):
    """L0C: columns of 16, each `rows` rows of 16 elements."""
    result = np.zeros((-(-c.shape[1] // 16), rows, 16), c.dtype)
    for column in range(result.shape[0]):
        part = c[:, column * 16 : column * 16 + 16]
        result[column, : part.shape[0], : part.shape[1]] = part
    return result.ravel()


def fixpipe(out, l0c, start, p, convert):
    """Fixpipe from L0C (flat elements) into `out` (flat elements of the destination's type), both from `p`."""
    for matrix in range(1 if p["nz"] else p["ndNum"]):
        for row in range(p["mSize"]):
            for block in range(-(-p["nSize"] // 16)):
                at = matrix * p["srcNdStride"] * 256 + (block * p["srcStride"] + row) * 16
                values = l0c[at : at + min(16, p["nSize"] - block * 16)]
                values = np.maximum(values, 0) if p["relu"] else values
                if p["nz"]:
                    to = start + block * p["dstStride"] * 32 // out.dtype.itemsize + row * 16
                else:
                    to = start + matrix * p["dstNdStride"] + row * p["dstStride"] + block * 16
                out[to : to + len(values)] = convert(values)


def load_fractals(l1, p):
    """The 16 x 16 fractals of 16-bit elements that LoadData or LoadDataWithTranspose writes, one per repeat."""
    flat = l1[p["src"] // 2 :]
    for repeat in range(p["repeatTimes"]):
        at = (p["startIndex"] + repeat * p["srcStride"]) * 256
        fractal = flat[at : at + 256].reshape(16, 16)
        yield fractal.T if p["ifTranspose"] or p["operation"] == 1 else fractal
