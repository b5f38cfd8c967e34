"""What a sort gives back: accurate units, sane trains, the same result every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import spikeinterface.full as si

from spikeinterface_huidurep.benchmark import RECORDINGS, get_recording
from spikeinterface_huidurep.parameters import MAX_ADAPTATION_STEPS


def generated(folder, num_channels, num_units, duration, seed=0):
    recording, truth = si.generate_ground_truth_recording(
        durations=[duration] if np.isscalar(duration) else duration,
        num_channels=num_channels,
        num_units=num_units,
        seed=seed,
        sampling_frequency=30000.0,
        generate_unit_locations_kwargs=dict(margin_um=5.0, minimum_z=5.0, maximum_z=25.0, minimum_distance=18.0),
        generate_sorting_kwargs=dict(firing_rates=(3.0, 12.0), refractory_period_ms=4.0),
    )
    return recording.save(folder=folder / "recording"), truth


def accuracy(truth, sorting):
    comparison = si.compare_sorter_to_ground_truth(truth, sorting, exhaustive_gt=True)
    return comparison.get_performance()["accuracy"].to_numpy(dtype=float)


def test_the_largest_neuron_of_a_tetrode_is_no_late_copy_of_one_that_fires_more(huidurep_data, tmp_path):
    """On four contacts the late phase of one neuron's spikes may look a little like the spikes of another."""
    settings = replace(RECORDINGS["short_tetrode_still"], seed=412)
    made = get_recording(settings, library_folder=huidurep_data / "templates", duration_s=120.0)
    sorting = si.run_sorter("huidurep", made.recording, folder=tmp_path / "sort", n_jobs=1, device="cpu")
    assert (accuracy(made.sorting, sorting) >= 0.8).sum() >= 9


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return generated(tmp_path_factory.mktemp("generated"), 8, 4, 20.0)


@pytest.fixture(scope="module")
def sorted_small(small, tmp_path_factory):
    return si.run_sorter("huidurep", small[0], folder=tmp_path_factory.mktemp("small") / "sort", n_jobs=1)


@pytest.mark.parametrize(
    ("num_channels", "num_units", "duration"),
    [(4, 3, 30.0), (32, 10, 30.0), pytest.param(64, 20, 40.0, marks=pytest.mark.slow)],
)
def test_generated_units_are_found(num_channels, num_units, duration, tmp_path):
    recording, truth = generated(tmp_path, num_channels, num_units, duration, seed=1)
    sorting = si.run_sorter("huidurep", recording, folder=tmp_path / "sort")
    assert accuracy(truth, sorting).mean() >= 0.85


def test_trains_and_properties(small, sorted_small):
    recording, _ = small
    sorting = sorted_small
    assert len(sorting.unit_ids) > 0
    assert set(sorting.get_property("main_channel_id")) <= set(recording.channel_ids)
    for name in ("x", "y", "snr", "amplitude", "confidence"):
        assert np.all(np.isfinite(sorting.get_property(name)))
    for unit, count in zip(sorting.unit_ids, sorting.get_property("num_spikes"), strict=True):
        train = sorting.get_unit_spike_train(unit)
        assert len(train) == count
        assert train[0] >= 0
        assert train[-1] < recording.get_num_samples()
        # the censored period is 0.5 ms
        assert np.diff(train).min() > 0.5e-3 * recording.sampling_frequency


def test_each_spike_has_a_confidence_and_each_unit_a_quality(sorted_small, tmp_path_factory):
    found = list(tmp_path_factory.getbasetemp().glob("small[0-9]*/sort/sorter_output/spike_confidence.npy"))
    assert len(found) == 1
    confidence = np.load(found[0])
    vector = sorted_small.to_spike_vector()
    assert len(confidence) == len(vector)
    assert 0 < confidence.min() <= confidence.max() <= 1
    for index, mean in enumerate(sorted_small.get_property("confidence")):
        assert confidence[vector["unit_index"] == index].mean() == pytest.approx(mean, rel=1e-4)
    assert set(sorted_small.get_property("quality")) <= {"good", "mua", "noise"}


def test_spike_times_are_exact(small, sorted_small):
    # the sort looks at every other sample only; a unit's centre may lie beside its trough, always by as much
    _, truth = small
    comparison = si.compare_sorter_to_ground_truth(truth, sorted_small, exhaustive_gt=True)
    errors = []
    for unit, match in comparison.hungarian_match_12.items():
        if match == -1:
            continue
        true, found = truth.get_unit_spike_train(unit), sorted_small.get_unit_spike_train(match)
        nearest = true[np.abs(found[:, None] - true[None]).argmin(axis=1)]
        late = found - nearest
        late = late[np.abs(late) <= 12]
        errors.append(late - np.median(late))
    errors = np.concatenate(errors)
    assert len(errors) > 300
    assert np.mean(np.abs(errors) <= 1) > 0.95
    # all of them even, or all of them odd, would be the coarse clock's
    assert 0.3 < np.mean(sorted_small.to_spike_vector()["sample_index"] % 2) < 0.7


