"""The loop: units are made of clusters, then matched, refitted, dropped, split and joined until nothing is new."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from ..matching.assignment import MatchingCriteria, assign_spikes
from ..matching.confidence import estimate_confidence
from ..matching.lone_spikes import lone_spikes
from ..shank import Shank
from ..templates.drifting import DriftingUnitTemplates
from ..templates.whitened import whiten_templates
from ..traces.segments import away_from_ends, stretches_all_over
from .drop import (
    DropCriteria,
    at_threshold,
    drop_units,
    explained_by_others,
    kept_by_rules,
    not_centred,
    not_its_waveform,
    too_small,
)
from .evidence import EvidenceCriteria
from .join import JoinCriteria, join_units
from .split import SplitCriteria, split_units
from .unit_set import UnitSet

logger = logging.getLogger("spikeinterface_huidurep")

# the parts of a cluster of many neurons have templates of their own, and show what they hold better than the whole
SPLIT_ROUNDS = 3
# of fewer channels more of the recording is refined on, in proportion, up to so many times as much: it costs no more,
# and of a tetrode's rare neurons there are enough spikes to show a gap
FULL_CHANNELS, LONGEST = 64, 3


@dataclass(frozen=True)
class UnitCriteria:
    """
    What the loop goes by.

    Attributes
    ----------
    distance : float
        Units nearer than this, in standard deviations of the noise, are one.
    min_size : int
        Least number of peaks on each side of a split.
    amplitude_std : float
        Expected spread of a unit's amplitudes, as a fraction of the template's.
    detect_threshold : float
        Threshold beyond which the peaks were detected, in units of noise.
    matching_threshold : float
        Least objective (squared units of noise) of a matched spike.
    rounds : int
        Most rounds of matching, dropping, splitting and joining: what a split finds is a template of its own in the
        next, and takes spikes that its neighbours' were made of.
    again : float
        Units nearer than this share of the distance are one where the probe moves. Of two that are further apart, their
        spikes tell. At 0.75 and more one of two alike neurons is lost on drifting tetrodes, at 0.6 a changing one falls
        apart.
    at_once : float
        On a still probe units nearer than this share of the distance are joined at once; of two between it and the
        share above the spikes of the whole recording tell (`alike_units`). At 0.6 one of two alike neurons of a tetrode
        is lost, at 0.4 a neuron in noise falls apart.
    asked : float
        The spikes of matched units up to so many times the distance are asked.
    sure, fit, least_fit : float
        Spikes of at least this confidence, of which the template explains this part, are surely enough a unit's for its
        template. A second neuron is looked for among those of which it explains only the last part, too: that is where
        one without a template is.
    min_source : int
        Matched spikes of a second neuron that make a template of their own.
    alone_ms : float
        A spike is alone where no other is within this of it: the middle of its waveform is its own.
    duration_s : float
        How much of a recording of 64 channels and more is matched in each round, in stretches spread over all of it; of
        a still one of fewer channels, in proportion more.
    """

    distance: float = 3.4
    min_size: int = 20
    amplitude_std: float = 0.12
    detect_threshold: float = 5.0
    matching_threshold: float = 14.0
    rounds: int = 2
    again: float = 0.7
    at_once: float = 0.5
    asked: float = 1.75
    sure: float = 0.6
    fit: float = 0.6
    least_fit: float = 0.2
    min_source: int = 10
    alone_ms: float = 1.2
    duration_s: float = 60.0

    def refined_s(self, shank: Shank) -> float:
        """How much of the recording is matched in each round of refining, s."""
        if shank.motion is not None:  # what is left of a motion adds up to neurons that are none
            return self.duration_s
        longer = self.duration_s * FULL_CHANNELS / shank.recording.get_num_channels()
        return float(np.clip(longer, self.duration_s, self.duration_s * LONGEST))

    @property
    def evidence(self) -> EvidenceCriteria:
        return EvidenceCriteria(amplitude_std=self.amplitude_std)

    @property
    def matching(self) -> MatchingCriteria:
        return MatchingCriteria(threshold=self.matching_threshold, amplitude_std=self.amplitude_std)

    @property
    def drop(self) -> DropCriteria:
        return DropCriteria(detect_threshold=self.detect_threshold, explained_distance=self.again * self.distance)

    @property
    def split_peaks(self) -> SplitCriteria:
        return SplitCriteria(distance=self.distance, min_size=self.min_size, amplitude_std=self.amplitude_std)

    @property
    def split_matched(self) -> SplitCriteria:
        return replace(self.split_peaks, min_size=self.min_source, max_shared=0.1)

    def join_peaks(self, shank: Shank) -> JoinCriteria:
        """Which units of peaks are joined."""
        share = self.at_once if shank.motion is None else self.again
        return JoinCriteria(distance=share * self.distance, evidence=self.evidence)

    def join_matched(self, shank: Shank) -> JoinCriteria:
        """Which units of matched spikes are joined."""
        return replace(
            self.join_peaks(shank),
            furthest=self.asked * self.distance,
            sources=replace(self.split_peaks, min_size=self.min_source),
        )


def make_units(
    shank: Shank,
    peaks: np.ndarray,
    clusters: np.ndarray,
    embedding: np.ndarray,
    locations: np.ndarray,
    displacement: np.ndarray,
    criteria: UnitCriteria,
) -> UnitSet:
    """
    Make units of clusters: split those of several sources, drop echoes and noise, join those of one neuron.

    Parameters
    ----------
    shank : Shank
    peaks : (n_peaks,) structured array
        From `detect_peaks`.
    clusters : (n_peaks,) int
        Cluster of each peak, -1 for none.
    embedding : (n_peaks, 32) float
    locations : (n_peaks, 2) float
        Registered locations, um.
    displacement : (n_peaks,) float
        Displacement of the probe at each peak, um.
    criteria : UnitCriteria

    Returns
    -------
    UnitSet
        Of the peaks, aligned within each unit.
    """
    units = UnitSet.of_clusters(shank, peaks, clusters, locations, displacement)
    n_clusters = units.n_units
    units = units.thinned(criteria.split_peaks.max_spikes, shank.seed)
    among = np.arange(n_clusters)
    for _ in range(SPLIT_ROUNDS):
        # only what fell apart has other templates now, and may fall apart again
        units, among = split_units(units, shank, criteria.split_peaks, among=among)
        if len(among) == 0:
            break
    n_split = units.n_units
    max_lag = shank.samples(criteria.evidence.max_lag_ms)
    rules = {
        "clusters of another phase of larger spikes": not_centred(units, criteria.drop, max_lag),
        "clusters of noise at the threshold": at_threshold(units, criteria.drop),
    }
    units = join_units(drop_units(units, rules), shank, criteria.join_peaks(shank), embedding=embedding)
    logger.info("%d clusters, %d after splitting, %d units", n_clusters, n_split, units.n_units)
    return units


def refine_units(shank: Shank, templates: DriftingUnitTemplates, criteria: UnitCriteria) -> DriftingUnitTemplates:
    """
    Match the spikes of a part of the recording, and make the units anew of what was found.

    Clusters are made of the peaks that were detected: of a small neuron the larger ones, so that its template is too
    large and its other spikes do not fit. The matching finds the smaller spikes too. A template that was made of peaks
    of noise finds hardly anything, or something much smaller. Spikes of a neuron that has no template go to the
    nearest, which explains them badly: among a unit's spikes, those that fit and those that do not, a second neuron is
    looked for. Where there was one, all of it is done once more with what was found.

    Parameters
    ----------
    shank : Shank
    templates : DriftingUnitTemplates
        From `make_units`.
    criteria : UnitCriteria

    Returns
    -------
    DriftingUnitTemplates
        Of the units that stay.
    """
    slices = stretches_all_over(shank.recording, criteria.refined_s(shank))
    for _ in range(criteria.rounds):
        templates, n_found = _one_round(shank, templates, criteria, slices)
        if n_found == 0:
            break
    return templates


def refit_units(shank: Shank, templates: DriftingUnitTemplates, criteria: UnitCriteria) -> DriftingUnitTemplates:
    """
    Match the spikes of a part of the recording, and make the templates anew of what was found. Every unit stays.

    Parameters
    ----------
    shank : Shank
    templates : DriftingUnitTemplates
    criteria : UnitCriteria

    Returns
    -------
    DriftingUnitTemplates
    """
    space, matching = whiten_templates(templates, shank.noise), criteria.matching
    spikes = assign_spikes(shank, space, matching, slices=stretches_all_over(shank.recording, criteria.duration_s))
    confidence = estimate_confidence(spikes, space.energy, matching, n_values=space.n_values, least_share=criteria.fit)
    sure = (confidence >= criteria.sure) & away_from_ends(shank.recording, spikes, shank.nbefore, shank.nafter)
    return UnitSet(spikes[sure], spikes["unit_index"][sure], templates).refitted(shank).templates


def _one_round(shank, templates, criteria, slices):
    """The templates after one round, and how many neurons were found that had none."""
    units, everything, alone, doubtful = _matched(shank, templates, criteria, slices)
    sure = units.spikes["confidence"] >= criteria.sure
    units = units.refitted(shank, using=sure)
    rules = {
        "explained by others": doubtful,
        "too small": too_small(units, shank, criteria.drop),
        "whose spikes are not of their waveform": not_its_waveform(templates, units, criteria.drop),
    }
    kept = kept_by_rules(rules, units.n_units)
    units, everything = units.among(kept), everything.among(kept)
    n_real = units.n_units
    parts, _ = split_units(units, shank, criteria.split_matched, looked_at=alone)
    # what fits a unit badly and is no other neuron's says nothing of the unit
    told = sure | np.isin(units.labels, units.labels[parts.labels >= n_real])
    joined = join_units(parts.only(told), shank, criteria.join_matched(shank), spikes=everything)
    logger.info(
        "refining: %d of %d units are real, %d after splitting, %d units",
        n_real, templates.n_units, parts.n_units, joined.n_units,
    )  # fmt: skip
    return joined.templates, parts.n_units - n_real


def _matched(shank, templates, criteria, slices):
    """Units of the spikes that the templates find, which spikes are alone, and which units others explain."""
    space, matching = whiten_templates(templates, shank.noise), criteria.matching
    spikes = assign_spikes(shank, space, matching, slices=slices)
    doubtful = explained_by_others(spikes, space, shank, criteria.drop, matching)
    spikes["confidence"], anyhow = (
        estimate_confidence(spikes, space.energy, matching, n_values=space.n_values, least_share=share)
        for share in (criteria.fit, criteria.least_fit)
    )
    inside = away_from_ends(shank.recording, spikes, shank.nbefore, shank.nafter)
    usable = (np.maximum(spikes["confidence"], anyhow) >= criteria.sure) & inside
    alone = lone_spikes(spikes, space.channels, shank.samples(criteria.alone_ms))
    everything = UnitSet(spikes, np.where(alone & inside, spikes["unit_index"], -1), templates)
    return UnitSet(spikes[usable], spikes["unit_index"][usable], templates), everything, alone[usable], doubtful
