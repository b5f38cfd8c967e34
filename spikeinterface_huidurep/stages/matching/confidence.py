"""Confidence: how likely each spike is its unit's, from where its evidence lies among the unit's other spikes."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from .amplitudes import AmplitudePrior, objective_at
from .assignment import MatchingCriteria

# share of a unit's spikes whose amplitude may be anything: bursts, mixtures with other spikes
ANY_AMPLITUDE = 0.1
# the mean amplitude of a unit's spikes is one before they are seen, give or take this
AMPLITUDE_MEAN_STD = 0.05
# the evidence of what is no spike of the unit falls by a factor e within so much: fitted to each unit, from 4 to 7, it
# gives the same units
NOISE_SCALE = 6.0
# of expectation maximisation: 50 change no unit
N_ITERATIONS = 25
# part of what lies where a spike was found that the template has to explain
LEAST_SHARE = 0.5
# the misfit of a unit's better spikes, of which this quantile is taken, is what its noise leaves, within these limits
USUAL_QUANTILE, USUAL_LIMITS = 0.25, (1.0, 1.5)


def estimate_confidence(
    spikes: np.ndarray,
    energy: np.ndarray,
    criteria: MatchingCriteria,
    *,
    n_values: int = 0,
    least_share: float = LEAST_SHARE,
) -> np.ndarray:
    """
    Probability that each spike is of its unit, by a mixture model of each unit's spikes.

    Of the spikes that the assignment found for a unit some are the unit's: their amplitudes are normally distributed
    around the template's. The others are noise and spikes of neurons without a unit: their evidence falls off
    exponentially from the threshold. The mixture is fitted to each unit by expectation maximisation, with a prior on
    the amplitudes, since of a small unit one sees only the upper part. A rival unit that explains the same spike
    lowers the confidence further. Waveforms of which the template explains too little are no spikes of the unit,
    however large that part is: spikes of a neuron that has no template, or what a large spike leaves behind.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        From `assign_spikes`: `unit_index`, `amplitude`, `gain`, `misfit`, and `confidence` against rival units.
    energy : (n_units,) float
        Squared norm of each unit's whitened template (squared units of noise).
    criteria : MatchingCriteria
        Those of the assignment.
    n_values : int
        Number of coefficients over which the misfit is the mean; 0 leaves the misfit out.
    least_share : float
        Least part (0 to 1) of the energy beyond noise that the template explains of a spike.

    Returns
    -------
    confidence : (n_spikes,) float32
        From 0 to 1; 0 for what fits badly. For the others of a unit it never falls with the gain.
    """
    confidence = np.zeros(len(spikes), dtype="float32")
    order = np.argsort(spikes["unit_index"], kind="stable")
    bounds = np.searchsorted(spikes["unit_index"][order], np.arange(len(energy) + 1))
    for unit in range(len(energy)):
        here = order[bounds[unit] : bounds[unit + 1]]
        here = here[explained_share(spikes[here], n_values) >= least_share]
        if len(here) == 0:
            continue
        gain = spikes["gain"][here].astype("float64")
        evidence = _Evidence(float(energy[unit]), criteria)
        own = evidence.share_of_unit(spikes["amplitude"][here].astype("float64"), gain)
        by_gain = np.argsort(gain, kind="stable")
        own[by_gain] = np.maximum.accumulate(own[by_gain])
        confidence[here] = own * spikes["confidence"][here]
    return confidence


def explained_share(spikes: np.ndarray, n_values: int) -> np.ndarray:
    """
    Part of the energy beyond noise that the template explains, for each of one unit's spikes.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        Of one unit: `gain` (squared units of noise) and `misfit` (1 for noise alone).
    n_values : int
        Number of coefficients over which the misfit is the mean.

    Returns
    -------
    share : (n_spikes,) float
        From 0 to 1.
    """
    if len(spikes) == 0:
        return np.zeros(0)
    usual = np.clip(np.quantile(spikes["misfit"], USUAL_QUANTILE), *USUAL_LIMITS)
    # chance alone makes a standard deviation of sqrt(2 n)
    excess = np.maximum(n_values * (spikes["misfit"] - usual) - np.sqrt(2 * n_values), 0)
    return spikes["gain"] / (spikes["gain"] + excess)


class _Evidence:
    """The two components of one unit's spikes, as densities over the gain."""

    def __init__(self, energy, criteria):
        limits, stiffness = criteria.amplitude_limits, criteria.amplitude_std**-2
        self.energy, self.threshold, self.stiffness, self.limits = energy, criteria.threshold, stiffness, limits
        # match of the smallest spike beyond the threshold, in parts of the template's own
        match = np.linspace(0.0, limits[1] + 0.5, 2000)
        # `best_amplitude` of all of them at once
        amplitude = np.clip((match * energy + stiffness) / (energy + stiffness), *limits)
        gain = objective_at.py_func(amplitude, match * energy, energy, AmplitudePrior(stiffness, *limits))
        self.least = float(match[np.argmax(gain > self.threshold)])
        self.spread = float(np.sqrt(criteria.amplitude_std**2 + 1 / energy))

    def share_of_unit(self, amplitude, gain):
        """Posterior probability of the unit for each spike, (n,) float64."""
        low, high = self.limits
        # the assignment draws amplitudes to one: this is the match without that
        match = (amplitude * (self.energy + self.stiffness) - self.stiffness) / self.energy
        slope = 1 / np.maximum(2 * amplitude * self.energy, 1e-6)
        anything = ANY_AMPLITUDE / (high - low) * ((match > low) & (match < high))
        mean, weight = 1.0, 0.8
        noise_density = np.exp(-(gain - self.threshold) / NOISE_SCALE) / NOISE_SCALE
        for _ in range(N_ITERATIONS):
            start = (self.least - mean) / self.spread
            seen = max(float(ndtr(-start)), 0.05)
            near = (1 - ANY_AMPLITUDE) * _normal((match - mean) / self.spread) / self.spread / seen
            unit = weight * (near + anything) * slope
            share = unit / (unit + (1 - weight) * noise_density + 1e-300)
            typical = share * near / (near + anything + 1e-300)
            weight = float(np.clip((share.sum() + 2) / (len(gain) + 3), 0.02, 0.995))
            mean = self._mean(match, typical, mean, start)
        return share

    def _mean(self, match, weights, mean, start):
        """Posterior mean amplitude, corrected for the spikes below the threshold that are not there to be averaged."""
        total = weights.sum()
        if total <= 3:
            return mean
        missing = self.spread * _normal(start) / max(ndtr(-start), 1e-3)
        observed = (weights * match).sum() / total - missing
        precision, prior = total / self.spread**2, AMPLITUDE_MEAN_STD**-2
        return float(np.clip((precision * observed + prior) / (precision + prior), 0.75, 1.15))


def _normal(value):
    """Density of the standard normal distribution."""
    return np.exp(-0.5 * value * value) / np.sqrt(2 * np.pi)
