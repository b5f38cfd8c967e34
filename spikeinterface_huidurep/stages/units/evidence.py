"""Evidence that two units are one neuron: distances of their templates and of their embeddings, in units of noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import PCA

from ..templates.whitened import WhitenedTemplates, cross_correlation

# templates are compared where both clusters were seen; the templates themselves are smooth over so many um
SMOOTH_UM = 10.0
# distance of two pieces of which each is the only one that fits the other, as a share of what it is
PARTNERS = 0.75


@dataclass(frozen=True)
class EvidenceCriteria:
    """
    How different two units of one neuron may be.

    Attributes
    ----------
    amplitude_std, variability : float
        How much one neuron's amplitude and the shape of its waveform vary, as a fraction of its norm; it adds to the
        noise.
    max_distance_um : float
        Units further apart than this are infinitely far.
    max_lag_ms : float
        Largest time between the samples on which two units of one neuron are centred.
    embedding_distance : float
        Distance of two pieces of one neuron's embeddings, in standard deviations of a cluster.
    embedding_distance_um : float
        Two pieces of one neuron are no further apart than this.
    embedding_shared : float
        Largest share of the displacements that two pieces of one neuron have in common.
    n_components : int
        Principal components of the embedding that are used.
    """

    amplitude_std: float = 0.12
    variability: float = 0.08
    max_distance_um: float = 60.0
    max_lag_ms: float = 0.3
    embedding_distance: float = 8.0
    embedding_distance_um: float = 25.0
    embedding_shared: float = 0.1
    n_components: int = 16


def template_distances(
    templates: WhitenedTemplates, counts: np.ndarray, criteria: EvidenceCriteria, *, max_lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """
    Distances between templates in standard deviations of the noise, and the lags at which they are reached.

    Each pair is compared at the displacement at which both have most spikes: elsewhere one of them is a guess.

    Parameters
    ----------
    templates : WhitenedTemplates
    counts : (n_clusters, n_displacements) int
        Spikes behind each template.
    criteria : EvidenceCriteria
    max_lag : int
        `criteria.max_lag_ms` in samples.

    Returns
    -------
    distance : (n_clusters, n_clusters) float64
        Zero on the diagonal.
    lag : (n_clusters, n_clusters) int64
        `lag[a, b]` samples are to be added to spikes of b to align them with a.
    """
    n_clusters, _, n_local, n_filters = templates.coefficients.shape
    distance = np.full((n_clusters, n_clusters), np.inf)
    np.fill_diagonal(distance, 0.0)
    lags = np.zeros((n_clusters, n_clusters), dtype="int64")
    window = templates.lags_within(max_lag)
    max_lag = len(window) // 2
    seen = smoothed_shares(counts, templates.displacements)
    n_spikes = counts.sum(axis=1)
    for a in range(n_clusters):
        for b in range(a + 1, n_clusters):
            if np.linalg.norm(templates.locations[a] - templates.locations[b]) > criteria.max_distance_um:
                continue
            displacement = int(np.argmax(np.minimum(seen[a], seen[b])))
            # answer of b's filters, lag samples after a spike of a that came a fraction of a sample early or late
            correlation = cross_correlation(templates, b, a, displacement, window)
            best = int(np.argmax(correlation))
            estimation = n_local * n_filters * (1 / max(n_spikes[a], 1) + 1 / max(n_spikes[b], 1))
            energy_a, energy_b = (
                float((templates.coefficients[unit, displacement].astype("float64") ** 2).sum()) for unit in (a, b)
            )
            squared = _squared_distance(energy_a, energy_b, correlation[best], estimation, criteria)
            distance[a, b] = distance[b, a] = np.sqrt(squared)
            # b is seen at +lag after the sample of a: a's spikes come earlier, so b's are to be moved back by it
            lags[a, b], lags[b, a] = -(best - max_lag), best - max_lag
    return distance, lags


def smoothed_shares(counts: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """Share of each cluster's spikes at each displacement, (n_clusters, n_displacements), smoothed as templates are."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(displacements) == 1:
        return share
    return gaussian_filter1d(share, SMOOTH_UM / (displacements[1] - displacements[0]), axis=1, mode="constant")


