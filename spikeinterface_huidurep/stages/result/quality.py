"""Quality: a label for each unit, from its refractory period and from how sure its spikes are."""

from __future__ import annotations

import numpy as np

REFRACTORY_MS = 1.5


def label_units(
    spikes: np.ndarray,
    n_units: int,
    snr: np.ndarray,
    *,
    sampling_frequency: float,
    duration_s: float,
    censored_period_ms: float = 0.5,
    max_contamination: float = 0.15,
    min_mean_confidence: float = 0.8,
    min_snr: float = 2.0,
    noise_confidence: float = 0.5,
) -> np.ndarray:
    """
    Label each unit "good" (one neuron), "mua" (several) or "noise".

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`, `unit_index`, `confidence`; sorted by segment and sample.
    n_units : int
    snr : (n_units,) float
        Largest amplitude of each unit's template over the noise.
    sampling_frequency : float
        Hz.
    duration_s : float
        Duration of the whole recording, s.
    censored_period_ms : float
        No unit has two spikes nearer than this.
    max_contamination : float
        "good" units have no more than this share of foreign spikes, by their refractory period.
    min_mean_confidence : float
        "good" units have a mean confidence of at least this.
    min_snr, noise_confidence : float
        Units below either are "noise".

    Returns
    -------
    labels : (n_units,) str
    """
    labels = np.full(n_units, "good", dtype="<U5")
    censored = censored_period_ms * sampling_frequency / 1000
    refractory = REFRACTORY_MS * sampling_frequency / 1000
    for unit in range(n_units):
        mine = spikes[spikes["unit_index"] == unit]
        mean_confidence = float(mine["confidence"].mean()) if len(mine) else 0.0
        interval = np.diff(mine["sample_index"])[np.diff(mine["segment_index"]) == 0]
        violations = int(((interval > censored) & (interval <= refractory)).sum())
        dead_time_s = (REFRACTORY_MS - censored_period_ms) / 1000
        if mean_confidence < noise_confidence or snr[unit] < min_snr:
            labels[unit] = "noise"
        elif (
            contamination(violations, len(mine), duration_s, dead_time_s) > max_contamination
            or mean_confidence < min_mean_confidence
        ):
            labels[unit] = "mua"
    return labels


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
