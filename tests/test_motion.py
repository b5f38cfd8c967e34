"""Motion from the locations of simulated spikes, whose displacement is known."""

from __future__ import annotations

import numpy as np
import pytest
import spikeinterface.core as sc
from spikeinterface.core.base import base_peak_dtype
from spikeinterface.core.motion import Motion

from spikeinterface_huidurep.stages.motion.alignment import align_motion
from spikeinterface_huidurep.stages.motion.estimation import estimate_motion
from spikeinterface_huidurep.stages.motion.jumps import jump_times, sharpen_jumps

RATE, SPAN_UM = 1000.0, 480.0


def spikes_of(displacement, duration_s, seed=0):
    """Times (s), locations (um) and amplitudes of the spikes of 70 units, some of them beyond the probe's ends.

    `displacement(times, depths)` moves the units; what leaves the probe is not seen.
    """
    rng = np.random.default_rng(seed)
    depths = rng.uniform(-40, SPAN_UM + 40, 70)
    unit = rng.integers(70, size=int(250 * duration_s))
    times = np.sort(rng.uniform(0, duration_s, len(unit)))
    found = depths[unit] + displacement(times, depths[unit]) + rng.normal(0, 2.5, len(unit))
    amplitudes = rng.uniform(5, 30, 70)[unit] * rng.normal(1, 0.08, len(unit))
    seen = (found > 0) & (found < SPAN_UM)
    return times[seen], np.column_stack([rng.normal(0, 3, seen.sum()), found[seen]]), amplitudes[seen]


def estimated(displacement, duration_s=100.0, **options):
    times, locations, amplitudes = spikes_of(displacement, duration_s)
    recording = sc.NumpyRecording([np.zeros((int(duration_s * RATE), 33), dtype="float32")], RATE)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(33), 15.0 * np.arange(33)]))
    peaks = np.zeros(len(times), dtype=base_peak_dtype)
    peaks["sample_index"] = (times * RATE).astype(int)
    return estimate_motion(recording, peaks, locations, amplitudes, **options)


def errors_of(motion, displacement, depth, duration_s=100.0):
    """Error of the displacement at one depth, um, up to a constant."""
    times = np.arange(1, duration_s - 1, 0.1)
    at = np.full(len(times), depth)
    error = motion.get_displacement_at_time_and_depth(times, at) - displacement(times, at)
    return error - np.median(error)


def zigzag(times):
    return 30 * np.abs(((times / 60) % 1) - 0.5) - 7.5


def rigid(times, depths):
    return zigzag(times)


def growing(times, depths):
    return zigzag(times) * (0.4 + 0.9 * np.clip(depths, 0, SPAN_UM) / SPAN_UM)


@pytest.mark.parametrize("moved, places", [(rigid, 1), (growing, 2)])
def test_motion_is_rigid_or_grows_along_the_probe_as_the_truth_does(moved, places):
    motion = estimated(moved)
    assert motion is not None and len(motion.spatial_bins_um) == places
    for depth in (40.0, 240.0, 440.0):
        assert np.median(np.abs(errors_of(motion, moved, depth))) < 1.0


def test_a_still_probe_is_not_corrected():
    assert estimated(lambda times, depths: np.zeros(len(times))) is None


def test_jumps_have_their_time():
    """Bins of a second alone would leave each spike within a second of a jump at a place where no unit is."""
    at, levels = np.array([30.35, 51.8, 75.1, 79.4]), np.array([0.0, 16.0, -14.0, 6.0, -8.0])

    def moved(times, depths):
        return levels[np.searchsorted(at, times)]

    motion = estimated(moved)
    assert np.mean(np.abs(errors_of(motion, moved, 240.0)) > 4) < 0.01
    assert np.all(np.diff(motion.temporal_bins_s[0]) > 0)
    np.testing.assert_allclose(jump_times(motion)[0], at, atol=0.1)


def test_slow_motion_has_no_jumps():
    bins = np.arange(60.0)
    slow = Motion([zigzag(bins)[:, None]], [bins], np.array([240.0]))
    times, locations, amplitudes = spikes_of(rigid, 60.0)
    assert sharpen_jumps(slow, times, locations[:, 1], amplitudes) is slow


def test_an_estimate_that_took_one_unit_for_another_is_put_right():
    """For a while the estimate is a unit's distance off: the depths fit as well there, the amplitudes do not."""
    rng = np.random.default_rng(2)
    bins, spacing = np.arange(60) + 0.5, 20.0
    times = np.sort(rng.uniform(0, 60, 6000))
    unit = rng.integers(8, size=6000)
    depths = spacing * unit + zigzag(times) + rng.normal(0, 2, 6000)
    amplitudes = np.array([8, 20, 6, 14, 30, 7, 11, 24])[unit] * rng.normal(1, 0.08, 6000)
    wrong = zigzag(bins) + spacing * ((bins > 20) & (bins < 30))
    aligned = align_motion(Motion([wrong[:, None]], [bins], np.array([70.0])), times, depths, amplitudes)
    error = aligned.displacement[0][:, 0] - zigzag(bins)
    assert np.abs(error - np.median(error)).max() < 3.0
