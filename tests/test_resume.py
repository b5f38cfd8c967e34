"""A sort that was killed goes on and finds the same; whatever it leaves behind does not look finished."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spikeinterface.full as si
from kill_helpers import STAGES
from spikeinterface.sorters.utils import SpikeSortingError

from spikeinterface_huidurep import resume
from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.curation.analyzer import load_analyzer
from spikeinterface_huidurep.curation.curation_file import read_curation, read_suggestions, save_curation
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME
from spikeinterface_huidurep.stage_files import StageFiles, read_result, write_result

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed")
# what Record.run keeps
KEPT = [name for name in STAGES if name not in ("preprocess", "cache traces")]


@pytest.fixture(scope="module")
def undisturbed(tetrode_recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "sort"
    return si.run_sorter("huidurep", tetrode_recording[0], folder=folder, n_jobs=1, device="cpu"), folder


@pytest.fixture(scope="module")
def recording_folder(tetrode_recording):
    return Path(tetrode_recording[0]._kwargs["folder_path"])


def kill(recording_folder, folder, *places):
    """Kill a sort at each place in turn (see kill_helpers), in processes of their own."""
    script = Path(__file__).parent / "kill_helpers.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(recording_folder), str(folder), *places],
        check=True, env=environment, timeout=500,
    )  # fmt: skip


def assert_looks_unfinished(folder):
    with pytest.raises(Exception, match="does not have spikeinterface_log.json|Spike sorting (failed|error trace)"):
        si.read_sorter_folder(folder)
    assert not (folder / "sorter_output" / "sorting").exists()


def assert_same(sorting, undisturbed):
    np.testing.assert_array_equal(sorting.to_spike_vector(), undisturbed.to_spike_vector())
    np.testing.assert_array_equal(sorting.unit_ids, undisturbed.unit_ids)
    assert set(sorting.get_property_keys()) == set(undisturbed.get_property_keys())
    for name in undisturbed.get_property_keys():
        np.testing.assert_array_equal(sorting.get_property(name), undisturbed.get_property(name))


def assert_finished(folder, sorting, undisturbed):
    """Nothing but what an undisturbed run leaves: the same files, log included."""
    assert_same(sorting, undisturbed[0])
    assert_same(si.read_sorter_folder(folder), undisturbed[0])
    names = [
        sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        for root in (folder, undisturbed[1])
    ]
    assert names[0] == names[1]
    confidence = [np.load(root / "sorter_output" / "spike_confidence.npy") for root in (folder, undisturbed[1])]
    np.testing.assert_array_equal(*confidence)


@pytest.fixture(scope="module")
def killed(recording_folder, tmp_path_factory):
    """The folder of four sorts: "chain" was killed after every stage, the others once."""
    folder = tmp_path_factory.mktemp("killed")
    places = [f"chain:{name}:after" for name in KEPT]
    kill(recording_folder, folder, *places, "a:cache traces:before", "b:embed spikes:during", "c:save:during")
    return folder


@posix
def test_killed_after_every_stage_and_resumed_each_time(killed, undisturbed, caplog):
    folder = killed / "chain"
    assert_looks_unfinished(folder)
    kept = folder / "sorter_output" / "stages"
    assert len(list(kept.glob("*.npz"))) == len(KEPT)
    assert len(list(kept.glob("huidurep_traces_*"))) == 1  # of the last process; those before it are gone
    with caplog.at_level("INFO", logger="spikeinterface_huidurep"):
        sorting = resume(folder)
    assert [name for name in KEPT if f"{name}: done before" in caplog.text] == KEPT
    assert_finished(folder, sorting, undisturbed)


@posix
def test_killed_early_and_in_the_middle_of_a_file(killed, undisturbed):
    for folder in (killed / sort for sort in "abc"):
        assert_looks_unfinished(folder)
        assert_finished(folder, resume(folder), undisturbed)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_killed_once_anywhere(recording_folder, undisturbed, tmp_path, when):
    names = [*(STAGES if when == "before" else KEPT), "save"]
    kill(recording_folder, tmp_path, *[f"{name}:{name}:{when}" for name in names])
    for name in names:
        if (name, when) != ("save", "after"):  # there all is done but SpikeInterface's log
            assert_looks_unfinished(tmp_path / name)
        assert_finished(tmp_path / name, resume(tmp_path / name), undisturbed)


class Stop(Exception):
    """Stands for a full disk: a sort that fails, rather than being killed."""


@pytest.fixture
def failed(tetrode_recording, tmp_path, monkeypatch):
    """A sort that failed when its units were made, and the folder of temporary files that it had."""
    from spikeinterface_huidurep import sort

    def stop(*args, **kwargs):
        raise Stop("no space left")

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with monkeypatch.context() as patch:
        patch.setattr(sort, "make_units", stop)
        with pytest.raises(SpikeSortingError, match="no space left"):
            si.run_sorter("huidurep", tetrode_recording[0], folder=tmp_path / "sort", n_jobs=1, device="cpu")
    return tmp_path / "sort"


def test_failed_and_resumed(failed, undisturbed, tmp_path):
    assert_looks_unfinished(failed)
    assert not list(tmp_path.rglob("huidurep_traces_*"))
    assert not any((tmp_path / "temporary").iterdir())
    assert_finished(failed, resume(failed), undisturbed)
    stamp = (failed / "spikeinterface_log.json").read_bytes()
    assert_same(resume(failed), undisturbed[0])  # finished: nothing runs
    assert (failed / "spikeinterface_log.json").read_bytes() == stamp


def edit(path, change):
    content = json.loads(path.read_text(encoding="utf8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf8")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("spikeinterface_params.json", lambda c: c["sorter_params"].update(seed=5), "started with seed=0, not 5"),
        ("spikeinterface_params.json", lambda c: c["sorter_params"].update(seed=-5), "seed must be"),
        ("spikeinterface_params.json", lambda c: c["sorter_params"].update(colour=5), "of this version of huidurep"),
        ("spikeinterface_params.json", lambda c: c.update(sorter_name="lupin"), "a sort by 'lupin'"),
        ("spikeinterface_params.json", lambda c: c.pop("sorter_name"), "does not hold a sorter's parameters"),
        ("spikeinterface_params.json", lambda c: c.update(sorter_params=[1]), "of this version of huidurep"),
        ("spikeinterface_recording.json", lambda c: c.update(annotations={"a": 1}), "another recording"),
        ("sorter_output/stages/sort.json", lambda c: c.update(version="0.0.1"), "another version of this package"),
        ("sorter_output/stages/sort.json", lambda c: c.update(weights="0"), "another weights"),
        ("sorter_output/stages/sort.json", lambda c: c.update(parameters=3), "does not describe a sort"),
    ],
)
def test_another_sort_is_not_resumed(failed, file, change, message):
    edit(failed / file, change)
    with pytest.raises(ValueError, match=message) as caught:
        resume(failed)
    assert "\n" not in str(caught.value)
    assert_looks_unfinished(failed)


def test_what_does_not_change_the_result_may_be_changed(failed, undisturbed):
    edit(failed / "spikeinterface_params.json", lambda c: c["sorter_params"].update(n_jobs=2, max_cache_gb=50.0))
    assert_same(resume(failed), undisturbed[0])


def test_damaged_stage_files_are_made_again(failed, undisturbed, caplog):
    stages = sorted((failed / "sorter_output" / "stages").glob("*.npz"))
    stages[1].write_bytes(stages[1].read_bytes()[:-100])
    (failed / "sorter_output" / "stages" / "99_x.partial").write_bytes(b"half")
    assert_finished(failed, resume(failed), undisturbed)
    assert "the stage runs again" in caplog.text


def test_folders_that_are_no_sorts(tmp_path, tetrode_recording, failed):
    with pytest.raises(ValueError, match="not the folder of a sort"):
        resume(tmp_path / "nothing")
    with pytest.raises(ValueError, match="not the folder of a sort"):
        resume(tmp_path)
    (failed / "spikeinterface_recording.json").rename(failed / "spikeinterface_recording.pickle")
    with pytest.raises(ValueError, match="another recording"):
        resume(failed)
    shutil.rmtree(failed / "sorter_output" / "stages")
    with pytest.raises(ValueError, match="has no spikeinterface_recording.json"):
        resume(failed)


def test_two_shanks_failed_in_the_second(tetrode_recording, tmp_path, monkeypatch):
    from spikeinterface_huidurep import sort

    recording = tetrode_recording[0]
    other = recording.rename_channels([f"b{i}" for i in range(4)])
    other.set_dummy_probe_from_locations(recording.get_channel_locations() + [500.0, 0.0])
    both = si.aggregate_channels([recording, other])
    # a name that would lead out of the folder
    both.set_property("group", np.repeat(["a", "../../../escaped"], 4))
    arguments = dict(n_jobs=1, device="cpu", save_intermediate=True)
    whole = si.run_sorter("huidurep", both, folder=tmp_path / "deep" / "er" / "whole", **arguments)
    assert not list(tmp_path.glob("**/escaped*"))
    assign, calls = sort.assign_spikes, []

    def stop_at_second(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise Stop("out of memory")
        return assign(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sort, "assign_spikes", stop_at_second)
        with pytest.raises(SpikeSortingError, match="out of memory"):
            si.run_sorter("huidurep", both, folder=tmp_path / "sort", **arguments)
    patched = monkeypatch
    patched.setattr(sort, "assign_spikes", lambda *args, **kwargs: calls.append(1) or assign(*args, **kwargs))
    calls.clear()
    assert_same(resume(tmp_path / "sort"), whole)
    assert len(calls) == 1  # the first shank's spikes were not assigned again


def test_command_line(failed, undisturbed, tmp_path, capsys):
    output = tmp_path / "output"
    output.mkdir()
    failed.rename(output / "sorter")
    assert main(["sort", "--resume", str(output)]) == 0
    assert f"{len(undisturbed[0].unit_ids)} units" in capsys.readouterr().out
    assert_same(si.load(output / "sorting"), undisturbed[0])
    assert main(["sort", "--resume", str(tmp_path)]) == 2
    assert "is not an output folder of huidurep sort" in capsys.readouterr().err
    assert main(["sort", "recording", "--resume", str(output)]) == 2
    assert "give neither" in capsys.readouterr().err


def test_command_line_with_a_report(failed, undisturbed, _quick_similarity, tmp_path, capsys):
    """Also where the report's making was interrupted: what is missing is made, and what was curated by hand stays."""
    output = tmp_path / "output"
    output.mkdir()
    failed.rename(output / "sorter")
    arguments = ["sort", "--resume", str(output), "--report"]
    assert main(arguments) == 0
    assert {path.name for path in output.iterdir()} == {"sorter", "sorting", "analyzer", "report"}
    assert not (output / "sorter/sorter_output/intermediate").exists()
    page = (output / "report/report.html").read_text(encoding="utf8")
    assert "not corrected" in page and "save_intermediate" not in page
    analyzer = load_analyzer(output / "analyzer")
    curation = {**read_suggestions(analyzer), "removed": [analyzer.unit_ids[0]]}
    save_curation(analyzer, curation)
    for extension in ("correlograms", EXTENSION_NAME):
        analyzer.delete_extension(extension)
    capsys.readouterr()
    assert main(arguments) == 0
    assert "report.html" in capsys.readouterr().out
    analyzer = load_analyzer(output / "analyzer")
    assert analyzer.has_extension("correlograms") and analyzer.has_extension(EXTENSION_NAME)
    assert len(read_curation(analyzer)["removed"]) == 1


