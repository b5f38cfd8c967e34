"""Waveforms cut out of traces and summed or filtered at once, compiled with numba."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def sum_waveforms(traces, samples, rows, channels, n_rows, nbefore, nafter):
    """
    Sum of the waveforms of each group of spikes.

    Parameters
    ----------
    traces : (n_samples, n_channels) float32
    samples : (n_spikes,) int
        `nbefore` and `nafter` from the ends at least.
    rows : (n_spikes,) int
        Row of the sum to which each spike is added.
    channels : (n_rows, n_local) int
    n_rows, nbefore, nafter : int

    Returns
    -------
    sums : (n_rows, nbefore + nafter, n_local) float32
    """
    n_local = channels.shape[1]
    sums = np.zeros((n_rows, nbefore + nafter, n_local), dtype=np.float32)
    for spike in range(len(samples)):
        total, mine = sums[rows[spike]], channels[rows[spike]]
        for s in range(nbefore + nafter):
            trace = traces[samples[spike] - nbefore + s]
            for c in range(n_local):
                total[s, c] += trace[mine[c]]
    return sums


@numba.njit(nogil=True, cache=True)
def filtered_waveforms(traces, starts, units, used, n_used, whitening, filters):
    """
    Whitened coefficients of each spike on its unit's channels.

    Parameters
    ----------
    traces : (n_samples, n_channels) float32
    starts : (n_spikes,) int
        First sample of each spike's window.
    units : (n_spikes,) int
    used : (n_units, n_most) int
        Channels that have a part in a unit's whitened ones; the first `n_used` count.
    n_used : (n_units,) int
    whitening : (n_units, n_most, n_local) float32
    filters : (n_filters, length) float32

    Returns
    -------
    values : (n_spikes, n_local, n_filters) float32
    """
    n_filters, length = filters.shape
    values = np.empty((len(starts), whitening.shape[2], n_filters), dtype=np.float32)
    waveform = np.empty((length, used.shape[1]), dtype=np.float32)
    for spike in range(len(starts)):
        unit = units[spike]
        n_channels = n_used[unit]
        for s in range(length):
            trace = traces[starts[spike] + s]
            for c in range(n_channels):
                waveform[s, c] = trace[used[unit, c]]
        waveform[:, n_channels:] = 0
        values[spike] = np.dot(np.dot(filters, waveform), whitening[unit]).T
    return values
