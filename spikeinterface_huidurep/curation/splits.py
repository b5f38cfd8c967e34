"""Units that may be two neurons: their spikes lie in two clouds of the embedding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from spikeinterface.core import SortingAnalyzer

from ..jobs import resolve_job_kwargs
from ..stages.grouping.spike_times import coincidences
from .extension import EXTENSION_NAME, embed_spikes

# dimensions in which the clouds are sought: the others are mostly noise
N_DIMENSIONS = 4
# Embedded spikes that a unit must have, the share of them that the smaller cloud must have, and the density between the
# clouds, as a share of that of the less dense one, below which a split is suggested. On five simulated recordings
# (`studies/curation_suggestions.py`) units of two neurons have shares of 0.42 and more, and densities of at most 0.09.
# Of those of one neuron, many have a few spikes apart, mostly 0.01 to 0.08 of them; a neuron of SNR 3 (`huidurep demo`)
# has a share of 0.17 and a density of 0.3.
MIN_SPIKES, MIN_SHARE, MAX_VALLEY = 60, 0.15, 0.2
# embedded spikes that say to which cloud another one belongs, and how many um count as much as 1 of the embedding
N_NEIGHBOURS, UM_PER_UNIT = 5, 20.0
COLUMNS = ("unit", "valley", "share", "observed", "expected", "suggested")


def split_candidates(analyzer: SortingAnalyzer, *, max_valley: float = MAX_VALLEY, seed: int = 0) -> pd.DataFrame:
    """
    Look for units whose spikes lie in two clouds of the embedding.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extension "huidurep_embeddings".
    max_valley : float
        A split is suggested below this `valley`.
    seed : int
        Of the search for two clouds.

    Returns
    -------
    pandas.DataFrame
        One row for each unit with enough spikes, the deepest valley first: `unit`; `valley`, density between the two
        clouds as a share of that of the less dense one, 1 where there is one cloud; `share` of the spikes that is in
        the smaller cloud; `observed` and `expected`, pairs of spikes of both clouds at most 2 ms apart, and how many
        chance would make, both among the spikes that are embedded; `suggested`.
    """
    units, features = _features(analyzer)
    spikes = analyzer.sorting.to_spike_vector()[analyzer.get_extension("random_spikes").get_data()]
    # segments further apart than any lag that counts
    at = spikes["sample_index"] + spikes["segment_index"].astype("int64") * 2**40
    rows = []
    for unit in np.unique(units):
        mine = np.flatnonzero(units == unit)
        if len(mine) < MIN_SPIKES:
            continue
        second, valley = two_clouds(features[mine], seed)
        times = [np.sort(at[mine[~second]]), np.sort(at[mine[second]])]
        observed, expected = coincidences(times, np.array([[0, 1]]), analyzer.sampling_frequency)
        share = float(min(second.mean(), 1 - second.mean()))
        suggested = valley < max_valley and share >= MIN_SHARE
        rows.append((analyzer.unit_ids[unit], valley, share, int(observed[0]), float(expected[0]), suggested))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"suggested": bool})
    return table.sort_values(["suggested", "valley"], ascending=[False, True], ignore_index=True, kind="stable")


def _features(analyzer):
    """Unit of each embedded spike, and where the sorter would cluster it."""
    from ..stages.peaks.clustering import clustering_features

    extension = analyzer.get_extension(EXTENSION_NAME)
    units = np.asarray(extension.get_data(outputs="unit_index"))
    features = clustering_features(extension.get_data(), extension.get_data(outputs="location")).astype("float64")
    return units, features


def find_splits(analyzer: SortingAnalyzer, units: Iterable[Any], *, seed: int = 0, **job_kwargs: Any) -> list[dict]:
    """
    Part all spikes of units that lie in two clouds; those that are not embedded yet are embedded for it.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extension "huidurep_embeddings" and its recording.
    units : iterable
        Ids of units that `split_candidates` lists.
    seed : int
        As it was given to `split_candidates`.
    **job_kwargs
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    list of dict
        `splits` of SpikeInterface's curation format: `indices` has the spikes of the smaller cloud, by their place
        among all spikes of the unit. A spike goes with the `N_NEIGHBOURS` embedded ones that are nearest to it.
    """
    wanted, spikes = analyzer.sorting.ids_to_indices(list(units)), analyzer.sorting.to_spike_vector()
    if len(wanted) == 0:
        return []
    extension = analyzer.get_extension(EXTENSION_NAME)
    params, known = extension.params, np.asarray(analyzer.get_extension("random_spikes").get_data())
    new = np.setdiff1d(np.flatnonzero(np.isin(spikes["unit_index"], wanted)), known)
    jobs = resolve_job_kwargs({"job_kwargs": job_kwargs, "n_jobs": None}, bool(job_kwargs.get("progress_bar")))
    embedding, location, _ = embed_spikes(analyzer, spikes[new], params["model"], params["device"], jobs)
    of_known, features = _features(analyzer)
    near_known, near_new = (
        np.column_stack([vectors, places / UM_PER_UNIT])
        for vectors, places in (
            (extension.get_data(), extension.get_data(outputs="location")),
            (embedding, location),
        )
    )
    splits = []
    for unit in wanted:
        mine, others = of_known == unit, spikes["unit_index"][new] == unit
        second, _ = two_clouds(features[mine], seed)
        all_mine = np.flatnonzero(spikes["unit_index"] == unit)
        in_second = np.zeros(len(all_mine), dtype=bool)
        in_second[np.searchsorted(all_mine, known[mine])] = second
        if others.any():
            vote = KNeighborsClassifier(N_NEIGHBOURS).fit(near_known[mine], second)
            in_second[np.searchsorted(all_mine, new[others])] = vote.predict(near_new[others])
        smaller = in_second if in_second.mean() <= 0.5 else ~in_second
        name = analyzer.unit_ids[unit]
        name = name.item() if isinstance(name, np.generic) else name
        splits.append({"unit_id": name, "mode": "indices", "indices": [np.flatnonzero(smaller).tolist()]})
    return splits


def two_clouds(features: np.ndarray, seed: int = 0) -> tuple[np.ndarray, float]:
    """
    Part spikes in two where they are fewest.

    Parameters
    ----------
    features : (n_spikes, n_dimensions) float
    seed : int

    Returns
    -------
    second : (n_spikes,) bool
        Spikes of the second cloud.
    valley : float
        Density between the clouds as a share of that of the less dense one, along the line through their centres.
    """
    n_dimensions = min(N_DIMENSIONS, *features.shape)
    reduced = PCA(n_dimensions, svd_solver="full").fit_transform(features)
    # a lone outlier makes no cloud
    found = KMeans(2, n_init=4, random_state=seed).fit(reduced)
    second = found.labels_ == 1
    line = np.subtract(*found.cluster_centers_[::-1])
    along = reduced @ line / max(np.linalg.norm(line), 1e-12)
    if np.ptp(along) < 1e-9 or min(second.sum(), (~second).sum()) < 2:
        return second, 1.0
    # narrow enough to see a valley between clouds: the usual bandwidth is for one of them
    density = gaussian_kde(along, 0.5 * len(along) ** -0.2)
    ends = np.array([np.median(along[~second]), np.median(along[second])])
    low, high = ends
    between = density(np.linspace(low, high, 60))
    return second, float(min(between.min() / max(density(ends).min(), 1e-12), 1.0))
