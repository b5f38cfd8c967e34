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
    energy: np.ndarray | None = None,
    min_confidence: float = 0.4,
    min_spikes: int = 10,
    min_firing_rate: float = 0.02,
    coincidence_window: int = 6,
    max_lag: int = 90,
    max_coincidence: float = 0.7,
    min_explained: float = 0.4,
) -> np.ndarray:
    """
    Drop doubtful and repeated spikes, units with hardly any spikes and units that only echo another.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        From `assign_spikes`, with the confidence of `estimate_confidence`.
    n_units : int
    duration_s : float
        Duration of the whole recording, s.
    censored_period : int
        Of two spikes of one unit nearer than this (samples) the better one is kept.
    energy : (n_units,) float, optional
        Squared norm of each unit's whitened template (squared units of noise), for `min_explained`.
    min_confidence : float
        Spikes with less confidence are dropped.
    min_spikes : int
        Least number of spikes of a unit.
    min_firing_rate : float
        Least firing rate of a unit, Hz.
    coincidence_window : int
        Spikes of two units coincide at a lag when their lag is this one to within so many samples.
    max_lag : int
        Largest lag (samples) that is looked at: ringing of a large spike lasts some milliseconds.
    max_coincidence : float
        A unit is dropped if more than this fraction of its spikes coincide, at one lag, with those of one unit that
        explains more.
    min_explained : float
        A unit is dropped if the median objective of its spikes is less than this fraction of its template's energy:
        what it is given are no such waveforms.

    Returns
    -------
    spikes : structured array
        The spikes that stay; `unit_index` is unchanged.
    """
    spikes = _drop_repeats(spikes[spikes["confidence"] >= min_confidence], censored_period)
    counts = np.bincount(spikes["unit_index"], minlength=n_units)
    keep = counts >= max(min_spikes, min_firing_rate * duration_s)
    keep &= ~_echoes(spikes, counts, coincidence_window, max_lag, max_coincidence)
    if energy is not None:
        keep &= _median_gain(spikes, n_units) >= min_explained * energy
    if (counts > 0).sum() > keep.sum():
        logger.info("cleaning: %d of %d units dropped", (counts > 0).sum() - keep.sum(), (counts > 0).sum())
    return spikes[keep[spikes["unit_index"]]]


def _median_gain(spikes, n_units):
    return np.array(
        [
            np.median(mine) if len(mine := spikes["gain"][spikes["unit_index"] == unit]) else 0.0
            for unit in range(n_units)
        ]
    )


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


def _echoes(spikes, counts, window, max_lag, max_coincidence):
    """Units whose spikes nearly all come at one lag from those of one unit that explains more."""
    spikes = spikes[np.lexsort((spikes["sample_index"], spikes["segment_index"]))]
    n_units = len(counts)
    n_bins = 2 * (max_lag // window) + 1
    together = np.zeros((n_units, n_units, n_bins), dtype="int32")
    time = spikes["sample_index"] + spikes["segment_index"] * (spikes["sample_index"].max(initial=0) + 10 * max_lag)
    for step in range(1, len(spikes)):
        lag = time[step:] - time[:-step]
        near = lag <= max_lag
        if not near.any():
            break
        later, earlier = spikes["unit_index"][step:][near], spikes["unit_index"][:-step][near]
        bins = np.minimum(np.rint(lag[near] / window).astype(int), n_bins // 2)
        np.add.at(together, (later, earlier, n_bins // 2 + bins), 1)
        np.add.at(together, (earlier, later, n_bins // 2 - bins), 1)
    together[np.arange(n_units), np.arange(n_units)] = 0
    # a lag may lie between two bins
    coincident = np.maximum(together.max(axis=2), (together[:, :, 1:] + together[:, :, :-1]).max(axis=2))
    share = coincident / np.maximum(counts, 1)[:, None]
    # of two units that fire together the echo is the one that explains less
    gain = np.bincount(spikes["unit_index"], weights=spikes["gain"], minlength=n_units) / np.maximum(counts, 1)
    larger = (gain[None] > gain[:, None]) | (
        (gain[None] == gain[:, None]) & (np.arange(n_units)[None] < np.arange(n_units)[:, None])
    )
    return np.any((share > max_coincidence) & larger, axis=1)
