"""Inseparable pairs: units a little too far apart to be one, whose spikes, taken together, are not split again."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording

from ..templates.drifting import DriftingUnitTemplates, templates_like
from ..templates.whitened import whiten_templates
from ..traces.noise import NoiseModel
from .distances import template_distances
from .merging import relabel
from .splitting import split_units


def inseparable_pairs(
    recording: BaseRecording,
    spikes: np.ndarray,
    labels: np.ndarray,
    templates: DriftingUnitTemplates,
    noise: NoiseModel,
    *,
    merge_threshold: float = 3.4,
    furthest: float = 5.95,
    max_lag: int = 10,
    min_size: int = 10,
    amplitude_std: float = 0.12,
    job_kwargs: dict | None = None,
) -> np.ndarray:
    """
    Find the pairs of units of a still probe that are one neuron although their templates differ.

    The template of a few collisions or bursts of a neuron is not quite that of its other spikes, and once it is there
    it draws half of the neuron's spikes to it. Those spikes know nothing of two templates: the ones of both have one
    source (`split_units`), where those of two neurons have two.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`; sorted by both.
    labels : (n_spikes,) int
        Unit of each spike, -1 for none.
    templates : DriftingUnitTemplates
    noise : NoiseModel
    merge_threshold : float
        Least distance of two sources, in standard deviations of the noise.
    furthest : float
        Largest distance of the templates of a pair that is asked, in the same unit.
    max_lag : int
        Largest lag, in samples, at which two units of one neuron are centred.
    min_size : int
        Least number of spikes of a source.
    amplitude_std : float
        As for `merge_clusters`.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    inseparable : (n_units, n_units) bool
        A unit is in one pair at most, that with the nearest other.
    """
    inseparable = np.zeros((templates.n_units, templates.n_units), dtype=bool)
    space = whiten_templates(templates, noise)
    distance, lags = template_distances(space, templates.counts, amplitude_std=amplitude_std, max_lag=max_lag)
    pairs = _nearest_pairs(distance, templates.n_spikes, furthest)
    if not pairs:
        return inseparable
    group, shift = np.full(templates.n_units, -1), np.zeros(templates.n_units, dtype=int)
    for pair, (large, small) in enumerate(pairs):
        group[[large, small]], shift[small] = pair, lags[large, small]
    together, joint = relabel(spikes, labels, group, shift)
    order = np.lexsort((together["sample_index"], together["segment_index"]))
    order = order[joint[order] >= 0]
    together, joint = together[order], joint[order]
    still = np.zeros(len(joint))
    places = templates.locations[[large for large, _ in pairs]]
    pooled = templates_like(templates, recording, together, joint, places, still, job_kwargs)
    parts = split_units(
        recording, together, joint, still, whiten_templates(pooled, noise),
        min_size=min_size, min_separation=merge_threshold, amplitude_std=amplitude_std, job_kwargs=job_kwargs,
    )  # fmt: skip
    for pair, (large, small) in enumerate(pairs):
        one = len(np.unique(parts[(parts >= 0) & (joint == pair)])) == 1
        inseparable[large, small] = inseparable[small, large] = one
    return inseparable


def _nearest_pairs(distance, n_spikes, furthest):
    """Pairs (larger, smaller) nearer than the furthest, the nearest first, each unit in one of them."""
    left = distance.astype("float64")
    np.fill_diagonal(left, np.inf)
    pairs: list[tuple[int, int]] = []
    while left.size and left.min() < furthest:
        a, b = (int(place) for place in np.unravel_index(left.argmin(), left.shape))
        pairs.append((a, b) if n_spikes[a] >= n_spikes[b] else (b, a))
        left[[a, b]] = left[:, [a, b]] = np.inf
    return pairs
