"""Curves: each bin of time gets the displacement at which its spikes lie on the curves along which units move."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp
from sklearn.decomposition import PCA
from spikeinterface.core.motion import Motion

from .path import likeliest_path

# principal components of the spikes' features, and groups that follow a curve: on two tetrodes that drift, 8 and 20
# components are as good to within 0.001 of the correlation with the true motion, 30 curves to within 0.002; 45 curves
# are worse by 0.009 on one of them
COMPONENTS, CURVES = 12, 20
# powers of the displacement that make a curve, in each round: lines first. Bends are told by what lies between the
# ends, and with jumps nothing does: the bins of two tetrodes that drift, put in an order with four jumps, then have
# a correlation of 0.985 and 0.991 with the true motion, the first 0.712 with bends from the start
POWERS = (1, 1, 1, 2, 2, 2)
# how many spikes at the ends that do not move count against a bend: 1 and 5 differ by 0.002 there
UNMOVED_SPIKES = 5.0
# displacements that are tried: so many, from end to end of the first estimate and this share beyond it
TRIED, BEYOND = 41, 0.15
# what a step to the next displacement costs, in units of the logarithm of the likelihood: a quarter or a half of it is
# as good to within 0.002 of the correlation
COST_OF_TRIED_STEP = 2.0
# spikes that lie on no curve: their share, and their density as that of spikes so many standard deviations away in
# each component
STRAY_SHARE, STRAY_STD = 1e-3, 1.75
# variance of a group, relative to that of all
LEAST_SPREAD, MOST_SPREAD = 0.3, 3.0


def follow_curves(motion: Motion, times_s: np.ndarray, features: np.ndarray, groups: np.ndarray) -> Motion:
    """
    Refine a motion that was read from which clusters the spikes of each bin fall into.

    The spikes of a unit lie around a curve in the space of their features, and the displacement tells where on it.
    Given the motion, the curves are fitted: a mixture of regressions on the displacement and its square, with one
    covariance, scaled for each group. Given the curves, each bin gets the displacement at which its spikes are the
    likeliest, with a cost of moving; and so on in turns. Which group a spike is of is never fixed: that a unit fires
    more is no motion.

    Parameters
    ----------
    motion : Motion
        Of one segment, with one place.
    times_s : (n_spikes,) float
        Time of each spike, s.
    features : (n_spikes, n_features) float
        In which the spikes of a unit move along a curve.
    groups : (n_spikes,) int
        To start with: spikes that move together.

    Returns
    -------
    Motion
        In the same bins and on the same scale; its median is zero.
    """
    bins, before = motion.temporal_bins_s[0], motion.displacement[0][:, 0]
    at_bin = np.searchsorted(0.5 * (bins[:-1] + bins[1:]), times_s)
    places = _from_end_to_end(before)
    tried = np.linspace(-1 - BEYOND, 1 + BEYOND, TRIED)
    points = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)
    shares = np.eye(int(groups.max()) + 1)[groups]
    for n_powers in POWERS:
        curves = _Curves(points, places[at_bin], shares, n_powers)
        each = curves.log_density(tried)
        likelihood = np.stack([np.bincount(at_bin, weights=one, minlength=len(bins)) for one in each.T], axis=1)
        places = tried[likeliest_path(likelihood, COST_OF_TRIED_STEP)]
        shares = curves.shares(places[at_bin])
        places = _from_end_to_end(places)
    moved = places * before.std() / max(places.std(), 1e-9)
    return Motion([(moved - np.median(moved))[:, None]], [bins], motion.spatial_bins_um, direction=motion.direction)


def _from_end_to_end(places):
    """The displacements, scaled to lie between -1 and 1 but for a few."""
    low, high = np.percentile(places, [0.5, 99.5])
    return (places - (low + high) / 2) / max((high - low) / 2, 1e-9)


def _powers(places, n_powers):
    """(..., n_powers + 1) powers of the displacements."""
    return places[..., None] ** np.arange(n_powers + 1)


class _Curves:
    """
    Curves of groups of spikes over the displacement.

    points : (n_spikes, n_components), places : (n_spikes,) displacement at each spike, shares : (n_spikes, n_groups)
    how much of each spike is each group's.
    """

    def __init__(self, points, places, shares, n_powers):
        self.n_powers = n_powers
        powers = _powers(places, n_powers)
        unmoved = np.diag([1e-6, *[UNMOVED_SPIKES] * n_powers])
        weights = np.maximum(shares.sum(axis=0), 1e-6)
        curves = np.stack(
            [np.linalg.solve((powers.T * share) @ powers + unmoved, (powers.T * share) @ points) for share in shares.T]
        )
        around = [points - powers @ curve for curve in curves]
        covariance = sum((rest.T * share) @ rest for rest, share in zip(around, shares.T, strict=True)) / weights.sum()
        ridge = 1e-6 * max(np.trace(covariance), 1e-6) * np.eye(len(covariance))
        whiten = np.linalg.inv(np.linalg.cholesky(covariance + ridge)).T
        self.points, self.curves = points @ whiten, curves @ whiten
        self.n_components = points.shape[1]
        squares = [((rest @ whiten) ** 2).mean(axis=1) @ share for rest, share in zip(around, shares.T, strict=True)]
        self.spread = np.clip(squares / weights, LEAST_SPREAD, MOST_SPREAD)
        self.log_weight = np.log(weights / weights.sum()) - 0.5 * self.n_components * np.log(self.spread)
        self.stray = np.log(STRAY_SHARE) - 0.5 * self.n_components * STRAY_STD**2

    def log_density(self, tried):
        """Logarithm of the density of each spike at each displacement, (n_spikes, n_tried), but for a constant."""
        total = np.full((len(self.points), len(tried)), self.stray)
        norm = (self.points**2).sum(axis=1)[:, None]
        for curve, spread, log_weight in zip(self.curves, self.spread, self.log_weight, strict=True):
            places = _powers(tried, self.n_powers) @ curve
            squared = norm + (places**2).sum(axis=1) - 2 * self.points @ places.T
            np.logaddexp(total, log_weight - 0.5 * squared / spread, out=total)
        return total

    def shares(self, places):
        """How much of each spike is each group's, given the displacement at each, (n_spikes, n_groups)."""
        powers = _powers(places, self.n_powers)
        squared = np.stack([((self.points - powers @ curve) ** 2).sum(axis=1) for curve in self.curves], axis=1)
        each = self.log_weight - 0.5 * squared / self.spread
        return np.exp(each - np.logaddexp(logsumexp(each, axis=1), self.stray)[:, None])
