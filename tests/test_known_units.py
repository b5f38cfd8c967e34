"""Sorting with known units: neurons keep their ids over sessions, others get new ones, and nothing is forced."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import spikeinterface.full as si
from session_helpers import FIRST, RATE, SECOND, probe_of, session
from spikeinterface.sorters.utils import SpikeSortingError

from spikeinterface_huidurep import resume
from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.known_units import FILE, read_known_units

MOVED, GAINS = 20.0, (1.0, 1.0, 0.8, 1.2, 0.85, 1.15, 1.0, 1.0)


def sort(recording, folder, **params):
    return si.run_sorter("huidurep", recording, folder=folder, n_jobs=1, device="cpu", **params)


def matched(truth, sorting):
    """Unit of each true neuron, and the accuracies."""
    comparison = si.compare_sorter_to_ground_truth(truth, sorting, exhaustive_gt=True)
    accuracy = comparison.get_performance()["accuracy"].astype(float)
    found = comparison.hungarian_match_12
    return {neuron: int(found[neuron]) for neuron in truth.unit_ids if accuracy[neuron] > 0.8}, accuracy


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """Recordings and truths: day one, and day two, when the probe has moved and amplitudes have changed."""
    folder = tmp_path_factory.mktemp("sessions")
    made = [session(FIRST, seed=1), session(SECOND, moved=MOVED, gains=GAINS, seed=2)]
    return [(recording.save(folder=folder / f"day_{day}"), truth) for day, (recording, truth) in enumerate(made)]


@pytest.fixture(scope="module")
def first(sessions, tmp_path_factory):
    """Folder and Sorting of day one."""
    folder = tmp_path_factory.mktemp("first") / "sort"
    return folder, sort(sessions[0][0], folder)


@pytest.fixture(scope="module")
def second(sessions, first, tmp_path_factory):
    """Folder and Sorting of day two, which starts from the units of day one."""
    folder = tmp_path_factory.mktemp("second") / "sort"
    return folder, sort(sessions[1][0], folder, known_units=first[0])


def test_neurons_keep_their_ids_though_the_probe_has_moved(sessions, first, second):
    before, _ = matched(sessions[0][1], first[1])
    now, accuracy = matched(sessions[1][1], second[1])
    stay = [neuron for neuron in SECOND if neuron in FIRST]
    assert set(before) >= set(stay)
    assert {neuron: now.get(neuron) for neuron in stay} == {neuron: before[neuron] for neuron in stay}
    assert accuracy.mean() > 0.9
    assert "moved by 2" in (second[0] / "sorter_output" / "huidurep.log").read_text()


def test_gone_neurons_have_no_unit_and_new_ones_get_new_ids(sessions, first, second):
    before, _ = matched(sessions[0][1], first[1])
    now, _ = matched(sessions[1][1], second[1])
    sorting = second[1]
    gone = {before[neuron] for neuron in FIRST if neuron not in SECOND}
    assert not gone & set(sorting.unit_ids.tolist())
    new = [now[neuron] for neuron in SECOND if neuron not in FIRST]
    assert min(new) > max(first[1].unit_ids)
    known = dict(zip(sorting.unit_ids.tolist(), sorting.get_property("known").tolist(), strict=True))
    assert known == {unit: unit <= max(first[1].unit_ids) for unit in known}


def test_a_sort_without_known_units_says_nothing_of_them(first):
    assert "known" not in first[1].get_property_keys()
    assert first[1].unit_ids.tolist() == list(range(len(first[1].unit_ids)))


def test_a_neuron_that_was_gone_for_a_day_has_its_name_again(sessions, first, second, tmp_path):
    recording, truth = session([0, 3, 4], moved=MOVED / 2, seed=3)
    third = sort(recording.save(folder=tmp_path / "recording"), tmp_path / "sort", known_units=second[0])
    before, _ = matched(sessions[0][1], first[1])
    now, _ = matched(truth, third)
    assert now == {neuron: before[neuron] for neuron in (0, 3, 4)}


def test_new_ids_are_never_those_of_a_neuron_that_is_gone(second, first):
    (known,) = read_known_units(second[0])
    assert known.next_id == max(second[1].unit_ids) + 1
    assert set(known.unit_ids) == {*first[1].unit_ids, *second[1].unit_ids}


def test_only_known_units_are_looked_for_on_request(sessions, first, tmp_path):
    recording, truth = session([2, 3], moved=MOVED, seed=4)
    recording = recording.save(folder=tmp_path / "recording")
    found = sort(recording, tmp_path / "sort", known_units=first[0], find_new_units=False)
    before, _ = matched(sessions[0][1], first[1])
    now, _ = matched(truth, found)
    assert now == {neuron: before[neuron] for neuron in (2, 3)}
    assert set(found.unit_ids) == set(now.values())


def test_a_silent_channel_is_no_other_probe(sessions, first, tmp_path):
    recording, truth = sessions[1]
    dead = si.scale(recording, gain=np.where(np.arange(20) == 9, 0.0, 1.0), dtype="float32")
    found = sort(dead, tmp_path / "sort", known_units=first[0])
    before, _ = matched(sessions[0][1], first[1])
    now, _ = matched(truth, found)
    assert sum(now.get(neuron) == before[neuron] for neuron in (2, 3, 4, 5)) >= 3


def test_of_a_recording_without_spikes_the_units_are_remembered(first, tmp_path):
    quiet = si.NoiseGeneratorRecording(20, RATE, [5.0], noise_levels=8.0, strategy="on_the_fly", seed=5)
    quiet.set_probe(probe_of())
    with pytest.warns(UserWarning, match="found no units"):
        found = sort(quiet, tmp_path / "sort", known_units=first[0], detect_threshold=9.0)
    assert len(found.unit_ids) == 0
    (known,), (before,) = read_known_units(tmp_path / "sort"), read_known_units(first[0])
    assert known.unit_ids.tolist() == before.unit_ids.tolist()
    assert known.next_id == before.next_id


@pytest.fixture(scope="module")
def two_shanks(sessions, tmp_path_factory):
    """Both days on two shanks: the second has the channels of the first once more, a day later."""
    folder = tmp_path_factory.mktemp("two_shanks")
    made = []
    for day, other in enumerate((session([1, 4], seed=8)[0], session([1, 7], seed=9)[0])):
        both = si.aggregate_channels([sessions[day][0], other], renamed_channel_ids=np.arange(40))
        probe = np.concatenate([probe_of().contact_positions, probe_of().contact_positions + [500.0, 0.0]])
        both.set_dummy_probe_from_locations(probe)
        both.set_property("group", np.repeat(["a", "b"], 20))
        made.append(both.save(folder=folder / f"day_{day}"))
    return made


def test_ids_are_one_series_over_all_shanks(two_shanks, tmp_path):
    first = sort(two_shanks[0], tmp_path / "first")
    second = sort(two_shanks[1], tmp_path / "second", known_units=tmp_path / "first")
    assert len(set(second.unit_ids)) == len(second.unit_ids)
    shank = dict(zip(first.unit_ids.tolist(), first.get_property("group").tolist(), strict=True))
    known = second.get_property("known")
    for unit, group in zip(second.unit_ids[known].tolist(), second.get_property("group")[known].tolist(), strict=True):
        assert shank[unit] == group
    new = second.unit_ids[~known]
    assert np.sort(new).tolist() == list(range(len(first.unit_ids), len(first.unit_ids) + len(new)))
    # neurons 2 to 5 of the first shank and neuron 1 of the second
    assert known.sum() == 5
    remembered = read_known_units(tmp_path / "second")
    assert [shanks.next_id for shanks in remembered] == [max(second.unit_ids) + 1] * 2


def test_what_is_left_is_small_and_holds_no_pickle(first):
    path = first[0] / "sorter_output" / FILE
    assert path.stat().st_size < 100_000
    with np.load(path, allow_pickle=False) as archive:
        assert all(not archive[name].dtype.hasobject for name in archive.files)
    assert not list(path.parent.glob("*.partial"))


# --- what is refused, before anything is sorted --------------------------------------------------------------


def _without(recording, **_):
    return recording


def _other_probe(recording):
    changed = recording.clone()
    changed.set_dummy_probe_from_locations(recording.get_channel_locations() * [1.0, 1.1])
    return changed


def _other_rate(recording):
    return si.resample(recording, int(RATE / 2))


def _groups(recording):
    changed = recording.clone()
    changed.set_property("group", np.repeat([0, 1], 10))
    return changed


def _gains(recording):
    changed = recording.clone()
    changed.set_channel_gains(0.5)
    changed.set_channel_offsets(0.0)
    return changed


@pytest.mark.parametrize(
    ("change", "params", "says"),
    [
        (_other_probe, {}, "another probe, the channel locations differ"),
        (_other_rate, {}, "at 30000 Hz, and this recording is at 15000 Hz"),
        (_groups, {}, "of the groups 0, and this recording has 0, 1"),
        (_gains, {}, "one of the two recordings has gains to uV"),
        (_without, {"freq_min": 400.0}, "with freq_min=300.0, not 400.0"),
        (_without, {"ms_after": 1.0}, "with ms_after=1.6, not 1.0"),
    ],
)
def test_what_does_not_fit_is_refused(change, params, says, sessions, first, tmp_path):
    with pytest.raises(ValueError, match=re.escape(says)) as refused:
        sort(change(sessions[1][0]), tmp_path / "sort", known_units=first[0], **params)
    assert str(refused.value).startswith("known_units: ")
    assert not (tmp_path / "sort").exists()


def _unfinished(folder):
    shutil.rmtree(folder / "sorter_output" / "sorting")


def _of_another_sorter(folder):
    path = folder / "spikeinterface_params.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sorter_name": "lupin"}))


def _old(folder):
    (folder / "sorter_output" / FILE).unlink()


def _damaged(folder):
    path = folder / "sorter_output" / FILE
    path.write_bytes(path.read_bytes()[:1000])


def _changed_header(folder, **changes):
    path = folder / "sorter_output" / FILE
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["header"] = np.array(json.dumps({**json.loads(arrays["header"].item()), **changes}))
    np.savez(path, **arrays)


def _empty(folder):
    path = folder / "sorter_output" / FILE
    with np.load(path) as archive:
        arrays = dict(archive)
    for name in ("waveforms", "channels", "locations", "counts", "unit_ids", "lag"):
        arrays[f"shank_0_{name}"] = arrays[f"shank_0_{name}"][:0]
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_unfinished, "is not finished; `resume` it first"),
        (_of_another_sorter, "by 'lupin', not by 'huidurep'"),
        (_old, f"has no {FILE}: it is of an older version"),
        (_damaged, "cannot be read"),
        (lambda folder: _changed_header(folder, format=99), "format 99"),
        (_empty, "has no units; sort without known_units"),
        (shutil.rmtree, "there is no folder"),
        (lambda folder: shutil.rmtree(folder / "sorter_output"), "is not the folder of a sort"),
    ],
)
def test_a_folder_without_usable_units_is_refused(change, says, sessions, first, tmp_path):
    copy = Path(shutil.copytree(first[0], tmp_path / "copy"))
    change(copy)
    with pytest.raises(ValueError, match=re.escape(says)):
        sort(sessions[1][0], tmp_path / "sort", known_units=copy)
    assert not (tmp_path / "sort").exists()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"known_units": 3}, "known_units must be None or the folder of a sort, not 3"),
        ({"find_new_units": False}, "find_new_units=False needs known_units"),
        ({"find_new_units": None}, "find_new_units must be True or False"),
    ],
)
def test_bad_values_are_refused(params, says, sessions, tmp_path):
    with pytest.raises(ValueError, match=re.escape(says)):
        sort(sessions[1][0], tmp_path / "sort", **params)
    assert not (tmp_path / "sort").exists()


# --- resuming, the command line, clusters --------------------------------------------------------------------


@pytest.fixture
def failed(sessions, first, tmp_path, monkeypatch):
    """Day two, failed when its units were refined, and a copy of day one from which it started."""
    from spikeinterface_huidurep import sort as module

    def stop(*args, **kwargs):
        raise OSError("no space left")

    copy = Path(shutil.copytree(first[0], tmp_path / "copy"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "refine_units", stop)
        with pytest.raises(SpikeSortingError, match="no space left"):
            sort(sessions[1][0], tmp_path / "sort", known_units=copy)
    return tmp_path / "sort", copy


def test_a_sort_with_known_units_is_resumed(failed, second):
    sorting = resume(failed[0])
    assert "follow known units: done before" in (failed[0] / "sorter_output" / "huidurep.log").read_text()
    np.testing.assert_array_equal(sorting.to_spike_vector(), second[1].to_spike_vector())
    np.testing.assert_array_equal(sorting.unit_ids, second[1].unit_ids)
    contents = [read_known_units(folder)[0] for folder in (failed[0], second[0])]
    np.testing.assert_array_equal(*(one.session.templates.waveforms for one in contents))


def test_it_is_not_resumed_with_other_units(failed):
    _changed_header(failed[1], next_id=99)
    with pytest.raises(ValueError, match="another known units"):
        resume(failed[0])


def test_the_command_line_takes_the_folder_of_a_command(sessions, first, tmp_path, capsys):
    output = tmp_path / "day_1"
    shutil.copytree(first[0], output / "sorter")
    command = ["sort", str(tmp_path / "recording"), "--known-units", str(output), "--output", str(tmp_path / "day_2")]
    sessions[1][0].save(folder=tmp_path / "recording")
    assert main(command) == 0
    assert "units" in capsys.readouterr().out
    sorting = si.load(tmp_path / "day_2" / "sorting")
    assert sorting.get_property("known").sum() == 4
    assert main([*command[:-1], str(tmp_path / "other"), "--known-units", str(tmp_path)]) != 0
    assert not (tmp_path / "other").exists()
    # what is to be known is not overwritten
    assert main([*command[:-1], str(output), "--overwrite"]) != 0
    assert len(read_known_units(output)) == 1


def test_chunks_of_a_recording_are_sorted_by_the_same_units_on_a_dask_cluster(sessions, first, tmp_path):
    distributed = pytest.importorskip("distributed")
    recording, truth = sessions[0]
    half = recording.get_num_samples() // 2
    bounds = [(0, half), (half, 2 * half)]
    jobs = [
        dict(
            sorter_name="huidurep", recording=recording.frame_slice(*part), folder=tmp_path / f"chunk_{index}",
            known_units=str(first[0]), find_new_units=False, n_jobs=1,
        )
        for index, part in enumerate(bounds)
    ]  # fmt: skip
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        si.run_sorter_jobs(jobs, engine="dask", engine_kwargs={"client": client})
    before, _ = matched(truth, first[1])
    for index, (start, end) in enumerate(bounds):
        now, accuracy = matched(truth.frame_slice(start, end), si.read_sorter_folder(tmp_path / f"chunk_{index}"))
        assert now == before
        assert accuracy.mean() > 0.9
