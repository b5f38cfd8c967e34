"""DREDge, through SpikeInterface, on recordings of any length."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, concatenate_recordings
from spikeinterface.core.motion import Motion
from spikeinterface.sortingcomponents.motion import estimate_motion as si_estimate_motion

from ..device import CPU, OnDevice
from ..traces.segments import duration_of

# depths are smoothed by this much before they are correlated: at SpikeInterface's one micrometre a few hundred spikes
# a second are too sparse (median error 1.7 um against 0.6 um on a simulated zigzag of 64 channels)
DEPTH_SMOOTH_UM = 3.0
# and counted in bins of this height: at one micrometre it takes four times as long on large probes, and the median
# error is the same within 0.1 um (zigzag, ramp, bumps, non-rigid and SpikeInterface's drift, 60 s each)
DEPTH_BIN_UM = 2.0
BIN_S = 1.0
# every bin is compared with every other one: a longer recording has longer bins, so many in all. The motion that these
# leave is then estimated in bins of a second, within pieces of this length (s)
MOST_BINS, PIECE_S = 600, 200.0


def dredge(
    recording: BaseRecording,
    peaks: np.ndarray,
    locations: np.ndarray,
    amplitudes: np.ndarray,
    device: str = CPU,
    **windows: Any,
) -> Motion:
    """
    Estimate the motion over time and depth, in bins of a second (DREDge, Windolf et al. 2023).

    It compares each bin of time with all others and solves equations of all of them. Memory grows with the square of
    the length, time faster: an hour of a large probe would need more than all else in a sort. So the motion of a long
    recording is first estimated in longer bins; what they leave is estimated piece by piece.

    Parameters
    ----------
    recording : BaseRecording
        Of which the duration and the geometry are read.
    peaks : (n_peaks,) structured array
        Of one segment, by `sample_index`.
    locations : (n_peaks, 2) float
        um.
    amplitudes : (n_peaks,) float
    device : str
        Where the bins are compared, as `compute_device` has it.
    **windows
        SpikeInterface's parameters of the windows of depth.

    Returns
    -------
    Motion
        Of one segment, which starts at zero.
    """
    # one segment, which starts at zero
    whole, duration_s = concatenate_recordings([recording]), duration_of(recording)
    coarse_s = max(BIN_S, duration_s / MOST_BINS)
    in_bins = partial(_in_bins, device=device, windows=windows)
    coarse = in_bins(whole, peaks, locations, amplitudes, coarse_s)
    if coarse_s == BIN_S:
        return coarse
    rate, samples = recording.sampling_frequency, peaks["sample_index"]
    left = locations.astype("float64")
    left[:, 1] -= coarse.get_displacement_at_time_and_depth(samples / rate, left[:, 1])
    n_samples = whole.get_num_samples()
    edges = np.linspace(0, n_samples, int(np.ceil(duration_s / PIECE_S)) + 1).astype(int).tolist()
    bins, moved = [], []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        here = slice(*np.searchsorted(samples, [start, end]))
        mine = peaks[here].copy()
        mine["sample_index"] -= start
        piece = concatenate_recordings([whole.frame_slice(start, end)])
        fine = in_bins(piece, mine, left[here], amplitudes[here], BIN_S)
        times = fine.temporal_bins_s[0] + start / rate
        before = np.stack(
            [coarse.get_displacement_at_time_and_depth(times, np.full(len(times), z)) for z in coarse.spatial_bins_um],
            axis=1,
        )
        # the longer bins say where a piece lies as a whole
        bins.append(times)
        moved.append(before + fine.displacement[0] - np.median(fine.displacement[0], axis=0))
    return Motion([np.concatenate(moved)], [np.concatenate(bins)], coarse.spatial_bins_um, direction=coarse.direction)


def _in_bins(recording, peaks, locations, amplitudes, bin_s, device, windows):
    signed = peaks.copy()
    signed["amplitude"] = -np.abs(amplitudes)
    where = np.zeros(len(peaks), dtype=[("x", "float64"), ("y", "float64")])
    where["x"], where["y"] = locations[:, 0], locations[:, 1]
    estimate = partial(
        si_estimate_motion,
        recording,
        signed,
        where,
        method="dredge_ap",
        bin_s=bin_s,
        bin_um=DEPTH_BIN_UM,
        histogram_depth_smooth_um=DEPTH_SMOOTH_UM,
        progress_bar=False,
        verbose=False,
        **windows,
    )
    on_cpu = partial(estimate, device=CPU)
    if device == CPU:
        return on_cpu()
    there = OnDevice(device, "estimate motion")
    return there.attempt(partial(estimate, device=there.torch_device), on_cpu)
