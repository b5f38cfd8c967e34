"""Whatever SpikeInterface's own lazy operations do to a recording on the way, its units are those of the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import spikeinterface.full as si
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SORT = dict(n_jobs=1, min_spikes=5, device="cpu")
RATE = 30000.0
quiet = dict(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """4 s of two groups of 6 channels each, 300 um apart, int16, on disk."""
    halves = []
    for seed in (3, 5):
        made, _ = si.generate_ground_truth_recording(
            durations=[4.0], sampling_frequency=RATE, num_channels=6, num_units=3, seed=seed,
            generate_sorting_kwargs=dict(firing_rates=(8.0, 20.0), refractory_period_ms=4.0),
        )  # fmt: skip
        halves.append(np.rint(made.get_traces() / 0.195).astype("int16"))
        places = made.get_channel_locations()
    recording = si.NumpyRecording([np.hstack(halves)], RATE)
    recording.set_dummy_probe_from_locations(np.vstack([places, places + [300.0, 0.0]]))
    recording.set_channel_groups([0] * 6 + [1] * 6)
    recording.set_channel_gains(0.195)
    recording.set_channel_offsets(0.0)
    folder = tmp_path_factory.mktemp("lazy")
    return recording.save(folder=folder / "plain", verbose=False, progress_bar=False), folder


@pytest.fixture(scope="module")
def expected(plain):
    """The units of the plain recording."""
    recording, folder = plain
    return si.run_sorter("huidurep", recording, folder=folder / "expected", **SORT)


def cut_and_joined(recording, folder):
    middle, n_samples = recording.get_num_samples() // 3, recording.get_num_samples()
    return si.concatenate_recordings([recording.frame_slice(0, middle), recording.frame_slice(middle, n_samples)])


def appended_and_chosen(recording, folder):
    return si.append_recordings([recording.frame_slice(0, 30000), recording]).select_segments([1])


def split_and_aggregated(recording, folder):
    if "split_by_property" in recording.get_annotation_keys():
        return recording  # SpikeInterface itself splits a recording only once
    return si.aggregate_channels(list(recording.split_by("group").values()))


def parts_of_the_channels(recording, folder):
    n = recording.get_num_channels() // 2
    ids = recording.channel_ids
    return si.aggregate_channels([recording.select_channels(ids[:n]), recording.select_channels(ids[n:])])


def cast(recording, folder):
    return si.astype(recording, "float32")


def scaled(recording, folder):
    return si.scale(recording, gain=2.0, offset=0.0, dtype="float32")


def with_an_offset(recording, folder):
    return si.scale(recording, gain=1.0, offset=500.0, dtype="float32")


def on_another_clock(recording, folder):
    recording = recording.clone()
    times = 100.0 + np.arange(recording.get_num_samples()) / RATE
    times[len(times) // 2 :] += 3600.0
    recording.set_times(times)
    return recording


def saved(recording, folder):
    return recording.save(folder=folder / f"saved_{len(list(folder.iterdir()))}", verbose=False, progress_bar=False)


def saved_as_zarr(recording, folder):
    path = folder / f"saved_{len(list(folder.iterdir()))}.zarr"
    return recording.save(folder=path, format="zarr", verbose=False, progress_bar=False)


def from_a_dictionary(recording, folder):
    return si.load(recording.to_dict(recursive=True, include_properties=True, include_annotations=True))


OPERATIONS = (
    cut_and_joined, appended_and_chosen, split_and_aggregated, parts_of_the_channels, cast, scaled, with_an_offset,
    on_another_clock, saved, saved_as_zarr, from_a_dictionary,
)  # fmt: skip
several = st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=5)


def assert_the_same_units(plain, expected, operations, folder):
    recording = plain
    for operation in operations:
        recording = operation(recording, folder)
    sorting = si.run_sorter("huidurep", recording, folder=folder / "sort", remove_existing_folder=True, **SORT)
    assert sorted(sorting.get_property("group").tolist()) == sorted(expected.get_property("group").tolist())
    found, wanted = sorting.to_spike_vector(), expected.to_spike_vector()
    same = np.intersect1d(found["sample_index"], wanted["sample_index"]).size
    # rounding of floats may move a spike at the threshold
    assert same >= 0.99 * max(len(np.unique(found["sample_index"])), len(np.unique(wanted["sample_index"])))
    comparison = si.compare_two_sorters(expected, sorting, delta_time=0.1)
    scores = comparison.agreement_scores.to_numpy()
    assert (scores.max(axis=1) > 0.98).all(), scores


@settings(max_examples=3, **quiet)
@given(operations=several)
def test_some_operations_change_no_unit(plain, expected, operations, tmp_path_factory):
    assert_the_same_units(plain[0], expected, operations, tmp_path_factory.mktemp("some"))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_each_operation_changes_no_unit(plain, expected, operation, tmp_path):
    assert_the_same_units(plain[0], expected, [operation], tmp_path)


@pytest.mark.slow
@settings(max_examples=45, **quiet)
@given(operations=several)
def test_many_operations_change_no_unit(plain, expected, operations, tmp_path_factory):
    assert_the_same_units(plain[0], expected, operations, tmp_path_factory.mktemp("many"))
