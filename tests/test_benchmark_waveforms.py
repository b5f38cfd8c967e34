"""Recordings whose neurons change their waveform differ from their constant twin in that change and in nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import spikeinterface
from benchmark_helpers import FREQUENCY, NBEFORE, spike_shape, write_library
from scipy.signal import resample
from spikeinterface.core import NumpyRecording

from spikeinterface_huidurep.benchmark import RECORDINGS, SUITES, LibrarySettings, WaveformChanges, get_recording
from spikeinterface_huidurep.benchmark.injection import (
    SPIKES_AT_ONCE,
    ElectrodeFactors,
    InjectMovingSpikes,
    MovableTemplates,
    SpikesToAdd,
)
from spikeinterface_huidurep.benchmark.recordings import FORMAT, recording_key
from spikeinterface_huidurep.benchmark.report import describe
from spikeinterface_huidurep.benchmark.spike_trains import TRUE_REFRACTORY_MS, SpikeTrains
from spikeinterface_huidurep.benchmark.waveform_changes import at_widths, burst_state, slow_course
from spikeinterface_huidurep.benchmark.waveform_recordings import CHANGES

N_UNITS = 4
LENGTH_S = 40.0
# Nearly no noise: each spike can be read from the traces. All spikes of a unit have one amplitude but for the change.
CONSTANT = LibrarySettings(
    name="constant",
    library="small.npz",
    n_units=N_UNITS,
    duration_s=LENGTH_S,
    n_hash=0,
    noise_uv=0.1,
    snr_range=(500.0, 1500.0),
    rate_hz=(6.0, 9.0),
    seed=3,
    waveforms=WaveformChanges(amplitude_std=0.0),
)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> Path:
    return write_library(tmp_path_factory.mktemp("libraries") / "small.npz").parent


@pytest.fixture(scope="module")
def truths(libraries, tmp_path_factory):
    """One recording a change, by its name."""
    cache = tmp_path_factory.mktemp("cache")
    return {name: get_recording(_settings(name), cache, libraries) for name in CHANGES}


def _settings(change: str) -> LibrarySettings:
    waveforms = dataclasses.replace(CHANGES[change], amplitude_std=0.0)
    return dataclasses.replace(CONSTANT, name=change, waveforms=waveforms)


def _lone_spikes(truth, unit: int, margin_ms: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a unit's spikes that no other unit's are near, and ms since the one before, both (n,)."""
    every = truth.sorting.to_spike_vector()
    mine = every["sample_index"][every["unit_index"] == unit]
    others = every["sample_index"][every["unit_index"] != unit]
    per_ms = FREQUENCY / 1000
    following = np.searchsorted(others, mine)
    after = np.append(others, 10**9)[following] - mine
    before = mine - np.append(-(10**9), others)[following]
    pause = np.diff(mine, prepend=-(10**9)) / per_ms
    lone = (np.minimum(after, before) > margin_ms * per_ms) & (mine > 200) & (mine < LENGTH_S * FREQUENCY - 200)
    return mine[lone], pause[lone]


def _waveforms(truth, frames: np.ndarray) -> np.ndarray:
    """(n_spikes, 64 samples, n_channels) float64 in uV, 2 ms around the trough."""
    traces = truth.recording.get_traces(return_in_uV=True)
    return traces[frames[:, np.newaxis] + np.arange(-24, 40)].astype(float)


def _width(waveforms: np.ndarray, channel: int) -> np.ndarray:
    """Eighths of a sample that each trough spends below half of its depth, (n,)."""
    on_channel = resample(waveforms[:, :, channel], 8 * waveforms.shape[1], axis=1)
    return (on_channel < 0.5 * on_channel.min(axis=1, keepdims=True)).sum(axis=1)


