"""Filling: gaps and blanks, whose ends would be taken for spikes, get a smooth curve."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording, get_chunk_with_margin
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from .blanks import Blanking, blank_stretches
from .gaps import RAMP_MS, SLOPE_MS, Stillness, fill_gaps, still_samples


class FilledRecording(BasePreprocessor):
    """
    The recording with its gaps and blanks filled, short ones by a curve, long ones by the baseline.

    A gap of zeros in traces with an offset has a step at both ends, and a filter makes a burst of spikes of each. So
    does the baseline where the traces are far from it, as in a slow wave.

    Parameters
    ----------
    recording : BaseRecording
    baseline : list of float
        The value that each channel has in long gaps.
    stillness : dict
        The attributes of `Stillness`: what is a gap on all channels.
    blanking : dict
        The attributes of `Blanking`: what is a blank on one.
    """

    name = "filled"

    def __init__(self, recording: BaseRecording, baseline: list[float], stillness: dict, blanking: dict):
        BasePreprocessor.__init__(self, recording)
        gaps, blanks, values = Stillness(**stillness), Blanking(**blanking), np.asarray(baseline, dtype="float64")
        lengths = [ms_to_samples(time, recording.sampling_frequency) for time in (RAMP_MS, SLOPE_MS)]
        for segment in recording.segments:
            self.add_recording_segment(_FilledSegment(segment, values, gaps, blanks, *lengths))
        self._kwargs = dict(
            recording=recording,
            baseline=[float(value) for value in baseline],
            stillness=dict(stillness),
            blanking=dict(blanking),
        )


class _FilledSegment(BasePreprocessorSegment):
    def __init__(self, parent, baseline, stillness, blanking, ramp, n_slope):
        BasePreprocessorSegment.__init__(self, parent)
        self.baseline, self.stillness, self.blanking = baseline, stillness, blanking
        self.ramp, self.n_slope = ramp, n_slope

    def get_traces(self, start_frame, end_frame, channel_indices):
        traces, _ = self.filled(start_frame, end_frame)
        return traces if channel_indices is None else traces[:, channel_indices]

    def filled(self, start_frame, end_frame):
        """Traces of all channels, and which values were filled in, (n_samples, n_channels) bool, or None for none."""
        # whether a sample lies in a gap is asked of all channels, and a gap may begin and end outside of the chunk
        margin = self.ramp + self.n_slope + max(self.stillness.least, *self.blanking.least) + 1
        traces, before, after = get_chunk_with_margin(
            self.parent_recording_segment, start_frame, end_frame, None, margin
        )
        still, blanks = still_samples(traces, self.stillness), blank_stretches(traces, self.blanking)
        inside, mask = slice(before, len(traces) - after), None
        if still.any() or blanks:
            traces, mask = traces.copy(), np.repeat(still[:, None], traces.shape[1], axis=1)
            fill_gaps(traces, still, self.baseline, self.ramp, self.n_slope)
            for channel, blank in blanks.items():
                mask[blank, channel] = True
                # what all channels have in common is filled already
                if (blank & ~still).any():
                    one = slice(channel, channel + 1)
                    fill_gaps(traces[:, one], blank, self.baseline[one], self.ramp, self.n_slope)
        return traces[inside], None if mask is None else mask[inside]


class SilencedRecording(BasePreprocessor):
    """
    Filtered traces that are zero where the recording was filled in: later stages see where nothing is known.

    Parameters
    ----------
    recording : BaseRecording
        What was made of `filled`, with the same samples and channels.
    filled : FilledRecording
    """

    name = "silenced"

    def __init__(self, recording: BaseRecording, filled: FilledRecording):
        BasePreprocessor.__init__(self, recording)
        for segment, before in zip(recording.segments, filled.segments, strict=True):
            self.add_recording_segment(_SilencedSegment(segment, before))
        self._kwargs = dict(recording=recording, filled=filled)


class _SilencedSegment(BasePreprocessorSegment):
    def __init__(self, parent, filled):
        BasePreprocessorSegment.__init__(self, parent)
        self.filled_segment = filled

    def get_traces(self, start_frame, end_frame, channel_indices):
        traces = self.parent_recording_segment.get_traces(start_frame, end_frame, None)
        _, mask = self.filled_segment.filled(start_frame, end_frame)
        if mask is not None:
            traces = np.where(mask, 0, traces)
        return traces if channel_indices is None else traces[:, channel_indices]
