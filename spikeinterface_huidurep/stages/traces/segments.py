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
