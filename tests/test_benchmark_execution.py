"""Sorters run in processes of their own: a crash, a kill and a time limit each leave a row and nothing else."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
import time

import psutil
import pytest

from spikeinterface_huidurep import __version__
from spikeinterface_huidurep.benchmark import PEERS, GeneratorSettings, Peer, get_recording, run_benchmark
from spikeinterface_huidurep.benchmark.execution import Job, finished_run, run_job
from spikeinterface_huidurep.benchmark.peers import RecordingFacts, get_peer
from spikeinterface_huidurep.benchmark.worker import last_error_line

TINY = GeneratorSettings("tiny", 5.0, n_units=3, n_channels=8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return get_recording(TINY, tmp_path_factory.mktemp("cache"))


def _job(truth, sorter="simple", **parameters) -> Job:
    return Job(sorter, truth.name, str(truth.folder / "recording"), truth.folder.name, "1", parameters)


def _workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "spikeinterface_huidurep.benchmark.worker" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_sorter_that_raises_leaves_its_reason(tiny, tmp_path):
    run = run_job(_job(tiny, no_such_parameter=1), tmp_path, 120.0)
    assert run.status == "failed" and "no_such_parameter" in run.message
    assert run.peak_memory_gb > 0.01
    assert "no_such_parameter" in (tmp_path / "tiny").rglob("log.txt").__next__().read_text()


def test_a_sorter_beyond_its_time_is_ended(tiny, tmp_path):
    started = time.perf_counter()
    run = run_job(_job(tiny), tmp_path, 0.6)
    assert run.status == "timeout" and "0.6" not in run.message and "not finished" in run.message
    assert time.perf_counter() - started < 20
    assert _workers() == []


def test_a_killed_sorter_leaves_a_row(tiny, tmp_path):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(run_job(_job(tiny), tmp_path, 120.0)))
    thread.start()
    deadline = time.perf_counter() + 30
    while not _workers() and time.perf_counter() < deadline:
        time.sleep(0.05)
    (worker,) = _workers()
    worker.kill()
    thread.join(timeout=30)
    assert runs[0].status == "killed"
    assert finished_run(_job(tiny), tmp_path) == runs[0]
    if sys.platform != "win32":
        assert "SIGKILL" in runs[0].message


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_sorter_ends_when_the_benchmark_itself_is_killed(tiny, tmp_path):
    code = (
        "import sys; from spikeinterface_huidurep.benchmark.execution import Job, run_job;"
        "run_job(Job('simple', 'tiny', sys.argv[1], 'k', '1', {}), sys.argv[2], 300.0)"
    )
    arguments = [sys.executable, "-c", code, str(tiny.folder / "recording"), str(tmp_path)]
    benchmark = subprocess.Popen(arguments)
    deadline = time.perf_counter() + 60
    while not _workers() and time.perf_counter() < deadline:
        time.sleep(0.05)
    (worker,) = _workers()
    # the worker looks after its parent once it runs Python of its own
    while not list(tmp_path.rglob("sorter")) and time.perf_counter() < deadline:
        time.sleep(0.05)
    benchmark.kill()
    benchmark.wait()
    assert psutil.wait_procs([worker], timeout=15)[1] == []
    assert finished_run(Job("simple", "tiny", "", "k", "1", {}), tmp_path) is None


def test_a_finished_run_is_found_until_something_that_decides_it_changes(tiny, tmp_path):
    job = _job(tiny, no_such_parameter=1)
    assert finished_run(job, tmp_path) is None
    run = run_job(job, tmp_path, 120.0)
    assert finished_run(job, tmp_path) == run
    assert finished_run(_job(tiny, no_such_parameter=2), tmp_path) is None
    assert finished_run(Job(**{**vars(job), "version": "2"}), tmp_path) is None
    assert finished_run(Job(**{**vars(job), "recording_key": "other"}), tmp_path) is None


def test_a_folder_without_a_result_is_run_again(tiny, tmp_path):
    job = _job(tiny, no_such_parameter=1)
    folder = job.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "result.json.part").write_text("{")
    (folder / "left-over").write_text("from a run that was interrupted")
    assert finished_run(job, tmp_path) is None
    assert run_job(job, tmp_path, 120.0).status == "failed"
    assert not (folder / "left-over").exists()


def test_the_last_error_of_a_traceback_inside_a_traceback_is_told():
    text = """Traceback (most recent call last):
  File "runsorter.py", line 1, in run
spikeinterface.sorters.utils.misc.SpikeSortingError: Spike sorting error trace:
Traceback (most recent call last):
  File "detect.py", line 164, in detect
ValueError: too few spikes: 3

