"""Second split: the spikes that were assigned to a unit show two neurons in it that its peaks did not."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from spikeinterface.core import BaseRecording

from ..motion.estimation import displacement_at
from ..templates.drifting import DriftingUnitTemplates, templates_like
from ..templates.whitened import whiten_templates
from ..traces.noise import NoiseModel
from .distances import shared_displacements
from .splitting import split_units

# two neurons are there whatever the displacement: parts that have no more than this share of theirs in common are one
# whose template fits less well at some displacements
MAX_SHARED = 0.1


def split_assigned(
    recording: BaseRecording,
    spikes: np.ndarray,
    labels: np.ndarray,
    alone: np.ndarray,
    templates: DriftingUnitTemplates,
    noise: NoiseModel,
    motion: Any = None,
    *,
    min_size: int = 20,
    merge_threshold: float = 3.4,
    amplitude_std: float = 0.12,
    seed: int = 0,
    job_kwargs: dict | None = None,
) -> tuple[np.ndarray, DriftingUnitTemplates]:
    """
    Split the units whose assigned spikes have several sources, and make templates of the parts.

    A cluster holds the peaks that were detected and encoded: of a small neuron the larger ones, overlapping ones too.
    What its template was assigned is more, and known to overlap or not.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`; sorted by both.
    labels : (n_spikes,) int
        Unit of each spike, -1 for none.
    alone : (n_spikes,) bool
        Only these are looked at (`lone_spikes`): collisions with a neighbour would be a source of their own.
    templates : DriftingUnitTemplates
    noise : NoiseModel
    motion : spikeinterface.core.motion.Motion, optional
    min_size : int
        Least number of spikes of a source.
    merge_threshold : float
        Least distance of two sources is `splitting.SPLIT_SHARE` of it, in standard deviations of the noise.
    amplitude_std : float
        How much one neuron's amplitudes vary, as a fraction of the template's.
    seed : int
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    labels : (n_spikes,) int64
        New labels; parts beyond the first of each unit follow after the last unit. In units that fell apart, spikes
        that were not looked at have none (-1).
    templates : DriftingUnitTemplates
    """
    displacement = displacement_at(motion, recording, spikes, templates.locations[np.maximum(labels, 0), 1])
    parts = split_units(
        recording, spikes, np.where(alone, labels, -1), displacement, whiten_templates(templates, noise),
        min_size=min_size, min_separation=merge_threshold, amplitude_std=amplitude_std, seed=seed,
        job_kwargs=job_kwargs,
    )  # fmt: skip
    parts = _joined_across_drift(parts, labels, displacement, templates)
    added = np.arange(templates.n_units, int(parts.max(initial=-1)) + 1)
    if len(added) == 0:
        return labels, templates
    # a part's spikes all had one label
    parent = np.array([labels[np.argmax(parts == part)] for part in added])
    changed = np.concatenate([np.unique(parent), added])
    place = np.full(added[-1] + 2, -1)
    place[changed] = np.arange(len(changed))
    places = templates.locations[np.concatenate([np.unique(parent), parent])]
    made = templates_like(templates, recording, spikes, place[parts], places, displacement, job_kwargs)
    return np.where(np.isin(labels, parent), parts, labels), templates.renewed(changed, made)


def _joined_across_drift(parts, labels, displacement, templates):
    """The parts, those of one unit that are not seen at the same displacements as one."""
    displacements, n_units = templates.displacements, templates.n_units
    n_parts = max(int(parts.max(initial=-1)) + 1, n_units)
    if len(displacements) == 1 or n_parts == n_units:
        return parts
    looked_at = np.flatnonzero(parts >= 0)
    nearest = np.abs(displacement[looked_at][:, None] - displacements).argmin(axis=1)
    counts = np.zeros((n_parts, len(displacements)), dtype="int64")
    np.add.at(counts, (parts[looked_at], nearest), 1)
    parent = np.full(n_parts, -1)
    parent[parts[looked_at]] = labels[looked_at]
    one = (parent[:, None] == parent) & (shared_displacements(counts) <= MAX_SHARED)
    # the part that keeps the unit's label is the first of its group
    _, group = connected_components(csr_matrix(one & (parent >= 0)), directed=False)
    first = np.array([np.flatnonzero(group == group[part])[0] for part in range(n_parts)])
    place = np.where(np.arange(n_parts) < n_units, np.arange(n_parts), -1)
    kept = np.unique(first[first >= n_units])
    place[kept] = n_units + np.arange(len(kept))
    return np.append(place[first], -1)[parts]
