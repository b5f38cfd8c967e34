"""Runs every sorter on every recording, resuming where it was stopped."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from spikeinterface.core import load
from tqdm.auto import tqdm

from .execution import Job, SorterRun, finished_run, run_job
from .measures import measure
from .peers import PEERS, Peer, RecordingFacts, get_peer
from .recordings import GroundTruth, Settings, get_recording, load_ground_truth

logger = logging.getLogger(__name__)

DEFAULT_TIME_LIMIT_S = 3600.0  # of a run: more than ten times the longest named recording


@dataclass
class BenchmarkResults:
    """Everything that a benchmark found.

    Attributes
    ----------
    summary : pd.DataFrame
        A row for each recording and sorter: status, figures, run time, memory, version, parameters.
    units : pd.DataFrame
        A row for each recording, sorter and true unit.
    over_time : pd.DataFrame
        A row for each recording, sorter and window of time.
    recordings : dict
        Name of a recording -> what it is (or `error`: why it could not be made).
    motions : dict
        Name of a drifting recording -> (times in s, displacement in um at the middle of the probe).
    """

    summary: pd.DataFrame
    units: pd.DataFrame
    over_time: pd.DataFrame
    recordings: dict[str, dict[str, Any]] = field(default_factory=dict)
    motions: dict[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A sorter to run on a recording."""

    peer: Peer
    truth: GroundTruth
    facts: RecordingFacts