@pytest.mark.parametrize("job_kwargs", [dict(n_jobs=2, pool_engine="thread"), dict(n_jobs=2, pool_engine="process")])
def test_same_result_whatever_the_workers(small, sorted_small, job_kwargs, tmp_path):
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    again = si.run_sorter("huidurep", small[0], folder=tmp_path / "sort", job_kwargs=job_kwargs)
    np.testing.assert_array_equal(again.to_spike_vector(), sorted_small.to_spike_vector())
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_dtype_gain_and_offset_do_not_matter(small, sorted_small, tmp_path):
    recording, truth = small
    traces = recording.get_traces()
    counts = np.round(traces * 20 + 3000).clip(0, 65535).astype("uint16")
    integer = si.NumpyRecording([counts], recording.sampling_frequency, channel_ids=recording.channel_ids)
    integer.set_probe(recording.get_probe())
    integer = integer.save(folder=tmp_path / "recording")
    sorting = si.run_sorter("huidurep", integer, folder=tmp_path / "sort", n_jobs=1)
    assert len(sorting.unit_ids) == len(sorted_small.unit_ids)
    assert np.abs(accuracy(truth, sorting) - accuracy(truth, sorted_small)).max() < 0.03


@pytest.mark.parametrize(
    ("dtype", "offset"), [("uint64", 2**15), ("uint64", 2**63), ("int64", 2**40), ("float64", 1e11)]
)
def test_wide_types_with_offsets_do_not_matter(dtype, offset, small, sorted_small, tmp_path):
    """Single precision does not hold such an offset beside the spikes."""
    recording, _ = small
    counts = np.round(recording.get_traces() * 20).astype("int64")
    wide = counts + offset if np.dtype(dtype).kind == "f" else np.array(offset).astype(dtype) + counts.astype(dtype)
    made = si.NumpyRecording([wide.astype(dtype)], recording.sampling_frequency, channel_ids=recording.channel_ids)
    made.set_probe(recording.get_probe())
    made = made.save(folder=tmp_path / "recording")
    sorting = si.run_sorter("huidurep", made, folder=tmp_path / "sort", n_jobs=1)
    assert len(sorting.unit_ids) == len(sorted_small.unit_ids)
    agreement = si.compare_two_sorters(sorted_small, sorting).agreement_scores.to_numpy()
    assert agreement.max(axis=1).min() > 0.95


@pytest.mark.parametrize("gains", [(0.195, 0.195, 2.34), (-0.195, -0.195), (0.195, -0.195)], ids=str)
def test_gains_that_differ_or_turn_over_do_not_matter(gains, small, sorted_small, tmp_path):
    """The traces in uV are the same, whatever the counts are."""
    recording, _ = small
    gain = np.resize(gains, recording.get_num_channels())
    counts = np.rint((recording.get_traces() - 100.0) / gain).astype("int16")
    made = si.NumpyRecording([counts], recording.sampling_frequency, channel_ids=recording.channel_ids)
    made.set_probe(recording.get_probe())
    made.set_channel_gains(gain)
    made.set_channel_offsets(100.0)
    made = made.save(folder=tmp_path / "recording")
    sorting = si.run_sorter("huidurep", made, folder=tmp_path / "sort", n_jobs=1)
    assert len(sorting.unit_ids) == len(sorted_small.unit_ids)
    agreement = si.compare_two_sorters(sorted_small, sorting).agreement_scores.to_numpy()
    assert agreement.max(axis=1).min() > 0.9
    expected = sorted_small.get_property("amplitude")
    np.testing.assert_allclose(np.sort(sorting.get_property("amplitude")), np.sort(expected), rtol=0.1)


def test_lazy_preprocessing_is_computed_once(small, sorted_small, tmp_path, monkeypatch):
    """... and a few chunks more, for the noise; what is stored is read from where it lies."""
    recording, _ = small
    segment = type(si.bandpass_filter(recording).segments[0])
    read, get_traces = [], segment.get_traces

    def counted(self, start_frame, end_frame, channel_indices):
        read.append(end_frame - start_frame)
        return get_traces(self, start_frame, end_frame, channel_indices)

    monkeypatch.setattr(segment, "get_traces", counted)
    lazy = si.bandpass_filter(recording, 300.0, 6000.0)
    params = dict(apply_preprocessing=False, n_jobs=1)
    once = si.run_sorter("huidurep", lazy, folder=tmp_path / "lazy", **params)
    assert sum(read) < 2.5 * recording.get_num_samples()
    saved = lazy.save(folder=tmp_path / "recording")
    again = si.run_sorter("huidurep", saved, folder=tmp_path / "saved", **params)
    np.testing.assert_array_equal(once.to_spike_vector(), again.to_spike_vector())
    text = (tmp_path / "saved" / "sorter_output" / "huidurep.log").read_text(encoding="utf8")
    assert "cache traces" not in text and not list((tmp_path / "lazy").rglob("huidurep_traces_*"))


