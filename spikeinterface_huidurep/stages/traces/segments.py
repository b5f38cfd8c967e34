"""Segments of a recording: stretches of traces from all over it, and what lies away from their ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.time_series_tools import get_random_sample_slices

# of the samples from which a noise is measured one in so many is looked at: neighbours in time tell little more
STRIDE = 3


def duration_of(recording: BaseRecording) -> float:
    """How long the traces last, s: SpikeInterface's `get_total_duration` counts the pauses of a time vector, too."""
    return recording.get_total_samples() / recording.sampling_frequency


def some_segments(recording: BaseRecording, n_chunks: int, chunk_size: int, seed: int) -> np.ndarray:
    """
    Choose the segments from which chunks are read, so that many segments need no more memory than one.

    Parameters
    ----------
    recording : BaseRecording
    n_chunks : int
        How many chunks are wanted in all.
    chunk_size : int
        Samples of each.
    seed : int
        Chooses the segments; longer ones are chosen more often.

    Returns
    -------
    (n,) int
        In order: all segments where there are no more than chunks; where segments are shorter than a chunk, as many as
        hold what is wanted.
    """
    n_samples = np.array([recording.get_num_samples(i) for i in range(recording.get_num_segments())])
    n_wanted = int(np.ceil(n_chunks * chunk_size / min(chunk_size, np.median(n_samples))))
    if len(n_samples) <= n_wanted:
        return np.arange(len(n_samples))
    chosen = np.random.default_rng(seed).choice(len(n_samples), n_wanted, replace=False, p=n_samples / n_samples.sum())
    return np.sort(chosen)


def random_stretches(
    recording: BaseRecording, *, duration_s: float, seed: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """
    Read stretches of one second from random places.

    Parameters
    ----------
    recording : BaseRecording
    duration_s : float
        How much is read in all, s.
    seed : int
        Chooses the places.

    Yields
    ------
    segment_index : int
    start_frame : int
    traces : (n_samples, n_channels) array
        Shorter than a second where the shortest of the segments is that they are from.
    """
    second = int(recording.sampling_frequency)
    chosen = some_segments(recording, int(np.ceil(duration_s)), second, seed)
    shortest = min(recording.get_num_samples(i) for i in chosen)
    slices = get_random_sample_slices(
        recording if len(chosen) == recording.get_num_segments() else recording.select_segments(chosen),
        method="full_random",
        num_chunks_per_segment=max(1, int(np.ceil(duration_s / len(chosen)))),
        chunk_size=min(second, shortest),
        seed=seed,
    )
    for chosen_index, start, end in slices:
        segment_index = int(chosen[chosen_index])
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
    Stretches spread evenly over the recording, however many segments it has.

    Parameters
    ----------
    recording : BaseRecording
    duration_s : float
        How much is wanted in all, s.
    length_s : float
        Of each stretch, s; one that goes over the end of a segment goes on in the next.

    Returns
    -------
    list of (segment_index, start_frame, end_frame), or None
        None for all of it, where it is hardly longer than what is wanted.
    """
    if duration_of(recording) <= 1.5 * duration_s:
        return None
    # segments are taken as one line: if each had a stretch of its own, all of many short trials would be read
    n_samples = [recording.get_num_samples(segment) for segment in range(recording.get_num_segments())]
    ends = np.cumsum(n_samples)
    length = int(length_s * recording.sampling_frequency)
    every = int(length_s * ends[-1] / duration_s)
    stretches = []
    for start in range(0, int(ends[-1]), every):
        stop = min(start + length, int(ends[-1]))
        while start < stop:
            segment = int(np.searchsorted(ends, start, side="right"))
            first, last = start - int(ends[segment]) + n_samples[segment], min(stop, int(ends[segment]))
            stretches.append((segment, first, first + last - start))
            start = last
    return stretches


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
