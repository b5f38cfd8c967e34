"""Merging: clusters that the noise cannot tell apart are one unit, and so are the pieces that drift cuts one into."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA

from .template_space import WhitenedTemplates

# relative distance from which two clusters are as good as infinitely far: one of them keeps a group from growing
FAR = 3.0


def merge_clusters(
    templates: WhitenedTemplates,
    n_spikes: np.ndarray,
    *,
    merge_threshold: float = 4.0,
    across_drift: np.ndarray | None = None,
    amplitude_std: float = 0.12,
    variability: float = 0.05,
    max_distance_um: float = 60.0,
    max_lag: int = 10,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Group the templates by their distance in units of noise (average linkage).

    The distance between two whitened templates is the separation (d') of their spikes along the line between
    them. It is taken at the best lag, and the part that the templates' own estimation noise makes is subtracted.

    Parameters
    ----------
    templates : WhitenedTemplates
        One template a cluster.
    n_spikes : (n_clusters,) int
        Spikes behind each template.
    merge_threshold : float
        Clusters nearer than this, in standard deviations of the noise, are merged.
    across_drift : (n_clusters, n_clusters) float, optional
        From `distances_across_drift`: relative to the distance at which clusters are merged, so that one is the limit.
    amplitude_std, variability : float
        How much one neuron's amplitude and the shape of its waveform vary, as a fraction of its norm; it adds to the
        noise.
    max_distance_um : float
        Clusters further apart than this are never merged.
    max_lag : int
        Largest lag, in samples, at which two clusters of one unit were centred.

    Returns
    -------
    group : (n_clusters,) int64
        Unit of each cluster, from 0, in the order of each unit's first cluster; -1 for a cluster whose template is a
        late or early copy of a larger cluster's: peaks on another phase of its spikes.
    lag : (n_clusters,) int64
        Samples to add to the cluster's spikes to align them with the largest cluster of its group.
    """
    n_clusters = templates.n_units
    if n_clusters < 2:
        return np.zeros(n_clusters, dtype="int64"), np.zeros(n_clusters, dtype="int64")
    distance, lag = template_distances(templates, n_spikes, amplitude_std, variability, max_distance_um, max_lag)
    relative = distance / merge_threshold
    if across_drift is not None:
        relative = np.minimum(relative, across_drift)
    condensed = squareform(np.minimum(relative, FAR), checks=False)
    flat = fcluster(linkage(condensed, method="average"), t=1.0, criterion="distance")
    flat[_late_copies(templates, n_spikes, max_lag)] = 0
    names, first = np.unique(flat[flat > 0], return_index=True)
    group = np.full(n_clusters, -1, dtype="int64")
    for unit, name in enumerate(names[np.argsort(first)]):
        group[flat == name] = unit

    shift = np.zeros(n_clusters, dtype="int64")
    for unit in range(group.max(initial=-1) + 1):
        members = np.flatnonzero(group == unit)
        largest = members[np.argmax(n_spikes[members])]
        shift[members] = lag[largest, members]
    return group, shift


