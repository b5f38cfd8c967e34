"""A recursive filter run along traces, compiled with numba."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath=True)
def run_sections(traces, sections, resting):
    """
    Run second-order sections along the traces, in place; sums are in double precision.

    Parameters
    ----------
    traces : (n_samples, n_channels) float32
        May run backward in memory.
    sections : (n_sections, 6) float64
    resting : (n_sections, 2) float64
        State of each section that a constant 1 leaves as it is; the filter starts in that of the first sample.
    """
    n_samples, n_channels = traces.shape
    n_sections = len(sections)
    first, second = np.empty((n_sections, n_channels)), np.empty((n_sections, n_channels))
    for k in range(n_sections):
        for c in range(n_channels):
            first[k, c] = resting[k, 0] * traces[0, c]
            second[k, c] = resting[k, 1] * traces[0, c]
    values = np.empty(n_channels)
    for t in range(n_samples):
        for c in range(n_channels):
            values[c] = traces[t, c]
        for k in range(n_sections):
            b0, b1, b2, a1, a2 = sections[k, 0], sections[k, 1], sections[k, 2], sections[k, 4], sections[k, 5]
            one, two = first[k], second[k]
            for c in range(n_channels):
                value = values[c]
                output = b0 * value + one[c]
                one[c] = b1 * value - a1 * output + two[c]
                two[c] = b2 * value - a2 * output
                values[c] = output
        for c in range(n_channels):
            traces[t, c] = values[c]
