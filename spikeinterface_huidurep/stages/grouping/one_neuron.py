"""One neuron: the log odds that two units are one, from their waveforms and from their spike times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..templates.whitened import WhitenedTemplates
from ..units.evidence import smoothed_shares
from .spike_times import times_log_odds
from .variability import Variability

# units further apart than this are two, um
MAX_DISTANCE_UM = 60.0
# largest time between the samples on which two templates of one neuron are centred
MAX_LAG_MS = 0.6
# templates less like each other than this are two neurons', whatever varies
LEAST_COSINE = 0.5
# templates of which one is larger by more than this factor are two neurons': within a neuron there are steps between
LARGEST_RATIO = 2.2
# the log odds fall by so much from the same template to one that differs by its whole norm, and go so far up and down:
# templates of which nothing is alike are two neurons', even if by chance they never meet
STEEPNESS, MOST, LEAST = 16.0, 6.0, -12.0
# difference of two templates, as a share of their norm, at which they are as likely one neuron's as two's: what it is
# where shapes change by `CHANGING` and more (less in proportion where they change less, since then one neuron has no
# second template), how much it differs between recordings, and its limits
EVEN, EVEN_STD, EVEN_LIMITS = 0.45, 0.07, (0.0, 0.55)
CHANGING = 0.05
# within a burst spikes get broader, up to a factor whose logarithm is so many standard deviations of the width, in so
# many steps, but never up to more than `MOST_BROAD`; and smaller, by up to this power of the factor. On ten recordings
# with bursts 1.4 to 1.75 give the same, with 2.2 two neurons are one
BROADEST, STEPS, MOST_BROAD, SMALLER = 8.0, 6, 1.6, 1.5
# the difference counts as larger by so many times the factor's logarithm: with half of that two neurons of a tetrode
# are one, with twice as much pieces are left
UNLIKELY = 0.2


class Pairs(NamedTuple):
    """
    Pairs of templates near each other.

    pairs (n_pairs, 2) int, that with more spikes first; lag (n_pairs,) int, samples to add to the second's spikes to
    align them with the first's; difference (n_pairs,) float, of the templates beyond what one neuron's vary, as a share
    of their norm; infinite for those that are not alike at all.
    """

    pairs: np.ndarray
    lag: np.ndarray
    difference: np.ndarray


def one_neuron(
    difference: np.ndarray, observed: np.ndarray, expected: np.ndarray, variability: Variability
) -> np.ndarray:
    """
    Log odds that two units are one neuron.

    Where two neurons have many spikes, their times tell. So it is from all pairs together that one learns from which
    difference on two templates are two neurons' in this recording: the most likely place of it, given the coincidences
    of all pairs, is used for those whose times say nothing.

    Parameters
    ----------
    difference : (n_pairs,) float
        Of their waveforms, from `compare_templates`.
    observed, expected : (n_pairs,) float
        Coincidences within the refractory period, from `spike_times.coincidences`.
    variability : Variability
        Of the recording's neurons.

    Returns
    -------
    log_odds : (n_pairs,) float64
        Natural logarithm; zero is as likely one as two.
    """
    even = even_difference(difference, observed, expected, variability)
    return waveforms_log_odds(difference, even) + times_log_odds(observed, expected)


def waveforms_log_odds(difference: np.ndarray, even: float) -> np.ndarray:
    """The part of the waveforms, (n_pairs,) float64, given the difference at which the odds are even."""
    return np.clip(STEEPNESS * (even - difference), LEAST, MOST)


def even_difference(
    difference: np.ndarray, observed: np.ndarray, expected: np.ndarray, variability: Variability
) -> float:
    """The difference of waveforms at which two units of this recording are as likely one neuron as two."""
    usual = EVEN * min(variability.change_of_shape / CHANGING, 1.0)
    tried = np.arange(*EVEN_LIMITS, 0.01)
    by_waveforms = 1 / (1 + np.exp(-STEEPNESS * (tried[:, None] - difference)))
    by_times = np.exp(times_log_odds(observed, expected))
    likelihood = np.log(by_waveforms * by_times + 1 - by_waveforms).sum(axis=1)
    return float(tried[np.argmax(likelihood - 0.5 * ((tried - usual) / EVEN_STD) ** 2)])


def compare_templates(space: WhitenedTemplates, counts: np.ndarray, variability: Variability, *, max_lag: int) -> Pairs:
    """
    Compare the templates of units that are near each other, in noise and variability.

    Each pair is compared at the displacement at which both have most spikes, and at the best lag. Within a burst spikes
    get broader and smaller by far more than what varies from spike to spike: where widths vary, the larger template is
    compared as it is and as it would be in a burst, and the smallest difference counts.

    Parameters
    ----------
    space : WhitenedTemplates
    counts : (n_units, n_displacements) int
        Spikes behind each template.
    variability : Variability
    max_lag : int
        Samples.

    Returns
    -------
    Pairs
    """
    window = space.lags_within(max_lag)
    seen, n_spikes = smoothed_shares(counts, space.displacements), counts.sum(axis=1)
    broadest = min(BROADEST * variability.width, np.log(MOST_BROAD))
    factors = np.exp(broadest * np.arange(STEPS + 1) / STEPS)
    bursts = [(factor, space.broadened(factor) if factor > 1 else None) for factor in np.unique(factors).tolist()]
    pairs, lags, differences = [], [], []
    for first in range(space.n_units):
        apart = np.linalg.norm(space.locations[first + 1 :] - space.locations[first], axis=1)
        for second in first + 1 + np.flatnonzero(apart <= MAX_DISTANCE_UM):
            many, few = (first, int(second)) if n_spikes[first] >= n_spikes[second] else (int(second), first)
            displacement = int(np.argmax(np.minimum(seen[first], seen[second])))
            sizes = np.linalg.norm(space.coefficients[[many, few], displacement], axis=(1, 2))
            large, small = (many, few) if sizes[0] >= sizes[1] else (few, many)
            of_means = (1 / np.maximum(n_spikes[[large, small]], 1)).sum()
            difference, lag = np.inf, 0
            for factor, broadened in bursts:
                mine, theirs, channels, best = space.aligned(large, small, displacement, window, broadened)
                mine = mine * _smaller(mine, theirs, factor)
                if _alike(mine, theirs):
                    directions = variability.directions(0.5 * (mine + theirs), channels, space)
                    found = _difference(mine, theirs, of_means, directions, variability.rest)
                    found += UNLIKELY * np.log(factor)
                    if found < difference:
                        difference, lag = found, best - len(window) // 2
            pairs.append((many, few))
            lags.append(lag if large == many else -lag)
            differences.append(difference)
    return Pairs(np.array(pairs, dtype=int).reshape(-1, 2), np.array(lags, dtype=int), np.array(differences))


def _smaller(mine, theirs, factor):
    """By how much a template is smaller in a burst in which it is so many times as broad, to be most like another."""
    most_alike = (mine * theirs).sum() / max((mine**2).sum(), 1e-9)
    return float(np.clip(most_alike, factor**-SMALLER, 1.0))


def _alike(mine, theirs):
    """Whether two templates may be one neuron's at all."""
    sizes = np.maximum([np.linalg.norm(mine), np.linalg.norm(theirs)], 1e-9)
    return (mine * theirs).sum() >= LEAST_COSINE * sizes.prod() and sizes.max() <= LARGEST_RATIO * sizes.min()


def _difference(mine, theirs, of_means, directions, rest):
    """Length of the difference of two templates in noise and variability, less the noise of the means, as a share."""
    squared = float(((0.5 * (mine + theirs)) ** 2).sum())
    # what else varies is as large in every direction: it makes the unit of length
    unit = 1 + rest**2 * squared
    left, directions = (mine - theirs).ravel() / np.sqrt(unit), directions / np.sqrt(unit)
    # (I + D'D)^-1 by Woodbury
    answer = directions @ left
    inner = np.linalg.solve(np.eye(len(directions)) + directions @ directions.T, answer)
    length = left @ left - answer @ inner
    return float(np.sqrt(max(length * unit - of_means * left.size, 0) / max(squared, 1e-9)))
