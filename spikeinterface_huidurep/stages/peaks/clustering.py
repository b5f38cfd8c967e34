"""Clustering: pure groups of peaks, as many as there are; those of one neuron are joined later, on evidence."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier


def cluster_peaks(
    embedding: np.ndarray,
    locations: np.ndarray,
    *,
    n_components: int = 10,
    location_scale_um: float = 20.0,
    min_cluster_size: int,
    seed: int = 0,
) -> np.ndarray:
    """
    Density clustering (HDBSCAN, Campello et al. 2013) of the embeddings together with the registered locations.

    The leaves of the cluster tree are taken, not its most persistent clusters: a unit in two leaves is joined again
    later (`join_units`), while two neurons in one cluster might be lost. Leaves are only the densest parts; the other
    peaks of the persistent cluster around them go to the leaf of most of their neighbours. Peaks that then lie in no
    cluster are clustered once more, by themselves. This gives small units, and pieces of larger ones, which
    `refine_units` finds.

    Parameters
    ----------
    embedding : (n_peaks, 32) float
        From `embed_peaks`.
    locations : (n_peaks, 2) float
        Registered locations, um.
    n_components : int
        Principal components of the embedding that are used.
    location_scale_um : float
        Distance (um) that counts as much as one standard deviation of the embedding.
    min_cluster_size : int
        HDBSCAN's least size of a cluster; half as many neighbours define the density.
    seed : int
        For the principal components.

    Returns
    -------
    labels : (n_peaks,) int64
        Cluster of each peak, from 0; -1 where it lies in none.
    """
    n_peaks = len(embedding)
    min_samples = max(min_cluster_size // 2, 2)
    if n_peaks < 2 * min_samples:
        # too few peaks to estimate a density: they are one cluster, which is judged by its template
        return np.zeros(n_peaks, dtype="int64")
    features = clustering_features(
        embedding, locations, n_components=n_components, location_scale_um=location_scale_um, seed=seed
    )
    tree = _KeptTree()
    leaves = _hdbscan(features, min_cluster_size, min_samples, "leaf", tree)
    if leaves.max(initial=-1) < 0:
        # HDBSCAN never makes one cluster of all peaks; if it finds no two clusters, they are one
        return np.zeros(n_peaks, dtype="int64")
    persistent = _hdbscan(features, min_cluster_size, min_samples, "eom", tree)
    labels = _fill(features, leaves, persistent)
    # sparse clusters do not stand out next to dense ones
    rest = np.flatnonzero(labels < 0)
    if len(rest) >= 2 * min_cluster_size:
        sparse = _hdbscan(features[rest], min_cluster_size, min_samples, "leaf", _KeptTree())
        labels[rest] = np.where(sparse >= 0, sparse + labels.max() + 1, -1)
    return labels


def clustering_features(
    embedding: np.ndarray,
    locations: np.ndarray,
    *,
    n_components: int = 10,
    location_scale_um: float = 20.0,
    seed: int = 0,
) -> np.ndarray:
    """
    The space in which spikes are clustered: principal components of the embedding, and the location.

    Parameters
    ----------
    embedding : (n_spikes, n_dimensions) float
    locations : (n_spikes, 2) float
        um.
    n_components, location_scale_um, seed
        As for `cluster_peaks`.

    Returns
    -------
    features : (n_spikes, n_components + 2) float64
        Fewer components where there are fewer spikes or dimensions.
    """
    components = PCA(min(n_components, *embedding.shape), random_state=seed).fit_transform(embedding)
    spread = components.std()
    scaled = [components / (spread if spread > 0 else 1.0), locations / location_scale_um]
    return np.column_stack(scaled).astype("float64")


class _KeptTree:
    """
    For HDBSCAN in place of joblib's `Memory`: the tree, which takes most of the time, is made once for two selections.

    `Memory` would put it on the disk, as a pickle.
    """

    def __init__(self):
        self.tree = None

    def cache(self, function, **_):
        def kept(*args, **kwargs):
            if self.tree is None:
                self.tree = function(*args, **kwargs)
            return self.tree

        return kept


def _hdbscan(features, min_cluster_size, min_samples, selection, tree):
    from hdbscan import HDBSCAN

    clusterer = HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=min_samples,
        cluster_selection_method=selection,
        core_dist_n_jobs=1,
        memory=tree,
    )
    return clusterer.fit_predict(features).astype("int64")


def _fill(features, leaves, persistent, n_neighbors=10):
    """Give the peaks that lie in a persistent cluster, but in none of its leaves, to the leaves nearest to them."""
    filled = leaves.copy()
    for cluster in range(persistent.max(initial=-1) + 1):
        inside = persistent == cluster
        known, unknown = inside & (leaves >= 0), inside & (leaves < 0)
        if known.any() and unknown.any():
            neighbours = KNeighborsClassifier(min(n_neighbors, int(known.sum()))).fit(features[known], leaves[known])
            filled[unknown] = neighbours.predict(features[unknown])
    return filled


def least_cluster_size(n_peaks: int) -> int:
    """One in a thousand of the peaks, from 10 to 20: short recordings have units with few spikes too."""
    return int(np.clip(n_peaks // 1000, 10, 20))
