"""Encoding: the waveforms of peaks on the channels around them, and what an encoder says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, get_channel_distances
from spikeinterface.core.node_pipeline import PeakRetriever, PipelineNode

from ...encoder.threads import one_torch_thread
from ..spike_features import SpikeFeatures
from ..traces.chunks import run_nodes

# Sorts look at 12 channels of a spike: with 20 they find no more units and take longer (docs/results.md). The encoder
# is given some more, to choose from where it finds the spike.
LOOKED_AT, SPARE = 12, 8


def encode_peaks(
    recording: BaseRecording, peaks: np.ndarray, encoder: Any, *, n_channels: int, job_kwargs: dict | None = None
) -> SpikeFeatures:
    """
    Encode the peaks with an encoder as it is, streaming over the recording.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    peaks : (n_peaks,) structured array
        As from `detect_peaks`, at least one window away from the segments' ends.
    encoder : Encoder
        Anything with `window_ms` and `encode`, see `spikeinterface_huidurep.encoder`.
    n_channels : int
        The nearest channels to the peak's channel, among which the encoder chooses its own.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    SpikeFeatures
        embedding (n_peaks, 32) float32; location (n_peaks, 2) float32, um; amplitude (n_peaks,) float32, noise units.
    """
    if len(peaks) == 0:
        return SpikeFeatures(np.zeros((0, 32), "f4"), np.zeros((0, 2), "f4"), np.zeros(0, "f4"))
    retriever = PeakRetriever(recording, peaks)
    node = EncodeSpikes(recording, encoder, n_channels=n_channels, parents=[retriever])
    with one_torch_thread():
        outputs = run_nodes(recording, [retriever, node], job_name="embed spikes", job_kwargs=job_kwargs)
    return SpikeFeatures(*outputs)


class EncodeSpikes(PipelineNode):
    """Pipeline node: gathers each peak's waveforms on the nearest channels and encodes them."""

    def __init__(
        self,
        recording: BaseRecording,
        encoder: Any,
        n_channels: int = LOOKED_AT + SPARE,
        parents: list[PipelineNode] | None = None,
        return_output: bool = True,
    ):
        PipelineNode.__init__(self, recording, parents=parents, return_output=return_output)
        self.encoder = encoder
        self.sampling_frequency = recording.sampling_frequency
        before_ms, after_ms = encoder.window_ms
        # one sample more on each side, so that resampling to the network's rate stays inside
        self.nbefore = int(np.ceil(before_ms * self.sampling_frequency / 1000)) + 1
        self.nafter = int(np.ceil(after_ms * self.sampling_frequency / 1000)) + 1
        distances = get_channel_distances(recording)
        self.neighbours = np.argsort(distances, axis=1, kind="stable")[:, :n_channels]
        self.channel_locations = recording.get_channel_locations()[:, :2].astype("float32")

    def __setstate__(self, state: dict) -> None:
        # a worker process that was spawned starts with torch's own number of threads
        import torch

        torch.set_num_threads(1)
        self.__dict__.update(state)

    def get_margin(self) -> int:
        return max(self.nbefore, self.nafter)

    def get_dtype(self) -> np.dtype:
        return np.dtype("float32")

    def compute(self, traces: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, ...]:
        window = np.arange(-self.nbefore, self.nafter)
        channels = self.neighbours[peaks["channel_index"]]
        waveforms = traces[(peaks["sample_index"][:, None] + window)[:, :, None], channels[:, None, :]]
        # the encoder knows troughs: a positive peak is shown to it upside down
        upside_down = peaks["amplitude"] > 0
        waveforms[upside_down] *= -1
        spikes = self.encoder.encode(waveforms, self.channel_locations[channels], self.sampling_frequency, self.nbefore)
        return spikes.shape_vectors, spikes.location, spikes.amplitude
