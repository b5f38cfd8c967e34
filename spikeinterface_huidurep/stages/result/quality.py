"""Quality: a label for each unit, from its refractory period and from how sure its spikes are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...parameters import DEFAULT_PARAMS


@dataclass(frozen=True)
class QualityCriteria:
    """
    What a label says of a unit.

    Attributes
    ----------
    refractory_ms : float
        No neuron fires twice within this.
    censored_period_ms : float
        No unit has two spikes nearer than this.
    max_contamination : float
        "good" units have no more than this share of foreign spikes, by their refractory period.
    min_mean_confidence : float
        "good" units have a mean confidence of at least this.
    min_snr, noise_confidence : float
        Units below either are "noise".
    min_spikes : int
        "good" units have as many spikes: of fewer neither the refractory period nor the waveform says much.
    max_piece_probability : float
        "good" units are pieces of a larger unit with at most this probability.
    """

    refractory_ms: float = 1.5
    censored_period_ms: float = DEFAULT_PARAMS["censored_period_ms"]
    max_contamination: float = 0.15
    min_mean_confidence: float = 0.8
    min_snr: float = 2.0
    noise_confidence: float = 0.5
    min_spikes: int = 20
    max_piece_probability: float = 0.27


def label_units(
    spikes: np.ndarray,
    snr: np.ndarray,
    piece_probability: np.ndarray,
    criteria: QualityCriteria,
    *,
    sampling_frequency: float,
    duration_s: float,
) -> np.ndarray:
    """
    Label each unit "good" (one neuron), "mua" (several, a part of one, or too few spikes to tell) or "noise".

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`, `unit_index`, `confidence`; sorted by segment and sample.
    snr : (n_units,) float
        Largest amplitude of each unit's template over the noise.
    piece_probability : (n_units,) float
        Probability that each unit is a piece of a larger one.
    criteria : QualityCriteria
    sampling_frequency : float
        Hz.
    duration_s : float
        Duration of the whole recording, s.

    Returns
    -------
    labels : (n_units,) str
    """
    labels = np.full(len(snr), "good", dtype="<U5")
    foreign = contamination_of_each(spikes, len(snr), criteria, sampling_frequency, duration_s)
    for unit, mine in enumerate(spikes_of_each(spikes, len(snr))):
        mean_confidence = float(mine["confidence"].mean()) if len(mine) else 0.0
        if mean_confidence < criteria.noise_confidence or snr[unit] < criteria.min_snr:
            labels[unit] = "noise"
        elif (
            foreign[unit] > criteria.max_contamination
            or mean_confidence < criteria.min_mean_confidence
            or len(mine) < criteria.min_spikes
            or piece_probability[unit] > criteria.max_piece_probability
        ):
            labels[unit] = "mua"
    return labels


def spikes_of_each(spikes: np.ndarray, n_units: int) -> Iterator[np.ndarray]:
    """
    The spikes of one unit after the other, in their order, without a look at all spikes for each unit.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        With `unit_index`.
    n_units : int

    Yields
    ------
    (n,) structured array
    """
    order = np.argsort(spikes["unit_index"], kind="stable")
    bounds = np.searchsorted(spikes["unit_index"][order], np.arange(n_units + 1))
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield spikes[order[first:last]]


def contamination_of_each(
    spikes: np.ndarray, n_units: int, criteria: QualityCriteria, sampling_frequency: float, duration_s: float
) -> np.ndarray:
    """
    Share of foreign spikes of each unit, by the intervals within its refractory period (`contamination`).

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`, `unit_index`; sorted by segment and sample.
    n_units : int
    criteria : QualityCriteria
    sampling_frequency : float
        Hz.
    duration_s : float
        Duration of the whole recording, s.

    Returns
    -------
    (n_units,) float64
    """
    censored = criteria.censored_period_ms * sampling_frequency / 1000
    refractory = criteria.refractory_ms * sampling_frequency / 1000
    dead_time_s = (criteria.refractory_ms - criteria.censored_period_ms) / 1000
    shares = np.zeros(n_units)
    for unit, mine in enumerate(spikes_of_each(spikes, n_units)):
        interval = np.diff(mine["sample_index"])[np.diff(mine["segment_index"]) == 0]
        violations = int(((interval > censored) & (interval <= refractory)).sum())
        shares[unit] = contamination(violations, len(mine), duration_s, dead_time_s)
    return shares


def contamination(n_violations: int, n_spikes: int, duration_s: float, dead_time_s: float) -> float:
    """
    Share of foreign spikes that explains the intervals within the refractory period (Llobet et al. 2022).

    The foreign spikes are taken as independent of the unit and of each other. A single violation among few spikes says
    nothing: one is subtracted.
    """
    if n_spikes < 2:
        return 0.0
    expected = n_spikes**2 * dead_time_s / duration_s
    ratio = max(n_violations - 1, 0) / max(expected, 1e-12)
    return float(1 - np.sqrt(max(1 - ratio, 0.0)))