def test_what_does_not_change_the_result_may_be_given_anew(failed, undisturbed):
    with pytest.raises(ValueError, match="seed cannot be changed"):
        resume(failed, seed=3)
    assert_same(resume(failed, save_intermediate=True, n_jobs=2), undisturbed[0])
    assert (failed / "sorter_output" / "intermediate" / "peaks.npy").is_file()


def test_what_stages_return_comes_back(tmp_path):
    from spikeinterface.core.motion import Motion

    from spikeinterface_huidurep.stages.traces.noise import NoiseModel

    motion = Motion([np.zeros((3, 2)), np.ones((2, 2))], [np.arange(3.0), np.arange(2.0)], np.array([0.0, 50.0]))
    model = NoiseModel(np.eye(2, dtype="float32"), np.ones(3))
    peaks = np.zeros(2, dtype=[("sample_index", "int64"), ("amplitude", "float32")])
    value = {"a": (motion, None, 0.1, "text"), "b": [model, peaks, np.float32(0.3)]}
    write_result(tmp_path / "a.npz", value)
    back = read_result(tmp_path / "a.npz")
    assert back["a"][0] == motion and back["a"][1:] == (None, 0.1, "text")
    np.testing.assert_array_equal(back["b"][0].whitening, model.whitening)
    np.testing.assert_array_equal(back["b"][1], peaks)
    assert back["b"][1].dtype == peaks.dtype and back["b"][2] == np.float32(0.3)
    for value in (object(), np.array([object()]), {1: 2}, Path("a")):
        with pytest.raises(TypeError, match="cannot be kept"):
            write_result(tmp_path / "b.npz", value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        write_result(tmp_path / "a.npz", np.zeros(3))
    assert not any(tmp_path.iterdir())


def test_stage_files_after_a_gap_are_not_trusted(tmp_path):
    first, second = StageFiles(tmp_path), StageFiles(tmp_path)
    for value, name in enumerate(["detect", "embed", "cluster"]):
        write_result(first.next_path(name), value)
    (tmp_path / "02_embed.npz").unlink()
    paths = [second.next_path(name) for name in ("detect", "embed", "cluster")]
    assert [second.read(path) for path in paths] == [(True, 0), (False, None), (False, None)]
