"""What computes on a GPU gives what the processor gives: here with torch's own code for the processor."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest
import spikeinterface.core as sc
import torch
from scipy.signal import iirfilter
from spikeinterface.generation import generate_drifting_recording
from spikeinterface.sortingcomponents.peak_detection.locally_exclusive import (
    detect_peaks_numba_locally_exclusive_on_chunk,
)
from stage_helpers import JOB, MOVING, recording_with, shank_of, templates_for, two_units_apart, waveform
from torch.utils._python_dispatch import TorchDispatchMode

from spikeinterface_huidurep.encoder.device import TORCH_ON_CPU, choose_device, in_batches
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS, check_params
from spikeinterface_huidurep.sort import sort_recording
from spikeinterface_huidurep.stages.device import MANY_JOBS, OnDevice, compute_device, filters_on, jobs_on
from spikeinterface_huidurep.stages.matching.assignment import assign_spikes
from spikeinterface_huidurep.stages.peaks.detection import DetectionCriteria, detect_peaks
from spikeinterface_huidurep.stages.peaks.exclusion import largest_nearby
from spikeinterface_huidurep.stages.templates.whitened import whiten_templates
from spikeinterface_huidurep.stages.traces import banded_torch, recursion_torch
from spikeinterface_huidurep.stages.traces.banded import BandedMatrix
from spikeinterface_huidurep.stages.traces.bandpass import BandpassRecording, filter_both_ways
from spikeinterface_huidurep.stages.traces.preprocessing import preprocess
from spikeinterface_huidurep.stages.traces.recursion_torch import SectionsOnDevice

RATE = 30000.0


class LittleMemory(TorchDispatchMode):
    """Within it no tensor may have more than so many values of 4 bytes; what is asked for in vain is counted."""

    def __init__(self, most: int):
        super().__init__()
        self.most, self.refused = most, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        # a view has the memory of another one
        if isinstance(made, torch.Tensor) and made.untyped_storage().nbytes() > 4 * self.most:
            self.refused += 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate too much")
        return made


@pytest.fixture
def stages_on_device(monkeypatch):
    """The stages that computed on the device, and whether each could."""
    seen: dict[str, bool] = {}
    attempt = OnDevice.attempt

    def noting(self, *args):
        result = attempt(self, *args)
        seen[self.stage] = not self.gave_up
        return result

    monkeypatch.setattr(OnDevice, "attempt", noting)
    return seen


def sections_of(freq_min, rate=RATE):
    return iirfilter(3, [freq_min, 6000.0], fs=rate, btype="bandpass", ftype="butter", output="sos")


def raw_traces(n_samples, n_channels=5, dtype="int16"):
    """Noise on slow potentials three hundred times as large, and an offset."""
    noise = np.random.default_rng(0).normal(size=(n_samples, n_channels)) * 10
    return (noise + 3000 * np.sin(np.arange(n_samples) / 3000)[:, None] + 5000).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("n_samples", [0, 1, 2, 10, 64, 65, 5000])
@pytest.mark.parametrize("freq_min", [5.0, 300.0])
@pytest.mark.parametrize(("single_only", "tolerance"), [((), 1e-4), (("cpu",), 2e-3)])
def test_band_pass_is_that_of_the_processor(n_samples, freq_min, dtype, single_only, tolerance, monkeypatch):
    # Apple's GPUs have no double precision
    monkeypatch.setattr(recursion_torch, "SINGLE_ONLY", single_only)
    on_cpu = partial(filter_both_ways, sections=sections_of(freq_min))
    there = SectionsOnDevice(sections_of(freq_min), on_cpu, TORCH_ON_CPU)
    traces = raw_traces(n_samples, dtype=dtype)
    filtered = there(traces)
    assert filtered.dtype == np.float32 and not there.gave_up
    np.testing.assert_allclose(filtered, on_cpu(traces), atol=tolerance)


@pytest.mark.parametrize("chunk_s", ["0.1s", "1s"])
def test_band_pass_of_a_recording_does_not_depend_on_the_chunks(chunk_s, stages_on_device):
    recording = sc.NumpyRecording([raw_traces(60000)], RATE)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(5), 20.0 * np.arange(5)]))
    here, there = BandpassRecording(recording, 300.0, 6000.0), BandpassRecording(recording, 300.0, 6000.0, TORCH_ON_CPU)
    saved = there.save(format="memory", n_jobs=1, chunk_duration=chunk_s, progress_bar=False)
    np.testing.assert_allclose(saved.get_traces(), here.get_traces(), atol=2e-2)
    assert stages_on_device == {"band-pass": True}


def noisy_recording(blanks=False):
    """Two units on twelve channels, in units of noise; with blanks one channel is silent now and then."""
    spikes = [(sample, waveform(80.0, 10.0)) for sample in range(1000, 145000, 2000)]
    spikes += [(sample, waveform(160.0, 6.0, width=6.0)) for sample in range(1700, 145000, 2300)]
    recording = recording_with(spikes, duration_s=5.0)
    if blanks:
        recording.get_traces()[20000:22000, 4] = 0
        recording.get_traces()[60000:60300] = 0
    return recording


@pytest.mark.parametrize("peak_sign", ["neg", "pos", "both"])
@pytest.mark.parametrize("blanks", [False, True])
def test_peaks_are_those_of_the_processor(peak_sign, blanks, stages_on_device):
    recording, criteria = noisy_recording(blanks), DetectionCriteria(peak_sign=peak_sign, threshold=4.0)
    here, there = (detect_peaks(recording, criteria, job_kwargs=JOB, device=device) for device in ("cpu", TORCH_ON_CPU))
    assert stages_on_device == {"detect peaks": True}
    assert len(here) > 50
    places = ["segment_index", "sample_index", "channel_index", "amplitude"]
    np.testing.assert_array_equal(there[places], here[places])
    np.testing.assert_allclose(there["score"], here["score"], rtol=1e-4)


def test_the_largest_of_extrema_is_spikeinterfaces():
    # whole numbers, so that many are alike
    traces = np.random.default_rng(0).integers(-6, 7, size=(3000, 6)).astype("float32")
    near = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) <= 1
    samples, channels = detect_peaks_numba_locally_exclusive_on_chunk(traces, "neg", np.full(6, 3.0), 4, near)
    at = traces[1:-1]
    found = np.argwhere((at <= -3) & (at < traces[:-2]) & (at <= traces[2:])) + [1, 0]
    kept = largest_nearby(found[:, 0], found[:, 1], np.abs(traces[tuple(found.T)]), near, 4)
    kept &= (found[:, 0] >= 5) & (found[:, 0] < len(traces) - 5)
    assert 50 < kept.sum() < len(found) / 2
    np.testing.assert_array_equal(found[kept], np.column_stack([samples, channels]))


def whitened(shank, samples, labels, depths, displacement=None):
    templates = templates_for(shank.recording, samples, labels, depths, displacement, shank.motion)
    return whiten_templates(templates, shank.noise)


def assigned(shank, space, device):
    from dataclasses import replace

    return assign_spikes(replace(shank, device=device), space)


def assert_alike(here, there):
    assert len(here) > 100
    for name in ("segment_index", "sample_index", "unit_index", "shift"):
        np.testing.assert_array_equal(there[name], here[name])
    for name in ("amplitude", "gain", "confidence", "misfit"):
        np.testing.assert_allclose(there[name], here[name], rtol=2e-3, atol=1e-4)


@pytest.fixture(scope="module")
def still():
    recording, samples, labels, _ = two_units_apart()
    shank = shank_of(recording)
    return shank, whitened(shank, samples, labels, [80.0, 120.0])


@pytest.fixture(scope="module")
def moving():
    samples = np.arange(1000, 290000, 2000)
    displacement = 20.0 * samples / (10 * RATE)
    spikes = [(s, waveform(100.0 + d, 12.0)) for s, d in zip(samples, displacement, strict=True)]
    shank = shank_of(recording_with(spikes), MOVING)
    return shank, whitened(shank, samples, np.zeros(len(samples), int), [100.0], displacement)


@pytest.mark.parametrize("case", ["still", "moving"])
def test_spikes_are_those_of_the_processor(case, request, stages_on_device):
    shank, space = request.getfixturevalue(case)
    assert_alike(assigned(shank, space, "cpu"), assigned(shank, space, TORCH_ON_CPU))
    assert stages_on_device == {"assign spikes": True}


def test_batches_shrink_where_memory_is_short(still, caplog):
    shank, space = still
    n_channels = shank.recording.get_num_channels()
    # a second of all channels fits, and little more: not what the filters make of it
    n_values = int(1.3 * RATE) * n_channels
    here = detect_peaks(shank.recording, job_kwargs=JOB), assigned(shank, space, "cpu")
    with LittleMemory(n_values) as memory:
        peaks = detect_peaks(shank.recording, job_kwargs=JOB, device=TORCH_ON_CPU)
        assert memory.refused > 0
    np.testing.assert_array_equal(peaks["sample_index"], here[0]["sample_index"])
    on_cpu = partial(filter_both_ways, sections=sections_of(300.0))
    there = SectionsOnDevice(sections_of(300.0), on_cpu, TORCH_ON_CPU)
    traces = raw_traces(20000, 12)
    with LittleMemory(10 * 20000):
        filtered = there(traces)
    assert there.sizes == {"channels": 3} and not there.gave_up
    np.testing.assert_allclose(filtered, on_cpu(traces), atol=2e-3)
    assert not caplog.records


def test_what_does_not_fit_at_all_is_computed_on_the_processor(still, caplog):
    shank, space = still
    with LittleMemory(200_000) as memory, caplog.at_level(logging.WARNING, logger="spikeinterface_huidurep"):
        peaks = detect_peaks(shank.recording, job_kwargs=JOB, device=TORCH_ON_CPU)
        spikes = assigned(shank, space, TORCH_ON_CPU)
    assert memory.refused > 0
    np.testing.assert_array_equal(peaks, detect_peaks(shank.recording, job_kwargs=JOB))
    assert_alike(assigned(shank, space, "cpu"), spikes)
    # once a stage, not once a chunk
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "detect peaks" in said[0] and "assign spikes" in said[1]
    assert all("out of memory" in one for one in said)


def test_what_a_device_lacks_is_computed_on_the_processor_and_other_errors_are_raised(caplog):
    there = OnDevice(TORCH_ON_CPU, "stage")

    def fails(error):
        raise error

    assert there.attempt(fails, type, NotImplementedError("no such operator for MPS")) is NotImplementedError
    assert "no such operator" in caplog.text
    assert there.attempt(fails, type, RuntimeError("MPS backend out of memory")) is RuntimeError
    with pytest.raises(RuntimeError, match="shapes"):
        there.attempt(fails, type, RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("no"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_rows_are_worked_on_once_in_batches_that_fit(error):
    done, tried = [], []

    def work(rows):
        tried.append(rows.stop - rows.start)
        if rows.stop - rows.start > 30:
            raise error
        done.extend(range(rows.start, rows.stop))

    assert in_batches(slice(5, 205), 1000, work) == 25
    assert done == list(range(5, 205)) and tried == [200, 100, 50] + 8 * [25]
    with pytest.raises(type(error)):
        in_batches(slice(0, 4), 4, lambda rows: (_ for _ in ()).throw(error))


def test_a_device_that_is_not_there_is_named():
    for device in ("cuda", "cuda:3", "mps"):
        if device == "mps" and torch.backends.mps.is_available() or device != "mps" and torch.cuda.is_available():
            continue
        with pytest.raises(ValueError, match=f"device cannot be used: device '{device}' was asked for, but torch sees"):
            check_params({**DEFAULT_PARAMS, "device": device})
    with pytest.raises(ValueError, match="device must be"):
        check_params({**DEFAULT_PARAMS, "device": TORCH_ON_CPU})


def test_stages_take_the_device_that_the_parameter_means(monkeypatch):
    assert compute_device("cpu") == "cpu" and compute_device(TORCH_ON_CPU) == TORCH_ON_CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert compute_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [compute_device(name) for name in ("auto", "cuda:1")] == ["cuda", "cuda:1"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert compute_device("mps") == "mps" and choose_device("mps").type == "mps"


def test_jobs_on_a_gpu_are_threads(caplog):
    processes = dict(n_jobs=4, pool_engine="process", mp_context="spawn")
    assert jobs_on("cpu", processes) is processes
    with caplog.at_level(logging.INFO, logger="spikeinterface_huidurep"):
        assert jobs_on("cuda", processes) == dict(n_jobs=4, pool_engine="thread", mp_context=None)
    assert "threads" in caplog.text


def test_many_cores_filter_themselves():
    assert filters_on("cuda", dict(n_jobs=MANY_JOBS - 1)) == "cuda" == filters_on("cuda", {})
    assert filters_on("cuda", dict(n_jobs=MANY_JOBS)) == "cpu"


@pytest.mark.parametrize("dense_channels", [0, 1024])
def test_products_over_near_channels_are_those_of_the_processor(dense_channels, monkeypatch):
    monkeypatch.setattr(banded_torch, "DENSE_CHANNELS", dense_channels)
    rng = np.random.default_rng(0)
    order, place = rng.permutation(70), np.arange(70)
    matrix = np.zeros((70, 70))
    matrix[np.ix_(order, order)] = rng.normal(size=(70, 70)) * (np.abs(place[:, None] - place) <= 9)
    here = BandedMatrix(matrix, order)
    there = banded_torch.BandedOnDevice(here, OnDevice(TORCH_ON_CPU, "products"))
    traces = rng.normal(size=(200, 70)).astype("float32")
    expected = traces @ matrix[np.ix_(order, order)].astype("float32")
    for product in (here.of(traces), there.of(torch.from_numpy(traces)).numpy()):
        np.testing.assert_allclose(product, expected, atol=1e-4)
    np.testing.assert_allclose(there.transposed_of(torch.from_numpy(traces)).numpy(), expected.T, atol=1e-4)


def drifting():
    _, recording, _ = generate_drifting_recording(
        num_units=8, duration=20.0, seed=1,
        generate_probe_kwargs=dict(num_columns=2, num_contact_per_column=10, xpitch=32, ypitch=15),
        generate_displacement_vector_kwargs=dict(
            displacement_sampling_frequency=5.0, drift_start_um=[0, 10], drift_stop_um=[0, -10], drift_step_um=1,
            motion_list=[dict(drift_mode="zigzag", non_rigid_gradient=None, t_start_drift=2.0, t_end_drift=None,
                              period_s=20)],
        ),
    )  # fmt: skip
    return recording


def generated(n_channels, n_units, seed, durations=(12.0,)):
    recording, _ = sc.generate_ground_truth_recording(
        durations=list(durations), sampling_frequency=RATE, num_channels=n_channels, num_units=n_units, seed=seed
    )
    return recording


def shanks_with_blanks():
    recording = generated(16, 10, 5)
    traces = recording.get_traces().copy()
    traces[60000:66000] = 0
    traces[150000:150900, 3] = 0
    made = sc.NumpyRecording([traces], RATE)
    made.set_probe(recording.get_probe())
    rank = np.argsort(np.argsort(made.get_channel_locations()[:, 1], kind="stable"))
    made.set_property("group", rank // 8)
    return made


@pytest.mark.parametrize("make", [partial(generated, 4, 4, 0), drifting, shanks_with_blanks])
def test_whole_sorts_agree(make, stages_on_device):
    recording, trains = make(), []
    for device in ("cpu", TORCH_ON_CPU):
        params = {**DEFAULT_PARAMS, "device": device, "min_spikes": 10}
        spikes = sort_recording(recording, params, JOB).to_spike_vector()
        trains.append(set(zip(*(spikes[name].tolist() for name in ("sample_index", "unit_index")), strict=True)))
    here, there = trains
    assert len(here) > 200
    assert 2 * len(here & there) / (len(here) + len(there)) >= 0.99
    assert stages_on_device == {"band-pass": True, "detect peaks": True, "assign spikes": True}


def test_threads_share_a_device(stages_on_device):
    recording = noisy_recording()
    one, two = (
        detect_peaks(recording, job_kwargs={**JOB, "n_jobs": n_jobs, "pool_engine": "thread"}, device=TORCH_ON_CPU)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert stages_on_device == {"detect peaks": True}


def test_preprocessing_is_that_of_the_processor(tetrode_recording, stages_on_device):
    recording, _ = tetrode_recording
    here, there = (preprocess(recording, device=device) for device in ("cpu", TORCH_ON_CPU))
    np.testing.assert_allclose(there.get_traces(end_frame=50000), here.get_traces(end_frame=50000), atol=1e-3)
    assert stages_on_device == {"band-pass": True}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_spikes_of_the_processor(still):
    shank, space = still
    assert_alike(assigned(shank, space, "cpu"), assigned(shank, space, "cuda"))
    here, there = (detect_peaks(shank.recording, job_kwargs=JOB, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(there["sample_index"], here["sample_index"])
