"""What a sort costs as the recording gets longer and the probe larger, with its memory and accuracy beside it.

Not a test that passes or fails: it measures, with pytest-benchmark. `benchmarks/table.py` makes a table of the figures.

    python -m pip install -e ".[test,benchmark]"
    python -m pytest benchmarks --benchmark-json cost.json
    python benchmarks/table.py cost.json

Recordings are those of SpikeInterface's generator (64 channels, 50 units): 60 s and more of it, and 60 s (at last
300 s) of it stacked along the shank, in each part turned in time by another amount, so that no two parts fire together.
The figures are those of a process of its own, run time without its start; run it on a machine that does nothing else.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from spikeinterface.core import (
    BaseRecording,
    BaseSorting,
    aggregate_channels,
    aggregate_units,
    concatenate_recordings,
    concatenate_sortings,
    load,
)

from spikeinterface_huidurep import __version__
from spikeinterface_huidurep.benchmark import GroundTruth, get_recording, load_ground_truth, measure
from spikeinterface_huidurep.benchmark.execution import Job, run_job
from spikeinterface_huidurep.benchmark.recordings import RECORDINGS, save_ground_truth

BASE = "si_static"
DURATION_S = 60.0
N_JOBS = int(os.environ.get("HUIDUREP_BENCHMARK_JOBS", "2"))
TIME_LIMIT_S = 3600.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("times", [1, 2, 4, 8])
def test_longer_recording(benchmark, cache, tmp_path, times):
    measure_cost(benchmark, get_recording(BASE, cache, duration_s=times * DURATION_S), tmp_path)


# last a Neuropixels probe's channels for five minutes
@pytest.mark.timeout(0)
@pytest.mark.parametrize("times, length", [(1, 1), (2, 1), (4, 1), (6, 1), (6, 5)])
def test_larger_probe(benchmark, cache, tmp_path, times, length):
    base = get_recording(BASE, cache, duration_s=length * DURATION_S)
    recordings, sortings, locations = [], [], []
    place = base.recording.get_channel_locations()
    depth = np.ptp(place[:, 1]) + np.diff(np.unique(place[:, 1])).min()
    for part in range(times):
        recording, sorting = turned(base, base.recording.get_num_samples() * part // times)
        recordings.append(recording)
        sortings.append(sorting)
        locations.append(place + [0.0, part * depth])
    recording, sorting = aggregate_channels(recordings), aggregate_units(sortings)
    recording.set_dummy_probe_from_locations(np.concatenate(locations))
    sorting.set_property("gt_snr", np.tile(base.sorting.get_property("gt_snr"), times))
    made = tmp_path / "made"
    made.mkdir()
    try:
        save_ground_truth(made, recording, sorting, None, RECORDINGS[BASE], {})
        measure_cost(benchmark, load_ground_truth(made), tmp_path)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def turned(truth: GroundTruth, start: int) -> tuple[BaseRecording, BaseSorting]:
    """Recording and true spikes with what comes before the frame `start` moved to the end."""
    n_samples = truth.recording.get_num_samples()
    stretches = [(start, n_samples), (0, start)] if start else [(0, n_samples)]
    recording = concatenate_recordings([truth.recording.frame_slice(*stretch) for stretch in stretches])
    sorting = concatenate_sortings(
        [truth.sorting.frame_slice(*stretch) for stretch in stretches],
        total_samples_list=[end - first for first, end in stretches],
    )
    return recording, sorting


def measure_cost(benchmark, truth: GroundTruth, folder: Path) -> None:
    """Sort a recording in a process of its own, and note what that took and what it gave."""
    recording = str((truth.folder / "recording").absolute())
    job = Job("huidurep", BASE, recording, truth.folder.name, __version__, {}, N_JOBS)
    run = benchmark.pedantic(run_job, args=(job, folder / "runs", TIME_LIMIT_S), rounds=1, iterations=1)
    assert run.status == "done", run.message
    summary = measure(truth, load(Path(run.folder) / "sorting")).summary
    duration_s = truth.recording.get_total_duration()
    benchmark.extra_info.update(
        channels=truth.recording.get_num_channels(),
        duration_s=duration_s,
        jobs=N_JOBS,
        run_time_s=run.run_time_s,
        ratio=run.run_time_s / duration_s,
        peak_memory_gb=run.peak_memory_gb,
        spikes=int(truth.sorting.count_total_num_spikes()),
        true_units=summary["true_units"],
        found=summary["well_detected"],
        accuracy=summary["accuracy"],
        false=summary["false_positive"],
    )
