"""Lone spikes: those whose waveform does not overlap with another spike's."""

from __future__ import annotations

import numpy as np


def lone_spikes(spikes: np.ndarray, channels: np.ndarray, reach: int) -> np.ndarray:
    """
    Find the spikes that no other spike is near to, in time and on the probe.

    Parameters
    ----------
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`, `unit_index`; sorted by segment and sample.
    channels : (n_units, n_local) int
        Channels of each unit; units that share one are near each other, and each is near itself.
    reach : int
        Samples up to which spikes are near each other.

    Returns
    -------
    alone : (n_spikes,) bool
    """
    has = np.zeros((len(channels), int(channels.max(initial=-1)) + 1), dtype=bool)
    np.put_along_axis(has, channels, True, axis=1)
    near_units = (has.astype("float32") @ has.T.astype("float32")) > 0
    samples, segments, units = spikes["sample_index"], spikes["segment_index"], spikes["unit_index"]
    alone = np.ones(len(spikes), dtype=bool)
    for step in range(1, len(spikes)):
        close = (samples[step:] - samples[:-step] <= reach) & (segments[step:] == segments[:-step])
        if not close.any():
            break
        together = np.flatnonzero(close & near_units[units[step:], units[:-step]])
        alone[together] = alone[together + step] = False
    return alone
