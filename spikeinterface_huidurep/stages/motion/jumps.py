"""Jumps: motion that is faster than the bins of time of its estimate gets its exact time from the spikes."""

from __future__ import annotations

import numpy as np
from spikeinterface.core.motion import Motion

from .alignment import SpikeDensity

# motion from one bin to the next that may be part of a jump, and how far a jump goes at least, um
LEAST_STEP_UM, LEAST_JUMP_UM = 3.0, 8.0
# a motion of more bins than this is not a jump; the levels before and after it are medians of so many bins, too
JUMP_BINS = 4
# a jump takes this long, s
JUMP_S = 0.02


def sharpen_jumps(motion: Motion, times_s: np.ndarray, depths: np.ndarray, amplitudes: np.ndarray) -> Motion:
    """
    Put each jump at its likeliest time, given the spikes around it.

    An estimate in bins of a second shows a jump as a slope over two or three bins, and puts the spikes of that time
    where no unit is. Each of these spikes was either before the jump or after it. The density of all other spikes over
    depth and amplitude gives the likelihood of both, and the time of the jump is the likeliest change point.

    Parameters
    ----------
    motion : Motion
        Of one segment.
    times_s : (n_spikes,) float
        Time of each spike, s, ascending.
    depths : (n_spikes,) float
        Depth of each spike on the probe, um.
    amplitudes : (n_spikes,) float
        In units of noise.

    Returns
    -------
    Motion
        With two points of time in place of the bins of each jump; the given one where there is none.
    """
    bins, moved = motion.temporal_bins_s[0], motion.displacement[0]
    jumps = _find_jumps(moved)
    if not jumps:
        return motion

    def log_density(chosen, level):
        registered = depths[chosen] - np.interp(depths[chosen], motion.spatial_bins_um, level)
        return density(registered, amplitudes[chosen])

    inside = np.zeros(len(times_s), dtype=bool)
    spans = [(bins[max(first - 1, 0)], bins[min(last + 1, len(bins) - 1)]) for first, last, _, _ in jumps]
    for start, stop in spans:
        inside |= (times_s >= start) & (times_s <= stop)
    steady = np.flatnonzero(~inside)
    displacement = motion.get_displacement_at_time_and_depth(times_s[steady], depths[steady].astype("float64"))
    density = SpikeDensity(depths[steady] - displacement, amplitudes[steady])
    keep, added_times, added = np.ones(len(bins), dtype=bool), [bins[0]], [moved[0]]
    for (first, last, before, after), (start, stop) in zip(jumps, spans, strict=True):
        start = max(start, added_times[-1] + JUMP_S)  # not before the jump before it
        here = np.flatnonzero((times_s >= start) & (times_s <= stop))
        # how much likelier each spike is before the jump than after it
        gain = log_density(here, before) - log_density(here, after)
        change = int(np.argmax(np.append(0.0, np.cumsum(gain))))
        edges = np.concatenate([[start], times_s[here], [stop]])
        time = 0.5 * (edges[change] + edges[change + 1])
        keep &= ~((bins >= bins[first]) & (bins <= bins[last]))
        added_times += [time - JUMP_S / 2, time + JUMP_S / 2]
        added += [before, after]
    keep[0] = False
    times = np.concatenate([bins[keep], added_times])
    order = np.argsort(times, kind="stable")
    displacement = np.concatenate([moved[keep], added])[order]
    return Motion([displacement], [times[order]], motion.spatial_bins_um, direction=motion.direction)


def jump_times(motion: Motion | None) -> list[np.ndarray]:
    """Times (s) of the jumps of each segment: steps between two points in time that are closer than any two bins."""
    if motion is None:
        return []
    found = []
    for bins, moved in zip(motion.temporal_bins_s, motion.displacement, strict=True):
        step = np.abs(np.diff(moved, axis=0)).max(axis=1)
        found.append(0.5 * (bins[:-1] + bins[1:])[(np.diff(bins) < 1.5 * JUMP_S) & (step >= LEAST_STEP_UM)])
    return found


def _find_jumps(moved):
    """(first bin, last bin, displacement before, displacement after) of each jump."""
    steps = np.abs(np.diff(moved, axis=0)).max(axis=1) >= LEAST_STEP_UM
    edges = np.flatnonzero(np.diff(np.concatenate([[0], steps.astype(int), [0]])))
    starts, stops = edges[::2], edges[1::2]
    jumps = []
    for index, (first, last) in enumerate(zip(starts, stops, strict=True)):
        if last - first > JUMP_BINS or first == 0 or last == len(moved) - 1:
            continue
        # the levels reach to the motion before this one, and to the one after it
        low = max(stops[index - 1] if index else 0, first - JUMP_BINS)
        high = min(starts[index + 1] if index + 1 < len(starts) else len(moved), last + JUMP_BINS) + 1
        before, after = np.median(moved[low:first], axis=0), np.median(moved[last + 1 : high], axis=0)
        if np.abs(after - before).max() >= LEAST_JUMP_UM:
            jumps.append((first, last, before, after))
    return jumps
