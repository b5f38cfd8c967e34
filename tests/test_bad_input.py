"""Input that cannot be sorted is refused in one sentence, with nothing half-written; poor input gives a warning."""

import numpy as np
import pytest
import spikeinterface.full as si
from probeinterface import Probe, generate_tetrode
from spikeinterface.core.motion import Motion

from spikeinterface_huidurep import resume
from spikeinterface_huidurep.curation.traces import curation_traces

RATE = 30000.0


def noise_traces(n_samples=30000, n_channels=4, seed=0):
    return np.random.default_rng(seed).normal(0, 10, (n_samples, n_channels)).astype("float32")


@pytest.fixture(autouse=True)
def _binary_folder(tmp_path, monkeypatch):
    """`recording_of` writes its traces here: run_sorter takes only recordings that can be loaded again."""
    monkeypatch.chdir(tmp_path)


def recording_of(traces, probe=True):
    traces.tofile("traces.raw")
    recording = si.BinaryRecordingExtractor(
        "traces.raw", RATE, dtype=traces.dtype, num_channels=traces.shape[1], gain_to_uV=1.0, offset_to_uV=0.0
    )
    if probe:
        tetrode = generate_tetrode()
        tetrode.set_device_channel_indices(np.arange(4))
        recording.set_probe(tetrode)
    return recording


def coinciding_locations():
    """Contacts a tenth of a nanometre apart: a probe refuses only those that agree to the last digit."""
    probe = Probe(ndim=2)
    probe.set_contacts(positions=[[0, 0], [0, 20], [0, 20.0001], [0, 40]])
    probe.set_device_channel_indices(np.arange(4))
    recording = recording_of(noise_traces(), probe=False)
    recording.set_probe(probe)
    return recording


def with_value(value):
    traces = noise_traces()
    traces[15000, 2] = value
    return recording_of(traces)


def without(name):
    """A recording some of whose channels have no gain, or belong to no shank."""
    recording = recording_of(noise_traces())
    values = np.array([0.0, 0.0, 0.0, np.nan])
    recording.set_property({"gain": "gain_to_uV", "offset": "offset_to_uV"}.get(name, name), values)
    return recording


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: recording_of(noise_traces(), probe=False), "has no probe"),
        (coinciding_locations, "share one location"),
        (lambda: with_value(np.nan), "NaN or infinite"),
        (lambda: with_value(-np.inf), "NaN or infinite"),
        (lambda: recording_of(noise_traces(40)), "shorter than"),
        (lambda: recording_of(noise_traces(), probe=False).select_channels([]), "no channels"),
        (lambda: "not a recording", "must be a SpikeInterface recording"),
        (lambda: without("group"), "no 'group'"),
        (lambda: without("gain"), "gains are not finite"),
        (lambda: without("offset"), "offsets are not finite"),
    ],
    ids=["no probe", "coinciding", "nan", "inf", "short", "no channels", "no recording", "group", "gain", "offset"],
)
def test_recordings_that_cannot_be_sorted(make, message, tmp_path):
    folder = tmp_path / "sorter"
    with pytest.raises(ValueError, match=message):
        si.run_sorter("huidurep", make(), folder=folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"freq_min": 7000.0}, "freq_min"),
        ({"freq_min": 20.0}, "from 100 Hz up to 12000 Hz"),
        ({"freq_min": 14000.0, "freq_max": 20000.0}, "from 100 Hz up to 12000 Hz"),
        ({"time_scale": 0.5}, "time_scale"),
        ({"time_scale": 4.0, "freq_min": 20.0}, "from 25 Hz up to 12000 Hz"),
        ({"time_scale": 1e6}, "with a time_scale of"),
        ({"distance_scale": 0.0}, "distance_scale"),
        ({"distance_scale": 4.0, "motion_folder": "folder"}, "motion_folder cannot be used"),
        ({"detect_threshold": -1}, "detect_threshold"),
        ({"detect_threshold": float("nan")}, "detect_threshold"),
        ({"peak_sign": "up"}, "peak_sign"),
        ({"min_spikes": 0}, "min_spikes"),
        ({"min_spikes": 2.5}, "min_spikes"),
        ({"adaptation_steps": -1}, "adaptation_steps"),
        ({"adaptation_steps": 2001}, "adaptation_steps"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"min_cluster_size": 1}, "min_cluster_size"),
        ({"apply_preprocessing": "yes"}, "apply_preprocessing"),
        ({"motion_correction": 1}, "motion_correction"),
        ({"motion_folder": "nowhere"}, "motion_folder"),
        ({"device": "abacus"}, "device"),
        ({"device": "cudaX"}, "device"),
        ({"device": "cuda:-1"}, "device"),
        ({"device": "cpu:0"}, "device"),
        ({"device": None}, "device"),
        ({"device": "cuda:999"}, "device"),
        ({"job_kwargs": {"cores": 2}}, "cores"),
        ({"job_kwargs": 2}, "job_kwargs"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"model": "missing.safetensors"}, "model cannot be used"),
    ],
    ids=str,
)
def test_impossible_parameter_values(params, message, tmp_path):
    folder = tmp_path / "sorter"
    with pytest.raises(ValueError, match=message):
        si.run_sorter("huidurep", recording_of(noise_traces()), folder=folder, **params)
    assert not folder.exists()


