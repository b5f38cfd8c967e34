"""Matching pursuit on the output of the templates' matched filters, compiled with numba."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numba
import numpy as np

from .amplitudes import best_amplitude, objective, objective_at
from .rules import PursuitRules
from .simultaneous import NOTHING, best_pair, leaves_a_pattern, most_after


class Neighbours(NamedTuple):
    """
    The units whose templates overlap with each unit's, itself included.

    start (n_units + 1,) row pointers into the other arrays; units (n_pairs,), the neighbour; products
    (n_pairs, n_filters * n_filters) float32, of the neighbour's coefficients with the unit's, summed over channels;
    closeness (n_pairs,) float32, how much of what a unit leaves behind may look like the neighbour's spike: 1 at the
    same place on the probe.
    """

    start: np.ndarray
    units: np.ndarray
    products: np.ndarray
    closeness: np.ndarray


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


class Search(NamedTuple):
    """
    What the pursuit looks for spikes in.

    match (n_units, n_samples) float32, output of each unit's matched filter, that of the residual as spikes are taken;
    energy (n_units,) float32, squared norm of each template; rules;
    blocked (n_units, n_samples) bool, where a unit is not looked for; penalty (n_units, n_samples) float32, the
    objective that other spikes may have left behind.
    """

    match: np.ndarray
    energy: np.ndarray
    rules: PursuitRules
    blocked: np.ndarray
    penalty: np.ndarray


@numba.njit(nogil=True, cache=True, fastmath=True)
def _push_maxima(heap, search, unit, start, stop):
    row, energy, threshold = search.match[unit], search.energy[unit], search.rules.threshold
    # no amplitude explains more than match**2 / energy
    least = np.float32(np.sqrt(threshold * energy))
    for t in range(max(start, 1), min(stop, len(row) - 1)):
        if row[t] >= least and row[t] > row[t - 1] and row[t] >= row[t + 1] and not search.blocked[unit, t]:
            surplus = objective(row[t], energy, search.rules.prior) - search.penalty[unit, t]
            if surplus > threshold:
                heapq.heappush(heap, (-surplus, unit, t))


@numba.njit(nogil=True, cache=True, fastmath=True)
def pursue(
    match: np.ndarray,
    energy: np.ndarray,
    neighbours: Neighbours,
    response: np.ndarray,
    rules: PursuitRules,
) -> tuple[np.ndarray, ...]:
    """
    Take the spike that explains most, subtract it, and so on until nothing explains more than the threshold.

    Where the residual of a spike would look like another spike, two spikes are fitted together. If they explain more,
    the larger of them is taken in its place; the pursuit then comes to the smaller one.

    Parameters
    ----------
    match, energy
        See `Search`; `match` is changed in place.
    neighbours : Neighbours
    response : (n_subsample, n_filters, n_filters, n_lags) float32
        See `WhitenedTemplates`.
    rules : PursuitRules

    Returns
    -------
    samples, units : (n_spikes,) int64
    amplitudes, gains, rivals : (n_spikes,) float32
        Amplitude; objective; sum over the other units of exp(half the difference of their objective to this one's).
    shifts : (n_spikes,) int64
        Sub-sample shift of each spike, as an index into `response`.
    """
    n_subsample, n_filters, _, n_lags = response.shape
    search = Search(match, energy, rules, np.zeros(match.shape, np.bool_), np.zeros(match.shape, np.float32))
    heap, found = [(0.0, 0, 0)], [(0, 0, np.float32(0), np.float32(0), np.float32(0), 0)]
    heap.pop()
    found.pop()
    for unit in range(len(match)):
        _push_maxima(heap, search, unit, 0, match.shape[1])
    answers = response.reshape(n_subsample, n_filters * n_filters, n_lags)
    explained, together = np.empty(len(match), dtype=np.float32), np.empty(len(match), dtype=np.float32)
    while len(heap) > 0:
        key, unit, t = heapq.heappop(heap)
        if search.blocked[unit, t]:
            continue
        gain = objective(match[unit, t], energy[unit], rules.prior)
        if gain - search.penalty[unit, t] < -key - 1e-3:
            # something was subtracted here since: the maxima of the residual are pushed again
            _push_maxima(heap, search, unit, t - 1, t + 2)
            continue
        spike, echo = _spike_of(search, neighbours, answers, unit, t, explained, together)
        _take(heap, search, neighbours, echo, spike)
        found.append((spike[0], spike[1], np.float32(spike[2]), np.float32(spike[3]), spike[4], spike[5]))
    return _columns(found)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _columns(found):
    return (
        np.array([spike[0] for spike in found]),
        np.array([spike[1] for spike in found]),
        np.array([spike[2] for spike in found]),
        np.array([spike[3] for spike in found]),
        np.array([spike[4] for spike in found]),
        np.array([spike[5] for spike in found]),
    )


@numba.njit(nogil=True, cache=True, fastmath=True)
def _spike_of(search, neighbours, answers, unit, t, explained, together):
    """
    The spike at a maximum, or the larger of two that explain more together, and what each neighbour's matched filter
    makes of it; `explained` and `together` are arrays to work in.
    """
    match, energy, rules = search.match, search.energy, search.rules
    prior = rules.prior
    n_subsample = len(answers)
    gain = objective(match[unit, t], energy[unit], prior)
    amplitude = best_amplitude(match[unit, t], energy[unit], prior)
    shift = _subsample_index(match[unit, t - 1], match[unit, t], match[unit, t + 1], n_subsample)
    pairs = slice(neighbours.start[unit], neighbours.start[unit + 1])
    others = neighbours.units[pairs]
    echo = np.dot(neighbours.products[pairs], answers[shift])
    _explain_alone(search, others, t, explained)
    explained[unit] = gain
    if leaves_a_pattern(search, others, echo, amplitude, gain, t):
        larger, s, a, before, at, after = best_pair(
            search, neighbours, answers[n_subsample // 2], unit, t, explained, together
        )
        left_behind = rules.threshold + rules.unexplained * gain * neighbours.closeness[pairs]
        next_gain = most_after(search, others, echo, amplitude, left_behind, unit, t)
        one_by_one = gain + max(next_gain, 0.0)
        own = objective_at(a, at, energy[larger], prior) - search.penalty[larger, s]
        # for two spikes, each beyond the threshold, as much more has to speak as for one
        if together[larger] - rules.threshold > one_by_one + rules.threshold and own > rules.threshold:
            unit, t, amplitude = larger, s, a
            gain = objective_at(amplitude, at, energy[unit], prior)
            explained[:] = together
            shift = _subsample_index(before, at, after, n_subsample)
            pairs = slice(neighbours.start[unit], neighbours.start[unit + 1])
            others, echo = neighbours.units[pairs], np.dot(neighbours.products[pairs], answers[shift])
    return (t, unit, amplitude, gain, _rivals(explained, others, unit), shift), echo


@numba.njit(nogil=True, cache=True, fastmath=True)
def _take(heap, search, neighbours, echo, spike):
    """Subtract a spike from the output of all filters that respond to it, and push the maxima of the residual."""
    t, unit, amplitude, gain = spike[0], spike[1], spike[2], spike[3]
    n_samples, half = search.match.shape[1], echo.shape[1] // 2
    pairs = slice(neighbours.start[unit], neighbours.start[unit + 1])
    others, refractory = neighbours.units[pairs], search.rules.refractory
    search.blocked[unit, max(0, t - refractory) : t + refractory + 1] = True
    start, stop = max(0, t - half), min(n_samples, t + half + 1)
    for row in range(len(others)):
        other = others[row]
        left_behind = search.rules.unexplained * neighbours.closeness[pairs][row] * gain
        _subtract(search.match[other], search.penalty[other], echo[row], amplitude, left_behind, start, stop, t)
        _push_maxima(heap, search, other, start, stop)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _subtract(match, penalty, echo, amplitude, left_behind, start, stop, t):
    """Take a spike at sample `t` off one unit's matched filter, whose response to its template is `echo`."""
    half = len(echo) // 2
    for s in range(start, stop):
        match[s] -= amplitude * echo[s - t + half]
        penalty[s] += left_behind


@numba.njit(nogil=True, cache=True, fastmath=True)
def _explain_alone(search, others, t, explained):
    """The most that each of the units explains near a sample; `NOTHING` for units that are not asked for."""
    match, energy, rules = search.match, search.energy, search.rules
    explained[:] = NOTHING
    for other in others:
        for s in range(max(t - rules.same_spike, 0), min(t + rules.same_spike + 1, match.shape[1])):
            explained[other] = max(explained[other], objective(match[other, s], energy[other], rules.prior))


@numba.njit(nogil=True, cache=True, fastmath=True)
def _rivals(explained, others, unit):
    """Sum over the other units of exp(half the difference of what they explain to what this one does)."""
    rivals = np.float32(0.0)
    for other in others:
        if other != unit:
            rivals += np.exp(min(0.5 * (explained[other] - explained[unit]), 0.0))
    return rivals


@numba.njit(nogil=True, cache=True, fastmath=True)
def _subsample_index(left: float, centre: float, right: float, n_subsample: int) -> int:
    """Which of the shifts between -1/2 and 1/2 samples is next to the maximum of the parabola through three values."""
    curvature = left - 2 * centre + right
    shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return min(max(int(np.round((shift + 0.5) * n_subsample)), 0), n_subsample - 1)
