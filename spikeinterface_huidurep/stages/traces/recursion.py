"""A recursive filter run along traces, compiled with numba."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath=True)
def run_three_sections(traces, sections, resting, backward):
    """
    Run three second-order sections along the traces, in place; sums are in double precision.

    A band-pass of order three has three. They are run side by side, so that a value is read and written once; a number
    of sections that the compiler does not know takes half as long again.

    Parameters
    ----------
    traces : (n_samples, n_channels) float32
        Contiguous: of a reversed view the compiler does not know that the channels are side by side, and it takes three
        times as long.
    sections : (3, 6) float64
    resting : (3, 2) float64
        State of each section that a constant 1 leaves as it is; the filter starts in that of the first sample.
    backward : bool
        Whether to run from the last sample to the first.
    """
    n_samples, n_channels = traces.shape
    begin = n_samples - 1 if backward else 0
    state = np.empty((3, 2, n_channels))
    for k in range(3):
        for c in range(n_channels):
            state[k, 0, c] = resting[k, 0] * traces[begin, c]
            state[k, 1, c] = resting[k, 1] * traces[begin, c]
    a0, a1, a2, a4, a5 = sections[0, 0], sections[0, 1], sections[0, 2], sections[0, 4], sections[0, 5]
    b0, b1, b2, b4, b5 = sections[1, 0], sections[1, 1], sections[1, 2], sections[1, 4], sections[1, 5]
    c0, c1, c2, c4, c5 = sections[2, 0], sections[2, 1], sections[2, 2], sections[2, 4], sections[2, 5]
    one_a, one_b, one_c = state[0, 0], state[1, 0], state[2, 0]
    two_a, two_b, two_c = state[0, 1], state[1, 1], state[2, 1]
    for step in range(n_samples):
        row = traces[n_samples - 1 - step if backward else step]
        for c in range(n_channels):
            value = float(row[c])
            first = a0 * value + one_a[c]
            one_a[c] = a1 * value - a4 * first + two_a[c]
            two_a[c] = a2 * value - a5 * first
            second = b0 * first + one_b[c]
            one_b[c] = b1 * first - b4 * second + two_b[c]
            two_b[c] = b2 * first - b5 * second
            third = c0 * second + one_c[c]
            one_c[c] = c1 * second - c4 * third + two_c[c]
            two_c[c] = c2 * second - c5 * third
            row[c] = third
