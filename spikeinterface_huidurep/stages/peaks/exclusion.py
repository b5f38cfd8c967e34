"""Of extrema that are near to each other the largest, compiled with numba."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def largest_nearby(samples, channels, sizes, near, sweep):
    """
    Find the extrema beside which there is no larger one, nor one as large before them.

    SpikeInterface's "locally_exclusive" does the same on traces; this takes the extrema that were found elsewhere.

    Parameters
    ----------
    samples, channels : (n,) int
        Of the extrema, in the order of the samples.
    sizes : (n,) float32
    near : (n_channels, n_channels) bool
        Symmetric: which channels are beside each other.
    sweep : int
        Samples within which extrema are beside each other.

    Returns
    -------
    (n,) bool
    """
    largest = np.ones(len(samples), dtype=np.bool_)
    for first in range(len(samples)):
        for second in range(first + 1, len(samples)):
            if samples[second] - samples[first] > sweep:
                break
            if near[channels[first], channels[second]]:
                if sizes[second] > sizes[first]:
                    largest[first] = False
                elif sizes[second] < sizes[first] or samples[second] > samples[first]:
                    largest[second] = False
    return largest
