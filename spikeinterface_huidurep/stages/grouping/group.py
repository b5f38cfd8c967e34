"""Group: templates of one neuron, whose waveform changes, become one unit."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..shank import Shank
from ..templates.whitened import WhitenedTemplates
from .cut_by_motion import cut_by_motion
from .one_neuron import MAX_LAG_MS, MOST, Pairs, compare_templates, even_difference, one_neuron, waveforms_log_odds
from .spike_times import CHANCE_MS, coincidences, times_log_odds
from .variability import measure_variances, pool_variability

logger = logging.getLogger("spikeinterface_huidurep")

# log odds of two templates that nothing compares
NOTHING = -99.0
# two templates of one neuron that find something nearer to each other than this share one spike: of what smaller ones
# find beside their largest, all that was no true spike was nearer
SAME_SPIKE_MS = 1.5
# what is grouped shows how much one neuron varies, and that may bring more together
ROUNDS = 3


@dataclass(frozen=True)
class Grouping:
    """
    Which templates are one neuron's.

    Attributes
    ----------
    group : (n_templates,) int
        Unit of each template: the index of one of its group's, that with most spikes.
    lag : (n_templates,) int
        Samples to add to a template's spikes to align them with those of its group's.
    pairs : (n_pairs, 2) int
        The templates that were compared.
    log_odds : (n_pairs,) float
        Log odds that both are one neuron's, see `one_neuron`.
    same_spike : int
        Samples within which two templates of a group share one spike.
    """

    group: np.ndarray
    lag: np.ndarray
    pairs: np.ndarray
    log_odds: np.ndarray
    same_spike: int = 0

    def of(self, spikes: np.ndarray) -> np.ndarray:
        """
        Spikes (n_spikes,) with the unit of their template's group, aligned, sorted by segment and sample.

        What a changed spike leaves of one template may look like another's: of spikes of two templates of a group that
        are nearer than `same_spike` that stays which explains more.
        """
        spikes = spikes.copy()
        templates = spikes["unit_index"].copy()
        spikes["sample_index"] += self.lag[templates]
        spikes["unit_index"] = self.group[templates]
        order = np.lexsort((spikes["unit_index"], spikes["sample_index"], spikes["segment_index"]))
        spikes = spikes[order]
        twice = _found_twice(spikes, templates[order], self.same_spike)
        if twice.any():
            logger.info("grouping: of %d spikes %d are found by two templates of a neuron", len(spikes), twice.sum())
        return spikes[~twice]

    def piece_probability(self, spikes: np.ndarray) -> np.ndarray:
        """
        Probability that a unit is a piece of one with more spikes, after all.

        Parameters
        ----------
        spikes : (n_spikes,) structured array
            From `of`.

        Returns
        -------
        (n_templates,) float64
            That of the likeliest pair; zero for units without another that is alike.
        """
        counts = np.bincount(spikes["unit_index"], minlength=len(self.group))
        probability = np.zeros(len(self.group))
        units = self.group[self.pairs]
        for (one, other), log_odds in zip(units, self.log_odds, strict=True):
            if one != other:
                fewer = one if counts[one] < counts[other] else other
                probability[fewer] = max(probability[fewer], 1 / (1 + np.exp(-log_odds)))
        return probability


def group_templates(
    shank: Shank, space: WhitenedTemplates, counts: np.ndarray, spikes: np.ndarray, alike: np.ndarray
) -> Grouping:
    """
    Find which templates are one neuron's.

    A neuron whose waveform changes has several templates, each of which explains a part of its spikes. The two that are
    most likely one neuron's come together, and so on. Of two groups the most alike templates count, since a neuron's
    waveform changes step by step, and all coincidences.

    Parameters
    ----------
    shank : Shank
    space : WhitenedTemplates
    counts : (n_templates, n_displacements) int
        Spikes behind each template.
    spikes : (n_spikes,) structured array
        From `assign_spikes`, those that are sure.
    alike : (n_pairs, 2) int
        Templates that the noise does not tell apart: their waveforms are one neuron's.

    Returns
    -------
    Grouping
    """
    one_neurons = np.concatenate([alike, cut_by_motion(shank, space, spikes)])
    times = _times_of_units(spikes, space.n_units, shank)
    n_found = np.array([len(one) for one in times])
    variances, max_lag = measure_variances(shank, space, spikes), shank.samples(MAX_LAG_MS)
    group = np.arange(space.n_units)
    for _ in range(ROUNDS):
        before, variability = group, pool_variability(variances, n_found, group, space, max_lag=max_lag)
        compared = compare_templates(space, counts, variability, max_lag=max_lag)
        counted = coincidences(times, compared.pairs, shank.recording.sampling_frequency)
        likely = waveforms_log_odds(compared.difference, even_difference(compared.difference, *counted, variability))
        # two that are not alike come together only with others between them
        likely = np.where(np.isfinite(compared.difference), likely, NOTHING)
        likely[_are_among(compared.pairs, one_neurons, space.n_units)] = MOST
        group = _agglomerate(compared.pairs, likely, *counted, n_found)
        if (group == before).all():
            break
    _log(group, n_found)
    told = np.isfinite(compared.difference)
    observed, expected = (values[told] for values in counted)
    log_odds = one_neuron(compared.difference[told], observed, expected, variability)
    lag, same_spike = _lags(group, compared, likely), shank.samples(SAME_SPIKE_MS)
    return Grouping(group, lag, compared.pairs[told], log_odds, same_spike)


def _are_among(pairs, alike, n_units):
    """Which of the pairs are among others, whichever of the two comes first, (n_pairs,) bool."""
    names = [np.sort(some, axis=1) @ [n_units, 1] for some in (pairs, alike)]
    return np.isin(*names)


def _found_twice(spikes, templates, reach):
    """Spikes that explain less than one of another template of their group within so many samples, (n_spikes,) bool."""
    twice = np.zeros(len(spikes), dtype=bool)
    if reach == 0:
        return twice
    order = np.lexsort((spikes["sample_index"], spikes["segment_index"], spikes["unit_index"]))
    ordered, template, less = spikes[order], templates[order], np.zeros(len(spikes), dtype=bool)
    unit, segment, sample, gain = (ordered[name] for name in ("unit_index", "segment_index", "sample_index", "gain"))
    for step in range(1, len(spikes)):
        near = (unit[step:] == unit[:-step]) & (segment[step:] == segment[:-step])
        near &= sample[step:] - sample[:-step] < reach
        if not near.any():
            break
        first = np.flatnonzero(near & (template[step:] != template[:-step]))
        less[np.where(gain[first] < gain[first + step], first, first + step)] = True
    twice[order[less]] = True
    return twice


def _log(group, n_found):
    used = n_found > 0
    neurons, n_templates = np.unique(group[used], return_counts=True)
    logger.info(
        "grouping: %d templates are %d neurons', %d of which have several",
        used.sum(), len(neurons), (n_templates > 1).sum(),
    )  # fmt: skip


def _times_of_units(spikes, n_units, shank):
    """Samples of each unit's spikes, segments further apart than any lag that counts."""
    recording = shank.recording
    n_segments, apart = recording.get_num_segments(), 2 * shank.samples(CHANCE_MS[1])
    lengths = [recording.get_num_samples(segment_index) + apart for segment_index in range(n_segments)]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    at = spikes["sample_index"] + starts[spikes["segment_index"]]
    order = np.argsort(spikes["unit_index"], kind="stable")
    bounds = np.searchsorted(spikes["unit_index"][order], np.arange(n_units + 1))
    return [np.sort(at[order[bounds[unit] : bounds[unit + 1]]]) for unit in range(n_units)]