def _depth(waveforms: np.ndarray) -> np.ndarray:
    """Trough of each waveform on each channel, (n, n_channels), positive: of a parabola through its lowest samples."""
    at = np.clip(waveforms.argmin(axis=1), 1, waveforms.shape[1] - 2)
    left, middle, right = (
        np.take_along_axis(waveforms, at[:, np.newaxis] + shift, axis=1)[:, 0] for shift in (-1, 0, 1)
    )
    curvature = np.maximum(left - 2 * middle + right, 1e-9)
    return -(middle - (right - left) ** 2 / (8 * curvature))


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "constant"])
def test_twins_have_the_same_neurons_spikes_and_noise(truths, change):
    constant, changed = truths["constant"], truths[change]
    assert changed.sorting.to_spike_vector().tolist() == constant.sorting.to_spike_vector().tolist()
    for name in ("gt_snr", "gt_x", "gt_depth", "cell_class", "cell_model", "bursting"):
        np.testing.assert_array_equal(changed.sorting.get_property(name), constant.sorting.get_property(name))
    first, second = (truth.recording.get_traces() for truth in (constant, changed))
    assert not np.array_equal(first, second)
    times = np.sort(constant.sorting.to_spike_vector()["sample_index"])
    between = np.arange(len(first))
    nearest = np.minimum(
        np.abs(between - np.append(times, 10**9)[np.searchsorted(times, between)]),
        np.abs(between - np.append(-(10**9), times)[np.searchsorted(times, between)]),
    )
    quiet = nearest > 800  # a template padded at both ends, at its widest
    assert quiet.sum() > 1000
    np.testing.assert_array_equal(first[quiet], second[quiet])


def test_half_of_the_neurons_burst_and_keep_the_refractory_period(truths):
    sorting = truths["constant"].sorting
    bursting = sorting.get_property("bursting")
    assert bursting.sum() == N_UNITS // 2
    for unit, bursts in zip(sorting.unit_ids, bursting, strict=True):
        gaps = np.diff(sorting.get_unit_spike_train(unit)) / FREQUENCY * 1000
        assert gaps.min() >= TRUE_REFRACTORY_MS - 0.05
        short = (gaps < 7.5).mean()
        assert short > 0.3 if bursts else short < 0.1


def test_the_constant_twin_has_one_waveform(truths):
    for unit in range(N_UNITS):
        frames, pause = _lone_spikes(truths["constant"], unit)
        depth = _depth(_waveforms(truths["constant"], frames[pause > 5])).max(axis=1)
        assert depth.std() / depth.mean() < 0.02


@pytest.mark.parametrize("change", ["shape", "amplitude"])
def test_spikes_in_bursts_change_and_the_others_do_not(truths, change):
    for unit in np.flatnonzero(truths["constant"].sorting.get_property("bursting")):
        frames, pause = _lone_spikes(truths["constant"], unit)
        constant, changed = (_waveforms(truths[name], frames) for name in ("constant", change))
        channel = int(constant.mean(axis=0).min(axis=0).argmin())
        rested, in_burst = pause > 300, pause < 7.5
        assert rested.sum() > 15 and in_burst.sum() > 15
        before, after = constant[rested].mean(axis=0), changed[rested].mean(axis=0)
        np.testing.assert_allclose(after, before, atol=0.02 * -before.min())
        ratio = _depth(changed[in_burst])[:, channel] / _depth(constant[in_burst])[:, channel]
        assert ratio.max() < 0.9 and 0.5 < np.percentile(ratio, 2) < 0.65
        broader = _width(changed[in_burst], channel) / _width(constant[in_burst], channel)
        if change == "shape":
            assert broader.min() > 1.1 and 1.5 < np.percentile(broader, 98) < 1.7
            assert np.unique(np.round(ratio, 2)).size > 15, "a continuum"
        else:
            np.testing.assert_allclose(broader, 1.0, atol=0.05)


def test_neurons_that_do_not_burst_keep_their_waveform(truths):
    for unit in np.flatnonzero(~truths["constant"].sorting.get_property("bursting")):
        frames, _ = _lone_spikes(truths["constant"], unit, margin_ms=8.0)
        frames = frames[:50]
        constant, changed = (_waveforms(truths[name], frames) for name in ("constant", "shape"))
        np.testing.assert_allclose(changed, constant, atol=0.03 * -constant.min())


def test_each_electrode_varies_by_itself(truths):
    for unit in range(N_UNITS):
        frames, pause = _lone_spikes(truths["constant"], unit)
        frames = frames[pause > 5]
        constant, changed = (_waveforms(truths[name], frames) for name in ("constant", "electrode"))
        best = np.argsort(constant.mean(axis=0).min(axis=0))[:4]
        factor = (changed * constant).sum(axis=1)[:, best] / (constant**2).sum(axis=1)[:, best]
        np.testing.assert_allclose(factor.mean(axis=0), 1, atol=0.03)
        np.testing.assert_allclose(factor.std(axis=0), 0.08, rtol=0.25)
        between = np.corrcoef(factor.T)[np.triu_indices(4, 1)]
        assert np.abs(between).max() < 4 / np.sqrt(len(frames))


