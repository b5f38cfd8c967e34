"""Centring: traces of wide types without an offset so large that single precision could not hold the spikes on it."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.preprocessing import unsigned_to_signed
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment


def centred(recording: BaseRecording, sample: np.ndarray) -> BaseRecording:
    """
    Signed traces near enough to zero for single precision.

    Parameters
    ----------
    recording : BaseRecording
        Integer or real traces.
    sample : (n_samples, n_channels) array
        Some of them.

    Returns
    -------
    BaseRecording
        The recording itself where single precision holds all of it.
    """
    dtype = np.dtype(recording.get_dtype())
    if dtype.itemsize < 4 and dtype.kind == "u":
        return unsigned_to_signed(recording)
    if dtype.itemsize < 4 or (dtype.itemsize == 4 and dtype.kind == "f"):
        return recording
    # the middle value, which a mean of two would round
    middle = np.sort(sample, axis=0)[len(sample) // 2]
    return CentredRecording(recording, middle.tolist())


class CentredRecording(BasePreprocessor):
    """
    The recording less a value for each channel, exactly, in a signed type of the same width.

    Parameters
    ----------
    recording : BaseRecording
        Of 4 or 8 bytes a value.
    centre : list of int or float
        The value that becomes 0; differences to it must fit into the type.
    """

    name = "centred"

    def __init__(self, recording: BaseRecording, centre: list):
        given = np.dtype(recording.get_dtype())
        signed = np.dtype(f"{'f' if given.kind == 'f' else 'i'}{given.itemsize}")
        BasePreprocessor.__init__(self, recording, dtype=signed)
        values = np.asarray(centre, dtype=given.newbyteorder("="))
        for segment in recording.segments:
            self.add_recording_segment(_CentredSegment(segment, values, signed))
        self._kwargs = dict(recording=recording, centre=list(centre))


class _CentredSegment(BasePreprocessorSegment):
    def __init__(self, parent, centre, dtype):
        BasePreprocessorSegment.__init__(self, parent)
        self.centre, self.dtype = centre, dtype

    def get_traces(self, start_frame, end_frame, channel_indices):
        channels = slice(None) if channel_indices is None else channel_indices
        traces = self.parent_recording_segment.get_traces(start_frame, end_frame, channels)
        # differences of unsigned integers wrap around, and are right once they are read as signed
        return (traces.astype(self.centre.dtype, copy=False) - self.centre[channels]).view(self.dtype)
