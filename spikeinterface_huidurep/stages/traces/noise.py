"""Noise model: how the noise is correlated over channels and over time, so that distances can be counted in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import fft
from spikeinterface.core import BaseRecording, get_channel_distances

from .blanks import silent_values
from .segments import STRIDE, random_stretches

# in units of noise: traces below this are taken for noise
QUIET = 4.0
# so many channels speak for all: the median of fewer holds more of their spikes than of what they have in common, and
# the autocorrelation, a mean over channels, is taken from no more
ENOUGH_CHANNELS = 16


@dataclass(frozen=True)
class NoiseModel:
    """
    Separable Gaussian noise: a covariance over channels times an autocorrelation over time.

    Attributes
    ----------
    whitening : (n_channels, n_channels) float32
        `traces @ whitening` has unit variance and no correlation between neighbouring channels.
    autocorrelation : (n_lags,) float64
        Of the whitened traces over time, one at lag zero.
    """

    whitening: np.ndarray
    autocorrelation: np.ndarray


def estimate_noise(
    recording: BaseRecording,
    peaks: np.ndarray,
    *,
    n_lags: int,
    radius_um: float = 120.0,
    duration_s: float = 20.0,
    seed: int = 0,
) -> NoiseModel:
    """
    Measure the noise between the peaks.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    peaks : structured array
        As from `detect_peaks`; the samples around them, on the channels around them, do not count.
    n_lags : int
        How many samples of autocorrelation are wanted.
    radius_um : float
        Channels further apart than this are taken as uncorrelated once whitened (local whitening).
    duration_s : float
        How much of the recording is read, in one-second stretches.
    seed : int
        Chooses the stretches.

    Returns
    -------
    NoiseModel
    """

    def stretches():  # read twice: of many channels they would fill the memory
        return _quiet_stretches(recording, peaks, n_lags, radius_um, duration_s, seed)

    whitening = _local_whitening(recording, stretches(), radius_um).astype("float32")
    some = some_channels(recording.get_num_channels())
    whitened = ((traces @ whitening[:, some], quiet[:, some]) for traces, quiet in stretches())
    return NoiseModel(whitening, autocorrelation(whitened, n_lags))


def some_channels(n_channels: int) -> slice:
    """Channels from all over the probe, `ENOUGH_CHANNELS` at most, of which means over the channels are taken."""
    return slice(None, None, -(-n_channels // ENOUGH_CHANNELS))


def _quiet_stretches(recording, peaks, n_lags, radius_um, duration_s, seed):
    """Pairs (traces, quiet): float32 traces and the mask of samples and channels that no peak touches."""
    near = get_channel_distances(recording) <= radius_um
    for segment_index, start, traces in random_stretches(recording, duration_s=duration_s, seed=seed):
        quiet = np.ones(traces.shape, dtype=bool)
        here = peaks[peaks["segment_index"] == segment_index]
        first, last = np.searchsorted(here["sample_index"], [start - n_lags, start + len(traces) + n_lags])
        for peak in here[first:last]:
            at = peak["sample_index"] - start
            quiet[max(0, at - n_lags // 3) : at + n_lags * 2 // 3, near[peak["channel_index"]]] = False
        if quiet.mean() < 0.05:  # spikes so dense that hardly anything is left: what is small counts as noise
            quiet[:] = np.abs(traces) < QUIET
        # nothing is known of the noise where the recording has gaps, or one channel has
        quiet[silent_values(traces, recording.sampling_frequency)] = False
        yield traces, quiet


def _local_whitening(recording, stretches, radius_um):
    n_channels = recording.get_num_channels()
    product, count = np.zeros((n_channels, n_channels)), np.zeros((n_channels, n_channels))
    for traces, quiet in stretches:
        quiet = quiet[::STRIDE]
        clean = np.where(quiet, traces[::STRIDE], 0.0).astype("float32")
        product += clean.T @ clean
        mask = quiet.astype("float32")
        count += mask.T @ mask
    covariance = product / np.maximum(count, 1)
    diagonal = np.where(np.diag(covariance) > 1e-6, np.diag(covariance), 1.0)
    scale = 1 / np.sqrt(diagonal)
    correlation = covariance * scale[:, None] * scale[None, :]
    # pairs that are never quiet together say nothing; some white noise keeps the inverse bounded
    correlation[count < 1000 // STRIDE] = 0.0
    np.fill_diagonal(correlation, 1.0)
    distances = get_channel_distances(recording)
    whitening = np.zeros((n_channels, n_channels))
    for channel in range(n_channels):
        local = np.flatnonzero(distances[channel] <= radius_um)
        values, vectors = np.linalg.eigh(correlation[np.ix_(local, local)])
        inverse_root = vectors @ np.diag(1 / np.sqrt(np.maximum(values, 0.02))) @ vectors.T
        whitening[local, channel] = inverse_root[:, np.flatnonzero(local == channel)[0]]
    return whitening * scale[:, None]


def autocorrelation(stretches: Iterable[tuple[np.ndarray, np.ndarray]], n_lags: int) -> np.ndarray:
    """
    Autocorrelation over time of what is noise, the mean over the channels.

    Parameters
    ----------
    stretches : iterable of (traces, quiet)
        (n_samples, n_channels) float, and the mask of what is noise.
    n_lags : int

    Returns
    -------
    (n_lags,) float64
        One at lag zero.
    """
    product, count = np.zeros(n_lags), np.zeros(n_lags)
    for traces, quiet in stretches:
        clean = np.where(quiet, traces, 0.0)
        n_fft = fft.next_fast_len(len(clean) + n_lags, real=True)
        for values, total in ((clean, product), (quiet, count)):
            power = np.zeros(n_fft // 2 + 1)
            for channel in values.T.astype("float32"):
                power += np.abs(fft.rfft(channel, n=n_fft)) ** 2
            total += fft.irfft(power, n=n_fft)[:n_lags]
    correlation = product / np.maximum(count, 1)
    return correlation / max(correlation[0], 1e-12)
