"""Adapting: on request the encoder is fine-tuned on the recording's own spikes, if that is a gain."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from .encoding import LOOKED_AT, SPARE, EncodeSpikes, encode_peaks


def adapt_to_peaks(
    recording: BaseRecording,
    peaks: np.ndarray,
    encoder: Any,
    *,
    steps: int,
    max_peaks: int = 10_000,
    seed: int = 0,
    job_kwargs: dict | None = None,
) -> Any:
    """
    Fine-tune the encoder on the waveforms of the peaks (`spikeinterface_huidurep.encoder.adapt_encoder`).

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    peaks : (n_peaks,) structured array
        As for `encode_peaks`.
    encoder : Encoder
        It is not changed.
    steps : int
        Training steps.
    max_peaks : int
        Of more peaks a random part is used.
    seed : int
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    Encoder
        The adapted one where it tells units of this recording apart better than the one given; else that.
    """
    from ...encoder import adapt_encoder

    rows = np.sort(np.random.default_rng(seed).permutation(len(peaks))[:max_peaks])
    as_they_are = _AsTheyAre(encoder.window_ms)
    waveforms, locations, _ = encode_peaks(
        recording, peaks[rows], as_they_are, n_channels=LOOKED_AT + SPARE, job_kwargs=job_kwargs
    )
    nbefore = EncodeSpikes(recording, encoder).nbefore
    return adapt_encoder(encoder, waveforms, locations, recording.sampling_frequency, nbefore, steps=steps, seed=seed)


class _AsTheyAre:
    """In place of an encoder: gives the waveforms and the channels' locations back."""

    def __init__(self, window_ms):
        self.window_ms = window_ms

    def encode(self, waveforms, channel_locations, sampling_frequency, nbefore):
        from ...encoder import EncodedSpikes

        nothing = np.zeros(len(waveforms), dtype="float32")
        return EncodedSpikes(waveforms, channel_locations, nothing, nothing)
