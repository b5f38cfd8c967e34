"""What is known of a pair of units: how their shapes, templates, places and amplitudes differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spikeinterface.preprocessing.preprocessing_tools import get_spatial_interpolation_kernel

from .displacement import Displacement
from .half_templates import SessionUnits

NEAR_UM = 80.0  # of a place: the channels on which templates are compared
CANDIDATES_UM = 60.0  # farther apart, after the displacement, two units are not one neuron
LAG_MS = 0.13  # sorters align spikes differently
LEAST_OWN = 0.3  # cosine of a unit's own halves; below it noise is all there is
SIGMA_UM = 20.0  # of the kriging between channels, as SpikeInterface has it

NAMES = ("vector", "template", "footprint", "waveform", "x", "depth", "amplitude")


@dataclass(frozen=True)
class PairScores:
    """Scores of the pairs of two sessions that may be one neuron.

    Attributes
    ----------
    a, b : np.ndarray, shape (n_pairs,), int64
        Units, as indices in their sessions.
    values : np.ndarray, shape (n_pairs, n_scores)
        In the order of `NAMES`; all are 0 for units that are alike in every way.
    """

    a: np.ndarray
    b: np.ndarray
    values: np.ndarray


def pair_scores(first: SessionUnits, second: SessionUnits, displacement: Displacement) -> PairScores:
    """
    Compare the units of two sessions.

    Parameters
    ----------
    first, second : SessionUnits
    displacement : Displacement
        Of the second session's units against the first one's.

    Returns
    -------
    PairScores
        Of all pairs that lie within `CANDIDATES_UM` of each other after the displacement.
    """
    place_a = first.locations.mean(axis=1)
    place_b = second.locations.mean(axis=1)
    moved_by = displacement.at(place_a[:, 1])
    off = place_b[None] - (place_a + np.column_stack([np.zeros(len(moved_by)), moved_by]))[:, None]
    a, b = np.nonzero(np.hypot(off[..., 0], off[..., 1]) < CANDIDATES_UM)
    values = np.zeros((len(a), len(NAMES)))
    values[:, 0] = _vector_distance(first, second)[a, b]
    values[:, 4] = np.abs(off[a, b, 0])
    values[:, 5] = np.abs(off[a, b, 1])
    _compare_templates(first, second, moved_by, a, b, values)
    return PairScores(a, b, values)


def _vector_distance(first, second):
    """Mean squared distance of the halves' vectors, (n, m)."""
    return np.mean([_squared(first.vectors[:, h], second.vectors[:, k]) for h in (0, 1) for k in (0, 1)], axis=0)


def _squared(a, b):
    return ((a[:, None].astype(np.float64) - b[None]) ** 2).mean(axis=2)


def shape_distance(first: SessionUnits, second: SessionUnits) -> np.ndarray:
    """How much the shapes of all pairs differ, wherever the units lie, (n, m)."""
    return np.sqrt(_squared(first.vectors.mean(axis=1), second.vectors.mean(axis=1)))


def _compare_templates(first, second, moved_by, a, b, values):
    """Scores of the templates; each is moved by half of the displacement, so that both are interpolated alike."""
    channels = first.channel_locations
    lag = int(np.ceil(LAG_MS * 1e-3 * first.sampling_frequency))
    place_a = first.locations.mean(axis=1)
    moved_a: dict = {}
    moved_b: dict = {}
    kernels: dict = {}
    for pair, (i, j) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        half = int(np.rint(moved_by[i])) / 2
        one = _moved(first, i, half, moved_a, kernels)
        other = _moved(second, j, -half, moved_b, kernels)
        middle = place_a[i] + (0.0, half)
        near = np.hypot(*(channels - middle).T) < NEAR_UM
        common = near & first.seen[i] & second.seen[j]
        if common.sum() < min(3, near.sum()):
            common = near & (first.seen[i] | second.seen[j])
        values[pair, 1:4], values[pair, 6] = _differences(one[:, :, common], other[:, :, common], lag)


def _moved(session, unit, by_um, done, kernels):
    """Templates of a unit's halves as channels see them that lie `by_um` lower, (2, samples, channels)."""
    key = (unit, by_um)
    if key not in done:
        if by_um == 0:
            done[key] = session.templates[unit]
        else:
            if by_um not in kernels:
                places = session.channel_locations
                kernels[by_um] = get_spatial_interpolation_kernel(
                    places, places - (0.0, by_um), method="kriging", sigma_um=SIGMA_UM, p=1, force_extrapolate=True
                )
            done[key] = session.templates[unit] @ kernels[by_um]
    return done[key]


def _differences(one, other, lag):
    """Of two units' templates (2, samples, channels): template, footprint, waveform; and the amplitude."""
    if one.shape[2] == 0:
        return (1.0, 1.0, 1.0), 1.0
    mean_a, mean_b = one.mean(axis=0), other.mean(axis=0)
    size_a, size_b = np.ptp(mean_a, axis=0), np.ptp(mean_b, axis=0)
    template = _cosine_at_best_lag(one, other, lag)
    footprint = _cosine(size_a, size_b)
    main = int(np.argmax(size_a * size_b))
    waveform = _cosine_at_best_lag(one[:, :, main : main + 1], other[:, :, main : main + 1], lag)
    norm_a, norm_b = np.linalg.norm(mean_a), np.linalg.norm(mean_b)
    amplitude = abs(np.log(max(norm_a, 1e-9) / max(norm_b, 1e-9)))
    return (1 - template, 1 - footprint, 1 - waveform), amplitude


def _cosine(a, b):
    return float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _cosine_at_best_lag(one, other, lag):
    """Mean cosine of two units' halves at the best lag, divided by that of each unit's own halves: without noise."""
    n = one.shape[1]
    inner = slice(lag, n - lag)
    best = -1.0
    for shift in range(-lag, lag + 1):
        moved = slice(lag + shift, n - lag + shift)
        best = max(best, float(np.mean([_cosine(one[h][inner], other[k][moved]) for h in (0, 1) for k in (0, 1)])))
    own = [max(_cosine(x[0][inner], x[1][inner]), LEAST_OWN) for x in (one, other)]
    return min(best / np.sqrt(own[0] * own[1]), 1.0)
