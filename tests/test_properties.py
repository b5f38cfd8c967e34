"""Promises that hold for every recording: each is tried on recordings that hypothesis makes up."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import spikeinterface.full as si
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

few = settings(
    max_examples=2, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip

# tiny recordings: what varies is what the sorter must not depend on
recordings = st.fixed_dictionaries(
    {
        "num_channels": st.integers(4, 8),
        "sampling_frequency": st.sampled_from([20000.0, 24414.0625, 30000.0]),
        "durations": st.lists(st.floats(1.5, 2.5), min_size=1, max_size=2),
        "num_units": st.integers(1, 4),
        "seed": st.integers(0, 1000),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings must lie on disk to be sorted."""
    return tmp_path_factory.mktemp("properties")


def make(num_channels=6, sampling_frequency=30000.0, durations=(4.0,), num_units=3, seed=0):
    """A generated recording, in memory."""
    recording, _ = si.generate_ground_truth_recording(
        durations=list(durations), sampling_frequency=sampling_frequency, num_channels=num_channels,
        num_units=num_units, seed=seed,
        generate_sorting_kwargs=dict(firing_rates=(8.0, 20.0), refractory_period_ms=4.0),
        generate_unit_locations_kwargs=dict(margin_um=5.0, minimum_z=5.0, maximum_z=25.0, minimum_distance=18.0),
    )  # fmt: skip
    return recording


def with_traces(recording, traces, locations=None, channel_ids=None):
    """A recording in memory like another, of other traces, (n_samples, n_channels) for each segment."""
    made = si.NumpyRecording(
        list(traces),
        recording.sampling_frequency,
        channel_ids=recording.channel_ids if channel_ids is None else channel_ids,
    )
    made.set_dummy_probe_from_locations(recording.get_channel_locations() if locations is None else locations)
    made.set_channel_gains(1.0)
    made.set_channel_offsets(0.0)
    return made


def traces_of(recording):
    return [recording.get_traces(segment_index=index) for index in range(recording.get_num_segments())]


def sort(recording, folder, **params):
    """Sort with one job unless told otherwise, in a new folder that is removed."""
    here = Path(tempfile.mkdtemp(dir=folder))
    try:
        saved = recording.save(folder=here / "recording", verbose=False)
        params = {"n_jobs": 1, "min_spikes": 5, "device": "cpu", **params}
        sorting = si.run_sorter("huidurep", saved, folder=here / "sort", **params)
        return si.NumpySorting.from_sorting(sorting, with_metadata=True, copy_spike_vector=True)
    finally:
        shutil.rmtree(here, ignore_errors=True)


def assert_same_trains(a, b):
    np.testing.assert_array_equal(a.to_spike_vector(), b.to_spike_vector())


def shared_fraction(a, b, tolerance=2):
    """Fraction of all spikes of two Sortings that have a partner in the matching unit of the other."""
    assert len(a.unit_ids) > 0  # three neurons that fire so often are not missed: there is something to compare
    if len(b.unit_ids) == 0:
        return 0.0
    comparison = si.compare_two_sorters(a, b, delta_time=1000 * (tolerance + 0.5) / a.sampling_frequency)
    agreement = comparison.match_event_count.to_numpy()
    rows, columns = linear_sum_assignment(-agreement)
    total = a.count_total_num_spikes() + b.count_total_num_spikes()
    return 2 * agreement[rows, columns].sum() / total


