"""What is known of a pair of units: how their shapes, templates, places and amplitudes differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from spikeinterface.preprocessing.preprocessing_tools import get_spatial_interpolation_kernel

from .displacement import Displacement
from .half_templates import SessionUnits

NEAR_UM = 80.0  # of a place: the channels on which templates are compared
CANDIDATES_UM = 60.0  # farther apart, after the displacement, two units are not one neuron
LAG_MS = 0.4  # sorters align spikes differently, on another channel or phase
STEP_UM = 2.0  # of the displacements that templates are moved by
BEYOND_UM = 5.0  # of the probe's ends: farther out there is nothing to interpolate from
LEAST_CHANNELS = 3  # that two templates are compared on
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
    one_by_one, other_by_one = _Moved(first), _Moved(second)
    for pair, (i, j) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        half = float(np.rint(moved_by[i] / STEP_UM)) * STEP_UM / 2
        one, seen_one = one_by_one.templates(i, half)
        other, seen_other = other_by_one.templates(j, -half)
        near = np.hypot(*(channels - (place_a[i] + (0.0, half))).T) < NEAR_UM
        common = near & seen_one & seen_other
        if common.sum() < min(LEAST_CHANNELS, near.sum()):
            common = near & (seen_one | seen_other)
        values[pair, 1:4], values[pair, 6] = _differences(one[:, :, common], other[:, :, common], lag)


class _Moved:
    """The templates of a session's units after displacements, each computed once."""

    def __init__(self, session: SessionUnits) -> None:
        self.session = session
        self._kernels: dict[float, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._done: dict[tuple[int, float], tuple[np.ndarray, np.ndarray]] = {}

    def templates(self, unit: int, by_um: float) -> tuple[np.ndarray, np.ndarray]:
        """Of a unit's halves, (2, samples, channels), if the tissue moves up by `by_um`; and the channels (channels,)
        on which they were seen, within the probe's ends."""
        if by_um == 0:
            return self.session.templates[unit], self.session.seen[unit]
        key = (unit, by_um)
        if key not in self._done:
            kernel, inside, nearest = self._kernel(by_um)
            self._done[key] = self.session.templates[unit] @ kernel, inside & self.session.seen[unit][nearest]
        return self._done[key]

    def _kernel(self, by_um: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if by_um not in self._kernels:
            places = self.session.channel_locations
            source = places - (0.0, by_um)
            kernel = get_spatial_interpolation_kernel(
                places, source, method="kriging", sigma_um=SIGMA_UM, p=1, force_extrapolate=True
            )
            low, high = places[:, 1].min() - BEYOND_UM, places[:, 1].max() + BEYOND_UM
            inside = (source[:, 1] >= low) & (source[:, 1] <= high)
            nearest = np.linalg.norm(places[None] - source[:, None], axis=2).argmin(axis=1)
            self._kernels[by_um] = kernel, inside, nearest
        return self._kernels[by_um]


def _differences(one: np.ndarray, other: np.ndarray, lag: int) -> tuple[tuple[float, float, float], float]:
    """Of two units' templates (2, samples, channels): template, footprint, waveform; and the amplitude."""
    if one.shape[2] == 0:
        return (1.0, 1.0, 1.0), 1.0
    mean_a, mean_b = one.mean(axis=0), other.mean(axis=0)
    size_a, size_b = np.ptp(mean_a, axis=0), np.ptp(mean_b, axis=0)
    template = _cosine_at_best_lag(one, other, lag)
    footprint = _cosine(size_a, size_b)
    main = int(np.argmax(size_a * size_b))
    waveform = _cosine_at_best_lag(one[:, :, main : main + 1], other[:, :, main : main + 1], lag)
    norm_a, norm_b = float(np.linalg.norm(mean_a)), float(np.linalg.norm(mean_b))
    amplitude = float(abs(np.log(max(norm_a, 1e-9) / max(norm_b, 1e-9))))
    return (1 - template, 1 - footprint, 1 - waveform), amplitude


def _cosine(a, b):
    return float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


@njit(cache=True, nogil=True)
def _cosine_at_best_lag(one, other, lag):  # pragma: no cover - compiled
    """Mean cosine of two units' halves at the best lag, divided by that of each unit's own halves: without noise."""
    n_samples, n_channels = one.shape[1], one.shape[2]
    best = -1.0
    for shift in range(-lag, lag + 1):
        total = 0.0
        for h in range(2):
            for k in range(2):
                product = norm_one = norm_other = 0.0
                for s in range(lag, n_samples - lag):
                    for c in range(n_channels):
                        a, b = one[h, s, c], other[k, s + shift, c]
                        product += a * b
                        norm_one += a * a
                        norm_other += b * b
                total += product / max(np.sqrt(norm_one * norm_other), 1e-12)
        best = max(best, total / 4)
    own = 1.0
    for unit in (one, other):
        product = norm_one = norm_other = 0.0
        for s in range(lag, n_samples - lag):
            for c in range(n_channels):
                a, b = unit[0, s, c], unit[1, s, c]
                product += a * b
                norm_one += a * a
                norm_other += b * b
        own *= max(product / max(np.sqrt(norm_one * norm_other), 1e-12), LEAST_OWN)
    return min(best / np.sqrt(own), 1.0)
