"""Motion: how the probe moves against the tissue, from the spikes' locations."""

from __future__ import annotations

import logging

import numpy as np
from scipy.ndimage import median_filter
from spikeinterface.core import BaseRecording
from spikeinterface.core.motion import Motion
from spikeinterface.sortingcomponents.motion import estimate_motion as si_estimate_motion

logger = logging.getLogger("spikeinterface_huidurep")

# fewer peaks a second and a shorter stretch of depth than these say too little about motion
MIN_PEAKS_PER_S = 10.0
MIN_DEPTH_SPAN_UM = 150.0
MIN_CHANNELS = 16
MIN_DURATION_S = 30.0
# an estimate that moves less than this is taken for the noise of a still probe
MIN_RANGE_UM = 4.0
# least correlation of the motions that two halves of the peaks show, medians over so many bins of time
MIN_AGREEMENT = 0.6
MEDIAN_BINS = 5
# depths are smoothed by this much before they are correlated: at SpikeInterface's one micrometre a few hundred spikes
# a second are too sparse (median error 1.7 um against 0.6 um on a simulated zigzag of 64 channels)
DEPTH_SMOOTH_UM = 3.0


def estimate_motion(
    recording: BaseRecording,
    peaks: np.ndarray,
    locations: np.ndarray,
    amplitudes: np.ndarray,
    *,
    correct: str | bool = "auto",
    given: Motion | None = None,
    non_rigid_span_um: float = 800.0,
) -> Motion | None:
    """
    Estimate the displacement of the probe with DREDge (Windolf et al. 2023), through SpikeInterface.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces; only their duration and geometry are read.
    peaks : (n_peaks,) structured array
    locations : (n_peaks, 2) float
        Estimated location of each peak, um.
    amplitudes : (n_peaks,) float
        Amplitude of each peak, in units of noise.
    correct : {"auto", True, False}
        "auto" estimates where the probe, the duration and the number of peaks allow it, and drops an estimate that
        hardly moves or that two halves of the peaks do not share; True always estimates; False never does.
    given : Motion, optional
        A motion that is already known; it is used as it is.
    non_rigid_span_um : float
        Probes longer than this get a displacement that varies with depth.

    Returns
    -------
    Motion or None
        None for a probe that is taken as still. The reason is logged.
    """
    if given is not None:
        logger.info("motion: the given one is used")
        return given
    if correct is False:
        return None
    depths = recording.get_channel_locations()[:, 1]
    duration = recording.get_total_duration()
    if correct == "auto":
        reason = _why_not(recording.get_num_channels(), np.ptp(depths), duration, len(peaks))
        if reason:
            logger.info("motion: not corrected, %s", reason)
            return None
    single, times_offset = _one_segment(recording, peaks)
    rigid = bool(np.ptp(depths) <= non_rigid_span_um)
    motion = _dredge(recording, single, locations, amplitudes, rigid)
    motion = _split_segments(motion, recording, times_offset)
    low, high = motion.get_boundaries()
    if correct == "auto" and high - low < MIN_RANGE_UM:
        logger.info("motion: not corrected, the probe moves less than %.0f um", MIN_RANGE_UM)
        return None
    if correct == "auto" and not _halves_agree(recording, single, locations, amplitudes, rigid):
        logger.info("motion: not corrected, two halves of the peaks do not agree on it")
        return None
    logger.info("motion: corrected, displacements from %.0f to %.0f um", low, high)
    return motion


def displacement_at(
    motion: Motion | None, recording: BaseRecording, peaks: np.ndarray, depths: np.ndarray
) -> np.ndarray:
    """Displacement (um) at each peak, (n_peaks,) float64, zero where the probe is still."""
    displacement = np.zeros(len(peaks))
    if motion is None:
        return displacement
    times = peaks["sample_index"] / recording.sampling_frequency
    for segment_index in range(recording.get_num_segments()):
        here = peaks["segment_index"] == segment_index
        if here.any():
            displacement[here] = motion.get_displacement_at_time_and_depth(
                times[here], depths[here].astype("float64"), segment_index=segment_index
            )
    return displacement


def _why_not(n_channels, span_um, duration_s, n_peaks):
    if n_channels < MIN_CHANNELS or span_um < MIN_DEPTH_SPAN_UM:
        return f"{n_channels} channels over {span_um:.0f} um are too few"
    if duration_s < MIN_DURATION_S:
        return f"{duration_s:.0f} s are too short"
    if n_peaks < MIN_PEAKS_PER_S * duration_s:
        return f"{n_peaks} peaks are too few"
    return ""


def _one_segment(recording, peaks):
    """Peaks on one time line, segments one after the other, and where each segment starts on it (s)."""
    lengths = [recording.get_num_samples(i) for i in range(recording.get_num_segments())]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    single = peaks.copy()
    single["sample_index"] += starts[:-1][peaks["segment_index"]]
    single["segment_index"] = 0
    return single, starts / recording.sampling_frequency


def _dredge(recording, peaks, locations, amplitudes, rigid):
    from spikeinterface.core import concatenate_recordings

    if recording.get_num_segments() > 1:
        recording = concatenate_recordings([recording])
    signed = peaks.copy()
    signed["amplitude"] = -np.abs(amplitudes)
    where = np.zeros(len(peaks), dtype=[("x", "float64"), ("y", "float64")])
    where["x"], where["y"] = locations[:, 0], locations[:, 1]
    return si_estimate_motion(
        recording,
        signed,
        where,
        method="dredge_ap",
        rigid=rigid,
        win_step_um=300.0,
        win_scale_um=350.0,
        win_margin_um=None if not rigid else 0.0,
        histogram_depth_smooth_um=DEPTH_SMOOTH_UM,
        progress_bar=False,
        verbose=False,
        device="cpu",
    )


def _halves_agree(recording, peaks, locations, amplitudes, rigid):
    """Whether every other peak shows the same motion as the rest: what is only noise does not."""
    halves = [
        _dredge(recording, peaks[start::2], locations[start::2], amplitudes[start::2], rigid).displacement[0]
        for start in (0, 1)
    ]
    n_bins = min(len(half) for half in halves)
    # a few bins in which a half of the peaks was not enough are no disagreement, nor is a jump in one bin an agreement
    smooth = [median_filter(half[:n_bins], size=(MEDIAN_BINS, 1)) for half in halves]
    first, second = ((half - half.mean(axis=0)).ravel() for half in smooth)
    scale = np.sqrt((first**2).sum() * (second**2).sum())
    return scale > 0 and (first * second).sum() / scale >= MIN_AGREEMENT


def _split_segments(motion, recording, starts):
    """The motion of the one time line, cut back into segments that each start at zero."""
    n_segments = recording.get_num_segments()
    if n_segments == 1:
        return motion
    displacement, times = motion.displacement[0], motion.temporal_bins_s[0]
    pieces, piece_times = [], []
    for segment in range(n_segments):
        inside = (times >= starts[segment]) & (times < starts[segment + 1])
        if not inside.any():
            inside = np.abs(times - starts[segment]) == np.abs(times - starts[segment]).min()
        pieces.append(displacement[inside])
        piece_times.append(times[inside] - starts[segment])
    return Motion(pieces, piece_times, motion.spatial_bins_um, direction=motion.direction)


def displacement_grid(motion: Motion | None, step_um: float = 5.0) -> np.ndarray:
    """Displacements (um) that cover the motion in equal steps, zero among them; zero alone for a still probe."""
    if motion is None:
        return np.zeros(1)
    low, high = motion.get_boundaries()
    return step_um * np.arange(np.floor(low / step_um), np.ceil(high / step_um) + 1)
