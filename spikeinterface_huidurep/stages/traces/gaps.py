"""Gaps: stretches in which no channel changes, such as the zeros that stand for data that was lost or blanked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spikeinterface.core import BaseRecording, get_chunk_with_margin
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

# noise that stands still for so long on all channels is none
LEAST_GAP_MS = 1.0
# filtered traces, in units of noise, stay below this on all channels for so long only where there is nothing
SILENCE = 0.02
# in a recording of this many samples, noise looks like a gap this often at most
LONGEST_RECORDING, BY_CHANCE = 1e9, 0.01
# of n channels so many are taken as independent of each other: n to this power
INDEPENDENT = 0.75
# so long the traces take from what is before a gap to the baseline, and from there to what is after it, ms
RAMP_MS = 10.0


@dataclass(frozen=True)
class Stillness:
    """
    What is a gap in a recording.

    Attributes
    ----------
    least : int
        A gap has so many steps, from a sample to the next, in which no channel changes.
    level : bool
        Whether a sample at which all channels have one value is a gap by itself.
    """

    least: int
    level: bool = False


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


def choose_stillness(sample: np.ndarray, sampling_frequency: float) -> Stillness:
    """
    Choose the shortest gap that noise cannot be taken for.

    Converters with coarse steps give a channel the same value many times in a row, and few channels do so together.

    Parameters
    ----------
    sample : (n_samples, n_channels) array
        Some of the traces.
    sampling_frequency : float
        Hz.

    Returns
    -------
    Stillness
        Of `LEAST_GAP_MS` at most.
    """
    longest = ms_to_samples(LEAST_GAP_MS, sampling_frequency)
    moving = sample[~still_samples(sample, Stillness(longest))]
    if len(moving) < 2:
        return Stillness(longest)
    rare = np.log(BY_CHANCE / LONGEST_RECORDING)

    def chance(same):  # the logarithm, of a step in which all of some pairs of values agree
        share = float(np.median(same.mean(axis=0)))
        return same.shape[1] ** INDEPENDENT * np.log(share) if share > 0 else -np.inf

    step = chance(moving[1:] == moving[:-1])
    least = 1 if step <= rare else longest if step == 0 else min(int(np.ceil(rare / step)), longest)
    level = moving.shape[1] > 1 and chance(moving[:, 1:] == moving[:, :-1]) <= rare
    return Stillness(least, bool(level))


def still_samples(traces: np.ndarray, stillness: Stillness) -> np.ndarray:
    """
    Find the samples of gaps.

    Parameters
    ----------
    traces : (n_samples, n_channels) array
    stillness : Stillness

    Returns
    -------
    (n_samples,) bool
    """
    still = np.zeros(len(traces), dtype=bool)
    # one channel says where it is worth to look at all
    same = traces[1:, 0] == traces[:-1, 0]
    after = np.flatnonzero(same) + 1
    if len(after) < len(traces) // 8:
        same[after - 1] = np.all(traces[after] == traces[after - 1], axis=1)
    else:
        same = np.all(traces[1:] == traces[:-1], axis=1)
    steps = long_runs(same, stillness.least)
    still[1:] |= steps
    still[:-1] |= steps
    if stillness.level:
        level = np.flatnonzero(traces[:, 0] == traces[:, -1])
        still[level[np.all(traces[level] == traces[level, :1], axis=1)]] = True
    return still


def silent_samples(traces: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """Find the samples of gaps in filtered traces, in units of noise: (n_samples,) bool."""
    silent = np.all(np.abs(traces) < SILENCE, axis=1)
    return long_runs(silent, ms_to_samples(LEAST_GAP_MS, sampling_frequency))


class FilledRecording(BasePreprocessor):
    """
    The recording with its gaps filled, short ones by a line, long ones by the baseline, reached and left on ramps.

    A gap of zeros in traces with an offset has a step at both ends, and a filter makes a burst of spikes of each. So
    does the baseline where traces are far from it, as in a slow wave.

    Parameters
    ----------
    recording : BaseRecording
    baseline : list of float
        The value that each channel has in long gaps.
    least : int
    level : bool
        See `Stillness`.
    """

    name = "filled"

    def __init__(self, recording: BaseRecording, baseline: list[float], least: int, level: bool = False):
        BasePreprocessor.__init__(self, recording)
        values, stillness = np.asarray(baseline, dtype="float64"), Stillness(least, level)
        ramp = ms_to_samples(RAMP_MS, recording.sampling_frequency)
        for segment in recording.segments:
            self.add_recording_segment(_FilledSegment(segment, values, stillness, ramp))
        self._kwargs = dict(
            recording=recording, baseline=[float(value) for value in baseline], least=least, level=level
        )


class _FilledSegment(BasePreprocessorSegment):
    def __init__(self, parent, baseline, stillness, ramp):
        BasePreprocessorSegment.__init__(self, parent)
        self.baseline, self.stillness, self.ramp = baseline, stillness, ramp

    def get_traces(self, start_frame, end_frame, channel_indices):
        # whether a sample lies in a gap is asked of all channels, and a gap may begin and end outside of the chunk
        margin = self.ramp + self.stillness.least + 1
        traces, before, after = get_chunk_with_margin(
            self.parent_recording_segment, start_frame, end_frame, None, margin
        )
        still = still_samples(traces, self.stillness)
        if still.any():
            traces = traces.copy()
            fill_gaps(traces, still, self.baseline, self.ramp)
        traces = traces[before : len(traces) - after]
        return traces if channel_indices is None else traces[:, channel_indices]


def fill_gaps(traces: np.ndarray, still: np.ndarray, baseline: np.ndarray, ramp: int) -> None:
    """
    Fill gaps in place.

    Parameters
    ----------
    traces : (n_samples, n_channels) array
    still : (n_samples,) bool
        The samples of gaps.
    baseline : (n_channels,) float64
    ramp : int
        A gap that is shorter than this is filled with a line from the sample before to the one after; in a longer one
        the line reaches the baseline, and leaves it, within so many samples.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype("int8"))).reshape(-1, 2)
    for start, end in edges:
        if start == 0 and end == len(traces):
            traces[:] = baseline
            continue
        left = traces[end if start == 0 else start - 1] - baseline
        right = traces[start - 1 if end == len(traces) else end] - baseline
        length = min(end - start + 1, ramp)
        distance = np.arange(1, end - start + 1)[:, None]
        falling = np.maximum(1 - distance / length, 0.0)
        filling = baseline + falling * left + falling[::-1] * right
        traces[start:end] = np.rint(filling) if traces.dtype.kind == "i" else filling