Spike sorting failed. You can inspect the runtime trace in somewhere/spikeinterface_log.json."""
    assert last_error_line(text) == "ValueError: too few spikes: 3"
    assert last_error_line("") == "unknown error"


def test_a_recording_that_cannot_be_made_is_a_row_and_sorters_are_told_apart(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("HUIDUREP_TEMPLATES", raising=False)
    results = run_benchmark(
        [tiny.folder, "tetrode"], ["simple", "kilosort4"], tmp_path, run_missing=False, progress=False
    )
    assert "template library" in results.recordings["tetrode"]["error"]
    assert set(results.summary["status"]) == {"skipped"}
    assert results.summary["message"].iloc[0] == "not run yet"


def test_a_run_that_ran_out_of_time_is_tried_again_with_more(tiny, tmp_path):
    def statuses(limit_s: float, **options) -> list[str]:
        results = run_benchmark(
            [tiny.folder], ["no_motion"], tmp_path, n_jobs=1, time_limit_s=limit_s, progress=False, **options
        )
        return results.summary["status"].tolist()

    PEERS["no_motion"] = Peer("simple", "spikeinterface", parameters=lambda facts: {"no_such_parameter": 1})
    try:
        assert statuses(0.3) == ["timeout"]
        assert statuses(0.3) == ["timeout"]
        assert statuses(120.0, run_missing=False) == ["timeout"]
        assert statuses(120.0) == ["failed"]
        assert statuses(500.0) == ["failed"], "what failed by itself needs to be asked for"
    finally:
        del PEERS["no_motion"]


def test_other_code_or_weights_are_another_version():
    assert PEERS["huidurep"].version().startswith(f"{__version__}+") and len(PEERS["huidurep"].version()) > 12
    assert PEERS["kilosort4"].version() in ("not installed", *_installed("kilosort"))


def _installed(distribution: str) -> list[str]:
    return [found.version for found in importlib.metadata.distributions(name=distribution)]


def test_a_sorter_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = PEERS["mountainsort5"].reason_to_skip(RecordingFacts(4, 10.0, False))
    assert reason == "not installed: mountainsort5 cannot be found"


def test_kilosort_without_a_gpu_gets_recordings_that_it_can_finish(monkeypatch):
    monkeypatch.setattr("spikeinterface_huidurep.benchmark.peers.PEERS", PEERS)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("spikeinterface_huidurep.benchmark.peers._has_gpu", lambda: False)
    kilosort = PEERS["kilosort4"]
    assert kilosort.reason_to_skip(RecordingFacts(16, 60.0, False)) is None
    assert "without a GPU" in kilosort.reason_to_skip(RecordingFacts(64, 60.0, False))
    monkeypatch.setattr("spikeinterface_huidurep.benchmark.peers._has_gpu", lambda: True)
    assert kilosort.reason_to_skip(RecordingFacts(64, 60.0, False)) is None


def test_motion_correction_is_on_only_where_the_recording_drifts():
    for name in ("lupin", "tridesclous2"):
        assert PEERS[name].parameters(RecordingFacts(64, 60.0, True)) == {"apply_motion_correction": True}
        assert PEERS[name].parameters(RecordingFacts(64, 60.0, False)) == {}


def test_every_parameter_that_a_peer_is_given_exists_in_its_sorter():
    from spikeinterface.sorters import get_default_sorter_params

    for name, peer in PEERS.items():
        if not peer.installed() or name == "huidurep":
            continue
        known = get_default_sorter_params(name)
        for drifts in (False, True):
            assert set(peer.parameters(RecordingFacts(8, 10.0, drifts, 2))) <= set(known)


def test_an_unknown_sorter_is_refused():
    with pytest.raises(ValueError, match="no sorter named 'nobody'"):
        get_peer("nobody")


@pytest.mark.slow
def test_a_benchmark_runs_resumes_and_agrees_with_a_comparison_by_hand(tmp_path):
    from spikeinterface.comparison import compare_sorter_to_ground_truth
    from spikeinterface.core import load

    settings = GeneratorSettings("short", 20.0, n_units=4, n_channels=8)
    arguments = ([settings], ["simple"], tmp_path / "out", tmp_path / "cache")
    first = run_benchmark(*arguments, n_jobs=1, progress=False)
    row = first.summary.iloc[0]
    assert row["status"] == "done" and row["run_time_s"] > 0 and 0.05 < row["peak_memory_gb"] < 20
    truth = get_recording(settings, tmp_path / "cache")
    (sorting,) = (tmp_path / "out").rglob("sorting")
    by_hand = compare_sorter_to_ground_truth(truth.sorting, load(sorting), exhaustive_gt=True).get_performance()
    assert row["accuracy"] == pytest.approx(by_hand["accuracy"].astype(float).mean())
    started = time.perf_counter()
    again = run_benchmark(*arguments, n_jobs=1, progress=False)
    assert again.summary.equals(first.summary) and time.perf_counter() - started < 10