def _late_copies(templates, n_spikes, max_lag, share=0.3, similarity=0.7):
    """
    Clusters, of fewer than this share of the spikes, whose template is another's at more than the largest lag.

    Their peaks are a second phase of large spikes; as templates they would take these spikes away from their unit.
    """
    displacement = int(np.argmin(np.abs(templates.displacements)))
    coefficients = templates.coefficients[:, displacement].astype("float64")
    norm = np.sqrt((coefficients**2).sum(axis=(1, 2)))
    middle = templates.response.shape[3] // 2
    lags = np.abs(np.arange(templates.response.shape[3]) - middle)
    response = templates.response[:, :, :, (lags > max_lag) & (lags < middle // 2)]
    copies = np.zeros(templates.n_units, dtype=bool)
    for small in range(templates.n_units):
        for large in np.flatnonzero(n_spikes * share > n_spikes[small]):
            _, theirs, mine = np.intersect1d(templates.channels[large], templates.channels[small], return_indices=True)
            if len(mine) == 0:
                continue
            overlap = coefficients[small, mine].T @ coefficients[large, theirs]
            correlation = np.einsum("kq,jkql->jl", overlap, response, optimize=True).max()
            copies[small] |= correlation > similarity * norm[small] * norm[large]
    return copies


def relabel(peaks: np.ndarray, labels: np.ndarray, group: np.ndarray, lag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Apply what `merge_clusters` found: the peaks, moved to be aligned within a unit, and their units.

    Peaks are not sorted again: the lags are a few samples.
    """
    aligned, merged = peaks.copy(), np.full(len(labels), -1, dtype="int64")
    labelled = labels >= 0
    aligned["sample_index"][labelled] += lag[labels[labelled]]
    merged[labelled] = group[labels[labelled]]
    return aligned, merged


def distances_across_drift(
    embedding: np.ndarray,
    labels: np.ndarray,
    locations: np.ndarray,
    displacement: np.ndarray,
    displacements: np.ndarray,
    *,
    max_embedding_distance: float = 8.0,
    max_distance_um: float = 25.0,
    max_overlap: float = 0.1,
    n_components: int = 16,
    seed: int = 0,
) -> np.ndarray:
    """
    Distances between clusters that are hardly ever seen at the same displacement.

    Two neurons are there whatever the displacement; of the pieces into which drift cuts a neuron's cluster one stops
    where the other starts. No template can be compared between such pieces, but the encoder was trained not
    to mind the displacement: the distance is Mahalanobis' between the medians of their embeddings.

    Parameters
    ----------
    embedding : (n_peaks, 32) float
    labels : (n_peaks,) int
        Cluster of each peak, -1 for none.
    locations : (n_peaks, 2) float
        Registered locations, um.
    displacement : (n_peaks,) float
        Displacement of the probe at each peak, um.
    displacements : (n_displacements,) float
        The grid on which the displacements are counted, um.
    max_embedding_distance : float
        Distance, in standard deviations of a cluster, at which two pieces are still one.
    max_distance_um : float
        Pieces of one unit are no further apart than this.
    max_overlap : float
        Largest share of the displacements that two pieces have in common.
    n_components : int
        Principal components of the embedding that are used.
    seed : int

    Returns
    -------
    distance : (n_clusters, n_clusters) float64
        Divided by `max_embedding_distance`; infinite where the pair is seen at the same displacements or is too far
        apart.
    """
    n_clusters = int(labels.max(initial=-1)) + 1
    distance = np.full((n_clusters, n_clusters), np.inf)
    members = [np.flatnonzero(labels == cluster) for cluster in range(n_clusters)]
    if n_clusters < 2 or len(displacements) < 2:
        return distance
    components = PCA(min(n_components, *embedding.shape), random_state=seed).fit_transform(embedding)
    spreads = [np.cov(components[here].T) for here in members if len(here) > 2 * components.shape[1]]
    if not spreads:
        return distance
    spread = np.mean(spreads, axis=0)
    whitened = components @ np.linalg.inv(np.linalg.cholesky(spread + 1e-6 * np.trace(spread) * np.eye(len(spread)))).T
    centres = np.array([np.median(whitened[here], axis=0) for here in members])
    places = np.array([np.median(locations[here], axis=0) for here in members])
    bins = np.abs(displacement[:, None] - displacements).argmin(axis=1)
    share = np.array([np.bincount(bins[here], minlength=len(displacements)) / max(len(here), 1) for here in members])
    for a in range(n_clusters):
        overlap = np.minimum(share[a], share).sum(axis=1)
        near = np.linalg.norm(places - places[a], axis=1) <= max_distance_um
        apart = near & (overlap <= max_overlap)
        distance[a, apart] = np.linalg.norm(centres[apart] - centres[a], axis=1) / max_embedding_distance
    return distance


def template_distances(
    templates: WhitenedTemplates,
    n_spikes: np.ndarray,
    amplitude_std: float = 0.12,
    variability: float = 0.05,
    max_distance_um: float = 60.0,
    max_lag: int = 10,
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
    response = templates.response[:, :, :, window]
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
            # answer of b's filters, lag samples after a spike of a that came a fraction of a sample early or late
            correlation = np.einsum("kq,jkql->jl", overlap, response, optimize=True).max(axis=0)
            best = int(np.argmax(correlation))
            estimation = n_local * n_filters * (1 / max(n_spikes[a], 1) + 1 / max(n_spikes[b], 1))
            squared = _squared_distance(energy[a], energy[b], correlation[best], estimation, amplitude_std, variability)
            distance[a, b] = distance[b, a] = np.sqrt(squared)
            # b is seen at +lag after the sample of a: a's spikes come earlier, so b's are to be moved back by it
            lags[a, b], lags[b, a] = -(best - centre), best - centre
    return distance, lags


def _squared_distance(energy_a, energy_b, correlation, estimation, amplitude_std, variability):
    """
    Squared distance of two templates: their difference along their sum counts in the spread of amplitudes, the rest in
    that of shapes, and both in the noise.
    """
    total = energy_a + energy_b + 2 * correlation
    along = (energy_a - energy_b) ** 2 / max(total, 1e-12)
    across = max(energy_a + energy_b - 2 * correlation - along - estimation, 0.0)
    middle = total / 4
    return along / (1 + amplitude_std**2 * middle) + across / (1 + variability**2 * middle)
