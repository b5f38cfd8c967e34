"""What a sort costs as the recording gets longer and the probe larger, with its memory and accuracy beside it.

Not a test that passes or fails: it measures, with pytest-benchmark. `benchmarks/table.py` makes a table of the figures.

    python -m pip install -e ".[test]" pytest-benchmark
    python -m pytest benchmarks --benchmark-json cost.json
    python benchmarks/table.py cost.json

Recordings are those of SpikeInterface's generator (64 channels, 60 s, 50 units), repeated in time, and stacked along
the shank with another stretch of time in each part, so that no two parts fire together. The figures are those of a
process of its own, run time without its start; run it on a machine that does nothing else.
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
def base(tmp_path_factory) -> GroundTruth:
    return get_recording(BASE, tmp_path_factory.mktemp("cache"), duration_s=DURATION_S)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("times", [1, 2, 4, 8])
def test_longer_recording(benchmark, base, tmp_path, times):
    recording = concatenate_recordings([base.recording] * times)
    n_samples = [base.recording.get_num_samples()] * times
    sorting = concatenate_sortings([base.sorting] * times, total_samples_list=n_samples)
    measure_cost(benchmark, base, recording, sorting, tmp_path)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("times", [1, 2, 4, 6])
def test_larger_probe(benchmark, base, tmp_path, times):
    recordings, sortings, locations = [], [], []
    place = base.recording.get_channel_locations()
    depth = np.ptp(place[:, 1]) + np.diff(np.unique(place[:, 1])).min()
    for part in range(times):
        start = base.recording.get_num_samples() * part // times
        recording, sorting = turned(base, start)
        recordings.append(recording)
        sortings.append(sorting)
        locations.append(place + [0.0, part * depth])
    recording = aggregate_channels(recordings)
    recording.set_dummy_probe_from_locations(np.concatenate(locations))
    measure_cost(benchmark, base, recording, aggregate_units(sortings), tmp_path)


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


def measure_cost(benchmark, base, recording, sorting, folder: Path) -> None:
    """Save the recording, sort it in a process of its own, and note what that took and what it gave."""
    made = folder / "made"
    made.mkdir()
    sorting.set_property("gt_snr", np.tile(base.sorting.get_property("gt_snr"), len(sorting.unit_ids) // 50))
    try:
        save_ground_truth(made, recording, sorting, None, RECORDINGS[BASE], {})
        truth = load_ground_truth(made)
        job = Job("huidurep", BASE, str(made / "recording"), made.name, __version__, {}, N_JOBS)
        run = benchmark.pedantic(run_job, args=(job, folder / "runs", TIME_LIMIT_S), rounds=1, iterations=1)
        assert run.status == "done", run.message
        summary = measure(truth, load(Path(run.folder) / "sorting")).summary
    finally:
        shutil.rmtree(made, ignore_errors=True)
    duration_s = recording.get_total_duration()
    benchmark.extra_info.update(
        channels=recording.get_num_channels(),
        duration_s=duration_s,
        jobs=N_JOBS,
        run_time_s=run.run_time_s,
        ratio=run.run_time_s / duration_s,
        peak_memory_gb=run.peak_memory_gb,
        spikes=int(sorting.count_total_num_spikes()),
        true_units=summary["true_units"],
        found=summary["well_detected"],
        accuracy=summary["accuracy"],
        false=summary["false_positive"],
    )