def shared_displacements(counts: np.ndarray) -> np.ndarray:
    """Share of the displacements that two clusters have in common, (n_clusters, n_clusters), from 0 to 1."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.minimum(share[:, None], share[None]).sum(axis=2)


def embedding_distances(
    embedding: np.ndarray,
    labels: np.ndarray,
    locations: np.ndarray,
    counts: np.ndarray,
    criteria: EvidenceCriteria,
    *,
    seed: int = 0,
) -> np.ndarray:
    """
    Distances between clusters that are hardly ever seen at the same displacement.

    Two neurons are there whatever the displacement; of the pieces into which drift cuts a neuron's cluster one stops
    where the other starts. No template can be compared between such pieces, but the encoder was trained not
    to mind the displacement: the distance is Mahalanobis' between the medians of their embeddings, and less where the
    two are the only ones that fit each other.

    Parameters
    ----------
    embedding : (n_peaks, 32) float
    labels : (n_peaks,) int
        Cluster of each peak, -1 for none.
    locations : (n_peaks, 2) float
        Registered locations, um.
    counts : (n_clusters, n_displacements) int
        Peaks of each cluster at each displacement.
    criteria : EvidenceCriteria
    seed : int

    Returns
    -------
    distance : (n_clusters, n_clusters) float64
        Divided by `criteria.embedding_distance`; infinite where both are seen at the same displacements or are far
        apart.
    """
    n_clusters = int(labels.max(initial=-1)) + 1
    distance = np.full((n_clusters, n_clusters), np.inf)
    members = [np.flatnonzero(labels == cluster) for cluster in range(n_clusters)]
    if n_clusters < 2 or counts.shape[1] < 2:
        return distance
    components = PCA(min(criteria.n_components, *embedding.shape), random_state=seed).fit_transform(embedding)
    spreads = [np.cov(components[here].T) for here in members if len(here) > 2 * components.shape[1]]
    if not spreads:
        return distance
    spread = np.mean(spreads, axis=0)
    whitened = components @ np.linalg.inv(np.linalg.cholesky(spread + 1e-6 * np.trace(spread) * np.eye(len(spread)))).T
    centres = np.array([np.median(whitened[here], axis=0) for here in members])
    places = np.array([np.median(locations[here], axis=0) for here in members])
    overlap = shared_displacements(counts)
    apart = overlap <= criteria.embedding_shared
    apart &= np.linalg.norm(places[:, None] - places[None], axis=2) <= criteria.embedding_distance_um
    np.fill_diagonal(apart, False)
    distance[apart] = np.linalg.norm(centres[:, None] - centres[None], axis=2)[apart] / criteria.embedding_distance
    return np.where(_only_partners(distance), PARTNERS * distance, distance)


def _only_partners(distance, ratio=1.3):
    """Pairs of which each is the nearest of the other, and no third cluster is nearly as near to either."""
    nearest = distance.argmin(axis=1)
    second = np.partition(distance, 1, axis=1)[:, 1]
    rows = np.arange(len(distance))
    chosen = np.isfinite(distance[rows, nearest]) & (second >= ratio * distance[rows, nearest])
    only = np.zeros(distance.shape, dtype=bool)
    only[rows[chosen], nearest[chosen]] = True
    return only & only.T


def _squared_distance(energy_a, energy_b, correlation, estimation, criteria):
    """
    Squared distance of two templates: their difference along their sum counts in the spread of amplitudes, the rest in
    that of shapes, and both in the noise.
    """
    total = energy_a + energy_b + 2 * correlation
    along = (energy_a - energy_b) ** 2 / max(total, 1e-12)
    across = max(energy_a + energy_b - 2 * correlation - along - estimation, 0.0)
    middle = total / 4
    return along / (1 + criteria.amplitude_std**2 * middle) + across / (1 + criteria.variability**2 * middle)
