"""Confidence of spikes and mixing of units, from nearest neighbours in the embedding."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from ..stages.peaks.clustering import clustering_features


def spike_confidence(
    embedding: np.ndarray,
    location: np.ndarray,
    unit_index: np.ndarray,
    n_neighbors: int = 15,
    max_distance_um: float = 100.0,
) -> np.ndarray:
    """
    Fraction of each spike's nearest neighbours that belong to its own unit.

    Parameters
    ----------
    embedding : (n_spikes, n_dimensions) float
    location : (n_spikes, 2) float
        um.
    unit_index : (n_spikes,) int
    n_neighbors : int
        Neighbours of each spike.
    max_distance_um : float
        Neighbours are sought among the spikes of units whose median locations are at most this far apart.

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
        near = units[np.linalg.norm(centres - centre, axis=1) <= max_distance_um]
        own, others = np.flatnonzero(unit_index == unit), np.flatnonzero(np.isin(unit_index, near))
        n_found = min(n_neighbors, len(others) - 1)
        if n_found < 1:
            continue
        search = NearestNeighbors(n_neighbors=n_found + 1, algorithm="brute").fit(features[others])
        found = others[search.kneighbors(features[own], return_distance=False)]
        # a spike is not its own neighbour; where identical spikes take its place, the last one is left out instead
        itself = found == own[:, None]
        itself[~itself.any(axis=1), -1] = True
        neighbours = found[~itself].reshape(len(own), n_found)
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
    How far the spikes of two units overlap in the embedding, for all pairs of units.

    The same number of spikes is drawn from both units. For two random halves of one unit, half of each spike's
    neighbours then belong to the other half; the measured share is divided by this one half.

    Parameters
    ----------
    embedding : (n_spikes, n_dimensions) float
    location : (n_spikes, 2) float
        um.
    unit_index : (n_spikes,) int
        From 0 to `n_units` - 1.
    n_units : int
    n_neighbors : int
        Neighbours of each spike.
    max_spikes : int
        Largest number of spikes of each unit.
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
    if len(unit_index) < 2:
        return np.full((n_units, n_units), np.nan)
    features = clustering_features(embedding, location).astype("float32")
    near = near_units(location, unit_index, n_units, max_distance_um)
    return mixing_of(features, unit_index, near, n_neighbors=n_neighbors, max_spikes=max_spikes, seed=seed)


def near_units(location: np.ndarray, unit_index: np.ndarray, n_units: int, max_distance_um: float) -> np.ndarray:
    """Which pairs of units have spikes, and their median locations near each other, (n_units, n_units) bool."""
    near = np.zeros((n_units, n_units), dtype=bool)
    units, centres = unit_centres(location, unit_index)
    near[np.ix_(units, units)] = np.linalg.norm(centres[:, None] - centres[None], axis=2) <= max_distance_um
    return near


def mixing_of(
    features: np.ndarray,
    unit_index: np.ndarray,
    near: np.ndarray,
    *,
    n_neighbors: int = 10,
    max_spikes: int = 300,
    seed: int = 0,
) -> np.ndarray:
    """
    `unit_mixing` in any space, such as that of a map.

    Parameters
    ----------
    features : (n_spikes, n_dimensions) float
    unit_index : (n_spikes,) int
    near : (n_units, n_units) bool
        The pairs to compare.
    n_neighbors, max_spikes, seed
        As in `unit_mixing`.

    Returns
    -------
    mixing : (n_units, n_units) float64
    """
    mixing = np.full(near.shape, np.nan)
    rng = np.random.default_rng(seed)
    units = np.unique(unit_index)
    members = [rng.permutation(np.flatnonzero(unit_index == unit))[:max_spikes] for unit in units]
    for a in range(len(units)):
        for b in range(a + 1, len(units)):
            n_each = min(len(members[a]), len(members[b]))
            if n_each <= n_neighbors or not near[units[a], units[b]]:
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
