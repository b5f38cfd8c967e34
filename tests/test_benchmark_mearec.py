"""Recordings of MEArec's generator: what they need without it, and what they hold with it."""

from __future__ import annotations

import dataclasses
import importlib.metadata

import numpy as np
import pytest
from benchmark_helpers import FREQUENCY, write_library

from spikeinterface_huidurep.benchmark import RECORDINGS, SUITES, MearecSettings, get_recording, run_benchmark
from spikeinterface_huidurep.benchmark.mearec_recording import CHANGES, RELEASE, mearec_version
from spikeinterface_huidurep.benchmark.report import describe

SENTENCE = r"needs MEArec: pip install spikeinterface-huidurep\[simulate\]$"
PLAIN = MearecSettings(
    name="plain",
    library="small.npz",
    duration_s=12.0,
    n_units=5,
    n_inhibitory=2,
    noise_uv=2.0,
    amplitude_uv=(80.0, 500.0),
    seed=4,
)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("libraries")
    write_library(folder / "small.npz")
    write_library(folder / "moving.npz", displacements=5)
    return folder


@pytest.fixture(scope="module")
def truths(libraries, tmp_path_factory):
    """One recording a change, by its name."""
    pytest.importorskip("MEArec")
    cache = tmp_path_factory.mktemp("cache")
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    made = {
        change: get_recording(dataclasses.replace(PLAIN, name=change, change=change), cache, libraries)
        for change in CHANGES
    }
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    return made


def test_without_mearec_one_sentence_says_what_to_install(libraries, tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("spikeinterface_huidurep.benchmark.mearec_recording.version", missing)
    with pytest.raises(ModuleNotFoundError, match=SENTENCE):
        get_recording(PLAIN, tmp_path, libraries)
    assert list(tmp_path.iterdir()) == []
    results = run_benchmark([PLAIN], ["lupin"], tmp_path / "out", tmp_path, libraries, progress=False)
    assert results.recordings["plain"]["error"].endswith("spikeinterface-huidurep[simulate]")


def test_a_recording_in_the_cache_needs_no_mearec(truths, libraries, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("spikeinterface_huidurep.benchmark.mearec_recording.version", missing)
    assert get_recording(dataclasses.replace(PLAIN, name="all", change="all"), truths["all"].folder.parent, libraries)


def test_the_extra_installs_the_release_of_the_recordings(project_root):
    assert f'"MEArec=={RELEASE}"' in (project_root / "pyproject.toml").read_text()


def test_a_change_that_mearec_has_not_is_refused():
    with pytest.raises(ValueError, match="must be one of plain, electrode, amplitude, shape, all"):
        MearecSettings(name="x", library="small.npz", duration_s=1.0, change="age")


def test_the_suite_has_each_change_of_the_same_neurons():
    assert SUITES["mearec"] == tuple(f"mearec_{change}" for change in CHANGES)
    for change in CHANGES:
        twin = dataclasses.replace(RECORDINGS["mearec_plain"], name=f"mearec_{change}", change=change)
        assert RECORDINGS[f"mearec_{change}"] == twin


def test_all_have_the_same_neurons_and_spike_times(truths):
    plain = truths["plain"]
    assert plain.recording.get_dtype() == np.int16 and plain.recording.get_num_channels() == 16
    assert plain.recording.get_total_duration() == 12.0 and len(plain.sorting.unit_ids) == 5
    for change, truth in truths.items():
        assert truth.sorting.to_spike_vector().tolist() == plain.sorting.to_spike_vector().tolist()
        np.testing.assert_array_equal(truth.sorting.get_property("gt_depth"), plain.sorting.get_property("gt_depth"))
        np.testing.assert_allclose(truth.sorting.get_property("gt_snr"), plain.sorting.get_property("gt_snr"), rtol=0.1)
        if change != "plain":
            assert not np.array_equal(truth.recording.get_traces(), plain.recording.get_traces())
            assert truth.folder.name.rsplit("-", 1)[1] != plain.folder.name.rsplit("-", 1)[1]


def test_true_spikes_are_troughs_where_their_neuron_is(truths):
    truth = truths["plain"]
    traces = truth.recording.get_traces(return_in_uV=True)
    depth = truth.recording.get_channel_locations()[:, 1]
    assert (np.diff(depth) >= 0).all()
    for unit, own in zip(truth.sorting.unit_ids, truth.sorting.get_property("gt_depth"), strict=True):
        train = truth.sorting.get_unit_spike_train(unit)
        train = train[(train > 50) & (train < 12 * FREQUENCY - 50)]
        mean = traces[train[:, np.newaxis] + np.arange(-30, 30)].mean(axis=0)
        sample, channel = np.unravel_index(np.argmin(mean), mean.shape)
        assert abs(sample - 30) <= 3 and abs(depth[channel] - own) <= 25


def test_a_recording_is_the_same_twice_bit_for_bit(truths, libraries, tmp_path):
    again = get_recording(dataclasses.replace(PLAIN, name="all", change="all"), tmp_path, libraries)
    assert again.folder.name == truths["all"].folder.name
    np.testing.assert_array_equal(again.recording.get_traces(), truths["all"].recording.get_traces())


def test_neurons_that_drift_are_refused(libraries, tmp_path):
    pytest.importorskip("MEArec")
    with pytest.raises(ValueError, match="drifting neurons"):
        get_recording(dataclasses.replace(PLAIN, library="moving.npz"), tmp_path, libraries)


def test_a_report_names_mearec(truths):
    text = describe({**truths["shape"].info, "n_channels": 16, "duration_s": 12.0})
    assert "MEArec's settings 'shape'" in text and f"small.npz by MEArec {mearec_version()}" in text
