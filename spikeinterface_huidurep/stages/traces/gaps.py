"""Gaps: stretches in which no channel changes, such as the zeros that stand for data that was lost."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

# noise that stands still for so long on all channels is none
LEAST_GAP_MS = 1.0
# filtered traces, in units of noise, stay below this on all channels for so long only where there is nothing
SILENCE = 0.02


def long_runs(mask: np.ndarray, least: int) -> np.ndarray:
    """
    Keep the runs of True that are long.

    Parameters
    ----------
    mask : (n,) bool
    least : int
        Length of the shortest run that is kept.

    Returns
    -------
    (n,) bool
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype("int8")))
    kept = np.zeros(len(mask), dtype=bool)
    for start, end in edges.reshape(-1, 2)[np.diff(edges.reshape(-1, 2), axis=1)[:, 0] >= least]:
        kept[start:end] = True
    return kept


def still_samples(traces: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """
    Find the samples of gaps.

    Parameters
    ----------
    traces : (n_samples, n_channels) array
    sampling_frequency : float
        Hz.

    Returns
    -------
    (n_samples,) bool
        True where no channel changes for `LEAST_GAP_MS` and more.
    """
    same = np.all(traces[1:] == traces[:-1], axis=1)
    least = ms_to_samples(LEAST_GAP_MS, sampling_frequency)
    steps = long_runs(same, least)
    still = np.zeros(len(traces), dtype=bool)
    still[1:] |= steps
    still[:-1] |= steps
    return still


def silent_samples(traces: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """Find the samples of gaps in filtered traces, in units of noise: (n_samples,) bool."""
    silent = np.all(np.abs(traces) < SILENCE, axis=1)
    return long_runs(silent, ms_to_samples(LEAST_GAP_MS, sampling_frequency))


class FilledRecording(BasePreprocessor):
    """
    The recording with its baseline in the gaps.

    A gap of zeros in traces with an offset has a step at both ends, and a filter makes a burst of spikes of each.

    Parameters
    ----------
    recording : BaseRecording
    baseline : list of float
        The value that each channel has in the gaps.
    """

    name = "filled"

    def __init__(self, recording: BaseRecording, baseline: list[float]):
        BasePreprocessor.__init__(self, recording)
        values = np.asarray(baseline).astype(recording.get_dtype())
        for segment in recording.segments:
            self.add_recording_segment(_FilledSegment(segment, values, recording.sampling_frequency))
        self._kwargs = dict(recording=recording, baseline=[float(value) for value in baseline])


class _FilledSegment(BasePreprocessorSegment):
    def __init__(self, parent, baseline, rate):
        BasePreprocessorSegment.__init__(self, parent)
        self.baseline, self.rate = baseline, rate  # a segment with a time vector has no sampling frequency

    def get_traces(self, start_frame, end_frame, channel_indices):
        # whether a sample lies in a gap is asked of all channels
        traces = self.parent_recording_segment.get_traces(start_frame, end_frame, slice(None))
        still = still_samples(traces, self.rate)
        if still.any():
            traces = traces.copy()
            traces[still] = self.baseline
        return traces if channel_indices is None else traces[:, channel_indices]
