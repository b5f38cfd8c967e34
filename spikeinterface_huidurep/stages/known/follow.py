"""Known units: those of another session are found again, and follow what they have become."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from spikeinterface.core import BaseRecording, BaseSorting

from ..grouping.group import SAME_SPIKE_MS, Grouping
from ..shank import Shank
from ..templates.drifting import SEEN_UM, DriftingUnitTemplates, concatenated
from ..templates.placing import PRIOR_SPIKES, SessionTemplates, place_templates
from ..templates.whitened import whiten_templates
from ..units.evidence import template_distances
from ..units.join import JoinCriteria
from ..units.loop import UnitCriteria
from ..units.split import split_units
from ..units.unit_set import UnitSet
from .explained import explain_peaks
from .likeness import placed_and_covered, similarities
from .since import ASKED, CHANGED_STD, SpikesAt, likely_displacements

logger = logging.getLogger("spikeinterface_huidurep")

# the displacement is refined within these steps of it, um
REFINED_UM = np.arange(-6.0, 7.0, 3.0)
# of fewer peaks than the prior is worth a template says nothing of the displacement
FEW_SPIKES = PRIOR_SPIKES
# what is left of the displacement at a single unit, um
NEAR_UM = (0.0, -2.0, 2.0, -4.0, 4.0)
# cosine of a unit's template with that of a known unit from which it may be that unit, and from which it might be
SIMILAR, HARDLY_ALIKE = 0.87, 0.6
# units further apart than a spike is seen, um, are two
FAR_UM = SEEN_UM


@dataclass(frozen=True)
class KnownUnits:
    """
    Units of another session of one shank.

    Attributes
    ----------
    session : SessionTemplates
    unit_ids : (n_templates,) int
        Unit of each template.
    lag : (n_templates,) int
        Samples to add to a template's spikes to align them with those of its unit.
    next_id : int
        Larger than the id of any unit that this session, or one before it, has found, on all shanks.
    """

    session: SessionTemplates
    unit_ids: np.ndarray
    lag: np.ndarray
    next_id: int = 0

    @classmethod
    def none(cls) -> KnownUnits:
        """Of a shank on which nothing was found."""
        none = np.zeros(0, dtype="int64")
        empty = DriftingUnitTemplates(
            np.zeros((0, 1, 0, 0), "float32"),
            np.zeros((0, 0), int),
            np.zeros(1),
            np.zeros((0, 2)),
            np.zeros((0, 1), int),
            0,
        )
        return cls(SessionTemplates(empty, np.zeros((0, 2)), np.zeros(0)), none, none)

    @property
    def n_templates(self) -> int:
        return len(self.unit_ids)

    def grouping(self, shank: Shank) -> Grouping:
        """The templates of each unit as one group, whatever they look like today (in place of `group_templates`)."""
        n_spikes = self.session.templates.n_spikes
        group = np.arange(self.n_templates)
        for unit in np.unique(self.unit_ids):
            mine = np.flatnonzero(self.unit_ids == unit)
            group[mine] = mine[np.argmax(n_spikes[mine])]
        return Grouping(group, self.lag, np.zeros((0, 2), dtype="int64"), np.zeros(0), shank.samples(SAME_SPIKE_MS))

    def renamed(self, names: dict[int, int], next_id: int) -> KnownUnits:
        """The same with other ids for some units, and for the next one that is new."""
        unit_ids = np.array([names.get(unit, unit) for unit in self.unit_ids.tolist()], dtype="int64")
        return replace(self, unit_ids=unit_ids, next_id=max(self.next_id, next_id))


NONE_KNOWN = KnownUnits.none()


@dataclass(frozen=True)
class Followed:
    """
    Known templates in a new session.

    Attributes
    ----------
    placed : DriftingUnitTemplates
        As they were, where the probe has them now.
    templates : DriftingUnitTemplates
        As today's peaks have them.
    labels : (n_peaks,) int
        Template of each peak, -1 for none.
    moved : (n_templates,) float
        um.
    """

    placed: DriftingUnitTemplates
    templates: DriftingUnitTemplates
    labels: np.ndarray
    moved: np.ndarray


def follow_units(
    shank: Shank,
    known: KnownUnits,
    peaks: np.ndarray,
    locations: np.ndarray,
    amplitudes: np.ndarray,
    displacement: np.ndarray,
    criteria: UnitCriteria,
) -> Followed:
    """
    Find where the templates of another session are now, which peaks are theirs, and what they look like today.

    Parameters
    ----------
    shank : Shank
    known : KnownUnits
    peaks : (n_peaks,) structured array
        From `detect_peaks`.
    locations : (n_some, 2) float
        Of some of the peaks, registered, um: they tell how far the probe has moved since then.
    amplitudes : (n_some,) float
        Of these, in units of noise.
    displacement : (n_peaks,) float
        Of the probe at each peak, um.
    criteria : UnitCriteria

    Returns
    -------
    Followed
    """
    loose = replace(criteria.matching, amplitude_std=CHANGED_STD)
    moved = _displacement_since(shank, known, peaks, SpikesAt(locations, amplitudes), displacement, loose)
    explained = explain_peaks(shank, peaks, place_templates(known.session, shank, moved), displacement, loose)
    left_over, others = _looked_at(shank, known, peaks, explained, moved)
    moved = moved + left_over
    placed, covered = placed_and_covered(known.session, shank, moved)
    templates = _refitted(shank, peaks, explained.without(others), placed).templates
    explained = explain_peaks(shank, peaks, templates, displacement, criteria.matching).without(others)
    units = _refitted(shank, peaks, explained, placed)
    units, n_split = _only_theirs(shank, units, criteria, placed, covered)
    logger.info(
        "known units: moved by %.0f um since then; %d of %d peaks are theirs", np.median(moved),
        (units.labels >= 0).sum(), len(peaks),
    )  # fmt: skip
    logger.info("known units: %d templates explain other neurons only, %d others, too", others.sum(), n_split)
    return Followed(placed, units.templates, units.labels, moved)


def with_new_units(shank: Shank, followed: Followed, units: UnitSet, criteria: JoinCriteria) -> DriftingUnitTemplates:
    """
    Known templates that have peaks today, and behind them those of new units that are not known ones once more.

    Parameters
    ----------
    shank : Shank
    followed : Followed
    units : UnitSet
        Made of the peaks that no known unit explains.
    criteria : JoinCriteria
        Which units are one.

    Returns
    -------
    DriftingUnitTemplates
    """
    there = np.bincount(followed.labels + 1, minlength=followed.templates.n_units + 1)[1:] > 0
    known, new = followed.templates.select(there), units.templates
    together = concatenated(known, new)
    if min(known.n_units, new.n_units) == 0:
        return together
    space, max_lag = whiten_templates(together, shank.noise), shank.samples(criteria.evidence.max_lag_ms)
    distance, _ = template_distances(space, together.counts, criteria.evidence, max_lag=max_lag)
    again = np.any(distance[known.n_units :, : known.n_units] < criteria.distance, axis=1)
    logger.info(
        "known units: %d templates (%d others have no peaks), and %d of new units (%d are known ones)", known.n_units,
        (~there).sum(), (~again).sum(), again.sum(),
    )  # fmt: skip
    return concatenated(known, new.select(~again))


def _refitted(shank, peaks, explained, placed):
    """Units of the peaks that are explained, with the placed templates and what today's peaks say of them."""
    return UnitSet(_aligned(peaks, explained), explained.labels, placed).refitted(shank)


