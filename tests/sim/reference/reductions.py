"""Reductions inside one repeat, over flat arrays of the element type (half or float)."""

import numpy as np


def tree_sum(values):
    """Neighbours added pairwise, each node rounded to the type; the length is a power of two."""
    while len(values) > 1:
        values = values[0::2] + values[1::2]
    return values[0]


def pair_sums(values):
    return values[0::2] + values[1::2]


def extreme(values, active, largest):
    """(value, index) of the first largest or smallest active lane."""
    lanes = np.flatnonzero(active)
    best = lanes[np.argmax(values[lanes]) if largest else np.argmin(values[lanes])]
    return values[best], best