@pytest.mark.filterwarnings("ignore:huidurep found no units")
@few
@given(
    recording=recordings,
    dtype=st.sampled_from(["float32", "float64", "int16", "uint16"]),
    threshold=st.floats(4.0, 8.0),
    censored=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_trains_are_sane(folder, recording, dtype, threshold, censored):
    made = make(**recording)
    offset = 30000 if dtype == "uint16" else 0
    limits = (0, 65000) if dtype == "uint16" else (-32000, 32000)
    traces = [np.clip(10 * t + offset, *limits).astype(dtype) for t in traces_of(made)]
    made = with_traces(made, traces)
    sorting = sort(made, folder, detect_threshold=threshold, censored_period_ms=censored)
    assert sorting.get_num_segments() == made.get_num_segments()
    vector = sorting.to_spike_vector()
    lengths = np.array([made.get_num_samples(i) for i in range(made.get_num_segments())])
    assert np.all(vector["sample_index"] >= 0)
    assert np.all(vector["sample_index"] < lengths[vector["segment_index"]])
    order = np.lexsort((vector["unit_index"], vector["sample_index"], vector["segment_index"]))
    np.testing.assert_array_equal(order, np.arange(len(vector)))
    for unit in sorting.unit_ids:
        for segment in range(len(lengths)):
            gaps = np.diff(sorting.get_unit_spike_train(unit, segment_index=segment))
            assert np.all(gaps > censored * 1e-3 * made.sampling_frequency - 1)
            assert np.all(gaps > 0)
    for name in sorting.get_property_keys():
        values = sorting.get_property(name)
        if values.dtype.kind == "f":
            assert np.all(np.isfinite(values)), name


@few
@given(recording=recordings)
def test_same_seed_same_result(folder, recording):
    made = make(**recording)
    one = sort(made, folder)
    assert_same_trains(sort(made, folder, n_jobs=None, job_kwargs=dict(n_jobs=2, pool_engine="thread")), one)
    assert_same_trains(sort(made, folder, n_jobs=None, job_kwargs=dict(n_jobs=1, chunk_duration="0.7s")), one)


@pytest.mark.slow
@settings(few, max_examples=2)
@given(recording=recordings)
def test_same_result_in_processes(folder, recording):
    """Workers that are spawned, as on Windows and macOS: each imports all that a sort needs, for each stage anew."""
    made = make(**recording)
    jobs = dict(n_jobs=2, pool_engine="process", mp_context="spawn")
    assert_same_trains(sort(made, folder, n_jobs=None, job_kwargs=jobs), sort(made, folder))


@few
@given(seed=st.integers(0, 1000), gain=st.sampled_from([0.25, 1.0, 4.0, 1024.0]), offset=st.sampled_from([0.0, -100.0]))
def test_gain_and_offset_change_nothing(folder, seed, gain, offset):
    made = make(seed=seed)
    other = with_traces(made, [gain * (t + offset) for t in traces_of(made)])
    assert shared_fraction(sort(made, folder), sort(other, folder)) >= 0.99


@few
@given(seed=st.integers(0, 1000), order=st.permutations(range(6)))
def test_order_of_the_channels_changes_nothing(folder, seed, order):
    made = make(seed=seed)
    order = np.array(order)
    other = with_traces(
        made,
        [t[:, order] for t in traces_of(made)],
        made.get_channel_locations()[order],
        made.channel_ids[order],
    )
    one, two = sort(made, folder), sort(other, folder)
    assert shared_fraction(one, two) >= 0.99
    assert sorted(one.get_property("main_channel_id")) == sorted(two.get_property("main_channel_id"))


@few
@given(seed=st.integers(0, 1000), shift=st.tuples(*[st.sampled_from([-4000.0, 0.0, 250.0, 8192.0])] * 2))
def test_place_of_the_probe_changes_nothing(folder, seed, shift):
    made = make(seed=seed)
    other = with_traces(made, traces_of(made), made.get_channel_locations() + np.array(shift))
    one, two = sort(made, folder), sort(other, folder)
    assert shared_fraction(one, two) >= 0.99
    if len(one.unit_ids) == len(two.unit_ids):
        np.testing.assert_allclose(two.get_property("y") - shift[1], one.get_property("y"), atol=1.0)


@few
@given(seed=st.integers(0, 1000), cut=st.floats(0.3, 0.7))
def test_cut_into_segments(folder, seed, cut):
    """At most 1 % of the spikes change."""
    made = make(durations=(5.0,), seed=seed)
    (traces,) = traces_of(made)
    at = int(cut * len(traces))
    two = sort(with_traces(made, [traces[:at], traces[at:]]), folder)
    parts = [si.select_segment_sorting(two, [index]) for index in range(2)]
    joined = si.concatenate_sortings(parts, total_samples_list=[at, len(traces) - at])
    assert shared_fraction(sort(made, folder), joined) >= 0.99


@few
@given(seeds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)))
def test_two_shanks_equal_each_alone(folder, seeds):
    shanks = [make(num_channels=4, num_units=2, seed=seed) for seed in seeds]
    alone = [sort(shank, folder) for shank in shanks]
    traces = np.concatenate([traces_of(shank)[0] for shank in shanks], axis=1)
    locations = np.concatenate([shanks[0].get_channel_locations(), shanks[1].get_channel_locations() + [400.0, 0.0]])
    both = with_traces(shanks[0], [traces], locations, [f"c{i}" for i in range(8)])
    both.set_property("group", np.repeat([0, 1], 4))
    together = sort(both, folder)
    for group, single in enumerate(alone):
        part = together.select_units(together.unit_ids[together.get_property("group") == group])
        assert len(part.unit_ids) == len(single.unit_ids)
        for mine, theirs in zip(part.unit_ids, single.unit_ids, strict=True):
            np.testing.assert_array_equal(part.get_unit_spike_train(mine), single.get_unit_spike_train(theirs))
