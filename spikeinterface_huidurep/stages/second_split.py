"""Second split: the spikes that were assigned to a unit show two neurons in it that its peaks did not."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from .motion import displacement_at
from .noise import NoiseModel
from .splitting import split_units
from .template_space import whiten_templates
from .templates import DriftingUnitTemplates, templates_like


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
        min_size=min_size, min_separation=merge_threshold, seed=seed, job_kwargs=job_kwargs,
    )  # fmt: skip
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
