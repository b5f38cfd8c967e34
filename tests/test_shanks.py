"""Shanks: recordings that were split or put together before, labels and units of any kind, contacts at one place."""

from __future__ import annotations

import numpy as np
import pytest
import spikeinterface.full as si
from probeinterface import Probe, ProbeGroup, generate_tetrode

from spikeinterface_huidurep import make_analyzer
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


def at(recording, places, **contacts):
    """The recording with its contacts at other places, on a plane or in space, on one probe with the same groups."""
    probe = Probe(ndim=places.shape[1], si_units="um")
    if probe.ndim == 3:
        contacts["plane_axes"] = np.repeat(np.eye(3)[None, [0, 2]], len(places), axis=0)
    probe.set_contacts(places, **contacts)
    probe.set_device_channel_indices(np.arange(len(places)))
    made = recording.clone()
    made.set_probe(probe)
    made.set_channel_groups(recording.get_channel_groups())
    return made


def both_sides(recording):
    """The second shank is the back of the first."""
    places = recording.get_channel_locations()
    places[N_CONTACTS:] = places[:N_CONTACTS]
    return at(recording, places, contact_sides=np.repeat(["front", "back"], N_CONTACTS))


@pytest.fixture(scope="module")
def back_to_back(saved, tmp_path_factory):
    """A recording of two groups at one place, and what it is sorted into."""
    recording = both_sides(saved)
    return recording, sort(recording, tmp_path_factory.mktemp("back"))


def test_two_groups_at_one_place(back_to_back, expected, tmp_path):
    recording, sorting = back_to_back
    assert_same_units(sorting, expected)
    np.testing.assert_allclose(sorting.get_property("y"), expected.get_property("y"), atol=1e-3)
    assert sorting.get_property("x").max() < 100
    # each in local coordinates, as probes of their own
    probes = ProbeGroup()
    for index in range(2):
        probe = generate_tetrode()
        probe.set_device_channel_indices(np.arange(N_CONTACTS) + N_CONTACTS * index)
        probes.add_probe(probe)
    local = recording.clone()
    local.set_probegroup(probes, check_overlap=False)
    assert len(sort(local, tmp_path).unit_ids) == len(expected.unit_ids)


def test_an_analyzer_has_groups_at_one_place_side_by_side(back_to_back):
    recording, sorting = back_to_back
    analyzer = make_analyzer(sorting, recording, suggest=False, n_jobs=1)
    x = analyzer.get_extension("unit_locations").get_data()[:, 0]
    assert x[sorting.get_property("group") == 0].max() + 300 < x[sorting.get_property("group") == 1].min()
    channels = analyzer.sparsity.unit_id_to_channel_ids
    groups = dict(zip(recording.channel_ids, recording.get_channel_groups(), strict=True))
    for unit, group in zip(sorting.unit_ids, sorting.get_property("group"), strict=True):
        assert {groups[channel] for channel in channels[unit]} == {group}


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)], ids=["xy", "xz", "yz"])
def test_contacts_in_any_plane(plane, saved, expected, tmp_path):
    places = np.full((2 * N_CONTACTS, 3), 7.0)
    places[:, plane] = saved.get_channel_locations()
    recording = at(saved, places)
    sorting = sort(recording, tmp_path)
    assert_same_units(sorting, expected)
    np.testing.assert_allclose(sorting.get_property("y"), expected.get_property("y"), atol=1e-3)
    np.testing.assert_array_equal(curation_traces(recording).get_channel_locations(), saved.get_channel_locations())


def test_what_cannot_be_told_apart_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="sort_by_group=False needs groups at different places"):
        sort(both_sides(saved), tmp_path, sort_by_group=False)
    one = both_sides(saved)
    one.set_channel_groups(np.repeat("a", 2 * N_CONTACTS))
    with pytest.raises(ValueError, match="2 channels of group 'a' share one location: give .* its own value of"):
        sort(one, tmp_path)
    assert not (tmp_path / "sort").exists()