def test_motion_of_other_segments(tmp_path):
    motion = Motion([np.zeros((3, 1))] * 2, [np.arange(3.0)] * 2, np.zeros(1))
    motion.save(tmp_path / "motion")
    with pytest.raises(ValueError, match="has 2 segments, the recording 1"):
        si.run_sorter(
            "huidurep", recording_of(noise_traces()), folder=tmp_path / "sorter", motion_folder=tmp_path / "motion"
        )
    assert not (tmp_path / "sorter").exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"detect_thresold": 5}, "no parameter 'detect_thresold'. Did you mean 'detect_threshold'"),
        ({"thresold": 5}, "no parameter 'thresold'"),
        ({"job_kwargs": {"njobs": 2}}, "Did you mean 'n_jobs'"),
        ({"peak_sign": "negative"}, "'neg', 'pos', 'both'"),
        ({"peak_sign": "bot"}, "Did you mean 'both'"),
    ],
    ids=str,
)
def test_unknown_parameter(params, message, tmp_path):
    folder = tmp_path / "sorter"
    with pytest.raises(ValueError, match=message) as caught:
        si.run_sorter("huidurep", recording_of(noise_traces()), folder=folder, **params)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


@pytest.mark.filterwarnings("ignore:huidurep found no units")
def test_did_you_mean_in_other_functions(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'freq_min'"):
        curation_traces(recording_of(noise_traces()), freqmin=300.0)
    si.run_sorter("huidurep", recording_of(noise_traces(9000)), folder=tmp_path / "sorter", n_jobs=1)
    with pytest.raises(ValueError, match="Did you mean 'max_cache_gb'"):
        resume(tmp_path / "sorter", max_cache=2.0)


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 100, b"\x08\0\0\0\0\0\0\0{}      "], ids=["empty", "garbage", "not ours"]
)
def test_model_files_that_are_not_models(content, tmp_path):
    model, folder = tmp_path / "model.safetensors", tmp_path / "sorter"
    model.write_bytes(content)
    with pytest.raises(ValueError, match="model cannot be used"):
        si.run_sorter("huidurep", recording_of(noise_traces()), folder=folder, model=str(model))
    assert not folder.exists()


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    folder = tmp_path / "sorter"
    folder.mkdir()
    (folder / "precious.txt").write_text("keep", encoding="utf8")
    with pytest.raises(ValueError, match="already exists"):
        si.run_sorter("huidurep", recording_of(noise_traces()), folder=folder)
    assert (folder / "precious.txt").read_text(encoding="utf8") == "keep"


def test_the_folder_of_the_recording_is_refused_and_kept(tmp_path):
    """SpikeInterface would remove it, and the recording with it."""
    saved = recording_of(noise_traces()).save(folder=tmp_path / "session" / "recording", verbose=False)
    for folder in (tmp_path / "session", tmp_path / "session" / "recording"):
        with pytest.raises(ValueError, match="recording's own files"):
            si.run_sorter("huidurep", si.scale(saved, gain=2.0), folder=folder, remove_existing_folder=True)
    assert saved.get_traces().shape == (30000, 4)
    assert (tmp_path / "session" / "recording" / "traces_cached_seg0.raw").is_file()


