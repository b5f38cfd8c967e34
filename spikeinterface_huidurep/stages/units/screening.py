"""Screening: clusters of peaks that are no spikes of their own go before they become units."""

from __future__ import annotations

import logging

import numpy as np

from ..templates.drifting import DriftingUnitTemplates

logger = logging.getLogger("spikeinterface_huidurep")


def screen_clusters(
    templates: DriftingUnitTemplates,
    peaks: np.ndarray,
    labels: np.ndarray,
    *,
    detect_threshold: float,
    max_lag: int,
    min_centred: float = 0.6,
    min_excess: float = 0.33,
) -> np.ndarray:
    """
    Find the clusters of echoes and of noise.

    The template of a cluster of echoes (peaks on another phase of a larger neuron's spikes, before or after it) is that
    neuron's spike, and it is largest away from where the peaks are. As a unit it would take the neuron's spikes.

    Peaks of noise crowd at the detection threshold: beyond a threshold of t times the noise a Gaussian's mean excess is
    about 1 / t. A neuron whose spikes are as large as 3/5 of the threshold has twice that.

    Parameters
    ----------
    templates : DriftingUnitTemplates
        One a cluster.
    peaks : (n_peaks,) structured array
        From `detect_peaks`: `amplitude` and `score`, in units of noise.
    labels : (n_peaks,) int
        Cluster of each peak, -1 for none.
    detect_threshold : float
        Threshold beyond which peaks were detected, in units of noise.
    max_lag : int
        Samples from the peaks within which a template has to have its extremum.
    min_centred : float
        Least extremum within `max_lag`, and least median amplitude of the peaks, as fractions of the extremum of the
        whole template.
    min_excess : float
        Least mean of the peaks' scores above the threshold, in units of noise.

    Returns
    -------
    real : (n_clusters,) bool
    """
    real = np.ones(templates.n_units, dtype=bool)
    near = slice(max(templates.nbefore - max_lag, 0), templates.nbefore + max_lag + 1)
    for cluster in range(templates.n_units):
        mine = peaks["amplitude"][labels == cluster].astype("float64")
        if len(mine) == 0:
            continue
        seen = int(np.argmax(templates.counts[cluster]))
        waveform = templates.waveforms[cluster, seen] * np.sign(np.median(mine))
        largest = max(float(waveform.max()), 1e-9)
        centred = min(waveform[near].max(), np.median(np.abs(mine))) / largest
        excess = float((peaks["score"][labels == cluster] - detect_threshold).mean())
        real[cluster] = centred >= min_centred and excess >= min_excess
    if not real.all():
        logger.info("screening: %d of %d clusters are echoes or noise", (~real).sum(), len(real))
    return real
