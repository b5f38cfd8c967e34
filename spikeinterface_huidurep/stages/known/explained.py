"""Explained: which peaks are spikes of units whose templates are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from spikeinterface.core import get_channel_distances

from ..matching.assignment import MatchingCriteria
from ..matching.confidence import explained_share
from ..peaks.matched_filters import BEFORE_MS
from ..shank import Shank
from ..templates.drifting import DriftingUnitTemplates
from ..templates.whitened import N_SUBSAMPLE, WhitenedTemplates, whiten_templates
from ..templates.whitened_spikes import whiten_spikes

# of a spike the template explains at least this part, as of those that make templates in `refine_units`; so it has at
# least this part of its energy on the channels around the spike's peak
LEAST_EXPLAINED = 0.6
# largest time between a peak and its place in a template, ms: of a waveform with two troughs either may be the peak
OTHER_TROUGH_MS = BEFORE_MS


@dataclass(frozen=True)
class Explained:
    """
    What known templates say of peaks.

    Attributes
    ----------
    labels : (n_peaks,) int
        The unit that explains each; -1 where none does.
    lag : (n_peaks,) int
        Samples to add to a peak's to align it with the unit's template.
    gain : (n_peaks,) float
        What the unit explains, squared units of noise.
    """

    labels: np.ndarray
    lag: np.ndarray
    gain: np.ndarray

    def without(self, units: np.ndarray) -> Explained:
        """The same, as if some units, (n_units,) bool, explained nothing."""
        of_these = np.append(units, False)[self.labels]
        return replace(self, labels=np.where(of_these, -1, self.labels), lag=np.where(of_these, 0, self.lag))


def explain_peaks(
    shank: Shank,
    peaks: np.ndarray,
    templates: DriftingUnitTemplates,
    displacement: np.ndarray,
    criteria: MatchingCriteria,
) -> Explained:
    """
    Find the unit of each peak among known ones, without regard to overlapping spikes.

    Parameters
    ----------
    shank : Shank
    peaks : (n_peaks,) structured array
        From `detect_peaks`.
    templates : DriftingUnitTemplates
    displacement : (n_peaks,) float
        Of the probe at each peak, um.
    criteria : MatchingCriteria
        As for `assign_spikes`.

    Returns
    -------
    Explained
    """
    n_peaks = len(peaks)
    labels, lags = np.full(n_peaks, -1, dtype="int64"), np.zeros(n_peaks, dtype="int64")
    gain, misfit = np.zeros(n_peaks), np.ones(n_peaks)
    if n_peaks == 0 or templates.n_units == 0:
        return Explained(labels, lags, gain)
    space = whiten_templates(templates, shank.noise)
    n_local = space.channels.shape[1]
    around = np.sort(np.argsort(get_channel_distances(shank.recording), axis=1, kind="stable")[:, :n_local], axis=1)
    values = whiten_spikes(shank, peaks, peaks["channel_index"], replace(space, channels=around))
    step = np.abs(displacement[:, None] - space.displacements).argmin(axis=1)
    window = space.lags_within(shank.samples(OTHER_TROUGH_MS))
    for channel in np.unique(peaks["channel_index"]):
        for position in np.unique(step[peaks["channel_index"] == channel]):
            here = np.flatnonzero((peaks["channel_index"] == channel) & (step == position))
            units, shifted = _templates_around(space, around[channel], int(position), window)
            if len(units) == 0:
                continue
            row, best = _best(values[here], shifted, criteria)
            lag, unit = np.unravel_index(row, shifted.shape[:2])
            labels[here], lags[here] = units[unit], lag - len(window) // 2
            gain[here], misfit[here] = best
    labels[gain < criteria.threshold] = -1
    for unit in np.unique(labels[labels >= 0]):
        mine = np.flatnonzero(labels == unit)
        fits = np.zeros(len(mine), dtype=[("gain", "f8"), ("misfit", "f8")])
        fits["gain"], fits["misfit"] = gain[mine], misfit[mine]
        labels[mine[explained_share(fits, space.n_values) < LEAST_EXPLAINED]] = -1
    return Explained(labels, np.where(labels >= 0, lags, 0), gain)


def _templates_around(space: WhitenedTemplates, channels: np.ndarray, position: int, window: np.ndarray):
    """Units that may be seen around a channel, and their templates there at each lag, (n_lags, n_units, n_values)."""
    dense = np.zeros((space.n_units, len(channels), space.coefficients.shape[3]), dtype="float32")
    for unit, own in enumerate(space.channels):
        _, there, mine = np.intersect1d(channels, own, return_indices=True)
        dense[unit, there] = space.coefficients[unit, position, mine]
    energy = (space.coefficients[:, position] ** 2).sum(axis=(1, 2))
    units = np.flatnonzero((dense**2).sum(axis=(1, 2)) > LEAST_EXPLAINED * np.maximum(energy, 1e-9))
    answers = space.response[N_SUBSAMPLE // 2, :, :, window]
    # a spike `lag` samples after the peak: the filters at the peak see it early
    shifted = np.einsum("ucq,lkq->luck", dense[units], answers[::-1], optimize=True)
    return units, shifted.reshape(len(window), len(units), -1)


def _best(values, templates, criteria):
    """Index of the template, of all lags and units, that explains each spike best; (its gain, the misfit it leaves)."""
    flat = templates.reshape(-1, templates.shape[2])
    energy, stiffness = (flat.astype("float64") ** 2).sum(axis=1), criteria.amplitude_std**-2
    match = (values @ flat.T).astype("float64")
    amplitude = np.clip((match + stiffness) / (energy + stiffness), *criteria.amplitude_limits)
    gain = 2 * amplitude * match - amplitude**2 * energy - stiffness * (amplitude - 1) ** 2
    row = gain.argmax(axis=1)
    rows = np.arange(len(values))
    a, m = amplitude[rows, row], match[rows, row]
    left = (values.astype("float64") ** 2).sum(axis=1) - 2 * a * m + a**2 * energy[row]
    return row, (gain[rows, row], left / values.shape[1])
