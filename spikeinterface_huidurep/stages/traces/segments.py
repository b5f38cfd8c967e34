"""Segments of a recording: stretches of traces from all over it, and what lies away from their ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.time_series_tools import get_random_sample_slices


def random_stretches(
    recording: BaseRecording, *, duration_s: float, seed: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """
    Read stretches of one second from random places.

    Parameters
    ----------
    recording : BaseRecording
    duration_s : float
        How much is read in all, s; at least one stretch of each segment.
    seed : int
        Chooses the places.

    Yields
    ------
    segment_index : int
    start_frame : int
    traces : (n_samples, n_channels) array
        Shorter than a second where the shortest segment is.
    """
    shortest = min(recording.get_num_samples(i) for i in range(recording.get_num_segments()))
    slices = get_random_sample_slices(
        recording,
        method="full_random",
        num_chunks_per_segment=max(1, int(np.ceil(duration_s / recording.get_num_segments()))),
        chunk_size=min(int(recording.sampling_frequency), shortest),
        seed=seed,
    )
    for segment_index, start, end in slices:
        yield segment_index, start, recording.get_traces(segment_index=segment_index, start_frame=start, end_frame=end)


def away_from_ends(recording: BaseRecording, spikes: np.ndarray, before: int, after: int) -> np.ndarray:
    """
    Find the spikes whose waveform is not cut by the start or the end of their segment.

    Parameters
    ----------
    recording : BaseRecording
    spikes : (n_spikes,) structured array
        With `sample_index` and `segment_index`.
    before, after : int
        Samples that the waveform has before and after the spike's.

    Returns
    -------
    (n_spikes,) bool
    """
    n_samples = np.array([recording.get_num_samples(i) for i in range(recording.get_num_segments())])
    at = spikes["sample_index"]
    return (at >= before) & (at < n_samples[spikes["segment_index"]] - after)


def stretches_all_over(
    recording: BaseRecording, duration_s: float, length_s: float = 2.0
) -> list[tuple[int, int, int]] | None:
    """
    Stretches spread evenly over the recording.

    Parameters
    ----------
    recording : BaseRecording
    duration_s : float
        How much is wanted in all, s.
    length_s : float
        Of each stretch, s.

    Returns
    -------
    list of (segment_index, start_frame, end_frame), or None
        None for all of it, where it is hardly longer than what is wanted.
    """
    total = recording.get_total_duration()
    if total <= 1.5 * duration_s:
        return None
    every = int(length_s * recording.sampling_frequency * total / duration_s)
    length = int(length_s * recording.sampling_frequency)
    return [
        (segment, start, min(start + length, recording.get_num_samples(segment)))
        for segment in range(recording.get_num_segments())
        for start in range(0, recording.get_num_samples(segment), every)
    ]


def stretches_around(recording: BaseRecording, spikes: np.ndarray, margin: int) -> list[tuple[int, int, int]]:
    """
    Stretches around spikes, those that overlap joined.

    Parameters
    ----------
    recording : BaseRecording
    spikes : (n_spikes,) structured array
        With `sample_index` and `segment_index`.
    margin : int
        Samples before and after each.

    Returns
    -------
    list of (segment_index, start_frame, end_frame)
    """
    stretches: list[tuple[int, int, int]] = []
    for segment, sample in sorted(zip(spikes["segment_index"].tolist(), spikes["sample_index"].tolist(), strict=True)):
        start, end = max(sample - margin, 0), min(sample + margin, recording.get_num_samples(segment))
        if stretches and stretches[-1][0] == segment and start <= stretches[-1][2]:
            start = stretches.pop()[1]
        stretches.append((segment, start, end))
    return stretches
