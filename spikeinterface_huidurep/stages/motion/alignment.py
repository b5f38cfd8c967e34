"""Alignment: each bin of time gets the displacement at which its spikes match those of all other times."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from spikeinterface.core.motion import Motion

from .dredge import DEPTH_BIN_UM, DEPTH_SMOOTH_UM
from .path import COST_OF_JUMP, ROUNDS, likeliest_path

# step of the displacements that are tried, um
STEP_UM = 0.5
# what a change of the displacement costs by the um, in units of the logarithm of the likelihood
COST_PER_UM = 1.0
# displacements are tried so far beyond those of the first estimate, um: what is farther away is a jump
BEYOND_UM = COST_OF_JUMP / COST_PER_UM
# cells of the density of spikes over the logarithm of the amplitude, by one of which it is smoothed; over depth it is
# binned and smoothed as DREDge's histograms are
LOG_AMPLITUDE = 0.15


def align_motion(motion: Motion, times_s: np.ndarray, depths: np.ndarray, amplitudes: np.ndarray) -> Motion:
    """
    Refine a motion that is the same at all depths.

    On a short probe the depths alone may fit at a wrong displacement, where one unit takes another's place. Spikes of
    one unit have one amplitude, too. Given the motion, the density of the registered spikes over depth and amplitude is
    measured; given the density, each bin of time gets the displacement at which its spikes are the likeliest, with
    a cost of moving; and so on in turns.

    Parameters
    ----------
    motion : Motion
        Of one segment, with one place.
    times_s : (n_spikes,) float
        Time of each spike, s, ascending.
    depths : (n_spikes,) float
        Depth of each spike on the probe, um.
    amplitudes : (n_spikes,) float
        In units of noise.

    Returns
    -------
    Motion
        In the same bins; its median is zero.
    """
    bins, moved = motion.temporal_bins_s[0], motion.displacement[0][:, 0]
    at_bin = np.searchsorted(0.5 * (bins[:-1] + bins[1:]), times_s)
    tried = np.arange(moved.min() - BEYOND_UM, moved.max() + BEYOND_UM + STEP_UM, STEP_UM)
    ends = depths.min(), depths.max()
    for _ in range(ROUNDS):
        density = SpikeDensity(depths - moved[at_bin], amplitudes)
        likelihood = np.zeros((len(bins), len(tried)))
        n_spikes = np.bincount(at_bin, minlength=len(bins))
        for column, displacement in enumerate(tried):
            each = density(depths - displacement, amplitudes)
            likelihood[:, column] = np.bincount(at_bin, weights=each, minlength=len(bins))
            # only spikes on the probe are seen
            likelihood[:, column] -= n_spikes * density.log_share(ends[0] - displacement, ends[1] - displacement)
        moved = tried[likeliest_path(likelihood, COST_PER_UM * STEP_UM)]
    moved = moved - np.median(moved)
    return Motion([moved[:, None]], [bins], motion.spatial_bins_um, direction=motion.direction)


class SpikeDensity:
    """
    Density of spikes over depth and amplitude.

    Parameters
    ----------
    depths : (n_spikes,) float
        Registered, um.
    amplitudes : (n_spikes,) float
        In units of noise.
    """

    def __init__(self, depths: np.ndarray, amplitudes: np.ndarray):
        logs = np.log(np.maximum(amplitudes, 1.0))
        self.depths = np.arange(depths.min() - 10 * DEPTH_BIN_UM, depths.max() + 10 * DEPTH_BIN_UM, DEPTH_BIN_UM)
        self.logs = np.arange(logs.min() - 3 * LOG_AMPLITUDE, logs.max() + 3 * LOG_AMPLITUDE, LOG_AMPLITUDE)
        counts, _, _ = np.histogram2d(depths, logs, bins=(self.depths, self.logs))
        smooth = gaussian_filter(counts, (DEPTH_SMOOTH_UM / DEPTH_BIN_UM, 1.0), mode="constant")
        smooth += 0.01 * smooth.mean() + 1e-9
        self.density = smooth / smooth.sum()
        self.log_density = np.log(self.density)
        self.cumulative = np.concatenate([[0.0], np.cumsum(self.density.sum(axis=1))])

    def __call__(self, depths: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
        """Logarithm of the density at spikes, (n_spikes,)."""
        logs = np.log(np.maximum(amplitudes, 1.0))
        row = np.clip(((depths - self.depths[0]) / DEPTH_BIN_UM).astype(int), 0, self.density.shape[0] - 1)
        column = np.clip(((logs - self.logs[0]) / LOG_AMPLITUDE).astype(int), 0, self.density.shape[1] - 1)
        return self.log_density[row, column]

    def log_share(self, low: float, high: float) -> float:
        """Logarithm of the share of all spikes between two depths, um."""
        below = np.interp([low, high], self.depths, self.cumulative)
        return float(np.log(max(below[1] - below[0], 1e-9)))
