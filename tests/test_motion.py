"""Motion from the locations of simulated spikes, whose displacement is known."""

from __future__ import annotations

import numpy as np
import pytest
import spikeinterface.core as sc
from spikeinterface.core.base import base_peak_dtype
from spikeinterface.core.motion import Motion

from spikeinterface_huidurep.encoder.device import TORCH_ON_CPU
from spikeinterface_huidurep.stages.motion.alignment import align_motion
from spikeinterface_huidurep.stages.motion.clock import given_motion, on_recording_clock, on_sample_clock
from spikeinterface_huidurep.stages.motion.curves import follow_curves
from spikeinterface_huidurep.stages.motion.estimation import displacement_at, estimate_motion
from spikeinterface_huidurep.stages.motion.from_waveforms import motion_from_waveforms
from spikeinterface_huidurep.stages.motion.jumps import jump_times, sharpen_jumps
from spikeinterface_huidurep.stages.spike_features import SpikeFeatures

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
    features = SpikeFeatures(np.zeros((len(peaks), 32)), locations, amplitudes)
    return estimate_motion(recording, peaks, features, **options)


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


def test_motion_on_a_device_is_that_of_the_processor():
    here, there = (estimated(rigid, device=device) for device in ("cpu", TORCH_ON_CPU))
    np.testing.assert_allclose(there.displacement[0], here.displacement[0], atol=0.01)


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


TETRODE = np.array([[0.0, 0.0], [15.0, 0.0], [0.0, 15.0], [15.0, 15.0]])


def waveforms_of(displacement, rates, duration_s=120.0, seed=0):
    """Times and features of units that each have a direction of their own in which the probe's motion changes them.

    `rates(times)` is the rate of the units, (n_units, n_times), in Hz.
    """
    rng = np.random.default_rng(seed)
    grid = np.arange(0, duration_s, 0.05)
    n_units = len(rates(grid))
    times, units = [], []
    for unit, rate in enumerate(rates(grid)):
        counts = rng.poisson(rate * 0.05)
        times.append(np.repeat(grid, counts) + rng.uniform(0, 0.05, counts.sum()))
        units.append(np.full(counts.sum(), unit))
    times, units = np.concatenate(times), np.concatenate(units)
    order = np.argsort(times)
    times, units = times[order], units[order]
    directions = rng.normal(size=(n_units, 32))
    directions *= 0.09 / np.linalg.norm(directions, axis=1, keepdims=True)
    moved = displacement(times)
    vectors = rng.normal(0, 0.7, (n_units, 32))[units] + directions[units] * moved[:, None]
    vectors += rng.normal(0, 0.15, vectors.shape)
    depths = rng.uniform(3, 12, n_units)[units] + rng.uniform(0.1, 1.0, n_units)[units] * moved
    locations = np.column_stack([np.full(len(times), 7.5), depths + rng.normal(0, 1.5, len(times))])
    amplitudes = rng.uniform(5, 20, n_units)[units] * rng.normal(1, 0.08, len(times))
    return times, SpikeFeatures(vectors, locations, amplitudes)


def steady(times):
    return np.full((8, len(times)), 5.0)


def changing(times):
    """Two units fall silent half-way, two start there, and the rate of two goes up and down."""
    first = np.where(times < 60, 5.0, 0.2)
    wave = 5.0 + 4.0 * np.sin(times / 15)
    return np.array([first, first, 5.2 - first, 5.2 - first, wave, 10.0 - wave, 0 * times + 5.0, 0 * times + 5.0])


def sine(times):
    return 10 * np.sin(times / 15)


def ramp(times):
    return times / 5


def jump(times):
    return 20.0 * (times > 50)


@pytest.mark.parametrize(
    ("displacement", "rates"), [(sine, steady), (ramp, steady), (jump, steady), (sine, changing), (jump, changing)]
)
def test_a_tetrode_that_moves(displacement, rates):
    times, features = waveforms_of(displacement, rates)
    motion, followed, in_order = motion_from_waveforms(times, features)
    truth = displacement(motion.temporal_bins_s[0])
    found = motion.displacement[0][:, 0]
    assert followed > 0.3 and in_order > 0.4
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    # um cannot be known there, but how much waveforms change says about how far
    assert 0.6 < np.polyfit(truth, found, 1)[0] < 1.6
    again = motion_from_waveforms(times, features).motion
    np.testing.assert_array_equal(again.displacement[0], motion.displacement[0])


def tetrode_with(times):
    recording = sc.NumpyRecording([np.zeros((int(120 * RATE), 4), dtype="float32")], RATE)
    recording.set_dummy_probe_from_locations(TETRODE)
    peaks = np.zeros(len(times), dtype=base_peak_dtype)
    peaks["sample_index"] = (times * RATE).astype(int)
    return recording, peaks


def error_of(motion, displacement):
    """Standard deviation of the truth around a straight line in what was found, um: its scale is its own."""
    truth, found = displacement(motion.temporal_bins_s[0]), motion.displacement[0][:, 0]
    return np.std(truth - np.polyval(np.polyfit(found, truth, 1), found))


@pytest.mark.parametrize(
    ("displacement", "rates", "most_um"), [(ramp, steady, 1.0), (ramp, changing, 1.0), (jump, changing, 1.5)]
)
def test_a_tetrode_moves_along_the_curves_of_its_units(displacement, rates, most_um):
    """The clusters of the first estimate alone miss these by 2 um."""
    times, features = waveforms_of(displacement, rates)
    motion = estimate_motion(*tetrode_with(times), features)
    assert error_of(motion, displacement) < most_um
    again = estimate_motion(*tetrode_with(times), features)
    np.testing.assert_array_equal(again.displacement[0], motion.displacement[0])


