"""Spike times as evidence that two units are one neuron: autocorrelogram, inter-spike intervals and rate.

Off by default: people follow neurons over days to see whether these change, and what has found the neurons cannot say
so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.core import BaseSorting

from .logistic import falling_logistic

if TYPE_CHECKING:
    from .sessions import Session

LAG_MS, BIN_MS = 50.0, 1.0
INTERVALS_S = np.geomspace(1e-3, 10.0, 25)
# Belief that spike times say nothing, as of so many known pairs of each kind: with few units they count little.
STRENGTH = 10.0


@dataclass(frozen=True)
class Fingerprints:
    """Of units: autocorrelogram and intervals, each of sum 1, and the logarithm of the rate, (n_units, ...)."""

    correlogram: np.ndarray
    intervals: np.ndarray
    log_rate: np.ndarray


def autocorrelogram(times_s: Sequence[np.ndarray], lag_ms: float = LAG_MS, bin_ms: float = BIN_MS) -> np.ndarray:
    """
    Count the intervals between the spikes of a unit, not only those of neighbours.

    Parameters
    ----------
    times_s : sequence of np.ndarray
        Spike times of each segment, s.
    lag_ms, bin_ms : float
        Longest interval and width of a bin.

    Returns
    -------
    np.ndarray, shape (n_bins,), float64
        Counts at positive lags.
    """
    edges = np.arange(0, lag_ms + bin_ms / 2, bin_ms) / 1e3
    counts = np.zeros(len(edges) - 1)
    for times in times_s:
        apart = 1
        while apart < len(times):
            lags = times[apart:] - times[:-apart]
            near = lags < edges[-1]
            if not near.any():
                break
            counts += np.histogram(lags[near], edges)[0]
            apart += 1
    return counts


def fingerprints(sorting: BaseSorting, unit_ids: np.ndarray, part: tuple[float, float], n_samples: list[int]) -> Any:
    """Fingerprints of units in a part of each segment, from and to a share of its samples."""
    rate = sorting.sampling_frequency
    correlograms, intervals, rates = [], [], []
    for unit in unit_ids:
        times = []
        for segment, n in enumerate(n_samples):
            train = sorting.get_unit_spike_train(unit, segment_index=segment)
            times.append(train[(train >= part[0] * n) & (train < part[1] * n)] / rate)
        between = np.concatenate([np.diff(one) for one in times])
        correlograms.append(autocorrelogram(times) + 0.1)
        intervals.append(np.histogram(between, INTERVALS_S)[0] + 0.1)
        duration = (part[1] - part[0]) * sum(n_samples) / rate
        rates.append(np.log((sum(map(len, times)) + 0.5) / max(duration, 1e-9)))
    return Fingerprints(_shares(correlograms), _shares(intervals), np.array(rates))


def _shares(counts):
    values = np.array(counts, dtype=np.float64)
    return values / values.sum(axis=1, keepdims=True) if len(values) else values.reshape(0, 1)


def _differences(first: Fingerprints, second: Fingerprints) -> np.ndarray:
    """(n, m, 3): half of the sum of absolute differences of the shares, and that of the logarithms of the rates."""
    parts = [
        0.5 * np.abs(a[:, None] - b[None]).sum(axis=2)
        for a, b in ((first.correlogram, second.correlogram), (first.intervals, second.intervals))
    ]
    return np.stack([*parts, np.abs(first.log_rate[:, None] - second.log_rate[None])], axis=2)


def fingerprint_log_odds(first: Session, second: Session, known: Sequence[Session]) -> np.ndarray:
    """
    Log odds of all pairs of two sessions by their spike times alone, (n, m).

    What the differences mean is learned from the halves of the sessions in `known`: the same units, and others.
    """
    x, same = [], []
    for session in known:
        early, late = (_of(session, part) for part in ((0.0, 0.5), (0.5, 1.0)))
        values = _differences(early, late)
        x.append(values.reshape(-1, values.shape[2]))
        same.append(np.eye(session.units.n_units, dtype=bool).ravel())
    believed = np.zeros(x[0].shape[1] + 1)
    weights, offset = falling_logistic(np.concatenate(x), np.concatenate(same), believed, STRENGTH)
    return _differences(_of(first, (0.0, 1.0)), _of(second, (0.0, 1.0))) @ weights + offset


def _of(session: Session, part: tuple[float, float]) -> Fingerprints:
    n_samples = [session.analyzer.get_num_samples(k) for k in range(session.analyzer.get_num_segments())]
    return fingerprints(session.sorting, session.units.unit_ids, part, n_samples)
