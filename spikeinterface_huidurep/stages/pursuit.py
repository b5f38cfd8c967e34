"""Matching pursuit on the output of the templates' matched filters, compiled with numba."""

from __future__ import annotations

import heapq

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath=True)
def objective(match: float, energy: float, stiffness: float, low: float, high: float) -> float:
    """
    How much squared noise is explained by subtracting the template at its best amplitude.

    `match` is the output of the matched filter, `energy` that of the template itself; the amplitude is drawn to one
    with `stiffness` (the inverse variance of the amplitudes) and stays between `low` and `high`.
    """
    amplitude = best_amplitude(match, energy, stiffness, low, high)
    return 2 * amplitude * match - amplitude * amplitude * energy - stiffness * (amplitude - 1) ** 2


@numba.njit(nogil=True, cache=True, fastmath=True)
def best_amplitude(match: float, energy: float, stiffness: float, low: float, high: float) -> float:
    """Amplitude that maximises `objective`."""
    return min(max((match + stiffness) / (energy + stiffness), low), high)


@numba.njit(nogil=True, cache=True, fastmath=True)
def sum_of_products(values, kernels, units, start, product):
    """
    Add up what each unit's filters let pass: `product[units, start:] = (values * kernels).sum(axis=1)`.

    Parameters
    ----------
    values : (n, n_filters, n_bins) complex64
    kernels : (n_filters, n_bins) complex64
    units : (n,) int
    start : int
    product : (n_units, n_frequencies) complex64
        Changed in place.
    """
    n, n_filters, n_bins = values.shape
    for row in range(n):
        total = product[units[row], start : start + n_bins]
        total[:] = 0
        for k in range(n_filters):
            value, kernel = values[row, k], kernels[k]
            for f in range(n_bins):
                total[f] += value[f] * kernel[f]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _push_maxima(heap, match, energy, unit, start, stop, threshold, stiffness, low, high, blocked, penalty):
    row = match[unit]
    # no amplitude explains more than match**2 / energy
    least = np.float32(np.sqrt(threshold * energy[unit]))
    for t in range(max(start, 1), min(stop, len(row) - 1)):
        if row[t] >= least and row[t] > row[t - 1] and row[t] >= row[t + 1] and not blocked[unit, t]:
            surplus = objective(row[t], energy[unit], stiffness, low, high) - penalty[unit, t]
            if surplus > threshold:
                heapq.heappush(heap, (-surplus, unit, t))