def test_positive_peaks_are_the_mirror_image(small, sorted_small, tmp_path):
    recording, _ = small
    inverted = si.scale(recording, gain=-1.0)
    sorting = si.run_sorter("huidurep", inverted, folder=tmp_path / "sort", n_jobs=1, peak_sign="pos")
    agreement = si.compare_two_sorters(sorted_small, sorting).agreement_scores.to_numpy()
    assert len(sorting.unit_ids) == len(sorted_small.unit_ids)
    assert agreement.max(axis=1).min() > 0.95


def test_segments_share_their_units(tmp_path):
    recording, truth = generated(tmp_path, 8, 4, [15.0, 15.0], seed=2)
    sorting = si.run_sorter("huidurep", recording, folder=tmp_path / "sort")
    assert sorting.get_num_segments() == 2
    assert accuracy(truth, sorting).mean() >= 0.8


def test_shanks_are_sorted_by_themselves(small, sorted_small, tmp_path):
    recording, _ = small
    other = recording.rename_channels([f"b{i}" for i in range(recording.get_num_channels())])
    other.set_dummy_probe_from_locations(recording.get_channel_locations() + [500.0, 0.0])
    both = si.aggregate_channels([recording, other])
    both.set_property("group", np.repeat([0, 1], recording.get_num_channels()))
    sorting = si.run_sorter("huidurep", both, folder=tmp_path / "sort", n_jobs=1)
    groups = sorting.get_property("group")
    assert len(sorting.unit_ids) == 2 * len(sorted_small.unit_ids)
    for group in (0, 1):
        units = sorting.unit_ids[groups == group]
        for mine, theirs in zip(units, sorted_small.unit_ids, strict=True):
            np.testing.assert_array_equal(sorting.get_unit_spike_train(mine), sorted_small.get_unit_spike_train(theirs))


@pytest.mark.parametrize(("num_channels", "rate"), [(1, 30000.0), (2, 10000.0), (5, 50000.0)])
def test_few_channels_and_other_rates(num_channels, rate, tmp_path):
    recording, truth = si.generate_ground_truth_recording(
        durations=[20.0],
        num_channels=num_channels,
        num_units=1,
        seed=3,
        sampling_frequency=rate,
        generate_unit_locations_kwargs=dict(margin_um=2.0, minimum_z=5.0, maximum_z=15.0),
    )
    recording = recording.save(folder=tmp_path / "recording")
    sorting = si.run_sorter("huidurep", recording, folder=tmp_path / "sort")
    assert accuracy(truth, sorting).max() >= 0.8


def test_a_segment_without_spikes_is_kept(small, tmp_path):
    recording, truth = small
    quiet = si.generate_recording(num_channels=8, durations=[2.0], seed=0)
    quiet = si.NumpyRecording([0 * quiet.get_traces()], recording.sampling_frequency, channel_ids=recording.channel_ids)
    quiet.set_probe(recording.get_probe())
    both = si.append_recordings([recording, quiet]).save(folder=tmp_path / "recording")
    sorting = si.run_sorter("huidurep", both, folder=tmp_path / "sort")
    assert sorting.get_num_segments() == 2
    assert sorting.count_total_num_spikes() > 0


def test_intermediate_arrays_are_saved(small, tmp_path):
    folder = tmp_path / "sort"
    si.run_sorter("huidurep", small[0], folder=folder, save_intermediate=True)
    saved = {path.name for path in (folder / "sorter_output" / "intermediate").iterdir()}
    assert {"peaks.npy", "embedding.npy", "labels.npy", "templates.npy", "timings.json"} <= saved


def test_an_adapted_encoder_sorts_as_well_and_the_same_twice(tmp_path, monkeypatch):
    """What so few steps change is taken whatever the check says of it."""
    from spikeinterface_huidurep.encoder import adaptation

    assert adaptation._MAX_STEPS == MAX_ADAPTATION_STEPS
    adapt, adapted = adaptation.adapt, []

    def adapt_anyway(encoder, templates, sites, rate, nbefore, config):
        changed = replace(config, batch_size=16, episodes=2, margin=-1.0)
        adapted.append(adapt(encoder, templates, sites, rate, nbefore, changed))
        return adapted[-1]

    monkeypatch.setattr(adaptation, "adapt", adapt_anyway)
    recording, truth = generated(tmp_path, 16, 8, 30.0)
    plain = si.run_sorter("huidurep", recording, folder=tmp_path / "plain", n_jobs=1)
    sortings = [
        si.run_sorter("huidurep", recording, folder=tmp_path / name, n_jobs=1, adaptation_steps=4)
        for name in ("once", "twice")
    ]
    assert len(adapted) == 2 and all(one.kept for one in adapted)
    assert np.array_equal(sortings[0].to_spike_vector(), sortings[1].to_spike_vector())
    assert accuracy(truth, sortings[0]).mean() > accuracy(truth, plain).mean() - 0.05
