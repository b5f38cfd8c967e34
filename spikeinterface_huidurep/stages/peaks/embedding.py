"""Embedding: each selected peak becomes a vector, a location and an amplitude, in one pass over the traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from ...encoder.threads import one_torch_thread
from ..spike_features import SpikeFeatures
from .encoding import LOOKED_AT, SPARE, encode_peaks


@dataclass(frozen=True)
class EncodedSome:
    """
    Peaks of which some are encoded, and others may be.

    Attributes
    ----------
    which : (n_peaks,) bool
        Those that are.
    features : SpikeFeatures
        Of these.
    embed : callable
        Of peaks, their SpikeFeatures.
    """

    which: np.ndarray
    features: SpikeFeatures
    embed: Callable[[np.ndarray], SpikeFeatures]

    def of(self, peaks: np.ndarray, wanted: np.ndarray) -> SpikeFeatures:
        """Features of the wanted ones, (n_peaks,) bool, of all peaks; those that are not encoded yet are encoded."""
        missing = wanted & ~self.which
        further = self.embed(peaks[missing])
        found = []
        for some, more in zip(self.features, further, strict=True):
            every = np.zeros((len(peaks), *some.shape[1:]), dtype=some.dtype)
            every[self.which], every[missing] = some, more
            found.append(every[wanted])
        return SpikeFeatures(*found)


def load_for_sorting(model: str, device: str) -> Any:
    """The encoder of a sort: it looks at `LOOKED_AT` channels at most, and at no more than it was trained with."""
    from ...encoder import load_encoder

    encoder = load_encoder(model, device)
    config = encoder.config
    if config.channels > LOOKED_AT:
        return load_encoder(model, device, channels=LOOKED_AT)
    return encoder


def embed_peaks(
    recording: BaseRecording,
    peaks: np.ndarray,
    encoder: Any,
    *,
    n_channels: int = LOOKED_AT + SPARE,
    adaptation_steps: int = 0,
    seed: int = 0,
    job_kwargs: dict | None = None,
) -> SpikeFeatures:
    """
    Encode the peaks, after the encoder was adapted to them where that is asked for.

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
    adaptation_steps : int
        Steps for which the encoder is fine-tuned on these peaks before (`adapt_to_peaks`); 0 for none.
    seed : int
        For that.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    SpikeFeatures
        embedding (n_peaks, 32) float32; location (n_peaks, 2) float32, um; amplitude (n_peaks,) float32, noise units.
    """
    if adaptation_steps and len(peaks):
        from .adapting import adapt_to_peaks

        with one_torch_thread():
            encoder = adapt_to_peaks(
                recording, peaks, encoder, steps=adaptation_steps, seed=seed, job_kwargs=job_kwargs
            )
    return encode_peaks(recording, peaks, encoder, n_channels=n_channels, job_kwargs=job_kwargs)
