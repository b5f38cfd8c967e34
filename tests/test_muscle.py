"""Muscle: potentials of 4 to 6 ms on contacts 200 um apart are sorted with the set of parameters for them."""

import numpy as np
import pytest
import spikeinterface.core as sc
from probeinterface import generate_linear_probe
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep.parameters import DEFAULT_PARAMS, MUSCLE_PARAMS
from spikeinterface_huidurep.sort import sort_recording
from spikeinterface_huidurep.stages.traces.rescaling import RescaledRecording, rescale

RATE, SECONDS, PITCH_UM = 30_000.0, 15.0, 200.0
BEFORE, AFTER = 100, 220
JOB = dict(n_jobs=1, progress_bar=False)


def potential(width_ms):
    """A trough with a peak on either side, as long as ten times its width, (n_samples,)."""
    time = np.arange(-BEFORE, AFTER) / RATE * 1000 / width_ms
    late, early = np.exp(-(((time - 2.2) / 1.3) ** 2) / 2), np.exp(-((time + 1.8) ** 2) / 2)
    return -np.exp(-(time**2) / 2) + 0.6 * late + 0.3 * early


def with_probe(traces):
    """A recording of segments of traces (n_samples, n_channels), in uV."""
    recording = sc.NumpyRecording(traces, RATE)
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    n_channels = recording.get_num_channels()
    probe = generate_linear_probe(n_channels, ypitch=PITCH_UM)
    probe.set_device_channel_indices(np.arange(n_channels))
    recording.set_probe(probe)
    return recording


def muscle(seed, n_units, n_channels):
    """Motor units that fire 8 to 20 times a second, the last of which is turned over: (recording, truth)."""
    generator = np.random.default_rng(seed)
    traces = generator.normal(0, 8, (int(RATE * SECONDS), n_channels)).astype("float32")
    trains = {}
    for unit in range(n_units):
        place = (n_channels - 1) * (unit + 0.5) / n_units
        footprint = np.exp(-((np.arange(n_channels) - place) ** 2) / generator.uniform(1, 3))
        size = generator.uniform(60, 250) * footprint * (-1 if unit == n_units - 1 else 1)
        waveform = potential(generator.uniform(0.5, 0.9))[:, None] * size
        spikes = np.cumsum(generator.gamma(12, 1 / 12 / generator.uniform(8, 20), 1000))
        trains[str(unit)] = (spikes[(spikes > 0.1) & (spikes < SECONDS - 0.1)] * RATE).astype(int)
        for spike in trains[str(unit)]:
            traces[spike - BEFORE : spike + AFTER] += waveform
    return with_probe([traces]), sc.NumpySorting.from_unit_dict([trains], RATE)


@pytest.mark.parametrize(("seed", "n_units", "n_channels"), [(1, 3, 4), (2, 4, 4), (3, 4, 6)])
def test_motor_units_are_found(seed, n_units, n_channels, tmp_path):
    recording, truth = muscle(seed, n_units, n_channels)
    recording = recording.save(folder=tmp_path / "recording")
    sorting = run_sorter("huidurep", recording, folder=tmp_path / "sort", **MUSCLE_PARAMS)
    comparison = compare_sorter_to_ground_truth(truth, sorting, exhaustive_gt=True, delta_time=2.0)
    accuracy = comparison.get_performance()["accuracy"].astype(float)
    assert (accuracy >= 0.8).sum() == n_units
    assert len(sorting.unit_ids) <= n_units + 1
    # on the recording's own clock and probe
    assert sorting.sampling_frequency == RATE
    channels = recording.ids_to_indices(sorting.get_property("main_channel_id"))
    places = np.column_stack([sorting.get_property("x"), sorting.get_property("y")])
    apart = np.linalg.norm(places - recording.get_channel_locations()[channels], axis=1)
    assert np.all(apart < PITCH_UM)


def test_rescaled_traces_are_those_of_the_recording():
    recording, _ = muscle(1, 1, 3)
    rescaled, step = rescale(recording, 4.0, 4.0, freq_max=1500.0)
    assert step == 4 and rescaled.sampling_frequency == RATE
    traces = recording.get_traces()
    np.testing.assert_array_equal(rescaled.get_traces(), traces[::4])
    np.testing.assert_array_equal(rescaled.get_traces(start_frame=101, end_frame=207), traces[404:828:4])
    np.testing.assert_allclose(rescaled.get_channel_locations(), recording.get_channel_locations() / 4)
    # of a number of samples that the step does not divide the last is there, too
    odd = RescaledRecording(recording.frame_slice(0, 1001), 4.0, 1.0, step=4)
    np.testing.assert_array_equal(odd.get_traces(), traces[:1001:4])


def test_nothing_is_left_out_or_rescaled_without_need():
    recording, _ = muscle(1, 1, 3)
    assert rescale(recording, 1.0, 1.0, freq_max=12000.0) == (recording, 1)
    assert rescale(recording, 1.0, 1.0, freq_max=6000.0)[1] == 2
    # traces that were filtered before may have any frequency
    assert rescale(recording, 1.0, 1.0, freq_max=None) == (recording, 1)
    assert rescale(recording, 4.0, 1.0, freq_max=None)[1] == 1
    assert rescale(recording, 4.0, 1.0, freq_max=6000.0)[1] == 2
    assert rescale(recording, 4.0, 1.0, freq_max=1500.0)[1] == 4


@pytest.mark.filterwarnings("ignore:huidurep found no units")
def test_recordings_without_units_keep_their_clock():
    noise = np.random.default_rng(0).normal(0, 8, (int(2 * RATE), 3)).astype("float32")
    sorting = sort_recording(with_probe([noise, noise]), {**DEFAULT_PARAMS, **MUSCLE_PARAMS}, JOB)
    assert len(sorting.unit_ids) == 0 and sorting.get_num_segments() == 2
    assert sorting.sampling_frequency == RATE