@numba.njit(nogil=True, cache=True, fastmath=True)
def pursue(
    match,
    energy,
    neighbour_start,
    neighbours,
    overlap,
    closeness,
    response,
    threshold,
    stiffness,
    low,
    high,
    refractory,
    unexplained,
):
    """
    Take the spike that explains most, subtract it, and so on until nothing explains more than the threshold.

    Parameters
    ----------
    match : (n_units, n_samples) float32
        Output of each unit's matched filter; changed in place to that of the residual.
    energy : (n_units,) float32
        Squared norm of each template.
    neighbour_start : (n_units + 1,) int, neighbours : (n_pairs,) int
        Units whose templates overlap with a unit's (itself included), as row pointers and indices.
    overlap : (n_pairs, n_filters, n_filters) float32
        Product over channels of the neighbour's coefficients with the unit's.
    closeness : (n_pairs,) float32
        How much of what a unit leaves behind may look like the neighbour's spike: 1 at the same place on the probe.
    response : (n_subsample, n_filters, n_filters, n_lags) float32
        See `WhitenedTemplates`.
    threshold, stiffness, low, high : float
        Least objective; inverse variance and bounds of the amplitude.
    refractory : int
        Samples around a spike in which its unit is not looked for again.
    unexplained : float
        Fraction of a spike's objective that its template may leave behind: no spike at its place is made of less.

    Returns
    -------
    samples, units : (n_spikes,) int64
    amplitudes, gains, rivals : (n_spikes,) float32
        Amplitude; objective; sum over the other units of exp(half the difference of their objective to this one's).
    shifts : (n_spikes,) int64
        Sub-sample shift of each spike, as an index into `response`.
    """
    n_units, n_samples = match.shape
    n_subsample, n_filters, _, n_lags = response.shape
    half = n_lags // 2
    blocked = np.zeros((n_units, n_samples), dtype=np.bool_)
    penalty = np.zeros((n_units, n_samples), dtype=np.float32)
    heap = [(0.0, 0, 0)]
    heap.pop()
    for unit in range(n_units):
        _push_maxima(heap, match, energy, unit, 0, n_samples, threshold, stiffness, low, high, blocked, penalty)

    found_samples, found_units = [0], [0]
    found_amplitudes, found_gains, found_rivals = [np.float32(0)], [np.float32(0)], [np.float32(0)]
    found_shifts = [0]
    products = overlap.reshape(len(overlap), n_filters * n_filters)
    answers = response.reshape(n_subsample, n_filters * n_filters, n_lags)
    while len(heap) > 0:
        key, unit, t = heapq.heappop(heap)
        if blocked[unit, t]:
            continue
        gain = objective(match[unit, t], energy[unit], stiffness, low, high)
        if gain - penalty[unit, t] < -key - 1e-3:
            # something was subtracted here since: what is left is pushed again where it is a maximum
            _push_maxima(heap, match, energy, unit, t - 1, t + 2, threshold, stiffness, low, high, blocked, penalty)
            continue
        amplitude = best_amplitude(match[unit, t], energy[unit], stiffness, low, high)
        shift = _subsample_peak(match[unit, t - 1], match[unit, t], match[unit, t + 1])
        index = min(max(int(np.round((shift + 0.5) * n_subsample)), 0), n_subsample - 1)

        rivals = 0.0
        for pair in range(neighbour_start[unit], neighbour_start[unit + 1]):
            other = neighbours[pair]
            if other != unit:
                best = -1e9
                for s in range(max(t - 6, 0), min(t + 7, n_samples)):
                    best = max(best, objective(match[other, s], energy[other], stiffness, low, high))
                rivals += np.exp(min(0.5 * (best - gain), 0.0))
        found_samples.append(t)
        found_units.append(unit)
        found_amplitudes.append(np.float32(amplitude))
        found_gains.append(np.float32(gain))
        found_rivals.append(np.float32(rivals))
        found_shifts.append(index)
        blocked[unit, max(0, t - refractory) : t + refractory + 1] = True

        start, stop = max(0, t - half), min(n_samples, t + half + 1)
        first, last = neighbour_start[unit], neighbour_start[unit + 1]
        # what each neighbour's matched filter makes of this spike
        echo = np.dot(products[first:last], answers[index])
        for pair in range(first, last):
            other = neighbours[pair]
            left_behind = unexplained * closeness[pair] * gain
            row, heard = match[other, start:stop], echo[pair - first, start - t + half :]
            penalised = penalty[other, start:stop]
            for s in range(stop - start):
                row[s] -= amplitude * heard[s]
                penalised[s] += left_behind
            _push_maxima(heap, match, energy, other, start, stop, threshold, stiffness, low, high, blocked, penalty)
    return (
        np.array(found_samples[1:]),
        np.array(found_units[1:]),
        np.array(found_amplitudes[1:]),
        np.array(found_gains[1:]),
        np.array(found_rivals[1:]),
        np.array(found_shifts[1:]),
    )


@numba.njit(nogil=True, cache=True, fastmath=True)
def _subsample_peak(left: float, centre: float, right: float) -> float:
    """Where the parabola through three values has its maximum, from -1/2 to 1/2 samples."""
    curvature = left - 2 * centre + right
    if curvature >= 0:
        return 0.0
    return min(max(0.5 * (left - right) / curvature, -0.5), 0.5)
