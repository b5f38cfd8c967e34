"""What a spike's neighbours in the embedding say of its unit, and of pairs of units."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from ..stages.peaks.clustering import clustering_features

# two units that are further apart are never compared
MAX_DISTANCE_UM = 100.0


def spike_confidence(
    embedding: np.ndarray, location: np.ndarray, unit_index: np.ndarray, n_neighbors: int = 15
) -> np.ndarray:
    """
    Share of each spike's nearest neighbours that belong to its own unit.

    Parameters
    ----------
    embedding : (n_spikes, n_dimensions) float
    location : (n_spikes, 2) float
        um.
    unit_index : (n_spikes,) int
    n_neighbors : int
        Neighbours that are asked, among the spikes of all units within `MAX_DISTANCE_UM`.

    Returns
    -------
    confidence : (n_spikes,) float32
        From 0 (all neighbours belong to other units) to 1; NaN for a spike that has no neighbour.
    """
    confidence = np.full(len(unit_index), np.nan, dtype="float32")
    if len(unit_index) < 2:
        return confidence
    features = clustering_features(embedding, location).astype("float32")
    units, centres = unit_centres(location, unit_index)
    for unit, centre in zip(units, centres, strict=True):
        near = units[np.linalg.norm(centres - centre, axis=1) <= MAX_DISTANCE_UM]
        own, others = np.flatnonzero(unit_index == unit), np.flatnonzero(np.isin(unit_index, near))
        n_asked = min(n_neighbors, len(others) - 1)
        if n_asked < 1:
            continue
        search = NearestNeighbors(n_neighbors=n_asked + 1, algorithm="brute").fit(features[others])
        found = others[search.kneighbors(features[own], return_distance=False)]
        # a spike is not its own neighbour; where equal spikes crowd it out, the last one is left out instead
        itself = found == own[:, None]
        itself[~itself.any(axis=1), -1] = True
        neighbours = found[~itself].reshape(len(own), n_asked)
        confidence[own] = (unit_index[neighbours] == unit).mean(axis=1)
    return confidence


def unit_mixing(
    embedding: np.ndarray,
    location: np.ndarray,
    unit_index: np.ndarray,
    n_units: int,
    *,
    n_neighbors: int = 10,
    max_spikes: int = 300,
    max_distance_um: float = 60.0,
    seed: int = 0,
) -> np.ndarray:
    """
    How far two units lie among each other in the embedding, for all pairs.

    As many spikes are drawn of the one as of the other, so that spikes of two halves of one unit have on average half
    of their neighbours on the other side; the share on the other side is divided by this half.

    Parameters
    ----------
    embedding : (n_spikes, n_dimensions) float
    location : (n_spikes, 2) float
        um.
    unit_index : (n_spikes,) int
        From 0 to `n_units` - 1.
    n_units : int
    n_neighbors : int
        Neighbours of each spike that are asked.
    max_spikes : int
        Spikes of each unit that are drawn.
    max_distance_um : float
        Units whose median locations are further apart are not compared.
    seed : int
        Chooses the spikes.

    Returns
    -------
    mixing : (n_units, n_units) float64
        Symmetric; from 0 (apart) to 1 (one cloud); NaN where a pair is too far apart or has too few spikes, and on the
        diagonal.
    """
    mixing = np.full((n_units, n_units), np.nan)
    if len(unit_index) < 2:
        return mixing
    rng = np.random.default_rng(seed)
    features = clustering_features(embedding, location).astype("float32")
    units, centres = unit_centres(location, unit_index)
    members = [rng.permutation(np.flatnonzero(unit_index == unit))[:max_spikes] for unit in units]
    for a in range(len(units)):
        for b in range(a + 1, len(units)):
            n_each = min(len(members[a]), len(members[b]))
            if n_each <= n_neighbors or np.linalg.norm(centres[a] - centres[b]) > max_distance_um:
                continue
            both = features[np.concatenate([members[a][:n_each], members[b][:n_each]])]
            side = np.repeat([0, 1], n_each)
            search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(both)
            neighbours = search.kneighbors(return_distance=False)
            other = (side[neighbours] != side[:, None]).mean()
            mixing[units[a], units[b]] = mixing[units[b], units[a]] = min(2 * other, 1.0)
    return mixing


def unit_centres(location: np.ndarray, unit_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The units that have spikes, (n,) int, and the medians of their spikes' locations, (n, 2) float64, um."""
    units = np.unique(unit_index)
    return units, np.array([np.nanmedian(location[unit_index == unit], axis=0) for unit in units], dtype="float64")