def _agglomerate(pairs, likely, observed, expected, n_found):
    """Index of the first template of each one's group; the likeliest two come together first."""
    n_units = len(n_found)
    waveforms, met, chance = (
        _matrix(pairs, values, n_units, empty)
        for values, empty in ((likely, NOTHING), (observed, 0.0), (expected, 0.0))
    )
    group, n_spikes = np.arange(n_units), n_found.copy()
    while n_units:
        odds = np.where(waveforms > NOTHING, waveforms + times_log_odds(met, chance), NOTHING)
        one, other = np.unravel_index(int(odds.argmax()), odds.shape)
        if odds[one, other] <= 0:
            break
        one, other = (one, other) if n_spikes[one] >= n_spikes[other] else (other, one)
        group[group == other] = one
        n_spikes[one] += n_spikes[other]
        waveforms[one] = waveforms[:, one] = np.maximum(waveforms[one], waveforms[other])
        for counted in (met, chance):
            counted[one] = counted[:, one] = counted[one] + counted[other]
        waveforms[other] = waveforms[:, other] = waveforms[one, one] = NOTHING
    return group


def _matrix(pairs, values, n_units, empty):
    matrix = np.full((n_units, n_units), empty)
    matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = values
    return matrix


def _lags(group: np.ndarray, compared: Pairs, likely: np.ndarray) -> np.ndarray:
    """Samples to add to each template's spikes: along the likeliest pairs to the first template of its group."""
    lag = np.zeros(len(group), dtype="int64")
    known = group == np.arange(len(group))
    within = group[compared.pairs[:, 0]] == group[compared.pairs[:, 1]]
    while not known.all():
        ends = known[compared.pairs]
        row = int(np.where(within & (ends[:, 0] != ends[:, 1]), likely, -np.inf).argmax())
        one, other = compared.pairs[row]
        if known[one]:
            lag[other] = lag[one] + compared.lag[row]
        else:
            lag[one] = lag[other] - compared.lag[row]
        known[[one, other]] = True
    return lag
