"""Merging: clusters that the noise cannot tell apart are one unit, and so are the pieces that drift cuts one into."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from ..templates.whitened import WhitenedTemplates
from .distances import cross_correlation, shared_displacements, template_distances

# relative distance from which two clusters are as good as infinitely far: one of them keeps a group from growing
FAR = 3.0


def merge_clusters(
    templates: WhitenedTemplates,
    counts: np.ndarray,
    *,
    merge_threshold: float = 3.4,
    apart_factor: float = 1.6,
    max_shared: float = 0.3,
    other_distance: np.ndarray | None = None,
    amplitude_std: float = 0.12,
    variability: float = 0.08,
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
    counts : (n_clusters, n_displacements) int
        Spikes behind each template.
    merge_threshold : float
        Clusters nearer than this, in standard deviations of the noise, are merged.
    apart_factor, max_shared : float
        The threshold is larger by this factor for clusters that have no more than this share of their displacements in
        common: two neurons are there whatever the displacement, while drift cuts one into such pieces.
    other_distance : (n_clusters, n_clusters) float, optional
        What else says that two are one, such as `distances_across_drift`: relative to the distance at which clusters
        are merged, so that one is the limit. The smaller distance counts.
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
    n_spikes = counts.sum(axis=1)
    distance, lag = template_distances(
        templates,
        counts,
        amplitude_std=amplitude_std,
        variability=variability,
        max_distance_um=max_distance_um,
        max_lag=max_lag,
    )
    relative = distance / merge_threshold
    if counts.shape[1] > 1:
        relative[shared_displacements(counts) <= max_shared] /= apart_factor
    if other_distance is not None:
        relative = np.minimum(relative, other_distance)
    condensed = squareform(np.minimum(relative, FAR), checks=False)
    flat = fcluster(linkage(condensed, method="average"), t=1.0, criterion="distance")
    flat[_late_copies(templates, n_spikes, max_lag, max_distance_um)] = 0
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


def _late_copies(templates, n_spikes, max_lag, max_distance_um, share=0.3, similarity=0.7):
    """
    Clusters, of fewer than this share of the spikes, whose template is another's at more than the largest lag.

    Their peaks are a second phase of large spikes; as templates they would take these spikes away from their unit.
    """
    displacement = int(np.argmin(np.abs(templates.displacements)))
    norm = np.sqrt((templates.coefficients[:, displacement].astype("float64") ** 2).sum(axis=(1, 2)))
    middle = templates.response.shape[3] // 2
    lags = np.abs(np.arange(templates.response.shape[3]) - middle)
    window = np.flatnonzero((lags > max_lag) & (lags < middle // 2))
    copies = np.zeros(templates.n_units, dtype=bool)
    for small in range(templates.n_units):
        near = np.linalg.norm(templates.locations - templates.locations[small], axis=1) <= max_distance_um
        for large in np.flatnonzero(near & (n_spikes * share > n_spikes[small])):
            correlation = cross_correlation(templates, small, int(large), displacement, window).max()
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
