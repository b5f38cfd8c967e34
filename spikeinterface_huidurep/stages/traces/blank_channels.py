"""Which channels may have a blank, in one pass over the traces, compiled with numba."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def channels_of_blanks(traces, least, zero, held, jump):
    """
    Find the channels that stand still for long enough or jump to zero from far away.

    Parameters
    ----------
    traces : (n_samples, n_channels) array
    least : (n_channels,) int32
        So many steps in a row that change nothing are a blank.
    zero : (n_channels,) array of the traces' type
        What stands for zero.
    held : (n_channels,) bool
        Whether the traces' type holds what stands for zero.
    jump : (n_channels,) float64
        Zero is reached from farther away than this.

    Returns
    -------
    (n_channels,) bool
    """
    n_samples, n_channels = traces.shape
    run, longest = np.zeros(n_channels, dtype=np.int32), np.zeros(n_channels, dtype=np.int32)
    jumped = np.zeros(n_channels, dtype=np.int32)
    for t in range(1, n_samples):
        before, now = traces[t - 1], traces[t]
        for c in range(n_channels):
            # whole numbers and no branches: so it takes many channels at a time
            run[c] = (run[c] + np.int32(1)) * np.int32(now[c] == before[c])
            longest[c] = max(longest[c], run[c])
            far = abs(np.float64(before[c]) - np.float64(zero[c])) > jump[c]
            jumped[c] |= np.int32(now[c] == zero[c]) & np.int32(far)
    return (longest >= least) | ((jumped > 0) & held)
