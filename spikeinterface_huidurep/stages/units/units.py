"""Units: what the clusters become once those that hold two neurons are split and those of one neuron are joined."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.core_tools import ms_to_samples

from ..templates.drifting import DriftingUnitTemplates, estimate_templates
from ..templates.whitened import whiten_templates
from ..traces.noise import NoiseModel
from .distances import distances_across_drift
from .merging import merge_clusters, relabel
from .screening import screen_clusters
from .splitting import split_units

logger = logging.getLogger("spikeinterface_huidurep")

# largest time between the samples on which two clusters of one unit are centred
MAX_LAG_MS = 0.3
# the parts of a cluster of many neurons have templates of their own, and show what they hold better than the whole
SPLIT_ROUNDS = 3


class Units(NamedTuple):
    """The units and the peaks that they were made of (see `make_units`)."""

    peaks: np.ndarray
    labels: np.ndarray
    templates: DriftingUnitTemplates


def make_units(
    recording: BaseRecording,
    peaks: np.ndarray,
    clusters: np.ndarray,
    embedding: np.ndarray,
    locations: np.ndarray,
    displacement: np.ndarray,
    noise: NoiseModel,
    *,
    displacements: np.ndarray,
    nbefore: int,
    nafter: int,
    detect_threshold: float = 5.0,
    min_size: int = 20,
    merge_threshold: float = 3.4,
    amplitude_std: float = 0.12,
    seed: int = 0,
    job_kwargs: dict | None = None,
) -> Units:
    """
    Make templates of the clusters; split, screen and merge them on their evidence; make the units' templates.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    peaks : (n_peaks,) structured array
    clusters : (n_peaks,) int
        Cluster of each peak, -1 for none.
    embedding : (n_peaks, 32) float
    locations : (n_peaks, 2) float
        Registered locations, um.
    displacement : (n_peaks,) float
        Displacement of the probe at each peak, um.
    noise : NoiseModel
    displacements : (n_displacements,) float
        Displacements for which templates are made, um.
    nbefore, nafter : int
        Samples of the templates before and after the peak.
    detect_threshold : float
        Threshold beyond which the peaks were detected, in units of noise.
    min_size : int
        Least number of peaks on each side of a split.
    merge_threshold : float
        Distance, in standard deviations of the noise, below which clusters are merged, and above which they are split.
    amplitude_std : float
        Expected spread of a unit's amplitudes, as a fraction of the template's.
    seed : int
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    Units
        peaks, aligned within each unit; labels (n_peaks,) int64, -1 for peaks of no unit; templates of the units.
    """

    def templates_of(peaks, labels):
        return estimate_templates(
            recording, peaks, labels, locations, displacement,
            displacements=displacements, nbefore=nbefore, nafter=nafter, job_kwargs=job_kwargs,
        )  # fmt: skip

    labels, templates = clusters, templates_of(peaks, clusters)
    unknown = np.arange(templates.n_units)
    for _ in range(SPLIT_ROUNDS):
        within = _among(unknown, labels, templates.n_units)
        parts = split_units(
            recording,
            peaks,
            within,
            displacement,
            whiten_templates(templates.select(unknown), noise),
            min_size=min_size,
            min_separation=merge_threshold,
            amplitude_std=amplitude_std,
            seed=seed,
            job_kwargs=job_kwargs,
        )
        n_new = max(int(parts.max(initial=-1)) + 1 - len(unknown), 0)
        added = templates.n_units + np.arange(n_new)
        # only what fell apart has other templates now, and may fall apart again
        fell_apart = np.union1d(labels[parts >= len(unknown)], added)
        labels = np.where(within >= 0, np.concatenate([unknown, added, [-1]])[parts], labels)
        if n_new == 0:
            break
        unknown = fell_apart
        templates = templates.renewed(unknown, templates_of(peaks, _among(unknown, labels, added[-1] + 1)))
    n_split = templates.n_units
    max_lag = ms_to_samples(MAX_LAG_MS, recording.sampling_frequency)
    real = screen_clusters(templates, peaks, labels, detect_threshold=detect_threshold, max_lag=max_lag)
    labels = _among(np.flatnonzero(real), labels, n_split)
    templates = templates.select(real)
    group, lags = merge_clusters(
        whiten_templates(templates, noise),
        templates.counts,
        merge_threshold=merge_threshold,
        other_distance=distances_across_drift(embedding, labels, locations, templates.counts, seed=seed),
        amplitude_std=amplitude_std,
        max_lag=max_lag,
    )
    peaks, labels = relabel(peaks, labels, group, lags)
    if labels.max() + 1 < len(group):
        templates = templates_of(peaks, labels)
    logger.info("%d clusters, %d after splitting, %d units", clusters.max() + 1, n_split, templates.n_units)
    return Units(peaks, labels, templates)


def _among(units, labels, n_units):
    """Labels as indices into some of the units, -1 for all others."""
    place = np.full(n_units + 1, -1)
    place[units] = np.arange(len(units))
    return place[labels]
