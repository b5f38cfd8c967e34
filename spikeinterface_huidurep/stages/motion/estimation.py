"""Motion: how the probe moves against the tissue, from the spikes' locations or from their waveforms."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
from scipy.ndimage import median_filter
from spikeinterface.core import BaseRecording
from spikeinterface.core.motion import Motion

from ..device import CPU
from ..spike_features import SpikeFeatures
from ..traces.segments import duration_of
from .alignment import align_motion
from .dredge import dredge
from .from_waveforms import WINDOW_UM, has_depth, motion_from_waveforms, refine_from_waveforms
from .jumps import JUMP_BINS, sharpen_jumps

logger = logging.getLogger("spikeinterface_huidurep")

# with fewer peaks a second, or in a shorter recording, motion cannot be estimated
MIN_PEAKS_PER_S = 10.0
MIN_DURATION_S = 30.0
# on a probe that is too short for locations to show motion, waveforms do, from so many peaks on
MIN_PEAKS = 500
# an estimate that moves less than this is taken for the noise of a still probe
MIN_RANGE_UM = 4.0
# least correlation of the motions that two halves of the peaks show, medians over as many bins of time as a jump has
MIN_AGREEMENT = 0.6
# least share of the spikes on such a probe whose units follow what the others show: 0 to 0.06 on tetrodes and
# stereotrodes at rest; 0.33 to 1 where they move; 0.25 to 0.5 where the waveforms of all units age
MIN_FOLLOWED = 0.15
# the same, compared with the motion's pieces in another order, which also shows motion that goes one way: 0 to 0.16 at
# rest; 0.46 to 1 in 60 to 90 s of a moving tetrode or stereotrode
MIN_IN_ORDER = 0.4
# windows of depth overlap by half; their centres stay away from the probe's ends, where spikes come and go
WINDOW_STEP_UM, WINDOW_MARGIN_UM = WINDOW_UM / 2, WINDOW_UM
# on probes longer than this, um, the displacement is free to change with depth, in windows with this step
NON_RIGID_SPAN_UM, NON_RIGID_STEP_UM = 800.0, 300.0
# a probe with so many windows gets the motion that they agree on
MIN_WINDOWS = 3
# windows of a rigid motion differ, too: where units leave the probe they lag behind, by up to a third of the motion.
# The displacement is taken to change with depth if it differs by the first share of itself between the ends of the
# probe, and if all windows lie on a line to within the second
MIN_GRADIENT, STRAIGHT = 0.5, 0.15


def estimate_motion(
    recording: BaseRecording,
    peaks: np.ndarray,
    features: SpikeFeatures,
    *,
    correct: str | bool = "auto",
    given: Motion | None = None,
    non_rigid_span_um: float = NON_RIGID_SPAN_UM,
    seed: int = 0,
    device: str = CPU,
) -> Motion | None:
    """
    Estimate the displacement of the probe: from the locations of the spikes, on a short probe from their waveforms.

    Locations go to DREDge (Windolf et al. 2023), through SpikeInterface. Probes up to `non_rigid_span_um` long get what
    windows of depth agree on: their median, which is nearer to the truth than one estimate from all depths, since the
    windows near the ends go wrong where units leave the probe; or, where the windows' motions grow along the probe, a
    straight line through them (Theil 1950, Sen 1968). Probes that span less than 100 um show no motion that
    way; there it is read from how the waveforms of all units change together (`motion_from_waveforms`).

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces; only their duration and geometry are read.
    peaks : (n_peaks,) structured array
        `sample_index`, `segment_index`.
    features : SpikeFeatures
        Of the peaks: vectors, locations (um) and amplitudes (units of noise).
    correct : {"auto", True, False}
        "auto" estimates where duration and number of peaks allow it, and accepts what two halves of them agree on.
    given : Motion, optional
        One that is known already.
    non_rigid_span_um : float
        Displacements vary freely with depth on probes longer than this.
    seed : int
        For the clusters of waveforms.
    device : str
        Where DREDge computes, as `compute_device` has it.

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
    short = not has_depth(recording.get_channel_locations())
    reason = _why_not(duration_of(recording), len(peaks), short) if correct == "auto" else ""
    if reason:
        logger.info("motion: not corrected, %s", reason)
        return None
    single, times_offset = _one_segment(recording, peaks)
    if short:
        motion = _of_short_probe(recording, single, features, correct, seed)
    else:
        one_motion = partial(_one_motion, recording, non_rigid_span_um, device)
        motion = _of_long_probe(recording, single, features, correct, one_motion)
    if motion is None:
        return None
    kind = "the same at all depths" if len(motion.spatial_bins_um) == 1 else "that change with depth"
    if short:
        kind += ", on a scale of their own: this probe does not show um"
    low, high = motion.get_boundaries()
    logger.info("motion: corrected, displacements from %.0f to %.0f um, %s", low, high, kind)
    return _split_segments(motion, recording, times_offset)


def _of_short_probe(recording, peaks, features, correct, seed):
    """The motion that waveforms show; None where it is not accepted."""
    times = peaks["sample_index"] / recording.sampling_frequency
    motion, followed, in_order = motion_from_waveforms(times, features, seed)
    if correct == "auto" and followed < MIN_FOLLOWED and in_order < MIN_IN_ORDER:
        logger.info(
            "motion: not corrected, the units do not change together (%.0f %% of the spikes, slow changes %.0f %%)",
            100 * followed, 100 * in_order,
        )  # fmt: skip
        return None
    if correct == "auto" and _is_small(motion):
        return None
    return refine_from_waveforms(motion, times, features, seed)


