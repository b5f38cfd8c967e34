"""Spike times as evidence: one neuron does not fire within its refractory period, two do as often as chance has it."""

from __future__ import annotations

import numpy as np

# no two spikes of one neuron are nearer than the second; nearer than the first, two templates share one spike
REFRACTORY_MS = (0.5, 2.0)
# what chance makes is counted at these lags: beyond bursts, and near enough for both to be active
CHANCE_MS = (5.0, 100.0)
# share of the coincidences of two neurons that pieces of one still have: spikes that are another's
FOREIGN = 0.08
# no coincidences, however many are expected, are no proof: neurons may avoid each other, and spikes that overlap in
# time are missed
MOST = 12.0


def coincidences(
    times: list[np.ndarray], pairs: np.ndarray, sampling_frequency: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    Count the spikes of pairs of units within the refractory period of each other.

    Parameters
    ----------
    times : list of (n_spikes,) int
        Samples of each unit's spikes, ascending; those of other segments further away than any lag that counts.
    pairs : (n_pairs, 2) int
        Indices into `times`.
    sampling_frequency : float
        Hz.

    Returns
    -------
    observed : (n_pairs,) int64
        Pairs of spikes at a lag of `REFRACTORY_MS`.
    expected : (n_pairs,) float64
        As many as there would be by chance, from the pairs of spikes at a lag of `CHANCE_MS`.
    """
    edges = np.array([*REFRACTORY_MS, *CHANCE_MS]) * sampling_frequency / 1000
    counts = np.zeros((len(pairs), len(edges)), dtype="int64")
    for row, (one, other) in enumerate(pairs):
        fewer, more = sorted((times[one], times[other]), key=len)
        for column, lag in enumerate(edges):
            near = np.searchsorted(more, fewer + lag, side="right") - np.searchsorted(more, fewer - lag, side="left")
            counts[row, column] = near.sum()
    within = np.diff(REFRACTORY_MS) / np.diff(CHANCE_MS)
    return counts[:, 1] - counts[:, 0], (counts[:, 3] - counts[:, 2]) * within


def times_log_odds(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """
    Logarithm of the likelihood ratio of "one neuron" against "two" for so many coincidences (both Poisson).

    Parameters
    ----------
    observed, expected : array
        From `coincidences`.

    Returns
    -------
    log_odds : array of float64
        Zero where none are expected and none are seen.
    """
    seen = np.minimum(observed, expected)
    log_odds = seen * np.log(FOREIGN) + (1 - FOREIGN) * expected
    # far more than chance makes are no two neurons' either, one spike is found twice: as much less likely as they are
    observed, expected = np.maximum(observed, 1e-9), np.maximum(expected, 1e-9)
    unlikely = observed * np.log(observed / expected) - (observed - expected)
    return np.clip(np.where(observed > expected, np.minimum(log_odds + unlikely, 0), log_odds), -MOST, MOST)
