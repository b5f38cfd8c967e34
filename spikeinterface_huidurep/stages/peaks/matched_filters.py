"""Matched filters for spikes: time courses that the recording's own spikes have, times footprints over the channels."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_toeplitz
from spikeinterface.core import BaseRecording, get_channel_distances
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.postprocessing.localization_tools import get_convolution_weights
from spikeinterface.sortingcomponents.peak_detection.locally_exclusive import LocallyExclusivePeakDetector

from ...parameters import DEFAULT_PARAMS
from ..traces.banded import BandedMatrix
from ..traces.blanks import silent_values
from ..traces.noise import QUIET, autocorrelation, some_channels
from ..traces.scaling import CLEAR_SPIKE, MAD_TO_STD, median_of_rows
from ..traces.segments import random_stretches

# the filters' part of a spike, before and after its trough
BEFORE_MS, AFTER_MS = 0.7, 1.3
# distance of a spike's source from the probe, um: the further, the more channels have a part in its detection
SOURCE_DISTANCES_UM = (0.0, 30.0, 90.0)
# clear spikes from which a time course is made: as many as make a unit
SPIKES_A_COURSE = DEFAULT_PARAMS["min_spikes"]
# white noise that is added to the recording's, as a fraction of it
WHITE_NOISE = 0.2
# of the samples from which the noise of the filters' output is measured one in so many is looked at
EVERY = 11
# samples of one product with the time courses, and how many products are at once in the processor's cache
BLOCK, BATCH = 32, 32


class FilterBank(NamedTuple):
    """
    Matched filters: a spike's time course on a channel times its footprint over the channels.

    Attributes
    ----------
    time_courses : (n_time_courses, n_samples) float32, of unit norm, positive at the trough
    footprints : (n_time_courses, n_footprints, n_channels, n_channels) float32
        `filtered @ footprint` is in units of the noise of that sum.
    nbefore : int
        Samples before the trough.
    """

    time_courses: np.ndarray
    footprints: np.ndarray
    nbefore: int


def make_filter_bank(
    recording: BaseRecording, *, peak_sign: str, n_time_courses: int, duration_s: float = 10.0, seed: int = 0
) -> FilterBank:
    """
    Make matched filters from stretches of the recording.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    peak_sign : {"neg", "pos", "both"}
        Which extrema are spikes.
    n_time_courses : int
        How many time courses the filters have; fewer where there are few clear spikes.
    duration_s : float
        How much of the recording is read, in one-second stretches.
    seed : int
        Chooses the stretches.

    Returns
    -------
    FilterBank
    """
    stretches = [traces for _, _, traces in random_stretches(recording, duration_s=duration_s, seed=seed)]
    time_courses, nbefore = _time_courses(stretches, recording, peak_sign, n_time_courses, seed)
    # nothing is known of the noise where the recording has gaps
    silent = [silent_values(traces, recording.sampling_frequency) for traces in stretches]
    distances = get_channel_distances(recording)
    shapes, _ = get_convolution_weights(distances, z_list_um=np.array(SOURCE_DISTANCES_UM), sparsity_threshold=0.05)
    shapes = shapes.astype("float32")
    footprints = np.zeros((len(time_courses), *shapes.shape), dtype="float32")
    for index, time_course in enumerate(time_courses):
        parts = [_filtered(*part, time_course, nbefore) for part in zip(stretches, silent, strict=True)]
        filtered, unknown = (np.ascontiguousarray(np.concatenate(part).T) for part in zip(*parts, strict=True))
        for shape, footprint in zip(shapes, footprints[index], strict=True):
            output = shape.T @ filtered
            output -= median_of_rows(output)[:, None]
            noise = MAD_TO_STD * median_of_rows(np.abs(output))
            for channel in np.flatnonzero(unknown.any(axis=1)):
                own = output[channel, ~unknown[channel]]
                noise[channel] = MAD_TO_STD * np.median(np.abs(own)) if len(own) else noise[channel]
            footprint[:] = shape / np.maximum(noise, 1e-6)
    return FilterBank(time_courses, footprints, nbefore)


def _time_courses(stretches, recording, peak_sign, n_time_courses, seed):
    """What the recording's clear spikes look like on their own channel, (n, n_samples), and the samples before it."""
    from sklearn.cluster import KMeans

    rate = recording.sampling_frequency
    nbefore, nafter = ms_to_samples(BEFORE_MS, rate), ms_to_samples(AFTER_MS, rate)
    window = np.arange(-nbefore, nafter)
    detector = LocallyExclusivePeakDetector(
        recording, peak_sign=peak_sign, detect_threshold=CLEAR_SPIKE,
        noise_levels=np.ones(recording.get_num_channels(), dtype="float32"),
    )  # fmt: skip
    parts = [np.zeros((0, len(window)), dtype="float32")]
    for traces in stretches:
        (peaks,) = detector.compute(traces, 0, len(traces), 0, 0)
        at = peaks["sample_index"]
        whole = (at >= nbefore) & (at < len(traces) - nafter)
        waveforms = traces[at[whole, None] + window, peaks["channel_index"][whole, None]]
        parts.append(waveforms / waveforms[:, nbefore : nbefore + 1])
    spikes = np.concatenate(parts)
    if len(spikes) < SPIKES_A_COURSE:
        time_courses = _textbook_spike(window / rate * 1000)[None]
    else:
        means = KMeans(min(n_time_courses, len(spikes) // SPIKES_A_COURSE), n_init=3, random_state=seed)
        labels = means.fit_predict(spikes)
        time_courses = np.array([np.median(spikes[labels == label], axis=0) for label in np.unique(labels)])
    some = (traces[:, some_channels(traces.shape[1])] for traces in stretches)
    correlation = autocorrelation(((traces, np.abs(traces) < QUIET) for traces in some), len(window))
    # with more white noise than there is, the slow wave after a large spike does not pass the filter
    correlation[0] *= 1 + WHITE_NOISE
    time_courses = solve_toeplitz(correlation, time_courses.T).T
    norm = np.linalg.norm(time_courses, axis=1, keepdims=True)
    return (time_courses / norm).astype("float32"), nbefore


def _textbook_spike(time_ms):
    """A trough of 0.25 ms and a slower, lower peak after it."""
    return np.exp(-((time_ms / 0.12) ** 2) / 2) - 0.4 * np.exp(-(((time_ms - 0.45) / 0.25) ** 2) / 2)


def _filtered(traces, silent, time_course, nbefore):
    """
    Output of a time course on every channel, (n, n_channels), and where the channel is silent, at one sample in EVERY;
    samples that are silent on all channels are left out.
    """
    n = max(len(traces) - len(time_course) + 1, 0)
    filtered = np.zeros((len(range(0, n, EVERY)), traces.shape[1]), dtype="float32")
    for place, value in enumerate(time_course):
        filtered += value * traces[place : place + n : EVERY]
    silent = silent[nbefore : nbefore + n : EVERY]
    heard = ~silent.all(axis=1)
    return filtered[heard], silent[heard]


class BestOutput:
    """
    What the filters of a bank say of traces: at each sample and channel the output furthest on the wanted side of zero.

    Time courses are applied as products with a Toeplitz matrix, a few samples at a time, and footprints as products
    over neighbouring channels while that is in the processor's cache: cost grows linearly in samples and in channels.

    Parameters
    ----------
    bank : FilterBank
    channel_locations : (n_channels, 2) float
        um.
    peak_sign : {"neg", "pos", "both"}
    """

    def __init__(self, bank: FilterBank, channel_locations: np.ndarray, peak_sign: str):
        self.peak_sign, self.nbefore = peak_sign, bank.nbefore
        self.order = np.argsort(channel_locations[:, 1], kind="stable")
        self.place = np.argsort(self.order)
        self.n_time_courses, self.length = bank.time_courses.shape
        toeplitz = np.zeros((self.n_time_courses, BLOCK, BLOCK + self.length - 1), dtype="float32")
        for sample in range(BLOCK):
            toeplitz[:, sample, sample : sample + self.length] = bank.time_courses
        self.toeplitz = toeplitz.reshape(self.n_time_courses * BLOCK, -1)
        self.footprints = [[self._product(shape) for shape in distinct(shapes)] for shapes in bank.footprints]

    def __call__(self, traces: np.ndarray) -> np.ndarray:
        """Outputs for traces (n_samples, n_channels), in units of noise: (n_samples, n_channels) float32."""
        n_samples, n_channels = traces.shape
        n_blocks = -(-n_samples // BLOCK)
        padded = np.zeros((n_blocks * BLOCK + self.length, n_channels), dtype="float32")
        padded[self.nbefore : self.nbefore + n_samples] = np.take(traces, self.order, axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, BLOCK + self.length - 1, axis=0)[::BLOCK]
        windows = windows[:n_blocks].transpose(0, 2, 1)
        best = np.empty((n_blocks * BLOCK, n_channels), dtype="float32")
        for first in range(0, n_blocks, BATCH):
            last = min(first + BATCH, n_blocks)
            best[first * BLOCK : last * BLOCK] = self._best(windows[first:last]).reshape(-1, n_channels)
        return np.take(best[:n_samples], self.place, axis=1)

    def _best(self, windows):
        """(n_blocks, BLOCK, n_channels) of windows (n_blocks, BLOCK + length - 1, n_channels)."""
        low = high = None
        filtered = self.toeplitz @ windows
        for index, products in enumerate(self.footprints):
            one = filtered[:, index * BLOCK : (index + 1) * BLOCK]
            for product in products:
                output = product(one)
                if self.peak_sign != "pos":
                    low = output if low is None else np.minimum(low, output)
                if self.peak_sign != "neg":
                    high = output if high is None else np.maximum(high, output)
        if low is None or high is None:
            return high if low is None else low
        return np.where(-low > high, low, high)

    def _product(self, footprint):
        own = np.diag(footprint)
        if np.array_equal(footprint, np.diag(own)):
            return partial(np.multiply, own[self.order].copy())
        return BandedMatrix(footprint, self.order).of


def distinct(footprints: np.ndarray) -> list[np.ndarray]:
    """Without repeats: where channels are far apart, all near sources have the same footprint."""
    return [
        footprint
        for index, footprint in enumerate(footprints)
        if not any(np.allclose(footprint, earlier) for earlier in footprints[:index])
    ]
