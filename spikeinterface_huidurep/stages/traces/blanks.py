"""Blanks: stretches in which one channel stands still, as an amplifier that is blanked by itself, or a broken wire."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spikeinterface.core.core_tools import ms_to_samples

from .caching import STEPS_PER_NOISE
from .gaps import BY_CHANCE, LEAST_GAP_MS, RAMP_MS, long_runs
from .scaling import CLEAR_SPIKE, MAD_TO_STD

# a channel that has one value for so long is blank, however coarse its converter is
LONGEST_NOISE_MS = RAMP_MS
# so many values tell how often noise repeats one, and how large it is
ENOUGH_CASES = 100
# filtered traces, in units of noise, stay within one step of the cached ones for so long only where there is nothing
SILENCE, SILENT_MS = 1 / STEPS_PER_NOISE, LEAST_GAP_MS


@dataclass(frozen=True)
class Blanking:
    """
    What is a blank on each channel.

    Attributes
    ----------
    least : list of int
        A blank has so many steps, from a sample to the next, that change nothing.
    zero : list of int or float
        The value that stands for zero in the traces.
    jump : list of float
        Shorter stretches of zeros are blanks, too, where the traces before and after are farther away than this, on
        the same side.
    """

    least: list[int]
    zero: list
    jump: list[float]


def choose_blanking(sample: np.ndarray, zero: list, sampling_frequency: float) -> Blanking:
    """
    Choose for each channel the shortest blank that noise cannot be taken for.

    How often noise repeats a value follows from the number of runs of equal values of each length, compared with the
    number of runs that are one shorter, up to the first length that is rare. Zeros are a blank, however short, where
    the step to them from both sides is as large as a clear spike among the noise's steps.

    Parameters
    ----------
    sample : (n_samples, n_channels) array
        Some of the traces.
    zero : list of int or float
        See `Blanking`.
    sampling_frequency : float
        Hz.

    Returns
    -------
    Blanking
    """
    longest = ms_to_samples(LONGEST_NOISE_MS, sampling_frequency)
    rare = np.log(BY_CHANCE)
    least, jump = [], []
    # a row a channel, which is read several times as fast as columns
    for row in np.ascontiguousarray(sample.T):
        steps = np.diff(row.astype("float64"))
        lengths = np.diff(np.flatnonzero(np.diff(np.concatenate([[False], steps == 0, [False]]).astype("int8"))))[::2]
        n_runs = np.append(np.bincount(lengths, minlength=2)[1:], 0)
        # longer runs than those that noise makes often are blanks
        n_known = int(np.argmin(n_runs >= ENOUGH_CASES))
        # a value that is taken most of the time has longer runs than others: the largest of the shares counts
        shares = n_runs[1 : n_known + 1] / n_runs[:n_known]
        first = max(int(n_runs[0]), 1) / max(len(steps), 1)
        # a step that changes nothing comes after another at least as often as anywhere
        again = np.clip(shares.max(initial=first), None, 0.999)
        least.append(int(np.clip(1 + np.ceil((rare - np.log(first)) / np.log(again)), 3, longest)))
        moving = np.abs(steps[steps != 0])
        jump.append(CLEAR_SPIKE * MAD_TO_STD * float(np.median(moving)) if len(moving) else 0.0)
    return Blanking(least, zero, jump)


def blank_stretches(traces: np.ndarray, blanking: Blanking) -> dict[int, np.ndarray]:
    """
    Find the blanks of each channel.

    Parameters
    ----------
    traces : (n_samples, n_channels) array
    blanking : Blanking

    Returns
    -------
    dict of (n_samples,) bool
        By channel, for those that have one: the samples of its blanks.
    """
    from .blank_channels import channels_of_blanks

    zero, held = _held(blanking.zero, traces.dtype)
    least, jump = np.asarray(blanking.least, dtype="int32"), np.asarray(blanking.jump, dtype="float64")
    found = {}
    for channel in np.flatnonzero(channels_of_blanks(np.ascontiguousarray(traces), least, zero, held, jump)).tolist():
        values = traces[:, channel]
        steps = long_runs(values[1:] == values[:-1], blanking.least[channel])
        blank = _short_zeros(values, blanking.zero[channel], blanking.jump[channel])
        blank[1:] |= steps
        blank[:-1] |= steps
        if blank.any():
            found[channel] = blank
    return found


def _held(zero, dtype):
    """What stands for zero in the traces' type, and where that type holds it."""
    if dtype.kind == "f":
        return np.asarray(zero).astype(dtype), np.ones(len(zero), dtype=bool)
    limits, zero = np.iinfo(dtype), np.asarray(zero, dtype=object)
    held = ((zero >= limits.min) & (zero <= limits.max)).astype(bool)
    return np.where(held, zero, 0).astype(dtype), held


def _short_zeros(values, zero, jump):
    """The zeros of one channel that are far from what is before and after them, (n_samples,) bool."""
    (held_zero,), (held,) = _held([zero], values.dtype)
    zeros = (values == held_zero) & held
    starts, ends = np.flatnonzero(np.diff(np.concatenate([[False], zeros, [False]]).astype("int8"))).reshape(-1, 2).T
    inside = (starts > 0) & (ends < len(values))
    before = values[np.maximum(starts - 1, 0)].astype("float64") - zero
    after = values[np.minimum(ends, len(values) - 1)].astype("float64") - zero
    far = inside & (np.minimum(np.abs(before), np.abs(after)) > jump) & (before * after > 0)
    blank = np.zeros(len(values), dtype=bool)
    for start, end in zip(starts[far].tolist(), ends[far].tolist(), strict=True):
        blank[start:end] = True
    return blank


def silent_values(traces: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """
    Find where nothing is known of a channel's noise: the blanks in filtered traces.

    Parameters
    ----------
    traces : (n_samples, n_channels) float32
        In units of noise.
    sampling_frequency : float
        Hz.

    Returns
    -------
    (n_samples, n_channels) bool
    """
    least = ms_to_samples(SILENT_MS, sampling_frequency)
    silent = np.zeros(traces.shape, dtype=bool)
    # a stretch that is long enough has three of these looks one after the other
    looks = np.abs(traces[:: max(least // 3, 1)]) <= SILENCE
    together = looks[2:] & looks[1:-1] & looks[:-2]
    for channel in np.flatnonzero(together.any(axis=0)):
        silent[:, channel] = long_runs(np.abs(traces[:, channel]) <= SILENCE, least)
    return silent
