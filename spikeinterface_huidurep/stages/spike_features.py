"""What the encoder says of each spike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SpikeFeatures(NamedTuple):
    """
    What the encoder says of each peak.

    Attributes
    ----------
    embedding : (n_peaks, 32) float32
    location : (n_peaks, 2) float32
        um.
    amplitude : (n_peaks,) float32
        In units of noise.
    """

    embedding: np.ndarray
    location: np.ndarray
    amplitude: np.ndarray
