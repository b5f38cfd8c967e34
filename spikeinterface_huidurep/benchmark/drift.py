"""Displacements of the tissue along the probe, for recordings with ground truth.

Every kind of drift is a SpikeInterface :class:`~spikeinterface.core.motion.Motion`: the truth can be compared with an
estimated motion, drawn with SpikeInterface's widgets and passed to its motion tools.
"""

from __future__ import annotations

import numpy as np
from spikeinterface.core.motion import Motion
from spikeinterface.generation import make_one_displacement_vector

DRIFT_KINDS = ("ramp", "sine", "zigzag", "bumps")
DISPLACEMENT_FREQUENCY_HZ = 5.0  # a sudden bump takes 0.2 s; SpikeInterface's generator has the same default
# Fraction of the displacement at the deepest channel when the drift is not rigid: a clear gradient along the probe, and
# every unit still moves.
NON_RIGID_BOTTOM = 0.4


def make_motion(
    kind: str,
    duration_s: float,
    range_um: float,
    depths_um: np.ndarray,
    rigid: bool = True,
    period_s: float = 120.0,
    seed: int = 0,
) -> Motion:
    """Make the true motion of a recording.

    Parameters
    ----------
    kind : "ramp", "sine", "zigzag" or "bumps"
        A constant speed from one end of the range to the other; a sine of period `period_s`; a triangle wave of that
        period that starts after a tenth of the recording; or jumps between the two ends of the range at random
        intervals.
    duration_s : float
        Duration of the recording.
    range_um : float
        Distance between the highest and the lowest displacement; the range is centred on 0.
    depths_um : np.ndarray, shape (n_channels,)
        Channel positions along the probe.
    rigid : bool
        False: the displacement grows linearly along the probe, from 0.4 of its size at the lowest channel.
    period_s : float
        Period of the sine and of the zigzag; bumps come on average 0.35 of it apart, or of half the duration if that is
        shorter.
    seed : int
        For the times of the bumps.

    Returns
    -------
    Motion
        Displacement in um every 0.2 s, positive when the tissue moves to larger channel positions.

    Raises
    ------
    ValueError
        If `kind` is unknown.
    """
    if kind not in DRIFT_KINDS:
        raise ValueError(f"Drift is '{kind}' and must be one of {', '.join(DRIFT_KINDS)}.")
    times_s = np.arange(int(np.ceil(duration_s * DISPLACEMENT_FREQUENCY_HZ)) + 1) / DISPLACEMENT_FREQUENCY_HZ
    if kind == "ramp":
        shape = np.linspace(-0.5, 0.5, times_s.size)
    elif kind == "sine":
        shape = 0.5 * np.sin(2 * np.pi * times_s / period_s)
    else:
        shape = _generated_shape(kind, times_s.size, duration_s, period_s, seed)
    lowest, highest = float(depths_um.min()), float(depths_um.max())
    if rigid:
        bins_um, gain = np.array([0.5 * (lowest + highest)]), np.ones(1)
    else:
        bins_um, gain = np.array([lowest, highest]), np.array([NON_RIGID_BOTTOM, 1.0])
    displacement_um = range_um * shape[:, np.newaxis] * gain
    return Motion([displacement_um], [times_s], bins_um, direction="y")


def _generated_shape(kind: str, n_times: int, duration_s: float, period_s: float, seed: int) -> np.ndarray:
    """Displacement (n_times,) of a zigzag or of bumps, as a fraction of the range, from SpikeInterface's generator."""
    # SpikeInterface ends the motion at the last bump: a short recording needs several bumps
    bump_s = min(period_s, 0.5 * duration_s)
    shape = make_one_displacement_vector(
        drift_mode={"zigzag": "zigzag", "bumps": "bump"}[kind],
        duration=n_times / DISPLACEMENT_FREQUENCY_HZ,
        displacement_sampling_frequency=DISPLACEMENT_FREQUENCY_HZ,
        t_start_drift=0.1 * duration_s,
        period_s=period_s,
        bump_interval_s=(0.2 * bump_s, 0.5 * bump_s),
        seed=seed,
    )
    return np.asarray(shape)[:n_times]


def displacement_at(motion: Motion, times_s: np.ndarray, depths_um: np.ndarray, segment_index: int = 0) -> np.ndarray:
    """Displacement in um (n,) of positions `depths_um` at `times_s`, both (n,); outside the bins the nearest value."""
    times_s = np.clip(times_s, motion.temporal_bins_s[segment_index][0], motion.temporal_bins_s[segment_index][-1])
    if motion.spatial_bins_um.size == 1:
        return np.interp(times_s, motion.temporal_bins_s[segment_index], motion.displacement[segment_index][:, 0])
    depths_um = np.clip(depths_um, motion.spatial_bins_um[0], motion.spatial_bins_um[-1])
    return motion.get_displacement_at_time_and_depth(times_s, depths_um, segment_index=segment_index)
