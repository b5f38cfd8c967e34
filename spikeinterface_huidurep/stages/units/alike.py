"""Alike: units of a still probe between whose spikes, those of the whole recording, is no gap are one neuron."""

from __future__ import annotations

import logging

import numpy as np

from ..matching.lone_spikes import lone_spikes
from ..shank import Shank
from ..templates.drifting import DriftingUnitTemplates
from ..templates.whitened import WhitenedTemplates
from ..traces.segments import away_from_ends
from .evidence import template_distances
from .loop import UnitCriteria
from .unit_set import UnitSet
from .valley import GAP, gaps_between, pairs_by_size

logger = logging.getLogger("spikeinterface_huidurep")


def alike_units(
    shank: Shank,
    templates: DriftingUnitTemplates,
    space: WhitenedTemplates,
    spikes: np.ndarray,
    criteria: UnitCriteria,
) -> np.ndarray:
    """
    Find the units that the noise hardly tells apart, and between whose spikes there is no gap.

    The part of the recording on which units are refined has too few spikes of a rare neuron to show a gap, so that
    units which are alike stay two until all spikes are matched. What is left of a motion makes gaps within a neuron:
    where the probe moves, nobody is asked, and alike units are joined when they are refined.

    Parameters
    ----------
    shank : Shank
    templates : DriftingUnitTemplates
        Of the units.
    space : WhitenedTemplates
        The same, whitened.
    spikes : (n_spikes,) structured array
        From `assign_spikes`, sure or not, sorted.
    criteria : UnitCriteria

    Returns
    -------
    (n_pairs, 2) int
        Units that are one neuron, that with more lone spikes first.
    """
    nothing = np.zeros((0, 2), dtype="int64")
    if shank.motion is not None or space.n_units < 2 or len(spikes) == 0:
        return nothing
    evidence, counts = criteria.evidence, templates.counts
    distance, lag = template_distances(space, counts, evidence, max_lag=shank.samples(evidence.max_lag_ms))
    alone = lone_spikes(spikes, space.channels, shank.samples(criteria.alone_ms))
    alone &= away_from_ends(shank.recording, spikes, shank.nbefore, shank.nafter)
    lone = UnitSet(spikes, np.where(alone, spikes["unit_index"], -1), templates)
    n_alone = np.bincount(spikes["unit_index"][alone], minlength=space.n_units)
    pairs = pairs_by_size(distance < criteria.again * criteria.distance, n_alone)
    if len(pairs) == 0:
        return nothing
    gap = gaps_between(lone, space, pairs, lag, shank, amplitude_std=evidence.amplitude_std)
    logger.info(
        "alike units: %d pairs of templates that the noise hardly tells apart, %d of them with a gap between their "
        "spikes, so that they are two neurons",
        len(pairs), (gap > GAP).sum(),
    )  # fmt: skip
    return pairs[gap <= GAP]
