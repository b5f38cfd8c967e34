"""Cleaning: units that are no neurons go, and no spike is counted twice."""

from __future__ import annotations

import logging

import numpy as np

logger = logging.getLogger("spikeinterface_huidurep")


def clean_spikes(
    spikes: np.ndarray,
    n_units: int,
    *,
    duration_s: float,
    censored_period: int,
    min_spikes: int = 10,
    min_firing_rate: float = 0.02,
    coincidence_window: int = 6,
    max_coincidence: float = 0.7,
) -> np.ndarray:
    """
    Drop repeated spikes, units with hardly any spikes and units that only echo another.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        From `assign_spikes`.
    n_units : int
    duration_s : float
        Duration of the whole recording, s.
    censored_period : int
        Of two spikes of one unit nearer than this (samples) the better one is kept.
    min_spikes : int
        Least number of spikes of a unit.
    min_firing_rate : float
        Least firing rate of a unit, Hz.
    coincidence_window : int
        Spikes of two units nearer than this (samples) coincide.
    max_coincidence : float
        A unit more of whose spikes than this fraction coincide with those of one unit that explains more is dropped.

    Returns
    -------
    spikes : structured array
        The spikes that stay; `unit_index` is unchanged.
    """
    spikes = _drop_repeats(spikes, censored_period)
    counts = np.bincount(spikes["unit_index"], minlength=n_units)
    keep = counts >= max(min_spikes, min_firing_rate * duration_s)
    keep &= ~_echoes(spikes, counts, coincidence_window, max_coincidence)
    if (counts > 0).sum() > keep.sum():
        logger.info("cleaning: %d of %d units dropped", (counts > 0).sum() - keep.sum(), (counts > 0).sum())
    return spikes[keep[spikes["unit_index"]]]


def _drop_repeats(spikes, censored_period):
    """Within a unit, of spikes nearer than the censored period the one that explains more stays."""
    while len(spikes):
        order = np.lexsort((spikes["sample_index"], spikes["segment_index"], spikes["unit_index"]))
        ordered = spikes[order]
        near = (
            (np.diff(ordered["unit_index"]) == 0)
            & (np.diff(ordered["segment_index"]) == 0)
            & (np.diff(ordered["sample_index"]) <= censored_period)
        )
        if not near.any():
            break
        weaker = np.zeros(len(spikes), dtype=bool)
        first = np.flatnonzero(near)
        loses = ordered["gain"][first] < ordered["gain"][first + 1]
        weaker[np.where(loses, first, first + 1)] = True
        keep = np.ones(len(spikes), dtype=bool)
        keep[order[weaker]] = False
        spikes = spikes[keep]
    return spikes


def _echoes(spikes, counts, window, max_coincidence):
    """Units whose spikes nearly all coincide with those of one unit that explains more."""
    n_units = len(counts)
    together = np.zeros((n_units, n_units))
    time = spikes["sample_index"] + spikes["segment_index"] * (spikes["sample_index"].max(initial=0) + 10 * window)
    for step in range(1, len(spikes)):
        near = time[step:] - time[:-step] <= window
        if not near.any():
            break
        np.add.at(together, (spikes["unit_index"][step:][near], spikes["unit_index"][:-step][near]), 1)
    together += together.T
    np.fill_diagonal(together, 0)
    share = together / np.maximum(counts, 1)[:, None]
    # of two units that fire together the echo is the one that explains less
    gain = np.bincount(spikes["unit_index"], weights=spikes["gain"], minlength=n_units) / np.maximum(counts, 1)
    larger = (gain[None] > gain[:, None]) | (
        (gain[None] == gain[:, None]) & (np.arange(n_units)[None] < np.arange(n_units)[:, None])
    )
    return np.any((share > max_coincidence) & larger, axis=1)
