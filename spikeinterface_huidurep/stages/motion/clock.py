"""Clock: a sort counts time in samples from the start of each segment; a recording may have start times and pauses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.motion import Motion


def given_motion(folder: str | Path | None, recording: BaseRecording) -> Motion | None:
    """
    Load a motion that the user knows already, on the clock of a sort.

    Parameters
    ----------
    folder : str or Path or None
        In which a SpikeInterface Motion was saved; None: there is none.
    recording : BaseRecording
        To which the motion belongs.

    Returns
    -------
    Motion or None

    Raises
    ------
    ValueError
        If the motion has another number of segments than the recording.
    """
    if folder is None:
        return None
    motion, n_segments = Motion.load(Path(folder)), recording.get_num_segments()
    if motion.num_segments != n_segments:
        raise ValueError(f"The motion in {folder} has {motion.num_segments} segments, the recording {n_segments}.")
    return on_sample_clock(motion, recording)


def on_sample_clock(motion: Motion, recording: BaseRecording) -> Motion:
    """
    A motion in the recording's own times, as SpikeInterface estimates it, on the clock of a sort.

    Parameters
    ----------
    motion : Motion
        Its bins are in the times of the recording (s), with their start and pauses.
    recording : BaseRecording

    Returns
    -------
    Motion
        Its bins are samples from the start of each segment divided by the sampling frequency, s. Of the bins within a
        pause one is left.
    """
    displacement, bins = [], []
    for segment in range(recording.get_num_segments()):
        samples = np.asarray(recording.time_to_sample_index(motion.temporal_bins_s[segment], segment_index=segment))
        samples, first = np.unique(samples, return_index=True)
        displacement.append(motion.displacement[segment][first])
        bins.append(samples / recording.sampling_frequency)
    return Motion(displacement, bins, motion.spatial_bins_um, direction=motion.direction)


def on_recording_clock(
    motion: Motion, recording: BaseRecording, *, rate: float | None = None, step: int = 1, distance_scale: float = 1.0
) -> Motion:
    """
    The way back from `on_sample_clock`.

    Parameters
    ----------
    motion : Motion
        On the clock of a sort.
    recording : BaseRecording
        That was sorted.
    rate : float, optional
        Sampling frequency of the traces on the sort's clock, Hz; the recording's if None.
    step : int
        Of how many samples of the recording the traces have one.
    distance_scale : float
        How many times closer the contacts were in the sort.

    Returns
    -------
    Motion
        Its bins are in the recording's own times, s.
    """
    bins = []
    for segment, times in enumerate(motion.temporal_bins_s):
        samples = step * np.rint(times * (rate or recording.sampling_frequency)).astype("int64")
        last = recording.get_num_samples(segment) - 1
        inside = np.clip(samples, 0, last)
        # one by one: the times of a recording that was loaded from JSON are a list
        clock = np.array([recording.sample_index_to_time(sample, segment_index=segment) for sample in inside.tolist()])
        bins.append(clock + (samples - inside) / recording.sampling_frequency)
    displacement = [moved * distance_scale for moved in motion.displacement]
    return Motion(displacement, bins, motion.spatial_bins_um * distance_scale, direction=motion.direction)