def test_age_halves_the_amplitude_and_widens_by_a_fifth_or_the_other_way_round(truths):
    falls = []
    for unit in range(N_UNITS):
        frames, _ = _lone_spikes(truths["constant"], unit)
        channel = int(_waveforms(truths["constant"], frames).mean(axis=0).min(axis=0).argmin())
        waveforms = _waveforms(truths["age"], frames)
        depth, width = _depth(waveforms)[:, channel], _width(waveforms, channel)
        order = np.argsort(frames)
        first, last = order[:8], order[-8:]
        ratio = np.median(depth[last]) / np.median(depth[first])
        falls.append(ratio < 1)
        assert max(ratio, 1 / ratio) == pytest.approx(2.0, rel=0.04)
        wider = width[last].mean() / width[first].mean()
        assert (wider > 1) == (ratio < 1)
        assert max(wider, 1 / wider) == pytest.approx(1.2, abs=0.04)
        own = np.median(_depth(_waveforms(truths["constant"], frames))[:, channel])
        assert np.sqrt(np.median(depth[first]) * np.median(depth[last])) == pytest.approx(own, rel=0.04)
    assert sum(falls) == N_UNITS // 2


def test_all_is_every_change_at_once():
    single = [name for name in CHANGES if name not in ("constant", "all")]
    default = WaveformChanges()
    for field in dataclasses.fields(WaveformChanges):
        values = {getattr(CHANGES[name], field.name) for name in single} - {getattr(default, field.name)}
        assert getattr(CHANGES["all"], field.name) == (values.pop() if values else getattr(default, field.name))
        assert not values


def test_a_recording_is_the_same_twice_bit_for_bit(truths, libraries, tmp_path):
    again = get_recording(_settings("all"), tmp_path, libraries)
    np.testing.assert_array_equal(again.recording.get_traces(), truths["all"].recording.get_traces())
    assert again.folder.name == truths["all"].folder.name


def test_the_digest_changes_with_the_change_and_not_for_recordings_without(truths, libraries):
    assert len({truth.folder.name.rsplit("-", 1)[1] for truth in truths.values()}) == len(CHANGES)
    old = dataclasses.replace(CONSTANT, waveforms=None)
    assert recording_key(old, libraries) != recording_key(CONSTANT, libraries)
    # as it was computed before `waveforms` and `contacts` were settings
    parts = {
        "format": FORMAT,
        "kind": "LibrarySettings",
        "settings": {k: v for k, v in dataclasses.asdict(old).items() if k not in ("waveforms", "contacts")},
        "spikeinterface": spikeinterface.__version__,
        "library": hashlib.sha256((libraries / old.library).read_bytes()).hexdigest(),
    }
    assert recording_key(old, libraries) == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def test_drift_with_changes_is_refused(libraries, tmp_path):
    with pytest.raises(ValueError, match="both drift and waveforms that change"):
        get_recording(dataclasses.replace(CONSTANT, drift="ramp", drift_range_um=20.0), tmp_path, libraries)


@pytest.mark.parametrize(
    "wrong", [{"burst_width": 0.0}, {"age_amplitude": -1.0}, {"electrode_std": 1.0}, {"amplitude_std": float("nan")}]
)
def test_changes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WaveformChanges(**wrong)


def test_factors_of_electrodes_do_not_depend_on_the_call():
    factors = ElectrodeFactors(0.08, 5, seed=1)
    whole = factors.of(0, 3 * SPIKES_AT_ONCE)
    pieces = [factors.of(start, start + 300) for start in range(0, 3 * SPIKES_AT_ONCE - 300, 300)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole[: 300 * len(pieces)])
    assert factors.of(700, 700).shape == (0, 5) and factors.of(0, 0).shape == (0, 5)
    assert whole.std() == pytest.approx(0.08, rel=0.03) and (whole > 0).all()
    assert (ElectrodeFactors(5.0, 5, seed=1).of(0, 100) > 0).all()