def test_which_unit_fires_is_no_motion():
    """A place at which one unit is silent and another fires is not taken for a displacement."""
    rng = np.random.default_rng(4)
    bins = np.arange(80) + 0.5
    times = np.sort(rng.uniform(0, 80, 8000))
    unit = np.where((times > 40) & (rng.random(8000) < 0.9), rng.integers(3, 6, 8000), rng.integers(0, 6, 8000))
    moved = 5 * np.sin(times / 8)
    centres, directions = rng.normal(0, 2, (6, 8)), rng.normal(0, 0.1, (6, 8))
    features = centres[unit] + directions[unit] * moved[:, None] + rng.normal(0, 0.3, (8000, 8))
    first = 5 * np.sin(bins / 8) + rng.normal(0, 2, 80)
    found = follow_curves(Motion([first[:, None]], [bins], np.zeros(1)), times, features, unit)
    assert np.corrcoef(found.displacement[0][:, 0], np.sin(bins / 8))[0, 1] > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_a_single_stroke_in_a_short_recording_is_seen(seed):
    """Shifted in time it tells as much: of its pieces in another order it does not."""
    times, features = waveforms_of(lambda t: 6 * np.sin(t / 30), steady, duration_s=60.0, seed=seed)
    motion = estimate_motion(*tetrode_with(times), features)
    bins = motion.temporal_bins_s[0]
    assert np.corrcoef(motion.displacement[0][:, 0], np.sin(bins / 30))[0, 1] > 0.9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rates", [steady, changing])
def test_a_tetrode_at_rest_is_left_alone(rates, seed):
    times, features = waveforms_of(np.zeros_like, rates, seed=seed)
    assert estimate_motion(*tetrode_with(times), features) is None


def test_one_unit_that_changes_is_no_motion():
    """The others do not change with it: it is that neuron, not the probe."""
    rng = np.random.default_rng(0)
    times, features = waveforms_of(np.zeros_like, steady)
    one = features.amplitude > np.percentile(features.amplitude, 88)
    vectors = features.embedding + np.where(one, np.sin(times / 15), 0.0)[:, None] * rng.normal(0, 0.2, 32)
    assert estimate_motion(*tetrode_with(times), features._replace(embedding=vectors)) is None


def test_a_motion_in_the_times_of_the_recording(tmp_path):
    """A recording that starts at 1,000 s and was paused for an hour; the probe jumps in the pause."""
    recording = sc.NumpyRecording([np.zeros((40_000, 4), dtype="float32")], RATE)
    times = 1000 + np.arange(40_000) / RATE
    times[20_000:] += 3600
    recording.set_times(times)
    bins = np.arange(1000.5, 4640)
    Motion([np.where(bins < 2000, 0.0, 20.0)[:, None]], [bins], np.zeros(1)).save(tmp_path / "motion")
    motion = given_motion(tmp_path / "motion", recording)
    peaks = np.zeros(2, dtype=base_peak_dtype)
    peaks["sample_index"] = 10_000, 30_000
    np.testing.assert_allclose(displacement_at(motion, recording, peaks, np.zeros(2)), [0, 20])
    back = on_sample_clock(on_recording_clock(motion, recording), recording)
    np.testing.assert_allclose(back.temporal_bins_s[0], motion.temporal_bins_s[0], atol=1 / RATE)


def test_a_long_recording_is_estimated_piece_by_piece(monkeypatch):
    """No estimate has more bins than are allowed, in which time and memory grow with the square; bins stay a second."""
    from spikeinterface_huidurep.stages.motion import dredge

    estimate, n_bins = dredge.si_estimate_motion, []

    def counted(*args, **options):
        motion = estimate(*args, **options)
        n_bins.append(len(motion.temporal_bins_s[0]))
        return motion

    monkeypatch.setattr(dredge, "si_estimate_motion", counted)
    monkeypatch.setattr(dredge, "MOST_BINS", 30)
    monkeypatch.setattr(dredge, "PIECE_S", 30.0)
    motion = estimated(rigid, duration_s=120.0, correct=True)
    assert max(n_bins) <= 31 and len(n_bins) == 5
    assert len(motion.temporal_bins_s[0]) == 120
    assert np.abs(errors_of(motion, rigid, 240.0, 120.0)).max() < 2.5


def test_the_motion_of_rescaled_traces_is_brought_back():
    """Traces with every second sample, on a clock four times as fast, of contacts three times closer."""
    recording = sc.NumpyRecording([np.zeros((40_000, 4), dtype="float32")], RATE)
    recording.shift_times(1000.0)
    motion = Motion([np.array([[0.0, 1.0], [5.0, 6.0]])], [np.array([0.1, 0.4])], np.array([0.0, 10.0]))
    back = on_recording_clock(motion, recording, rate=2 * RATE, step=2, distance_scale=3.0)
    np.testing.assert_allclose(back.temporal_bins_s[0], [1000.4, 1001.6], atol=1 / RATE)
    np.testing.assert_allclose(back.displacement[0], [[0, 3], [15, 18]])
    np.testing.assert_allclose(back.spatial_bins_um, [0, 30])
