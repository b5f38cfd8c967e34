"""Merging: clusters whose templates the noise cannot tell apart are one unit."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from .template_space import N_SUBSAMPLE, WhitenedTemplates


def merge_clusters(
    templates: WhitenedTemplates,
    n_spikes: np.ndarray,
    *,
    merge_threshold: float = 4.0,
    variability: float = 0.05,
    max_distance_um: float = 60.0,
    max_lag: int = 15,
    amplitude_limits: tuple[float, float] = (0.5, 2.0),
) -> np.ndarray:
    """
    Group the templates by their distance in units of noise (complete linkage: all of a group are near each other).

    The distance between two whitened templates is the separation (d') of their spikes along the line between
    them. It is taken at the best lag, at the best relative amplitude within `amplitude_limits`, and the part that the
    templates' own estimation noise makes is subtracted.

    Parameters
    ----------
    templates : WhitenedTemplates
        One template a cluster.
    n_spikes : (n_clusters,) int
        Spikes behind each template.
    merge_threshold : float
        Clusters nearer than this, in standard deviations of the noise, are merged.
    variability : float
        How much one neuron's own waveform varies, as a fraction of its norm; it adds to the noise.
    max_distance_um : float
        Clusters further apart than this are never merged.
    max_lag : int
        Largest lag, in samples, at which two clusters of one unit were centred.
    amplitude_limits : (low, high)
        Ratio of amplitudes that one unit's clusters may have.

    Returns
    -------
    group : (n_clusters,) int64
        Unit of each cluster, from 0, in the order of each unit's first cluster.
    lag : (n_clusters,) int64
        Samples to add to the cluster's spikes to align them with the largest cluster of its group.
    """
    n_clusters = templates.n_units
    if n_clusters < 2:
        return np.zeros(n_clusters, dtype="int64"), np.zeros(n_clusters, dtype="int64")
    distance, lag = template_distances(templates, n_spikes, variability, max_distance_um, max_lag, amplitude_limits)
    far = 10 * merge_threshold
    condensed = squareform(np.minimum(distance, far), checks=False)
    flat = fcluster(linkage(condensed, method="complete"), t=merge_threshold, criterion="distance")
    _, first, group = np.unique(flat, return_index=True, return_inverse=True)
    group = np.argsort(np.argsort(first))[group].astype("int64")

    shift = np.zeros(n_clusters, dtype="int64")
    for unit in range(group.max() + 1):
        members = np.flatnonzero(group == unit)
        largest = members[np.argmax(n_spikes[members])]
        shift[members] = lag[largest, members]
    return group, shift


def template_distances(
    templates: WhitenedTemplates,
    n_spikes: np.ndarray,
    variability: float = 0.05,
    max_distance_um: float = 60.0,
    max_lag: int = 15,
    amplitude_limits: tuple[float, float] = (0.5, 2.0),
) -> tuple[np.ndarray, np.ndarray]:
    """
    Distances between templates in standard deviations of the noise, and the lags at which they are reached.

    Returns
    -------
    distance : (n_clusters, n_clusters) float64
        Infinite beyond `max_distance_um`, zero on the diagonal.
    lag : (n_clusters, n_clusters) int64
        `lag[a, b]` samples are to be added to spikes of b to align them with a.
    """
    n_clusters, _, n_local, n_filters = templates.coefficients.shape
    distance = np.full((n_clusters, n_clusters), np.inf)
    np.fill_diagonal(distance, 0.0)
    lags = np.zeros((n_clusters, n_clusters), dtype="int64")
    middle = templates.response.shape[3] // 2
    window = slice(max(middle - max_lag, 0), middle + max_lag + 1)
    response = templates.response[N_SUBSAMPLE // 2][:, :, window]
    centre = middle - window.start
    displacement = int(np.argmin(np.abs(templates.displacements)))
    coefficients = templates.coefficients[:, displacement].astype("float64")
    energy = (coefficients**2).sum(axis=(1, 2))
    for a in range(n_clusters):
        for b in range(a + 1, n_clusters):
            if np.linalg.norm(templates.locations[a] - templates.locations[b]) > max_distance_um:
                continue
            _, mine, theirs = np.intersect1d(templates.channels[a], templates.channels[b], return_indices=True)
            overlap = coefficients[b, theirs].T @ coefficients[a, mine]
            # answer of b's filters, lag samples after a spike of a
            correlation = np.einsum("kq,kql->l", overlap, response)
            best = int(np.argmax(correlation))
            squared = _scaled_distance(energy[a], energy[b], correlation[best], amplitude_limits)
            estimation = n_local * n_filters * (1 / max(n_spikes[a], 1) + 1 / max(n_spikes[b], 1))
            spread = 1 + variability**2 * min(energy[a], energy[b])
            distance[a, b] = distance[b, a] = np.sqrt(max(squared - estimation, 0.0) / spread)
            # b is seen at +lag after the sample of a: a's spikes come earlier, so b's are to be moved back by it
            lags[a, b], lags[b, a] = -(best - centre), best - centre
    return distance, lags


def _scaled_distance(energy_a, energy_b, correlation, amplitude_limits):
    """Squared distance of the smaller template to the best multiple of the larger one."""
    small, large = min(energy_a, energy_b), max(energy_a, energy_b)
    low = max(amplitude_limits[0], 1 / amplitude_limits[1])
    ratio = np.clip(correlation / max(large, 1e-12), low, 1.0)
    return small - 2 * ratio * correlation + ratio**2 * large
