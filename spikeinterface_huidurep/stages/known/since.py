"""Since: how far the tissue has moved along the probe since another session, from where its units' peaks are now."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..motion.estimation import MIN_DURATION_S, MIN_PEAKS_PER_S, NON_RIGID_SPAN_UM, NON_RIGID_STEP_UM

# displacements that are tried, um: of a probe that went further other neurons are seen
FURTHEST_UM, TRIED_UM = 120.0, 2.0
# spread of a unit's peaks over x and y (um), and of its amplitude from day to day (of the logarithm, or a fraction)
SPREAD_UM, CHANGED_STD = 8.0, 0.3
# share of the peaks that are of no known unit
OTHERS = 0.3
# of more peaks some are asked
ASKED = 4000
# likely displacements are further apart than this, um, and their mean log likelihood (of a peak) is so near to the best
APART_UM, LIKELY = 12.0, 0.1
# on probes on which motion is free to change with depth this displacement is, too: in windows of as many um, by about
# so much, where a window has peaks enough for an estimate of motion
BENT_UM, FEW_PEAKS = SPREAD_UM, MIN_PEAKS_PER_S * MIN_DURATION_S


class SpikesAt(NamedTuple):
    """Where spikes, or units, are: `locations` (n, 2) um, registered; `amplitudes` (n,), in units of one noise."""

    locations: np.ndarray
    amplitudes: np.ndarray


def likely_displacements(units: SpikesAt, peaks: SpikesAt, *, most: int = 3, seed: int = 0) -> list[np.ndarray]:
    """
    Displacements that put the known units where today's peaks are, the likeliest first.

    Each peak is of a known unit, near to its place and of about its amplitude, or of another. On long probes the
    displacement may change with depth: in windows of depth it is what the peaks there speak for, with a prior around
    that of the whole probe.

    Parameters
    ----------
    units, peaks : SpikesAt
        Of the session that is known, and of today.
    most : int
        How many are wanted.
    seed : int
        Chooses the peaks that are looked at.

    Returns
    -------
    list of (n_units,) float
        um, to be added to the units' depths.
    """
    n_units = len(units.locations)
    if n_units == 0 or len(peaks.locations) == 0:
        return [np.zeros(n_units)]
    if len(peaks.locations) > ASKED:
        chosen = np.random.default_rng(seed).choice(len(peaks.locations), ASKED, replace=False)
        peaks = SpikesAt(peaks.locations[chosen], peaks.amplitudes[chosen])
    # beyond half of the probe hardly a unit would be left on it
    furthest = TRIED_UM * np.floor(min(FURTHEST_UM, np.ptp(peaks.locations[:, 1]) / 2) / TRIED_UM)
    tried = np.arange(-furthest, furthest + TRIED_UM, TRIED_UM)
    each = _log_likelihood(units, peaks, tried)
    rigid = _peaks_of(each.mean(axis=0), tried, most)
    return [_bent(each, tried, middle, peaks.locations[:, 1], units.locations[:, 1]) for middle in rigid]


def _log_likelihood(units, peaks, tried):
    """Of each peak at each displacement, (n_peaks, n_displacements)."""
    across = (peaks.locations[:, None, 0] - units.locations[None, :, 0]) / SPREAD_UM
    log_size = np.log(np.maximum(peaks.amplitudes, 1e-9))[:, None] - np.log(np.maximum(units.amplitudes, 1e-9))
    fixed = np.exp(-0.5 * (across**2 + (log_size / CHANGED_STD) ** 2)).astype("float32")
    along = (peaks.locations[:, None, 1] - units.locations[None, :, 1]).astype("float32")
    # what is of another unit may be anywhere within reach of a unit
    others = OTHERS / (1 - OTHERS) * max(float(fixed.mean()), 1e-6)
    density = [(fixed * np.exp(-0.5 * ((along - moved) / SPREAD_UM) ** 2)).sum(axis=1) for moved in tried]
    return np.log(np.stack(density, axis=1) / len(units.amplitudes) + others)


def _peaks_of(total, tried, most):
    """The displacements of the largest maxima, well apart."""
    found: list[float] = []
    left = total.astype("float64").copy()
    for _ in range(most):
        best = int(left.argmax())
        if left[best] < total.max() - LIKELY:
            break
        found.append(float(tried[best]))
        left[np.abs(tried - tried[best]) < APART_UM] = -np.inf
    return found


def _bent(each, tried, middle, peak_depths, unit_depths):
    """Displacement of each unit: that of the whole probe, with what windows of depth add to it."""
    low, high = peak_depths.min(), peak_depths.max()
    if high - low < NON_RIGID_SPAN_UM:
        return np.full(len(unit_depths), middle)
    places = np.arange(low + NON_RIGID_STEP_UM / 2, high, NON_RIGID_STEP_UM)
    prior = np.where(np.abs(tried - middle) < APART_UM, -0.5 * ((tried - middle) / BENT_UM) ** 2, -np.inf)
    moved = np.full(len(places), middle)
    for window, place in enumerate(places):
        weight = np.exp(-0.5 * ((peak_depths - place) / (NON_RIGID_STEP_UM / 2)) ** 2)
        if weight.sum() >= FEW_PEAKS:
            moved[window] = tried[(weight @ each + prior).argmax()]
    return np.interp(unit_depths, places, moved)
