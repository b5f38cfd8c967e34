"""Rescaling: no more samples than the traces need, and slow, wide potentials as if they were a neuron's spikes."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording, BaseRecordingSegment
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor

from ...parameters import DEFAULT_PARAMS

# traces are thinned out to no fewer samples than so many in a period of the highest frequency that they hold, or of the
# highest by default: at 15 kHz stages take half the time, and find as many units
SAMPLES_PER_PERIOD = 2.5
LEAST_RATE_HZ = SAMPLES_PER_PERIOD * DEFAULT_PARAMS["freq_max"]
# slow potentials to no less than this on the sort's clock: they are on few channels, where samples cost little, and at
# 15 kHz one muscle's unit of 24 fell into two
LEAST_SLOW_RATE_HZ = 30_000.0


def rescale(
    traces: BaseRecording, time_scale: float, distance_scale: float, *, freq_max: float | None
) -> tuple[BaseRecording, int]:
    """
    Thin the traces out, and bring potentials that last longer and reach farther to the size of a neuron's spikes.

    Parameters
    ----------
    traces : BaseRecording
        Preprocessed traces.
    time_scale, distance_scale : float
        How many times longer, and farther.
    freq_max : float or None
        Highest frequency in the traces, Hz; None where it is not known: then every sample is kept.

    Returns
    -------
    rescaled : BaseRecording
        The traces themselves where both scales are 1 and every sample is kept.
    step : int
        One sample in so many was kept.
    """
    step = 1
    if freq_max is not None:
        rate = LEAST_RATE_HZ if time_scale == 1 else LEAST_SLOW_RATE_HZ / time_scale
        least = max(rate, SAMPLES_PER_PERIOD * freq_max)
        step = max(int(traces.sampling_frequency / least), 1)
    if time_scale == 1 and distance_scale == 1 and step == 1:
        return traces, 1
    return RescaledRecording(traces, time_scale, distance_scale, step), step


class RescaledRecording(BasePreprocessor):
    """
    The traces with another clock and another yardstick.

    Parameters
    ----------
    recording : BaseRecording
        With a probe. Its times are forgotten: each segment starts at zero.
    time_scale : float
        Time passes so many times faster.
    distance_scale : float
        The contacts are so many times closer.
    step : int
        One sample in so many is kept.
    """

    name = "rescaled"

    def __init__(self, recording: BaseRecording, time_scale: float, distance_scale: float, step: int = 1):
        rate = recording.sampling_frequency * time_scale / step
        BasePreprocessor.__init__(self, recording, sampling_frequency=rate)
        for segment in recording.segments:
            self.add_recording_segment(_RescaledSegment(segment, rate, step))
        if distance_scale != 1:
            groups = recording.get_channel_groups()
            self.set_dummy_probe_from_locations(recording.get_channel_locations() / distance_scale)
            self.set_property("group", groups)
        self._kwargs = dict(recording=recording, time_scale=time_scale, distance_scale=distance_scale, step=step)


class _RescaledSegment(BaseRecordingSegment):
    def __init__(self, parent, sampling_frequency, step):
        BaseRecordingSegment.__init__(self, sampling_frequency=sampling_frequency)
        self.parent, self.step = parent, step

    def get_num_samples(self) -> int:
        return -(-self.parent.get_num_samples() // self.step)

    def get_traces(self, start_frame: int, end_frame: int, channel_indices) -> np.ndarray:
        last = min(end_frame * self.step, self.parent.get_num_samples())
        traces = self.parent.get_traces(start_frame * self.step, last, channel_indices)
        return np.ascontiguousarray(traces[:: self.step])
