"""Two spikes at almost the same time, fitted together: one template alone may take parts of both."""

from __future__ import annotations

import numba
import numpy as np

from .amplitudes import fit_two, objective

# stands for minus infinity: the compiled code takes for granted that all numbers are finite
NOTHING = np.float32(-1e30)


@numba.njit(nogil=True, cache=True, fastmath=True)
def leaves_a_pattern(search, others, echo, amplitude, gain, t):
    """
    Whether the residual of a spike looks like another spike, upright or upside down, to any neighbour's matched filter.

    Parameters
    ----------
    search : pursuit.Search
    others : (n_others,) int
        The units whose templates overlap with the spike's.
    echo : (n_others, n_lags) float32
        What their filters make of the spike's template.
    amplitude, gain : float
        The spike's amplitude and objective.
    t : int
        The spike's sample.

    Returns
    -------
    bool
    """
    match, energy = search.match, search.energy
    half = echo.shape[1] // 2
    reach = min(search.rules.same_spike, half)
    least = np.sqrt(max(search.rules.threshold, search.rules.pattern * gain))
    for row in range(len(others)):
        bound = least * np.sqrt(energy[others[row]])
        for s in range(max(t - reach, 0), min(t + reach + 1, match.shape[1])):
            if abs(match[others[row], s] - amplitude * echo[row, s - t + half]) > bound:
                return True
    return False


@numba.njit(nogil=True, cache=True, fastmath=True)
def most_after(search, others, echo, amplitude, left_behind, unit, t):
    """
    The most that any other unit explains near a spike once that is subtracted.

    Parameters
    ----------
    search : pursuit.Search
    others, echo, amplitude, t
        As for `leaves_a_pattern`.
    left_behind : (n_others,) float32
        How much of the objective the spike may have left behind.
    unit : int
        The spike's unit.

    Returns
    -------
    objective : float
    """
    match, energy, prior, blocked = search.match, search.energy, search.rules.prior, search.blocked
    half = echo.shape[1] // 2
    reach = min(search.rules.second_reach, half)
    most = NOTHING
    for row in range(len(others)):
        other = others[row]
        if other == unit:
            continue
        for s in range(max(t - reach, 0), min(t + reach + 1, match.shape[1])):
            if not blocked[other, s]:
                rest = match[other, s] - amplitude * echo[row, s - t + half]
                most = max(most, np.float32(objective(rest, energy[other], prior) - left_behind[row]))
    return most


@numba.njit(nogil=True, cache=True, fastmath=True)
def best_pair(search, neighbours, answer, unit, t, alone, together):
    """
    The two spikes near a sample that explain most together.

    Parameters
    ----------
    search : pursuit.Search
    neighbours : pursuit.Neighbours
    answer : (n_filters * n_filters, n_lags) float32
        Response of the filters to a spike that lies on a sample.
    unit, t : int
        The unit and the sample of the spike that explains most.
    alone : (n_units,) float32
        The most that each neighbour of `unit`, and `unit` itself, explains alone near `t`; `NOTHING` for other units.
    together : (n_units,) float32
        Set to the most that a pair explains of which this unit's spike is the larger; `NOTHING` where there is none.

    Returns
    -------
    unit, sample : int
    amplitude : float
        Of the larger spike of the best pair.
    before, at, after : float
        Its matched filter around its sample, the other spike taken off.
    """
    match, energy, blocked, rules = search.match, search.energy, search.blocked, search.rules
    n_samples, half = match.shape[1], answer.shape[1] // 2
    together[:] = NOTHING
    most = NOTHING
    best = (unit, t, np.float32(1.0), np.float32(0.0), np.float32(0.0), np.float32(0.0))
    near = neighbours.units[neighbours.start[unit] : neighbours.start[unit + 1]]
    for first in near[np.argsort(-alone[near])[: rules.most_first]]:
        if alone[first] < 0:  # noise explains more
            break
        rows = slice(neighbours.start[first], neighbours.start[first + 1])
        others, echo = neighbours.units[rows], np.dot(neighbours.products[rows], answer)
        begin, end = max(t - rules.same_spike, 1), min(t + rules.same_spike + 1, n_samples - 1)
        peak = begin + np.argmax(match[first, begin:end])
        # the second spike may have moved the maximum of the first by a sample
        for s in range(max(peak - 1, begin), min(peak + 2, end)):
            if blocked[first, s]:
                continue
            for row in range(len(others)):
                second = others[row]
                if second == first:
                    continue
                for u in range(max(t - rules.second_reach, 1), min(t + rules.second_reach + 1, n_samples - 1)):
                    lag = u - s + half
                    if blocked[second, u] or lag < 1 or lag > 2 * half - 1:
                        continue
                    a, b, both = fit_two(
                        match[first, s], match[second, u], energy[first], energy[second], echo[row, lag], rules.prior
                    )
                    larger = first if a * a * energy[first] >= b * b * energy[second] else second
                    together[larger] = max(together[larger], both)
                    if both > most:
                        most = np.float32(both)
                        best = _larger(
                            match, first == larger, (first, s, a), (second, u, b), echo[row, lag - 1 : lag + 2]
                        )
    return best


@numba.njit(nogil=True, cache=True, fastmath=True)
def _larger(match, first_is_larger, first, second, echo):
    """Unit, sample and amplitude of the larger of two spikes, and its filter around it with the other taken off."""
    one, other = (first, second) if first_is_larger else (second, first)
    # each other's filter sees the same at opposite lags
    heard = echo[::-1] if first_is_larger else echo
    unit, s = one[0], one[1]
    rest = match[unit, s - 1 : s + 2] - other[2] * heard
    return unit, s, np.float32(one[2]), np.float32(rest[0]), np.float32(rest[1]), np.float32(rest[2])
