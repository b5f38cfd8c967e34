"""Sort after sort in one process: nothing piles up."""

import gc
import logging
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import spikeinterface.full as si


def state(temporary):
    """Memory (MB), open files, threads, and temporary files of this process."""
    gc.collect()
    process = psutil.Process()
    return {
        "memory": process.memory_info().rss / 1e6,
        "files": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        "maps": len([m for m in process.memory_maps() if "huidurep" in m.path or str(temporary) in m.path]),
        "threads": threading.active_count(),
        "temporary": len(list(Path(temporary).rglob("*"))),
        "handlers": len(logging.getLogger("spikeinterface_huidurep").handlers),
    }


def sort_often(n_sorts, tmp_path, monkeypatch):
    """The state after the second sort and after the last; every sort finds the same."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    recording, _ = si.generate_ground_truth_recording(
        durations=[4.0], num_channels=4, num_units=3, seed=0, sampling_frequency=20000.0
    )
    recording = recording.save(folder=tmp_path / "recording", verbose=False)
    first, second = None, None
    for index in range(n_sorts):
        sorting = si.run_sorter(
            "huidurep", recording, folder=tmp_path / "sort", remove_existing_folder=True,
            n_jobs=1 + index % 2, min_spikes=5, device="cpu",
        )  # fmt: skip
        vector = np.array(sorting.to_spike_vector())
        del sorting
        first = vector if first is None else first
        np.testing.assert_array_equal(vector, first)
        if index == 1:
            second = state(temporary)
    return second, state(temporary)


def assert_nothing_piled_up(second, last, memory_mb):
    assert last["memory"] - second["memory"] < memory_mb
    assert last["files"] <= second["files"] + 2
    assert last["threads"] <= second["threads"]
    # PyTorch makes an empty folder for its compiler in the first sort of a process
    assert last["temporary"] <= second["temporary"] <= 1
    assert last["maps"] <= second["maps"]
    assert last["handlers"] == second["handlers"]


def test_a_few_sorts(tmp_path, monkeypatch):
    assert_nothing_piled_up(*sort_often(6, tmp_path, monkeypatch), memory_mb=100)


@pytest.mark.slow
def test_fifty_sorts(tmp_path, monkeypatch):
    assert_nothing_piled_up(*sort_often(50, tmp_path, monkeypatch), memory_mb=150)
