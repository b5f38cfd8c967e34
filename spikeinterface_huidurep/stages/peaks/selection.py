"""Selection: a bounded, fair share of the peaks to embed and cluster."""

from __future__ import annotations

import numpy as np


def select_peaks(
    peaks: np.ndarray, n_channels: int, *, max_peaks_per_channel: int = 1500, min_total: int = 30000, seed: int = 0
) -> np.ndarray:
    """
    Choose peaks at random, no more than so many a channel, so that quiet channels keep theirs.

    Parameters
    ----------
    peaks : (n_peaks,) structured array
    n_channels : int
    max_peaks_per_channel : int
        Most peaks of one channel; more where the probe has few channels, up to `min_total` in all.
    min_total : int
        As many peaks as this may be chosen on any probe.
    seed : int

    Returns
    -------
    indices : (n_selected,) int64
        Ascending indices into `peaks`.
    """
    limit = max(max_peaks_per_channel, min_total // max(n_channels, 1))
    generator = np.random.default_rng(seed)
    chosen = []
    for channel in range(n_channels):
        here = np.flatnonzero(peaks["channel_index"] == channel)
        chosen.append(here if len(here) <= limit else generator.choice(here, limit, replace=False))
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype="int64")


def some_peaks(n_peaks: int, most: int, *, seed: int = 0) -> np.ndarray:
    """So many of the peaks at most, drawn at random: (n_peaks,) bool."""
    chosen = np.zeros(n_peaks, dtype=bool)
    chosen[np.random.default_rng(seed).choice(n_peaks, min(most, n_peaks), replace=False)] = True
    return chosen