def _only_theirs(shank, units, criteria, placed, covered):
    """
    The units without the peaks of other neurons, and how many had some.

    A new neuron that is much like a known one is explained by its template. Of the sources of a unit's spikes the one
    that is most like the known one stays.
    """
    parts, changed = split_units(units, shank, criteria.split_peaks)
    if len(changed) == 0:
        return units, 0
    parent = np.full(parts.n_units, -1)
    of_part = parts.labels >= 0
    parent[parts.labels[of_part]] = units.labels[of_part]
    changed = changed[parent[changed] >= 0]
    likeness = similarities(shank, parts.templates, placed, covered, np.column_stack([changed, parent[changed]]))
    labels = parts.labels.copy()
    split = np.unique(parent[changed])
    for unit in split:
        mine = changed[parent[changed] == unit]
        best = mine[np.argmax(likeness[parent[changed] == unit])]
        labels[np.isin(parts.labels, mine)] = -1
        labels[parts.labels == best] = unit
    return UnitSet(units.spikes, labels, placed).refitted(shank), len(split)


def _aligned(peaks, explained):
    spikes = peaks.copy()
    spikes["sample_index"] += explained.lag
    return spikes


def _displacement_since(shank, known, peaks, where, displacement, criteria):
    """Of each template, um: the one of some candidates at which the templates explain most of the peaks."""
    before = known.session.templates
    still = int(np.argmin(np.abs(before.displacements)))
    size = np.abs(before.waveforms[:, still]).max(axis=(1, 2))
    noise = np.asarray(shank.recording.get_property("noise_level"))
    units = SpikesAt(before.locations, size * np.median(known.session.noise_level) / np.median(noise))
    candidates = likely_displacements(units, where, seed=shank.seed)
    chosen = np.arange(len(peaks))
    if len(peaks) > ASKED:
        chosen = np.sort(np.random.default_rng(shank.seed).choice(len(peaks), ASKED, replace=False))

    def explains(moved):
        placed = place_templates(known.session, shank, moved)
        explained = explain_peaks(shank, peaks[chosen], placed, displacement[chosen], criteria)
        return explained.gain[explained.labels >= 0].sum()

    return max(candidates, key=explains)