@pytest.mark.parametrize("params", [{}, {"max_cache_gb": 0.0}, {"n_jobs": 2}, {"apply_preprocessing": False}], ids=str)
def test_nan_outside_the_checked_stretches_is_refused(params, monkeypatch, tmp_path):
    """The check before the sort looks at random stretches; what it misses ends in the same sentence, and no folder."""
    from spikeinterface_huidurep import checks

    monkeypatch.setattr(checks, "_check_traces", lambda recording: None)
    folder = tmp_path / "sorter"
    with pytest.raises(ValueError, match="NaN or infinite values .first at sample 15000, channel index 2") as caught:
        si.run_sorter("huidurep", with_value(np.nan), folder=folder, **{"n_jobs": 1, **params})
    assert "\n" not in str(caught.value)
    assert not folder.exists()


def test_segments_of_different_lengths_are_checked(tmp_path):
    """The first segment is long, the second short, and it is the short one that has the NaN."""
    first = recording_of(noise_traces(90000))
    traces = noise_traces(2000)
    traces[1000, 2] = np.nan
    second = si.NumpyRecording([traces], RATE, channel_ids=first.channel_ids)
    second.set_probe(first.get_probe())
    with pytest.raises(ValueError, match="NaN or infinite"):
        si.run_sorter("huidurep", si.append_recordings([first, second]), folder=tmp_path / "sorter")


def three_spikes():
    traces = noise_traces(60000)
    for sample in (10000, 30000, 50000):
        traces[sample : sample + 8] -= 200
    return recording_of(traces)


@pytest.mark.parametrize(
    "make",
    [
        lambda: recording_of(np.zeros((30000, 4), "int16")),
        lambda: recording_of(noise_traces(60000)),
        three_spikes,
        lambda: recording_of(noise_traces(15000) + 1000),
    ],
    ids=["zeros", "noise", "three spikes", "offset, half a second"],
)
def test_nothing_to_find_is_a_warning(make, tmp_path):
    with pytest.warns(UserWarning, match="huidurep found no units: .+"):
        sorting = si.run_sorter("huidurep", make(), folder=tmp_path / "sorter", n_jobs=1, raise_error=True)
    assert len(sorting.unit_ids) == 0


def spiking_traces():
    recording, _ = si.generate_ground_truth_recording(
        durations=[10.0], num_channels=4, num_units=3, seed=0, sampling_frequency=RATE
    )
    return recording.get_traces().astype("float32")


def flat_channel(traces):
    traces[:, 1] = 5.0


def noise_channel(traces):
    traces[:, 1] = np.random.default_rng(1).normal(0, 8, len(traces))


def gaps(traces):
    traces[60000:120000] = 0.0


def saturated(traces):
    for sample in range(20000, 280000, 40000):
        traces[sample : sample + 90] = 32000.0


@pytest.mark.parametrize("spoil", [flat_channel, noise_channel, gaps, saturated])
def test_spoilt_traces_are_sorted_all_the_same(spoil, tmp_path, caplog):
    traces = spiking_traces()
    spoil(traces)
    with caplog.at_level("INFO", logger="spikeinterface_huidurep"):
        sorting = si.run_sorter("huidurep", recording_of(traces), folder=tmp_path / "sorter", n_jobs=1)
    assert 1 <= len(sorting.unit_ids) <= 8
    assert ("silent channel(s) left out: 1" in caplog.text) == (spoil is flat_channel)


def test_a_recording_in_memory_leaves_no_folder(tmp_path):
    recording = si.NumpyRecording([noise_traces()], RATE)
    tetrode = generate_tetrode()
    tetrode.set_device_channel_indices(np.arange(4))
    recording.set_probe(tetrode)
    folder = tmp_path / "sorter"
    with pytest.raises(RuntimeError, match="not serializable"):
        si.run_sorter("huidurep", recording, folder=folder)
    assert not folder.exists()