def test_factors_are_those_of_the_recordings_electrodes_in_any_chunk():
    templates = MovableTemplates(
        np.broadcast_to(spike_shape()[:, np.newaxis], (1, 1, 96, 2)).astype(np.float32),
        np.array([1]),
        np.zeros(1),
        NBEFORE,
    )
    time = np.arange(200.0, 4800.0, 200.0)
    factors = ElectrodeFactors(0.3, 4, seed=2)
    n = time.size
    spikes = SpikesToAdd(time, np.zeros(n, np.int64), np.ones(n, np.float32), np.zeros(n), factors)
    silence = NumpyRecording([np.zeros((5000, 4), dtype=np.float32)], FREQUENCY)
    recording = InjectMovingSpikes(silence, templates, spikes)
    whole = recording.get_traces()
    trough = spike_shape()[NBEFORE]
    np.testing.assert_allclose(whole[time.astype(int), 1:3], trough * factors.of(0, n)[:, 1:3], rtol=1e-3)
    assert not whole[:, [0, 3]].any()
    pieces = [recording.get_traces(start_frame=start, end_frame=start + 130) for start in range(0, 4940, 130)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole[:4940])


def test_templates_are_stretched_about_their_trough():
    templates = MovableTemplates(
        spike_shape()[np.newaxis, np.newaxis, :, np.newaxis].astype(np.float32), np.zeros(1, int), np.zeros(1), NBEFORE
    )
    bank = at_widths(templates, 0.93, 1.58)
    np.testing.assert_allclose(bank.positions, np.arange(0.9, 1.65, 0.1))
    assert (bank.templates[0, :, :, 0].argmin(axis=1) == bank.nbefore).all()
    t = np.arange(bank.templates.shape[2]) - bank.nbefore
    for width, template in zip(bank.positions, bank.templates[0, :, :, 0], strict=True):
        inside = (t / width > -NBEFORE + 1) & (t / width < 96 - NBEFORE - 2)
        own = np.interp(t[inside] / width, np.arange(96) - NBEFORE, spike_shape())
        np.testing.assert_allclose(template[inside], own, atol=0.01)
    np.testing.assert_allclose(
        bank.templates[0, 1, bank.nbefore - NBEFORE :][:96, 0], templates.templates[0, 0, :, 0], atol=1e-6
    )


def test_the_state_of_bursts_rises_and_recovers_unit_by_unit():
    per_ms = FREQUENCY / 1000
    burst = np.concatenate([5.0 * np.arange(6), [125.0, 900.0]])
    time = np.concatenate([burst, burst + 1.0]) * per_ms
    unit = np.repeat([0, 1], burst.size)
    order = np.argsort(time)
    trains = SpikeTrains(time[order], unit[order], np.ones(time.size, np.float32))
    state = burst_state(trains, FREQUENCY)
    for one in (0, 1):
        mine = state[trains.unit_index == one]
        assert mine[0] == 0 and (np.diff(mine[:6]) > 0).all()
        assert 0.6 < mine[5] < 0.8 and 0.05 < mine[6] < 0.12 and mine[7] < 1e-3


def test_slow_courses_differ_between_units_and_are_complete():
    time = np.tile(np.linspace(0, 999, 50), 6)
    trains = SpikeTrains(time, np.repeat(np.arange(6), 50), np.ones(300, np.float32))
    course = slow_course(trains, 6, 1000, np.random.default_rng(0)).reshape(6, 50)
    assert sorted(course[:, 0]) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(course[:, 0] + course[:, -1], 1, atol=1e-3)
    steps = np.diff(course, axis=1)
    assert all((row >= 0).all() or (row <= 0).all() for row in steps)
    middle = np.where(course[:, 0] == 0, course[:, 25], 1 - course[:, 25])
    assert np.ptp(middle) > 0.05


def test_the_suite_has_each_change_and_its_twin_on_three_probes():
    assert set(SUITES["waveforms"]) == {
        *(f"waveforms_64_{change}" for change in CHANGES),
        *(f"waveforms_{probe}_{change}" for probe in ("linear32", "tetrode") for change in ("constant", "all")),
    }
    for name in SUITES["waveforms"]:
        probe = name.rsplit("_", 1)[0]
        twin = dataclasses.replace(RECORDINGS[f"{probe}_constant"], name=name, waveforms=RECORDINGS[name].waveforms)
        assert RECORDINGS[name] == twin


def test_a_report_says_what_changes(truths):
    about = {**truths["all"].info, "n_channels": 16, "duration_s": LENGTH_S}
    text = describe(about)
    assert "8 % on each electrode" in text and "in bursts" in text and "over the recording" in text
    assert "constant waveforms" in describe({**truths["constant"].info, "n_channels": 16, "duration_s": LENGTH_S})
