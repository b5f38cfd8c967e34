"""Gaps: stretches in which no channel changes, such as the zeros that stand for data that was lost or blanked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spikeinterface.core.core_tools import ms_to_samples

# what stands still for so long on all channels is not noise
LEAST_GAP_MS = 1.0
# noise looks like a gap, or like a blank on one channel, at so small a share of the samples: in ten hours once, and a
# curve in place of a little noise does no harm
BY_CHANCE = 1e-9
# in a gap the traces go to the baseline within this time, and come back from it as fast, ms
RAMP_MS = 10.0
# slopes are taken from so long before and after a gap, ms
SLOPE_MS = LEAST_GAP_MS


@dataclass(frozen=True)
class Stillness:
    """
    What is a gap in a recording.

    Attributes
    ----------
    least : int
        A gap has so many steps, from a sample to the next, in which no channel changes.
    level : bool
        Whether a sample at which all channels have one value is a gap by itself.
    """

    least: int
    level: bool = False


def long_runs(mask: np.ndarray, least: int) -> np.ndarray:
    """
    Keep the runs of True that are long.

    Parameters
    ----------
    mask : (n,) bool
    least : int
        Length of the shortest run that is kept.

    Returns
    -------
    (n,) bool
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype("int8")))
    kept = np.zeros(len(mask), dtype=bool)
    for start, end in edges.reshape(-1, 2)[np.diff(edges.reshape(-1, 2), axis=1)[:, 0] >= least]:
        kept[start:end] = True
    return kept


def choose_stillness(sample: np.ndarray, sampling_frequency: float) -> Stillness:
    """
    Choose the shortest gap that noise cannot be taken for.

    Converters with coarse steps give a channel the same value many times in a row, and few channels do so together.

    Parameters
    ----------
    sample : (n_samples, n_channels) array
        Some of the traces.
    sampling_frequency : float
        Hz.

    Returns
    -------
    Stillness
        Of `LEAST_GAP_MS` at most.
    """
    longest = ms_to_samples(LEAST_GAP_MS, sampling_frequency)
    moving = sample[~still_samples(sample, Stillness(longest))]
    if len(moving) < 2:
        return Stillness(longest)
    rare = np.log(BY_CHANCE)

    def chance(same):  # the logarithm, of a step in which all of some pairs of values agree
        share = float(np.median(same.mean(axis=0)))
        if share == 0:
            return -np.inf
        # noise is much the same on channels next to each other: where one pair agrees, its neighbour does more often
        both = (same[:, 1:] & same[:, :-1]).mean(axis=0)
        again = float(np.median(both)) / share if len(both) else 1.0
        return np.log(share) + (same.shape[1] - 1) * (np.log(min(again, 1.0)) if again > 0 else -np.inf)

    step = chance(moving[1:] == moving[:-1])
    least = 1 if step <= rare else longest if step == 0 else min(int(np.ceil(rare / step)), longest)
    level = moving.shape[1] > 1 and chance(moving[:, 1:] == moving[:, :-1]) <= rare
    return Stillness(least, bool(level))


def still_samples(traces: np.ndarray, stillness: Stillness) -> np.ndarray:
    """
    Find the samples of gaps.

    Parameters
    ----------
    traces : (n_samples, n_channels) array
    stillness : Stillness

    Returns
    -------
    (n_samples,) bool
    """
    still = np.zeros(len(traces), dtype=bool)
    # all channels are looked at only where the first one stands still
    same = traces[1:, 0] == traces[:-1, 0]
    after = np.flatnonzero(same) + 1
    if len(after) < len(traces) // 8:
        same[after - 1] = np.all(traces[after] == traces[after - 1], axis=1)
    else:
        same = np.all(traces[1:] == traces[:-1], axis=1)
    steps = long_runs(same, stillness.least)
    still[1:] |= steps
    still[:-1] |= steps
    if stillness.level:
        level = np.flatnonzero(traces[:, 0] == traces[:, -1])
        still[level[np.all(traces[level] == traces[level, :1], axis=1)]] = True
    return still


def fill_gaps(traces: np.ndarray, still: np.ndarray, baseline: np.ndarray, ramp: int, n_slope: int) -> None:
    """
    Fill gaps in place, with cubic curves that continue the slope of the traces: a kink in a slow wave would be a spike.

    Parameters
    ----------
    traces : (n_samples, n_channels) array
    still : (n_samples,) bool
        The samples of gaps.
    baseline : (n_channels,) float64
    ramp : int
        A gap that is shorter than this is filled with one curve from the sample before to the one after; in a longer
        one a curve reaches the baseline, and another leaves it, within so many samples.
    n_slope : int
        Samples before and after a gap from which the slopes are taken.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype("int8"))).reshape(-1, 2)
    for start, end in edges:
        if start == 0 and end == len(traces):
            traces[:] = baseline
            continue
        # a gap that goes on beyond the end has no other side to reach
        length = ramp if start == 0 or end == len(traces) else min(end - start + 1, ramp)
        part = np.minimum(np.arange(1, end - start + 1)[:, None] / length, 1.0)
        # Hermite's polynomials: from the value to zero, and from the slope to zero
        value, slope = (1 + 2 * part) * (1 - part) ** 2, part * (1 - part) ** 2 * length
        filling = np.repeat(baseline[None], end - start, axis=0)
        if start > 0:
            before = traces[max(start - n_slope, 0) : start][::-1]
            filling += value * (before[0] - baseline) - slope * _slope(before, n_slope)
        if end < len(traces):
            after = traces[end : end + n_slope]
            filling += (value * (after[0] - baseline) - slope * _slope(after, n_slope))[::-1]
        traces[start:end] = np.rint(filling) if traces.dtype.kind == "i" else filling


def _slope(values, n_wanted):
    """Change from a sample to the next, (n_channels,), of (n, n_channels): least squares; zero of too few."""
    n = len(values)
    if n < max(n_wanted, 2):
        return np.zeros(values.shape[1])
    time = np.arange(n) - 0.5 * (n - 1)
    return time @ values.astype("float64") / (time @ time)
