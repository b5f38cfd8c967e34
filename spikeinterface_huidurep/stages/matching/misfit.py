"""Misfit: the size of the residual where a spike was subtracted; compiled with numba."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np


class FittedTemplates(NamedTuple):
    """
    Templates at one position of the probe.

    channels (n_units, n_local) int, ascending; coefficients (n_units, n_local, n_filters) float32; filters
    (n_filters, length) float32; response (n_subsample, n_filters, n_filters, 2 * length - 1) float32, see
    `WhitenedTemplates`.
    """

    channels: np.ndarray
    coefficients: np.ndarray
    filters: np.ndarray
    response: np.ndarray


@numba.njit(nogil=True, cache=True, fastmath=True)
def misfits(whitened, rows, templates, samples, units, amplitudes, shifts, forgiven):
    """
    Mean square of the residual on each spike's channels, all spikes subtracted.

    Noise leaves 1. A spike that is not the template's leaves the part of its waveform that the template does not
    explain, however well the rest of it matches. The residual of larger spikes does not count as a smaller spike's: a
    channel counts less, the more energy of other spikes was subtracted from it. Where that may be more than the spike
    itself, as in an artefact, all channels count in full.

    Parameters
    ----------
    whitened : (n_channels, n_samples) float32
        Spatially whitened traces.
    rows : (n_channels,) int
        Row of each channel in `whitened`.
    templates : FittedTemplates
    samples, units, shifts : (n_spikes,) int
        Where the template starts, its unit, and its sub-sample shift as an index into `response`.
    amplitudes : (n_spikes,) float32
    forgiven : float
        Fraction of other spikes' energy that may be left behind without being held against a spike.

    Returns
    -------
    misfit : (n_spikes,) float32
    """
    channels, coefficients, filters, response = templates
    n_spikes = len(samples)
    n_local, n_filters = coefficients.shape[1], coefficients.shape[2]
    length = filters.shape[1]
    misfit = np.zeros(n_spikes, dtype=np.float32)
    left = np.empty((n_local, n_filters), dtype=np.float32)
    foreign = np.empty(n_local, dtype=np.float32)
    order = np.argsort(samples)
    first = 0
    for place in range(n_spikes):
        spike = order[place]
        t = samples[spike]
        mine = channels[units[spike]]
        for c in range(n_local):
            trace = whitened[rows[mine[c]], t : t + length]
            for k in range(n_filters):
                left[c, k] = (filters[k] * trace).sum()
        foreign[:] = 0
        while samples[order[first]] <= t - length:
            first += 1
        for other in order[first:]:
            lag = t - samples[other]
            if lag <= -length:
                break
            answer = response[shifts[other], :, :, lag + length - 1]
            share = np.float32(0.0 if other == spike else forgiven)
            theirs = channels[units[other]]
            _subtract(left, foreign, share, mine, amplitudes[other], coefficients[units[other]], theirs, answer)
        if foreign.sum() > amplitudes[spike] ** 2 * (coefficients[units[spike]] ** 2).sum():
            foreign[:] = 0
        for c in range(n_local):
            misfit[spike] += (left[c] ** 2).sum() / (1 + foreign[c] / n_filters)
        misfit[spike] /= n_local * n_filters
    return misfit


@numba.njit(nogil=True, cache=True, fastmath=True)
def _subtract(left, foreign, share, mine, amplitude, coefficients, theirs, answer):
    """
    Take one spike out of the filters' output at another's sample, on the channels that both have, and add this share of
    the energy that is taken out of each to `foreign`.
    """
    n_local, n_filters = left.shape
    place = 0
    for c in range(n_local):
        while place < n_local and theirs[place] < mine[c]:
            place += 1
        if place == n_local:
            break
        if theirs[place] == mine[c]:
            for k in range(n_filters):
                heard = np.float32(0.0)
                for q in range(n_filters):
                    heard += amplitude * coefficients[place, q] * answer[k, q]
                left[c, k] -= heard
                foreign[c] += share * heard * heard
