"""Cuts the network's window out of longer waveforms of any rate, and puts it back, as one matrix product."""

from __future__ import annotations

import numpy as np

_LOBES = 8
_SLACK = 1.0


def required_samples(
    sampling_frequency: float, network_frequency: float, nbefore: int, samples: int
) -> tuple[int, int]:
    """Samples before and from the trough on that a waveform needs to cover the network's window.

    Parameters
    ----------
    sampling_frequency : float
        Of the waveform, Hz.
    network_frequency, nbefore, samples :
        The network's rate in Hz, samples before the trough, and length.

    Returns
    -------
    (int, int)
        Before the trough's sample, and from it on (so that the sum is the length).
    """
    ratio = sampling_frequency / network_frequency
    return int(np.ceil(nbefore * ratio - 1e-6)), int(np.ceil((samples - 1 - nbefore) * ratio - 1e-6)) + 1


def _interpolation(positions: np.ndarray, length: int, cutoff: float, hold_edges: bool) -> np.ndarray:
    """Rows of Hann-windowed sinc weights that read ``length`` samples at fractional ``positions``.

    ``cutoff`` (at most 1) is the low-pass in parts of the input's Nyquist frequency. Beyond the ends the signal is
    its edge value, or zero.
    """
    half = int(np.ceil(_LOBES / cutoff))
    base = np.floor(positions).astype(int)
    taps = base[:, None] + np.arange(-half + 1, half + 1)[None]
    lag = positions[:, None] - taps
    weight = np.sinc(cutoff * lag) * (0.5 + 0.5 * np.cos(np.pi * np.clip(lag / half, -1, 1)))
    weight /= weight.sum(axis=1, keepdims=True)
    matrix = np.zeros((len(positions), length))
    rows = np.broadcast_to(np.arange(len(positions))[:, None], taps.shape)
    if not hold_edges:
        weight = weight * ((taps >= 0) & (taps < length))
    np.add.at(matrix, (rows, np.clip(taps, 0, length - 1)), weight)
    return matrix.astype(np.float32)


def window_matrix(
    length: int,
    nbefore: int,
    sampling_frequency: float,
    network_frequency: float,
    network_nbefore: int,
    network_samples: int,
) -> np.ndarray:
    """Matrix (length, network_samples) that turns a waveform into the network's window.

    Parameters
    ----------
    length, nbefore, sampling_frequency :
        Of the waveform; ``nbefore`` is the sample of the detected trough.
    network_frequency, network_nbefore, network_samples :
        Of the network.

    Returns
    -------
    ndarray, float32
        A selection where the rates are equal, otherwise band-limited interpolation. The edge value continues
        beyond the waveform's ends.

    Raises
    ------
    ValueError
        If the waveform does not cover the window to within a sample.
    """
    positions = nbefore + (np.arange(network_samples) - network_nbefore) * (sampling_frequency / network_frequency)
    if positions[0] < -_SLACK or positions[-1] > length - 1 + _SLACK:
        before, after = required_samples(sampling_frequency, network_frequency, network_nbefore, network_samples)
        raise ValueError(
            f"waveforms of {length} samples with nbefore {nbefore} at {sampling_frequency:g} Hz do not cover the "
            f"network's window: at least {before} samples before the trough and {after} from it on are needed"
        )
    cutoff = min(1.0, network_frequency / sampling_frequency)
    return np.ascontiguousarray(_interpolation(positions, length, cutoff, hold_edges=True).T)


def return_matrix(
    length: int,
    nbefore: int,
    sampling_frequency: float,
    network_frequency: float,
    network_nbefore: int,
    network_samples: int,
) -> np.ndarray:
    """Matrix (network_samples, length) that puts a network window back into a waveform, zero outside the window."""
    ratio = network_frequency / sampling_frequency
    positions = network_nbefore + (np.arange(length) - nbefore) * ratio
    matrix = _interpolation(positions, network_samples, min(1.0, 1.0 / ratio), hold_edges=True)
    matrix[(positions < -0.5) | (positions > network_samples - 0.5)] = 0.0
    return np.ascontiguousarray(matrix.T)
