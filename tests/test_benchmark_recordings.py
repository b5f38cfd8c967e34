"""Recordings with ground truth hold what they say they hold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_helpers import FREQUENCY, NBEFORE, spike_shape, write_library
from spikeinterface.core import NumpyRecording

from spikeinterface_huidurep.benchmark import GeneratorSettings, LibrarySettings, get_recording, recordings
from spikeinterface_huidurep.benchmark.drift import displacement_at, make_motion
from spikeinterface_huidurep.benchmark.injection import InjectMovingSpikes, MovableTemplates, SpikesToAdd
from spikeinterface_huidurep.benchmark.library_units import choose_units, sorter_band
from spikeinterface_huidurep.benchmark.spike_trains import TRUE_REFRACTORY_MS, log_normal_rates, make_spike_trains

SETTINGS = LibrarySettings(name="small", library="small.npz", n_units=6, duration_s=8.0, n_hash=20, seed=3)
DRIFTING = LibrarySettings(
    name="drifting",
    library="moving.npz",
    n_units=8,
    duration_s=8.0,
    n_hash=10,
    drift="ramp",
    drift_range_um=40.0,
    noise_uv=1.0,
    hash_uv=(0.01, 0.02),
    snr_range=(30.0, 150.0),
    rate_hz=(4.0, 8.0),
)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    write_library(folder / "small.npz")
    write_library(folder / "moving.npz", displacements=13)
    return folder


@pytest.fixture(scope="module")
def small(libraries, tmp_path_factory):
    return get_recording(SETTINGS, tmp_path_factory.mktemp("cache"), libraries)


def _silence(n_samples: int, n_channels: int) -> NumpyRecording:
    return NumpyRecording([np.zeros((n_samples, n_channels), dtype=np.float32)], FREQUENCY)


def test_spikes_are_added_between_samples_and_between_displacements():
    # gain of channel c at displacement d is linear in d, so interpolation must be exact in it
    displacement_um = np.array([-10.0, 0.0, 10.0])
    gain = 50.0 + displacement_um[:, np.newaxis] * np.array([1.0, -2.0])
    templates = (gain[:, np.newaxis] * spike_shape()[:, np.newaxis])[np.newaxis].astype(np.float32)
    movable = MovableTemplates(templates, np.zeros(1, dtype=np.int64), displacement_um, NBEFORE)
    time, displacement = np.array([400.3, 1500.75]), np.array([4.0, -7.0])
    spikes = SpikesToAdd(time, np.zeros(2, dtype=np.int64), np.array([1.0, 0.5], dtype=np.float32), displacement)
    traces = InjectMovingSpikes(_silence(2000, 2), movable, spikes).get_traces()

    t_ms = (np.arange(2000)[:, np.newaxis] - time) / FREQUENCY * 1000
    waves = -np.exp(-0.5 * (t_ms / 0.15) ** 2) + 0.35 * np.exp(-0.5 * ((t_ms - 0.55) / 0.3) ** 2)
    expected = sum(
        waves[:, [i]] * amplitude * (50.0 + displacement[i] * np.array([1.0, -2.0]))
        for i, amplitude in enumerate((1.0, 0.5))
    )
    inside = np.abs(np.arange(2000)[:, np.newaxis] - time).min(axis=1) < 30
    np.testing.assert_allclose(traces[inside], expected[inside], atol=0.15)
    assert np.argmin(traces[:, 0]) == 400


def test_traces_do_not_depend_on_the_chunk():
    rng = np.random.default_rng(0)
    templates = rng.normal(size=(3, 2, 50, 4)).astype(np.float32)
    movable = MovableTemplates(templates, np.array([0, 2, -1]), np.array([0.0, 5.0]), 20)
    time = np.sort(rng.uniform(0, 3000, 80))
    spikes = SpikesToAdd(time, rng.integers(0, 3, 80), np.ones(80, np.float32), rng.uniform(0, 5, 80))
    recording = InjectMovingSpikes(_silence(3000, 5), movable, spikes)
    whole = recording.get_traces()
    pieces = [recording.get_traces(start_frame=start, end_frame=start + 170) for start in range(0, 2890, 170)]
    pieces.append(recording.get_traces(start_frame=2890))
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert whole.any(axis=0).all(), "a template shifted by its first channel reaches every channel"


def test_spike_trains_keep_rates_and_refractory_period_and_bursts_fall():
    rates, bursting = np.array([3.0, 10.0, 8.0]), np.array([False, False, True])
    trains = make_spike_trains(rates, bursting, np.zeros(3), 200.0, 30000.0, np.random.default_rng(1))
    assert np.all(np.diff(np.rint(trains.time)) >= 0)
    for unit in range(3):
        mine = trains.unit_index == unit
        time, amplitude = trains.time[mine], trains.amplitude[mine]
        assert np.diff(np.rint(time)).min() >= TRUE_REFRACTORY_MS * 30
        assert time.size / 200 == pytest.approx(rates[unit], rel=0.2)
        if not bursting[unit]:
            assert np.all(amplitude == 1)
        else:
            short = np.diff(time) < 7.5 * 30
            assert np.mean(short) > 0.2
            assert np.mean(np.diff(amplitude)[short] < 0) > 0.75


def test_rates_are_within_the_range_and_skewed():
    rates = log_normal_rates(2000, (0.5, 15.0), np.random.default_rng(0))
    assert rates.min() >= 0.5 and rates.max() <= 15.0
    assert np.median(rates) == pytest.approx(np.sqrt(0.5 * 15.0), rel=0.1)
    assert rates.mean() > 1.2 * np.median(rates)


@pytest.mark.parametrize("kind", ["ramp", "zigzag", "bumps"])
def test_motion_has_the_range_asked_for(kind):
    motion = make_motion(kind, 300.0, 40.0, np.array([0.0, 500.0]), seed=1)
    displacement = motion.displacement[0][:, 0]
    assert np.ptp(displacement) == pytest.approx(40.0, rel=0.05)
    assert motion.temporal_bins_s[0][-1] >= 300.0
    sudden = np.abs(np.diff(displacement)).max() > 15
    assert sudden == (kind == "bumps")


@pytest.mark.parametrize("seed", range(5))
def test_bumps_of_a_short_recording_are_within_it(seed):
    motion = make_motion("bumps", 60.0, 40.0, np.array([0.0, 500.0]), seed=seed)
    jumps = np.abs(np.diff(motion.displacement[0][:, 0]))
    assert np.ptp(motion.displacement[0]) == pytest.approx(40.0) and (jumps > 10).sum() >= 3


def test_motion_that_is_not_rigid_grows_with_depth():
    motion = make_motion("ramp", 100.0, 40.0, np.array([0.0, 500.0]), rigid=False)
    at_end = displacement_at(motion, np.full(3, 100.0), np.array([-50.0, 250.0, 500.0]))
    np.testing.assert_allclose(at_end, [8.0, 14.0, 20.0], atol=0.2)


def test_unknown_drift_is_refused():
    with pytest.raises(ValueError, match="must be one of"):
        make_motion("sideways", 10.0, 40.0, np.array([0.0]))


def test_chosen_units_have_the_snr_asked_for_and_are_not_alike():
    rng = np.random.default_rng(0)
    gains = rng.uniform(0, 100, size=(60, 1, 8)) * np.linspace(0.5, 2, 60)[:, np.newaxis, np.newaxis]
    templates = np.pad(gains * spike_shape()[:, np.newaxis], ((0, 0), (200, 200), (0, 0)))
    templates[1] = 1.3 * templates[0]
    location = rng.uniform(0, 500, size=(60, 3))
    chosen = choose_units(templates, location, 5.0, FREQUENCY, 12, (4.0, 30.0), rng)
    scaled = sorter_band(templates[chosen.index] * chosen.gain[:, np.newaxis, np.newaxis], FREQUENCY, axis=1)
    np.testing.assert_allclose(-scaled.min(axis=(1, 2)) / 5.0, chosen.snr, rtol=1e-3)
    assert chosen.snr.min() >= 4.0 and chosen.snr.max() <= 30.0 and np.ptp(np.log(chosen.snr)) > 1.2
    assert not {0, 1} <= set(chosen.index.tolist())
    with pytest.raises(ValueError, match="were asked for"):
        choose_units(templates, location, 5.0, FREQUENCY, 61, (4.0, 30.0), rng)


def test_true_units_are_in_the_recording_at_their_snr(small):
    noise = small.info["figures"]["noise_level_uv"]
    assert small.recording.get_dtype() == np.int16
    traces = sorter_band(small.recording.get_traces(return_in_uV=True), small.recording.sampling_frequency, axis=0)
    assert noise == pytest.approx(10.0, rel=0.15)
    snr = small.sorting.get_property("gt_snr")
    for unit, expected in zip(small.sorting.unit_ids, snr, strict=True):
        train = small.sorting.get_unit_spike_train(unit)
        train = train[(train > 50) & (train < len(traces) - 50)]
        if train.size < 15:
            continue
        mean = np.mean([traces[frame - 40 : frame + 40] for frame in train], axis=0)
        assert abs(int(np.argmin(mean.min(axis=1))) - 40) <= 3
        assert -mean.min() / noise == pytest.approx(expected, rel=0.25)


def test_a_recording_is_made_once_and_is_the_same_in_another_cache(small, libraries, tmp_path):
    again = get_recording(SETTINGS, small.folder.parent, libraries)
    assert again.folder == small.folder
    elsewhere = get_recording(SETTINGS, tmp_path, libraries)
    np.testing.assert_array_equal(elsewhere.recording.get_traces(), small.recording.get_traces())
    assert elsewhere.sorting.to_spike_vector().tolist() == small.sorting.to_spike_vector().tolist()
    assert json.loads((elsewhere.folder / "info.json").read_text())["settings"]["seed"] == 3


def test_another_library_makes_another_recording(small, tmp_path):
    write_library(tmp_path / "small.npz", seed=9)
    assert recordings.recording_key(SETTINGS, tmp_path) != small.folder.name.rsplit("-", 1)[1]


def test_a_half_written_recording_is_not_used(libraries, tmp_path, monkeypatch):
    def stop_half_way(folder, recording, *others):
        (folder / "recording").mkdir()
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(recordings, "save_ground_truth", stop_half_way)
        with pytest.raises(OSError, match="disk full"):
            get_recording(SETTINGS, tmp_path, libraries)
    assert list(tmp_path.iterdir()) == []
    assert get_recording(SETTINGS, tmp_path, libraries, duration_s=2.0).recording.get_total_duration() == 2.0


def test_units_move_as_the_true_motion_says(libraries, tmp_path):
    truth = get_recording(DRIFTING, tmp_path, libraries)
    depth = truth.recording.get_channel_locations()[:, 1]
    traces = truth.recording.get_traces(return_in_uV=True)
    shifts = []
    for unit in truth.sorting.unit_ids:
        train = truth.sorting.get_unit_spike_train(unit)
        train = train[(train > 10) & (train < len(traces) - 10)]
        # the field falls with distance alike on both sides: its centre of mass follows the soma
        energy = np.array([np.abs(traces[frame - 3 : frame + 4]).max(axis=0) ** 2 for frame in train])
        centre = energy @ depth / energy.sum(axis=1)
        true_depth = truth.sorting.get_property("gt_depth")[list(truth.sorting.unit_ids).index(unit)]
        if 35 < true_depth < 105:
            shifts.append(np.polyfit(train / FREQUENCY, centre, 1)[0] * 8.0)
    assert shifts, "the library has units in the middle of the probe"
    assert np.median(shifts) == pytest.approx(40.0, rel=0.35)
    assert truth.motion.displacement[0][-1, 0] - truth.motion.displacement[0][0, 0] == pytest.approx(40.0)


def test_a_probe_of_some_contacts(libraries, tmp_path):
    """The same units as on the whole probe, seen by four of its contacts."""
    settings = dataclasses.replace(
        DRIFTING,
        name="some",
        drift="sine",
        drift_period_s=8.0,
        contacts=(3, 4, 5, 6),
        n_units=2,
        snr_range=(3.0, 150.0),
    )
    some, whole = get_recording(settings, tmp_path, libraries), get_recording(DRIFTING, tmp_path, libraries)
    np.testing.assert_allclose(
        some.recording.get_channel_locations(), whole.recording.get_channel_locations()[list(settings.contacts)]
    )
    moved = some.motion.displacement[0][:, 0]
    times = some.motion.temporal_bins_s[0]
    np.testing.assert_allclose(moved, 20.0 * np.sin(2 * np.pi * times / 8.0), atol=1e-6)
    assert some.recording.get_num_channels() == 4 and len(some.sorting.unit_ids) == 2


def test_a_still_library_cannot_drift(libraries, tmp_path):
    settings = LibrarySettings(name="no", library="small.npz", n_units=2, duration_s=2.0, n_hash=2, drift="ramp")
    with pytest.raises(ValueError, match="cannot drift"):
        get_recording(settings, tmp_path, libraries)


def test_a_longer_probe_is_made_of_the_same_rows(libraries, tmp_path):
    settings = LibrarySettings(name="long", library="small.npz", n_units=8, duration_s=2.0, n_hash=8, n_channels=64)
    truth = get_recording(settings, tmp_path, libraries)
    locations = truth.recording.get_channel_locations()
    assert len(locations) == 64 and len(np.unique(locations, axis=0)) == 64
    assert np.ptp(locations[:, 1]) == 31 * 20
    assert np.ptp(truth.sorting.get_property("gt_depth")) > 200


def test_spikeinterface_generator_makes_the_same_units_still_and_drifting(tmp_path):
    still = get_recording(GeneratorSettings("still", 4.0, n_units=4, n_channels=8), tmp_path)
    drifting = get_recording(GeneratorSettings("moving", 4.0, n_units=4, n_channels=8, drift_range_um=30.0), tmp_path)
    assert still.motion is None and drifting.motion is not None
    assert still.sorting.to_spike_vector().tolist() == drifting.sorting.to_spike_vector().tolist()
    assert not np.array_equal(still.recording.get_traces(), drifting.recording.get_traces())
    assert np.ptp(drifting.motion.displacement[0]) <= 30.0


def test_names_and_folders_that_do_not_exist_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("HUIDUREP_TEMPLATES", raising=False)
    with pytest.raises(ValueError, match="no recording named 'nothing'"):
        get_recording("nothing", tmp_path)
    with pytest.raises(FileNotFoundError, match="HUIDUREP_TEMPLATES"):
        get_recording("tetrode", tmp_path)
    with pytest.raises(FileNotFoundError, match="tetrode.npz"):
        get_recording("tetrode", tmp_path, tmp_path)


def test_every_suite_names_recordings_that_exist():
    from spikeinterface_huidurep.benchmark import RECORDINGS, SUITES
    from spikeinterface_huidurep.benchmark.days_recordings import DAYS

    assert set(SUITES) == {"quick", "static", "drift", "short", "days", "waveforms", "mearec", "scale", "full"}
    for suite, names in SUITES.items():
        assert set(names) <= set(DAYS if suite == "days" else RECORDINGS)
