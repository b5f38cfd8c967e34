"""Shanks: recordings that were split or put together before, labels and units of any kind, contacts at one place."""

from __future__ import annotations

import numpy as np
import pytest
import spikeinterface.full as si
from probeinterface import Probe, ProbeGroup

from spikeinterface_huidurep.curation.traces import curation_traces

N_CONTACTS = 4
QUIET = dict(verbose=False, progress_bar=False)


@pytest.fixture(scope="module")
def saved(tetrode_recording, tmp_path_factory):
    """Two shanks of four channels, 400 um apart, in one area of the brain."""
    recording, _ = tetrode_recording
    traces = recording.get_traces(end_frame=180000)
    made = si.NumpyRecording([np.concatenate([traces, traces[::-1]], axis=1)], recording.sampling_frequency)
    places = recording.get_channel_locations()
    made.set_dummy_probe_from_locations(np.concatenate([places, places + [400.0, 0.0]]))
    made.set_channel_gains(1.0)
    made.set_channel_offsets(0.0)
    made.set_property("group", np.repeat([0, 1], N_CONTACTS))
    made.set_property("area", np.repeat("CA1", 2 * N_CONTACTS))
    return made.save(folder=tmp_path_factory.mktemp("shanks") / "recording", **QUIET)


@pytest.fixture(scope="module")
def expected(saved, tmp_path_factory):
    """What the two shanks are sorted into."""
    return sort(saved, tmp_path_factory.mktemp("expected"))


def sort(recording, folder, **params):
    return si.run_sorter("huidurep", recording, folder=folder / "sort", n_jobs=1, raise_error=True, **params)


def assert_same_units(sorting, expected):
    assert len(expected.unit_ids) >= 4
    np.testing.assert_array_equal(sorting.to_spike_vector(), expected.to_spike_vector())


def split_and_aggregated(recording, folder):
    return si.aggregate_channels(recording.split_by("group"))


def aggregated_and_saved(recording, folder):
    si.aggregate_channels(list(recording.split_by("group").values())).save(folder=folder / "made", **QUIET)
    return si.load(folder / "made")


@pytest.mark.parametrize("make", [split_and_aggregated, aggregated_and_saved])
def test_recordings_that_were_split_and_put_together(make, saved, expected, tmp_path):
    recording = make(saved, tmp_path)
    assert_same_units(sort(recording, tmp_path), expected)
    whole, again = curation_traces(saved), curation_traces(recording)
    np.testing.assert_array_equal(whole.get_traces(end_frame=3000), again.get_traces(end_frame=3000))


def test_a_part_of_a_recording_has_its_shanks(saved, expected, tmp_path):
    """All of the channels are of one area: the part is the whole."""
    assert_same_units(sort(saved.split_by("area")["CA1"], tmp_path), expected)
    sorting = si.run_sorter_by_property("huidurep", saved, "area", folder=tmp_path / "areas", n_jobs=1)
    assert_same_units(sorting, expected)


def test_labels_of_several_types(saved, expected, tmp_path):
    recording = saved.clone()
    recording.set_property("group", np.array([7] * N_CONTACTS + ["left"] * N_CONTACTS, dtype=object))
    sorting = sort(recording, tmp_path)
    assert_same_units(sorting, expected)
    assert set(sorting.get_property("group").tolist()) == {"7", "left"}
    assert curation_traces(recording).get_num_channels() == 2 * N_CONTACTS


def in_unit(recording, units):
    """The same contacts, on a probe for each of `units`, with interleaved channels where there are two."""
    factors = {"um": 1.0, "mm": 1e-3, "m": 1e-6}
    made = recording.clone()
    probes = ProbeGroup()
    for index, unit in enumerate(units):
        mine = np.arange(index, recording.get_num_channels(), len(units))
        probe = Probe(ndim=2, si_units=unit)
        probe.set_contacts(factors.get(unit, 1.0) * recording.get_channel_locations()[mine])
        probe.set_device_channel_indices(mine)
        probes.add_probe(probe)
    made.set_probegroup(probes, check_overlap=False)
    made.set_channel_groups(recording.get_channel_groups())
    return made


@pytest.mark.parametrize("units", [["mm"], ["m"], ["mm", "um"]], ids="-".join)
def test_units_of_the_probe(units, saved, expected, tmp_path):
    recording = in_unit(saved, units)
    sorting = sort(recording, tmp_path)
    assert_same_units(sorting, expected)
    for axis in "xy":
        np.testing.assert_allclose(sorting.get_property(axis), expected.get_property(axis), atol=1e-3)
    np.testing.assert_allclose(curation_traces(recording).get_channel_locations(), saved.get_channel_locations())


def test_an_unknown_unit_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="si_units are 'inch'; they must be um, mm, m"):
        sort(in_unit(saved, ["inch"]), tmp_path)
    assert not (tmp_path / "sort").exists()