def _looked_at(shank, known, peaks, explained, moved):
    """
    The displacement that is left over, um, and which templates explain another neuron's peaks, (n_templates,) bool.

    Today's templates of the peaks, without what was known before, are compared with the known ones.
    """
    spikes, n_templates = _aligned(peaks, explained), len(moved)
    enough = np.bincount(explained.labels[explained.labels >= 0], minlength=n_templates) >= FEW_SPIKES
    others = np.zeros(n_templates, dtype=bool)
    if not enough.any():
        return 0.0, others
    labels = np.append(np.where(enough, np.cumsum(enough) - 1, -1), -1)[explained.labels]
    places = known.session.templates.locations[enough] + np.column_stack([np.zeros(enough.sum()), moved[enough]])
    today = UnitSet.of_matched(shank, spikes, labels, places).templates
    session, pairs = known.session.select(enough), np.column_stack([np.arange(today.n_units)] * 2)
    likeness = np.stack(
        [
            similarities(shank, today, *placed_and_covered(session, shank, moved[enough] + step), pairs)
            for step in REFINED_UM
        ]
    )
    best = int(likeness.mean(axis=1).argmax())
    near = np.abs(REFINED_UM - REFINED_UM[best]) <= max(NEAR_UM)
    others[np.flatnonzero(enough)[likeness[near].max(axis=0) < SIMILAR]] = True
    return float(REFINED_UM[best]), others


def name_units(
    shank: Shank,
    templates: DriftingUnitTemplates,
    spikes: np.ndarray,
    known: KnownUnits,
    followed: Followed | None,
) -> np.ndarray:
    """
    Find which units are known ones: each has one name at most, and each name one unit.

    The waveforms decide, today's against what they were, not against what they have become: a known template also
    follows another neuron where its own is gone. Nothing is forced: below a similarity no name is given.

    Parameters
    ----------
    shank : Shank
    templates : DriftingUnitTemplates
    spikes : (n_spikes,) structured array
        With the unit of each: the index of a template.
    known : KnownUnits
    followed : Followed or None
        None where none is known on this shank.

    Returns
    -------
    names : (n_templates,) int
        Id of the known unit, -1 for none.
    """
    units, ids = np.unique(spikes["unit_index"]), np.unique(known.unit_ids)
    names = np.full(templates.n_units, -1, dtype="int64")
    if followed is None:
        return names
    today, likeness = templates.select(units), np.zeros((len(units), len(ids)))
    apart = np.linalg.norm(today.locations[:, None] - followed.placed.locations[None], axis=2)
    pairs = np.argwhere(apart <= FAR_UM)
    for near in NEAR_UM:
        placed, covered = placed_and_covered(known.session, shank, followed.moved + near)
        alike = similarities(shank, today, placed, covered, pairs)
        np.maximum.at(likeness, (pairs[:, 0], np.searchsorted(ids, known.unit_ids[pairs[:, 1]])), alike)
        if near == 0:
            # what is not alike where it is placed is not so a few um away
            pairs = pairs[alike >= HARDLY_ALIKE]
    likeness[likeness < SIMILAR] = 0.0
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    given = likeness[rows, columns] > 0
    names[units[rows[given]]] = ids[columns[given]]
    logger.info("known units: %d of %d are there, beside %d others", given.sum(), len(ids), len(units) - given.sum())
    return names


def remember_units(
    traces: BaseRecording,
    templates: DriftingUnitTemplates,
    grouping: Grouping,
    sorting: BaseSorting,
    known: KnownUnits,
    followed: Followed | None,
) -> KnownUnits:
    """
    What a sort leaves for the next: its units' templates, and those of known units that it did not find.

    Parameters
    ----------
    traces : BaseRecording
        Preprocessed traces of the shank.
    templates : DriftingUnitTemplates
    grouping : Grouping
        Of the templates.
    sorting : BaseSorting
        From `finish`, with the attribute `unit_templates`.
    known : KnownUnits
    followed : Followed or None

    Returns
    -------
    KnownUnits
    """
    ids = np.full(templates.n_units, -1, dtype="int64")
    ids[sorting.unit_templates] = sorting.unit_ids
    ids = ids[grouping.group]
    kept, next_id = np.flatnonzero(ids >= 0), int(ids.max(initial=-1)) + 1
    left, unit_ids, lags = templates.select(kept), ids[kept], grouping.lag[kept]
    if followed is not None:
        gone = np.flatnonzero(~np.isin(known.unit_ids, unit_ids))
        left = concatenated(left, followed.placed.select(gone))
        unit_ids, lags = np.append(unit_ids, known.unit_ids[gone]), np.append(lags, known.lag[gone])
    next_id = max(next_id, known.next_id)
    locations, noise = traces.get_channel_locations()[:, :2], np.asarray(traces.get_property("noise_level"))
    return KnownUnits(SessionTemplates(left, locations, noise), unit_ids, lags, next_id)