def _of_long_probe(recording, peaks, features, correct, one_motion):
    """The motion that locations show; None where it is not accepted."""
    locations, amplitudes = features.location, features.amplitude
    motion = one_motion(peaks, locations, amplitudes)
    if correct == "auto" and not _is_motion(motion, one_motion, peaks, locations, amplitudes):
        return None
    times = peaks["sample_index"] / recording.sampling_frequency
    if len(motion.spatial_bins_um) == 1:
        motion = align_motion(motion, times, locations[:, 1], amplitudes)
    return sharpen_jumps(motion, times, locations[:, 1], amplitudes)


def _is_small(motion):
    small = np.ptp(motion.displacement[0]) < MIN_RANGE_UM
    if small:
        logger.info("motion: not corrected, the probe moves less than %.0f um", MIN_RANGE_UM)
    return small


def _is_motion(motion, one_motion, peaks, locations, amplitudes):
    """Whether an estimate is more than the noise of a still probe."""
    if _is_small(motion):
        return False
    if not _halves_agree(one_motion, peaks, locations, amplitudes):
        logger.info("motion: not corrected, two halves of the peaks do not agree on it")
        return False
    return True


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


def register(locations: np.ndarray, displacement: np.ndarray, channel_locations: np.ndarray) -> np.ndarray:
    """
    Locations of the spikes where the units would be with the probe at rest.

    Parameters
    ----------
    locations : (n_spikes, 2) float
        On the probe, um.
    displacement : (n_spikes,) float
        Of the probe at each spike, um.
    channel_locations : (n_channels, 2) float
        um.

    Returns
    -------
    registered : (n_spikes, 2) float
        The locations themselves on a probe that is too short to see units move along it.
    """
    if not has_depth(channel_locations):
        return locations
    return locations - np.column_stack([np.zeros(len(displacement)), displacement])


def _why_not(duration_s, n_peaks, short):
    """Why motion is not estimated; an empty text where it is."""
    if duration_s < MIN_DURATION_S:
        return f"{duration_s:.0f} s are too short"
    if n_peaks < (MIN_PEAKS if short else MIN_PEAKS_PER_S * duration_s):
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


def _one_motion(recording, non_rigid_span_um, device, peaks, locations, amplitudes):
    """The motion on one time line: free along a long probe, what windows agree on along a shorter one, else rigid."""
    depths = recording.get_channel_locations()[:, 1]
    span = np.ptp(depths)
    estimate = partial(dredge, recording, peaks, locations, amplitudes, device=device)
    if span > non_rigid_span_um:
        return estimate(win_step_um=NON_RIGID_STEP_UM, win_scale_um=350.0)
    if span < 2 * WINDOW_MARGIN_UM + (MIN_WINDOWS - 1) * WINDOW_STEP_UM:
        return estimate(rigid=True, win_margin_um=0.0)
    windows = estimate(win_step_um=WINDOW_STEP_UM, win_scale_um=WINDOW_UM, win_margin_um=-WINDOW_MARGIN_UM)
    return _agreed(windows, np.array([depths.min(), depths.max()]))


def _agreed(windows, ends):
    """One displacement for all depths, or one that changes linearly between the ends of the probe."""
    places = windows.spatial_bins_um
    moved = windows.displacement[0] - np.median(windows.displacement[0], axis=0)
    middle = np.median(moved, axis=1)
    if len(places) < MIN_WINDOWS or not _grows(moved, middle, places, np.ptp(ends)):
        return Motion([middle[:, None]], windows.temporal_bins_s, np.array([ends.mean()]), direction=windows.direction)
    slope = _slope(moved, places)
    level = np.median(moved - slope[:, None] * places, axis=1)
    return Motion([level[:, None] + slope[:, None] * ends], windows.temporal_bins_s, ends, direction=windows.direction)


def _grows(moved, middle, places, span):
    """Whether the windows' motions, relative to their median, lie on a line along the probe that is steep enough."""
    growth = moved.T @ middle / max(float(middle @ middle), 1e-9)
    gradient = _slope(growth[None], places)[0]
    bent = growth - gradient * places
    return abs(gradient) * span >= MIN_GRADIENT and np.abs(bent - np.median(bent)).max() <= STRAIGHT


def _slope(values, places):
    """Median slope of all pairs, (n,), of values (n, n_places)."""
    one, other = np.triu_indices(len(places), 1)
    return np.median((values[:, other] - values[:, one]) / (places[other] - places[one]), axis=1)


def _halves_agree(one_motion, peaks, locations, amplitudes):
    """Whether every other peak shows the same motion as the rest: what is only noise does not."""
    halves = [one_motion(peaks[start::2], locations[start::2], amplitudes[start::2]) for start in (0, 1)]
    displacements = [half.displacement[0] for half in halves]
    if displacements[0].shape[1] != displacements[1].shape[1]:  # one half saw it change with depth
        displacements = [values.mean(axis=1, keepdims=True) for values in displacements]
    n_bins = min(len(half) for half in displacements)
    # the median: a few bins with too few peaks are not a disagreement, and a jump in one bin is not an agreement
    smooth = [median_filter(half[:n_bins], size=(JUMP_BINS, 1)) for half in displacements]
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