def run_benchmark(
    recordings: Sequence[str | Settings | Path],
    sorters: Sequence[str] | None = None,
    output_folder: str | Path = "huidurep-benchmark",
    cache_folder: str | Path | None = None,
    library_folder: str | Path | None = None,
    duration_s: float | None = None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    n_jobs: int | None = None,
    retry_failed: bool = False,
    run_missing: bool = True,
    progress: bool = True,
) -> BenchmarkResults:
    """Compare sorters on recordings with ground truth.

    Parameters
    ----------
    recordings : sequence of str, settings or Path
        Names of :data:`~spikeinterface_huidurep.benchmark.RECORDINGS`, settings of your own, or folders that hold a
        ground truth (such as :func:`~spikeinterface_huidurep.benchmark.make_hybrid` writes).
    sorters : sequence of str, optional
        By default all of :data:`~spikeinterface_huidurep.benchmark.PEERS`; one that is not installed gets a row that
        says so.
    output_folder : str or Path
        For the runs; a run is repeated only if its recording, sorter, version or parameters change.
    cache_folder, library_folder, duration_s
        See :func:`~spikeinterface_huidurep.benchmark.get_recording`.
    time_limit_s : float
        For each run.
    n_jobs : int, optional
        Processes or threads that a sorter may use, by default the number of CPUs.
    retry_failed : bool
        Repeat runs that failed, died or reached the time limit.
    run_missing : bool
        False: run nothing, gather the results of earlier calls.
    progress : bool
        Show a progress bar with the time left.

    Returns
    -------
    BenchmarkResults
    """
    peers = [get_peer(name) for name in (sorters or list(PEERS))]
    n_jobs = n_jobs or os.cpu_count() or 1
    root = Path(output_folder) / "runs"
    truths, described = _gather_recordings(recordings, cache_folder, library_folder, duration_s)
    tasks = [Task(peer, truth, facts_of(truth, n_jobs)) for truth in truths for peer in peers]
    bar = tqdm(total=len(tasks), disable=not progress, bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {postfix}")
    runs: list[tuple[Task, SorterRun]] = []
    with bar:
        for position, task in enumerate(tasks):
            seconds = sum(_expected_s(later, runs, time_limit_s, root) for later in tasks[position:])
            bar.set_postfix_str(f"{task.peer.name} on {task.truth.name}, about {seconds / 60:.0f} min left")
            runs.append((task, one_run(task, root, time_limit_s, retry_failed, run_missing)))
            bar.update()
    results = _gather_results(runs)
    results.recordings, results.motions = described, _motions(truths)
    return results


def _motions(truths: list[GroundTruth]) -> dict[str, tuple[Any, Any]]:
    """Times in s and mean displacement in um of each drifting recording."""
    return {
        truth.name: (truth.motion.temporal_bins_s[0], truth.motion.displacement[0].mean(axis=1))
        for truth in truths
        if truth.motion is not None
    }


def _gather_recordings(recordings, cache_folder, library_folder, duration_s):
    """Load or make each recording; one that cannot be made is described by its error and left out."""
    truths, described = [], {}
    for recording in recordings:
        name = recording if isinstance(recording, str) else getattr(recording, "name", str(recording))
        try:
            if isinstance(recording, Path):
                truth = load_ground_truth(recording)
            else:
                truth = get_recording(recording, cache_folder, library_folder, duration_s)
        except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
            logger.warning("The recording %s is left out: %s", name, error)
            described[name] = {"error": str(error)}
            continue
        truths.append(truth)
        described[truth.name] = {**truth.info, "duration_s": truth.recording.get_total_duration()}
        described[truth.name]["n_channels"] = truth.recording.get_num_channels()
    return truths, described


def facts_of(truth: GroundTruth, n_jobs: int) -> RecordingFacts:
    recording = truth.recording
    drifts = truth.motion is not None or bool(truth.info.get("drifts", False))
    return RecordingFacts(recording.get_num_channels(), recording.get_total_duration(), drifts, n_jobs)


def _job(task: Task) -> Job:
    return Job(
        sorter=task.peer.name,
        recording=task.truth.name,
        recording_folder=str(task.truth.recording_path.absolute()),
        recording_key=task.truth.folder.name,
        version=task.peer.version(),
        parameters=task.peer.parameters(task.facts),
        n_jobs=task.facts.n_jobs,
    )


def one_run(task: Task, root: Path, time_limit_s: float, retry_failed: bool, run_missing: bool) -> SorterRun:
    """Take an earlier result, or run the sorter, or say why it is not run."""
    job = _job(task)
    empty = SorterRun(
        job.sorter, job.recording, "skipped", version=job.version, parameters=job.parameters, n_jobs=job.n_jobs
    )
    reason = task.peer.reason_to_skip(task.facts)
    if reason is not None:
        empty.message = reason
        return empty
    earlier = finished_run(job, root)
    again = earlier is not None and earlier.status != "done" and (retry_failed or _had_less_time(earlier, time_limit_s))
    if earlier is not None and not (again and run_missing):
        earlier.folder = str(job.folder(root))
        return earlier
    if not run_missing:
        empty.message = "not run yet"
        return empty
    return run_job(job, root, time_limit_s)


def _had_less_time(earlier: SorterRun, time_limit_s: float) -> bool:
    """Whether a run was ended by a limit clearly below the present one."""
    return earlier.status == "timeout" and time_limit_s > 1.2 * (earlier.run_time_s or 0.0)


def _expected_s(task: Task, runs: list[tuple[Task, SorterRun]], time_limit_s: float, root: Path) -> float:
    """Expected seconds of a run: from this sorter's earlier runs, else from its usual cost."""
    if task.peer.reason_to_skip(task.facts) is not None or finished_run(_job(task), root) is not None:
        return 0.0
    ratios = [
        run.run_time_s / done.facts.duration_s
        for done, run in runs
        if done.peer.name == task.peer.name and run.status == "done" and run.run_time_s
    ]
    ratio = sum(ratios) / len(ratios) if ratios else task.peer.cpu_cost * task.facts.n_channels / 64
    return min(time_limit_s, 15.0 + ratio * task.facts.duration_s)


def _gather_results(runs: list[tuple[Task, SorterRun]]) -> BenchmarkResults:
    """Measure every sorting and put the figures into tables."""
    summary, units, over_time = [], [], []
    for task, run in runs:
        row: dict[str, Any] = {
            "recording": run.recording,
            "sorter": run.sorter,
            "status": run.status,
            "message": run.message,
            "drifts": task.facts.drifts,
            "run_time_s": run.run_time_s if run.status == "done" else None,
            "run_time_ratio": run.run_time_s / task.facts.duration_s
            if run.status == "done" and run.run_time_s
            else None,
            "peak_memory_gb": run.peak_memory_gb,
            "cpu_time_s": run.cpu_time_s,
            "folder": run.folder,
        }
        if run.status == "done":
            started = time.perf_counter()
            measures = measure(task.truth, load(Path(run.folder) / "sorting"))
            logger.debug("Measured %s on %s in %.1f s", run.sorter, run.recording, time.perf_counter() - started)
            row.update(measures.summary)
            label = {"recording": run.recording, "sorter": run.sorter}
            units.append(measures.units.assign(**label))
            over_time.append(measures.over_time.assign(**label))
        row.update(version=run.version, parameters=run.parameters, n_jobs=run.n_jobs)
        summary.append(row)
    return BenchmarkResults(
        pd.DataFrame(summary),
        pd.concat(units, ignore_index=True) if units else pd.DataFrame(),
        pd.concat(over_time, ignore_index=True) if over_time else pd.DataFrame(),
    )
