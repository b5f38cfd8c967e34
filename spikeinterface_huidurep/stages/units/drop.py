"""Drop: units that are no neurons go, each by a rule that has a name and a line in the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..matching.assignment import MatchingCriteria, assign_spikes
from ..shank import Shank
from ..templates.drifting import DriftingUnitTemplates
from ..templates.whitened import WhitenedTemplates, whiten_templates
from ..traces.segments import stretches_around
from .unit_set import UnitSet

logger = logging.getLogger("spikeinterface_huidurep")


@dataclass(frozen=True)
class DropCriteria:
    """
    What units of peaks, and units of matched spikes, have to be.

    Attributes
    ----------
    detect_threshold : float
        Threshold beyond which peaks were detected, in units of noise.
    min_centred : float
        Least extremum of a template near its peaks, and least median amplitude of the peaks, as fractions of the
        extremum of the whole template.
    min_excess : float
        Least mean of the peaks' scores above the threshold, in units of noise.
    min_norm : float
        Least norm of a template, in standard deviations of the noise.
    min_amplitude : float
        Noise units that a template reaches on some channel, half of what a peak needs to be detected. What is left of
        an artefact's ringing has less, and finds the slow end of other units' spikes.
    min_similarity : float
        Least cosine of a template and of the mean of what it found.
    few : int
        Only units of at most so many spikes may be explained by others.
    tried : int
        Most spikes of such a unit that are matched again without it.
    explained_distance : float
        A unit is explained by others where its median spike is nearer to what they explain, in standard deviations of
        the noise; the square of that is the objective that is lost.
    variability : float
        How much the shape of one neuron's waveform varies, as a fraction of its norm; it adds to the noise.
    """

    detect_threshold: float = 5.0
    min_centred: float = 0.6
    min_excess: float = 0.33
    min_norm: float = 4.5
    min_amplitude: float = 1.5
    min_similarity: float = 0.7
    few: int = 100
    tried: int = 15
    explained_distance: float = 2.55
    variability: float = 0.08


def drop_units(units: UnitSet, rules: dict[str, np.ndarray]) -> UnitSet:
    """
    Drop units, and log how many each rule takes.

    Parameters
    ----------
    units : UnitSet
    rules : dict
        What is said of the units that a rule takes, and which these are, (n_units,) bool. A unit that several rules
        take counts for the first.

    Returns
    -------
    UnitSet
        Without them; their spikes have no unit.
    """
    return units.among(kept_by_rules(rules, units.n_units))


def kept_by_rules(rules: dict[str, np.ndarray], n_units: int) -> np.ndarray:
    """Which units none of the rules takes, (n_units,) bool, with lines in the log as from `drop_units`."""
    return ~taken_by_rules(rules, np.ones(n_units, dtype=bool), "dropping: %d of %d units, %s")


def taken_by_rules(rules: dict[str, np.ndarray], present: np.ndarray, message: str) -> np.ndarray:
    """
    Which units any of the rules takes, (n_units,) bool, with a line in the log for each rule that takes some.

    Parameters
    ----------
    rules : dict
        As for `drop_units`.
    present : (n_units,) bool
        The units that count in the log.
    message : str
        Of how many units that a rule takes, of how many there are, and of what is said of them.
    """
    taken = np.zeros(len(present), dtype=bool)
    for says, doubtful in rules.items():
        n_taken = int((doubtful & ~taken & present).sum())
        if n_taken:
            logger.info(message, n_taken, present.sum(), says)
        taken |= doubtful
    return taken


def not_centred(units: UnitSet, criteria: DropCriteria, max_lag: int) -> np.ndarray:
    """
    Clusters of echoes: peaks on another phase of a larger neuron's spikes, before or after it, (n_units,) bool.

    Their template is that neuron's spike, and it is largest away from where the peaks are. As a unit it would take the
    neuron's spikes.
    """
    templates = units.templates
    doubtful = np.zeros(units.n_units, dtype=bool)
    near = slice(max(templates.nbefore - max_lag, 0), templates.nbefore + max_lag + 1)
    for unit in range(units.n_units):
        mine = units.spikes["amplitude"][units.labels == unit].astype("float64")
        if len(mine) == 0:
            continue
        seen = int(np.argmax(templates.counts[unit]))
        waveform = templates.waveforms[unit, seen] * np.sign(np.median(mine))
        largest = max(float(waveform.max()), 1e-9)
        centred = min(waveform[near].max(), np.median(np.abs(mine))) / largest
        doubtful[unit] = not centred >= criteria.min_centred
    return doubtful


def at_threshold(units: UnitSet, criteria: DropCriteria) -> np.ndarray:
    """
    Clusters of noise, whose peaks crowd at the detection threshold, (n_units,) bool.

    Beyond a threshold of t times the noise a Gaussian's mean excess is about 1 / t. A neuron whose spikes are as large
    as 3/5 of the threshold has twice that.
    """
    doubtful = np.zeros(units.n_units, dtype=bool)
    for unit in range(units.n_units):
        mine = units.labels == unit
        if mine.any():
            excess = float((units.spikes["score"][mine] - criteria.detect_threshold).mean())
            doubtful[unit] = not excess >= criteria.min_excess
    return doubtful


def too_small(refitted: UnitSet, shank: Shank, criteria: DropCriteria) -> np.ndarray:
    """Units whose matched spikes are too small to be told from noise, (n_units,) bool."""
    templates = refitted.templates
    norm = np.sqrt(whiten_templates(templates, shank.noise).energy)
    return (norm < criteria.min_norm) | (np.abs(templates.waveforms).max(axis=(1, 2, 3)) < criteria.min_amplitude)


def not_its_waveform(before: DriftingUnitTemplates, refitted: UnitSet, criteria: DropCriteria) -> np.ndarray:
    """Units whose template finds another waveform than its own, (n_units,) bool."""
    similarity = np.zeros(refitted.n_units)
    for unit, counts in enumerate(refitted.templates.counts):
        most = int(np.argmax(counts))
        one, other = before.waveforms[unit, most].ravel(), refitted.templates.waveforms[unit, most].ravel()
        similarity[unit] = one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9)
    return similarity < criteria.min_similarity


def explained_by_others(
    spikes: np.ndarray, space: WhitenedTemplates, shank: Shank, criteria: DropCriteria, matching: MatchingCriteria
) -> np.ndarray:
    """
    Small units without which their spikes are explained as well.

    Spikes of two neurons that overlap often enough make a cluster, and a template that is the sum of theirs. Others are
    pieces of a neuron's spikes. What they explain their neighbours explain too: the spikes of all small units are
    matched again with the larger units alone, and what is lost of the objective tells how far they are from those. It
    is counted over all spikes whose templates overlap with the spike in time and in space: of two neurons' spikes that
    come a millisecond apart, the second is partly in the template, and fits its own worse.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        From `assign_spikes` with all templates.
    space : WhitenedTemplates
    shank : Shank
    criteria : DropCriteria
    matching : MatchingCriteria
        As for `assign_spikes`.

    Returns
    -------
    (n_units,) bool
    """
    counts = np.bincount(spikes["unit_index"], minlength=space.n_units)
    asked = (counts > 0) & (counts <= criteria.few)
    explained = np.zeros(space.n_units, dtype=bool)
    if not asked.any() or asked.all():
        return explained
    chosen = [
        np.flatnonzero(spikes["unit_index"] == unit)[:: -(-counts[unit] // criteria.tried)]
        for unit in np.flatnonzero(asked)
    ]
    # what overlaps with what overlaps with a spike has to be seen as it was
    margin = 3 * space.filters.shape[1]
    larger = np.flatnonzero(~asked)
    slices = stretches_around(shank.recording, spikes[np.concatenate(chosen)], margin)
    again = assign_spikes(shank, space.select(larger), matching, slices=slices)
    again["unit_index"] = larger[again["unit_index"]]
    spread = 1 + criteria.variability**2 * space.energy
    for unit, mine in zip(np.flatnonzero(asked), chosen, strict=True):
        loss = [
            _explained_near(spikes, spikes[spike], space) - _explained_near(again, spikes[spike], space)
            for spike in mine
        ]
        explained[unit] = np.median(loss) < criteria.explained_distance**2 * spread[unit]
    return explained


def _explained_near(spikes, spike, templates):
    """Sum of the objectives of the spikes that overlap with one."""
    near = (spikes["segment_index"] == spike["segment_index"]) & (
        np.abs(spikes["sample_index"] - spike["sample_index"]) < templates.filters.shape[1]
    )
    here = spikes[near]
    channels = templates.channels
    shares = np.isin(channels[here["unit_index"]], channels[spike["unit_index"]]).any(axis=1)
    return here["gain"][shares].sum()
