"""Cleaning: units that are no neurons go, and no spike is counted twice."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from spikeinterface.core.core_tools import ms_to_samples

from ...parameters import DEFAULT_PARAMS
from ..matching.rules import SAME_SPIKE_MS
from ..peaks.detection import ECHO_MS
from ..units.drop import taken_by_rules
from .quality import spikes_of_each

logger = logging.getLogger("spikeinterface_huidurep")


@dataclass(frozen=True)
class CleaningCriteria:
    """
    Which spikes and units are kept.

    Attributes
    ----------
    censored_period : int
        Of two spikes of one unit nearer than this (samples) the better one is kept.
    echo_window : int
        Spikes of two units coincide at a lag when their lag is this one to within so many samples.
    echo_lag : int
        Largest lag (samples) that is looked at: ringing of a large spike lasts some milliseconds.
    min_confidence : float
        Spikes with less confidence are dropped.
    min_spikes : float
        Least number of spikes of a unit.
    echo_share : float
        A unit is an echo if more than this share of its spikes coincide, at one lag, with those of one unit that
        explains more.
    min_explained, sure : float
        A unit is dropped if the median objective of its spikes is less than this share of its template's energy, and
        their mean confidence less than `sure`: what it is given are no such waveforms, as at the edges of blanks. The
        spikes of a neuron may be smaller than its template, too, but their confidence is high.
    """

    censored_period: int
    echo_window: int
    echo_lag: int
    min_confidence: float = DEFAULT_PARAMS["min_confidence"]
    min_spikes: float = DEFAULT_PARAMS["min_spikes"]
    echo_share: float = 0.4
    min_explained: float = 0.4
    sure: float = 0.9

    @classmethod
    def in_samples(
        cls,
        sampling_frequency: float,
        *,
        censored_period_ms: float = DEFAULT_PARAMS["censored_period_ms"],
        echo_window_ms: float = SAME_SPIKE_MS,
        echo_lag_ms: float = ECHO_MS,
        **others: Any,
    ) -> CleaningCriteria:
        """The criteria at a sampling frequency (Hz), times given in ms."""
        times = dict(censored_period=censored_period_ms, echo_window=echo_window_ms, echo_lag=echo_lag_ms)
        samples = {name: ms_to_samples(time, sampling_frequency) for name, time in times.items()}
        return cls(**samples, **others)


def clean_spikes(spikes: np.ndarray, energy: np.ndarray, criteria: CleaningCriteria) -> np.ndarray:
    """
    Drop doubtful and repeated spikes, units with hardly any spikes and units that only echo another.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        From `assign_spikes`, with the confidence of `estimate_confidence`.
    energy : (n_units,) float
        Squared norm of each unit's whitened template (squared units of noise).
    criteria : CleaningCriteria

    Returns
    -------
    spikes : structured array
        The spikes that stay; `unit_index` is unchanged.
    """
    n_units = len(energy)
    certain = spikes[spikes["confidence"] >= criteria.min_confidence]
    n_given, n_doubtful = len(spikes), len(spikes) - len(certain)
    spikes = _drop_repeats(certain, criteria.censored_period)
    n_repeats = len(certain) - len(spikes)
    logger.info("cleaning: of %d spikes %d doubtful and %d repeated ones dropped", n_given, n_doubtful, n_repeats)
    counts = np.bincount(spikes["unit_index"], minlength=n_units)
    rules = {
        "have too few spikes": counts < criteria.min_spikes,
        "echo a larger unit": _echoes(spikes, counts, criteria),
        "are given other waveforms": _doubtful(spikes, energy, criteria),
    }
    dropped = taken_by_rules(rules, counts > 0, "cleaning: %d of %d units dropped that %s")
    return spikes[~dropped[spikes["unit_index"]]]


def _doubtful(spikes, energy, criteria):
    """Units whose spikes are much smaller than their template, and not sure either."""
    doubtful = np.zeros(len(energy), dtype=bool)
    for unit, mine in enumerate(spikes_of_each(spikes, len(energy))):
        if len(mine):
            smaller = np.median(mine["gain"]) < criteria.min_explained * energy[unit]
            doubtful[unit] = smaller and mine["confidence"].mean() < criteria.sure
    return doubtful


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


def _echoes(spikes, counts, criteria):
    """Units whose spikes nearly all come at one lag from those of one unit that explains more."""
    window, max_lag = criteria.echo_window, criteria.echo_lag
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
    return np.any((share > criteria.echo_share) & larger, axis=1)
