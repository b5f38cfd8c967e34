"""Join: units that are one neuron, as far as their templates, embeddings and spikes tell, become one unit."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from ..shank import Shank
from ..templates.whitened import WhitenedTemplates, cross_correlation, whiten_templates
from .evidence import (
    EvidenceCriteria,
    embedding_distances,
    shared_displacements,
    template_distances,
)
from .split import SplitCriteria, find_sources
from .unit_set import UnitSet, aligned
from .valley import GAP, gaps_between, pairs_by_size

logger = logging.getLogger("spikeinterface_huidurep")

# relative distance from which two units are as good as infinitely far: one of them keeps a group from growing
FAR = 3.0


@dataclass(frozen=True)
class JoinCriteria:
    """
    Which units are joined.

    Attributes
    ----------
    distance : float
        Units nearer than this, in standard deviations of the noise, are joined.
    apart_factor, max_shared : float
        The distance is larger by this factor for units that have no more than this share of their displacements in
        common: two neurons are there whatever the displacement, while drift cuts one into such pieces.
    furthest : float
        The spikes of matched units that are nearer than this, in standard deviations of the noise, are asked.
    evidence : EvidenceCriteria
    sources : SplitCriteria
        When spikes of two units have two sources.
    late_share, late_similarity : float
        A unit of less than this share of another's spikes, whose template is like the other's (cosine) at more than the
        largest lag, is made of peaks on another phase of the other's spikes; it goes. At 0.7 the largest neuron of a
        tetrode went.
    """

    distance: float = 3.4
    apart_factor: float = 1.6
    max_shared: float = 0.3
    furthest: float = 6.0
    evidence: EvidenceCriteria = field(default_factory=EvidenceCriteria)
    sources: SplitCriteria = field(default_factory=SplitCriteria)
    late_share: float = 0.3
    late_similarity: float = 0.8


def join_units(
    units: UnitSet,
    shank: Shank,
    criteria: JoinCriteria,
    *,
    embedding: np.ndarray | None = None,
    spikes: UnitSet | None = None,
) -> UnitSet:
    """
    Join the units that are one neuron (average linkage of their distances).

    The distance between two whitened templates is the separation (d') of their spikes along the line between them. It
    is taken at the best lag, and the part that the templates' own estimation noise makes is subtracted. Where something
    else says that two are one, the smaller distance counts: embeddings, of units that drift has parted, and spikes, of
    units that are a little too far apart. Units between whose spikes there is a gap are two.

    Parameters
    ----------
    units : UnitSet
    shank : Shank
    criteria : JoinCriteria
    embedding : (n_spikes, 32) float, optional
        Of the spikes, where they are peaks that were encoded.
    spikes : UnitSet, optional
        The first of the units with all lone spikes that were matched, sure or not. Units are asked whether they have
        one source, and for a gap between them (`gaps_between`); where the probe moves a gap does not part them.

    Returns
    -------
    UnitSet
        In the order of each unit's first part, spikes aligned with those of the largest part.
    """
    if units.n_units < 2:
        return units
    space = whiten_templates(units.templates, shank.noise)
    counts, max_lag = units.templates.counts, shank.samples(criteria.evidence.max_lag_ms)
    distance, lag = template_distances(space, counts, criteria.evidence, max_lag=max_lag)
    relative = distance / criteria.distance
    if counts.shape[1] > 1:
        relative[shared_displacements(counts) <= criteria.max_shared] /= criteria.apart_factor
    if embedding is not None and units.locations is not None:
        pieces = embedding_distances(
            embedding, units.labels, units.locations, counts, criteria.evidence, seed=shank.seed
        )
        relative = np.minimum(relative, pieces)
    if spikes is not None:
        one, two = _one_and_two(units, spikes, space, distance, lag, shank, criteria)
        relative[one] = 0.0
        relative[two] = FAR
    condensed = squareform(np.minimum(relative, FAR), checks=False)
    flat = fcluster(linkage(condensed, method="average"), t=1.0, criterion="distance")
    late = _late_copies(space, units.templates.n_spikes, max_lag, criteria)
    flat[late] = 0
    group, shift = _groups(flat, lag, units.templates.n_spikes)
    joined = units.join(group, shift, shank)
    if joined.n_units < units.n_units:
        logger.info(
            "joining: %d of %d units are late copies of another, %d after joining",
            late.sum(), units.n_units, joined.n_units,
        )  # fmt: skip
    return joined


def _groups(flat, lag, n_spikes):
    """New index of each unit, in the order of each group's first, and its lag to the largest of its group."""
    names, first = np.unique(flat[flat > 0], return_index=True)
    group = np.full(len(flat), -1, dtype="int64")
    for unit, name in enumerate(names[np.argsort(first)]):
        group[flat == name] = unit
    shift = np.zeros(len(flat), dtype="int64")
    for unit in range(group.max(initial=-1) + 1):
        members = np.flatnonzero(group == unit)
        largest = members[np.argmax(n_spikes[members])]
        shift[members] = lag[largest, members]
    return group, shift


def _one_and_two(units, spikes, space, distance, lag, shank, criteria):
    """Which pairs of units their spikes tell to be one neuron, and which to be two, (n_units, n_units) bool each."""
    one, still = _of_one_source(units, distance, lag, shank, criteria), shank.motion is None
    # what is left of a motion makes gaps within a neuron: there a gap only speaks against the source
    two = _of_two(spikes, space, (distance < criteria.furthest) if still else one, lag, shank, criteria)
    return (one, two) if still else (one & ~two, np.zeros_like(two))


def _of_one_source(units: UnitSet, distance: np.ndarray, lag: np.ndarray, shank: Shank, criteria: JoinCriteria):
    """
    Pairs of units whose spikes, taken together, have one source, (n_units, n_units) bool.

    The template of a few collisions or bursts of a neuron is not quite that of its other spikes, and once it is there
    it draws half of the neuron's spikes to it. Those spikes know nothing of two templates. A unit is in one pair at
    most, that with the nearest other.
    """
    one = np.zeros(distance.shape, dtype=bool)
    pairs = _nearest_pairs(distance, units.templates.n_spikes, criteria.furthest)
    if not pairs:
        return one
    group, shift = np.full(units.n_units, -1), np.zeros(units.n_units, dtype=int)
    for pair, (large, small) in enumerate(pairs):
        group[[large, small]], shift[small] = pair, lag[large, small]
    spikes, labels = aligned(units.spikes, units.labels, group, shift)
    order = np.lexsort((spikes["sample_index"], spikes["segment_index"]))
    order = order[labels[order] >= 0]
    places = units.templates.locations[[large for large, _ in pairs]]
    pooled = UnitSet.of_matched(shank, spikes[order], labels[order], places)
    parts = find_sources(pooled, shank, criteria.sources, pooled.displacement_at_spikes(shank))
    for pair, (large, small) in enumerate(pairs):
        n_sources = len(np.unique(parts[(parts >= 0) & (pooled.labels == pair)]))
        one[large, small] = one[small, large] = n_sources == 1
    return one


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


def _of_two(spikes, space, asked, lag, shank, criteria):
    """Those of the pairs (n_units, n_units) bool between whose spikes is a gap: they are two neurons."""
    n_units, counts = spikes.n_units, np.bincount(spikes.labels[spikes.labels >= 0], minlength=spikes.n_units)
    pairs = pairs_by_size(asked[:n_units, :n_units], counts)
    pairs = pairs[gaps_between(spikes, space, pairs, lag, shank, amplitude_std=criteria.evidence.amplitude_std) > GAP]
    two = np.zeros(asked.shape, dtype=bool)
    two[pairs[:, 0], pairs[:, 1]] = two[pairs[:, 1], pairs[:, 0]] = True
    if len(pairs):
        logger.info("joining: %d pairs of units are two neurons each, there is a gap between their spikes", len(pairs))
    return two


def _late_copies(templates: WhitenedTemplates, n_spikes: np.ndarray, max_lag: int, criteria: JoinCriteria):
    """Units whose template is a late or early copy of a larger unit's, (n_units,) bool."""
    displacement = int(np.argmin(np.abs(templates.displacements)))
    norm = np.sqrt((templates.coefficients[:, displacement].astype("float64") ** 2).sum(axis=(1, 2)))
    middle = templates.response.shape[3] // 2
    lags = np.abs(np.arange(templates.response.shape[3]) - middle)
    window = np.flatnonzero((lags > max_lag) & (lags < middle // 2))
    copies = np.zeros(templates.n_units, dtype=bool)
    for small in range(templates.n_units):
        apart = np.linalg.norm(templates.locations - templates.locations[small], axis=1)
        near = apart <= criteria.evidence.max_distance_um
        for large in np.flatnonzero(near & (n_spikes * criteria.late_share > n_spikes[small])):
            correlation = cross_correlation(templates, small, int(large), displacement, window).max()
            copies[small] |= correlation > criteria.late_similarity * norm[small] * norm[large]
    return copies
