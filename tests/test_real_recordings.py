"""Real recordings, where they are to be had (HUIDUREP_DATA): no truth, but what is plausible."""

import logging

import numpy as np
import pytest
import spikeinterface.full as si
from probeinterface import generate_linear_probe, generate_tetrode


def with_probe(recording, probe):
    probe.set_device_channel_indices(np.arange(recording.get_num_channels()))
    recording.set_probe(probe)
    return recording


def test_locust_tetrode(huidurep_data, tmp_path, caplog):
    """About ten units are reported for this preparation; channel 3 is nearly silent."""
    trials = [
        si.read_binary(path, sampling_frequency=15000.0, dtype="int16", num_channels=4)
        for path in sorted((huidurep_data / "recordings" / "locust_tetrode").glob("*.raw"))
    ]
    recording = with_probe(si.append_recordings(trials), generate_tetrode())
    with caplog.at_level(logging.INFO, logger="spikeinterface_huidurep"):
        sorting = si.run_sorter("huidurep", recording, folder=tmp_path / "sort")
    assert sorting.get_num_segments() == 2
    assert 5 <= len(sorting.unit_ids) <= 15
    assert "nearly silent channel(s), kept: 3" in caplog.text
    violations = []
    for unit in sorting.unit_ids:
        intervals = [np.diff(sorting.get_unit_spike_train(unit, segment_index=segment)) for segment in range(2)]
        violations.append(np.mean(np.concatenate(intervals) < 0.002 * 15000))
    assert np.median(violations) < 0.01


def test_neuralynx_segments(huidurep_data, tmp_path):
    recording = si.read_neuralynx(huidurep_data / "recordings" / "neuralynx_csc5")
    recording = with_probe(recording, generate_linear_probe(num_elec=recording.get_num_channels(), ypitch=50))
    sorting = si.run_sorter("huidurep", recording, folder=tmp_path / "sort")
    assert sorting.get_num_segments() == 4
    counts = np.array([list(sorting.count_num_spikes_per_unit(outputs="array"))])
    assert counts.sum() > 100
    for unit in sorting.unit_ids:
        trains = [sorting.get_unit_spike_train(unit, segment_index=segment) for segment in range(4)]
        # units are the same across segments
        assert sum(len(train) > 0 for train in trains) >= 3


@pytest.mark.filterwarnings("ignore:huidurep found no units")
def test_a_fraction_of_a_second_of_384_channels(huidurep_data, tmp_path):
    folder = huidurep_data / "recordings" / "np_ultra_stub" / "p5_g0"
    recording = si.read_spikeglx(folder, stream_id="imec0.ap")
    sorting = si.run_sorter("huidurep", recording, folder=tmp_path / "sort")
    assert sorting.get_num_segments() == 1
