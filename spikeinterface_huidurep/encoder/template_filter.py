"""The sorter's band-pass and another sampling frequency, for waveforms that begin and end at zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfreqz


@dataclass(frozen=True)
class BandPass:
    """A zero-phase Butterworth band-pass; the sorter's default is 300-6000 Hz, order 5."""

    low_hz: float = 300.0
    high_hz: float = 6000.0
    order: int = 5

    def response(self, frequencies: np.ndarray, sampling_frequency: float) -> np.ndarray:
        """Gain at ``frequencies`` in Hz: the squared magnitude, since it runs forwards and backwards."""
        high = min(self.high_hz, 0.49 * sampling_frequency)
        sos = butter(self.order, (self.low_hz, high), "bandpass", fs=sampling_frequency, output="sos")
        clipped = np.minimum(frequencies, 0.5 * sampling_frequency)
        return np.abs(sosfreqz(sos, clipped, fs=sampling_frequency)[1]) ** 2


def filter_and_resample(
    waveforms: np.ndarray,
    band: BandPass | None,
    sampling_frequency: float,
    nbefore: float,
    target_frequency: float,
    target_nbefore: int,
    samples: int,
) -> np.ndarray:
    """Band-pass (unless ``band`` is None) and resample waveforms that start and end at zero, in the frequency domain.

    Parameters
    ----------
    waveforms : ndarray, (..., samples_in)
    sampling_frequency, nbefore : float
        Of the input, Hz and samples.
    target_frequency, target_nbefore, samples :
        Of the output.

    Returns
    -------
    ndarray, (..., samples) float32
    """
    step = int(round(sampling_frequency / np.gcd(int(round(sampling_frequency)), int(round(target_frequency)))))
    length = -(-max(1024, 2 * waveforms.shape[-1]) // step) * step
    length_out = int(round(length * target_frequency / sampling_frequency))
    frequencies = np.fft.rfftfreq(length, 1 / sampling_frequency)
    start = nbefore / sampling_frequency - target_nbefore / target_frequency
    gain = np.exp(2j * np.pi * frequencies * start)
    if band is not None:
        gain = gain * band.response(frequencies, sampling_frequency)
    gain = (gain * (length_out / length)).astype(np.complex64)
    flat = waveforms.reshape(-1, waveforms.shape[-1])
    out = np.empty((len(flat), samples), dtype=np.float32)
    for first in range(0, len(flat), 8192):
        spectrum = np.fft.rfft(flat[first : first + 8192], n=length)
        out[first : first + 8192] = np.fft.irfft((spectrum * gain)[:, : length_out // 2 + 1], n=length_out)[:, :samples]
    return out.reshape(*waveforms.shape[:-1], samples)
