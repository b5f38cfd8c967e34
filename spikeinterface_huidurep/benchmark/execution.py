"""Runs each sorter in its own process with a time limit, and measures run time and peak memory from outside."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

logger = logging.getLogger(__name__)

POLL_S = 0.5  # between two readings of the memory, each of which takes some ms per process
RESULT_FILE = "result.json"


@dataclass
class SorterRun:
    """Result of one sorter on one recording.

    Attributes
    ----------
    sorter, recording : str
    status : str
        "done", "failed", "timeout", "killed" or "skipped".
    message : str
        Why there is no sorting, else empty.
    version, parameters : str, dict
        The distribution's version, and the parameters that differ from the sorter's defaults.
    run_time_s : float or None
        Of ``run_sorter`` alone, without the start of the process.
    peak_memory_gb : float or None
        Of the process and its children together (proportional set size on Linux, else resident set size).
    folder : str
        Where the sorting and the log are.
    cpu_time_s : float or None
        Processor time of ``run_sorter``, which another program on the machine hardly changes.
    """

    sorter: str
    recording: str
    status: str
    message: str = ""
    version: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    run_time_s: float | None = None
    peak_memory_gb: float | None = None
    n_jobs: int = 1
    folder: str = ""
    cpu_time_s: float | None = None


@dataclass(frozen=True)
class Job:
    """A sorter to run; `recording_key` is a digest of the recording: the run is repeated when it changes."""

    sorter: str
    recording: str
    recording_folder: str
    recording_key: str
    version: str
    parameters: dict[str, Any]
    n_jobs: int = 1

    @property
    def key(self) -> str:
        """Short digest of everything that affects the result."""
        parts = {name: value for name, value in asdict(self).items() if name not in ("recording_folder", "recording")}
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def folder(self, root: str | Path) -> Path:
        """Folder of the run below `root`."""
        return Path(root) / self.recording / f"{self.sorter}-{self.key}"


def finished_run(job: Job, root: str | Path) -> SorterRun | None:
    """Result of an earlier run of the job, None if no run has finished."""
    path = job.folder(root) / RESULT_FILE
    return SorterRun(**json.loads(path.read_text())) if path.is_file() else None


def run_job(job: Job, root: str | Path, time_limit_s: float, keep_sorter_folder: bool = False) -> SorterRun:
    """Run a sorter in its own process and keep its result.

    Parameters
    ----------
    job : Job
    root : str or Path
        Folder of all runs; the run gets its own folder in it, emptied first.
    time_limit_s : float
        The sorter and its child processes are ended after this time.
    keep_sorter_folder : bool
        Keep the sorter's own working folder.

    Returns
    -------
    SorterRun
        With status "done", "failed" (it raised), "timeout" or "killed" (its process died). A run leaves no result
        only if this process is interrupted, too.
    """
    folder = job.folder(root)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job_file = folder / "job.json"
    job_file.write_text(json.dumps({**asdict(job), "output_folder": str(folder.absolute())}, indent=2, default=str))
    run = SorterRun(
        job.sorter,
        job.recording,
        "killed",
        version=job.version,
        parameters=job.parameters,
        n_jobs=job.n_jobs,
        folder=str(folder),
    )
    started = time.perf_counter()
    return_code, peak_bytes, timed_out = _run_worker(job_file, job.n_jobs, time_limit_s)
    run.peak_memory_gb = round(peak_bytes / 1e9, 3)
    run.run_time_s = time.perf_counter() - started
    worker_file = folder / "worker.json"
    if timed_out:
        run.status, run.message = "timeout", f"not finished after {time_limit_s:.0f} s"
    elif worker_file.is_file():
        said = json.loads(worker_file.read_text())
        run.status, run.message, run.run_time_s = said["status"], said["message"], said["run_time_s"]
        run.cpu_time_s = said.get("cpu_time_s")
    else:
        run.message = _death(return_code)
    if not keep_sorter_folder:
        shutil.rmtree(folder / "sorter", ignore_errors=True)
    unfinished = folder / (RESULT_FILE + ".part")
    unfinished.write_text(json.dumps(asdict(run), indent=2, default=str))
    unfinished.replace(folder / RESULT_FILE)
    logger.info("%s on %s: %s %s", job.sorter, job.recording, run.status, run.message)
    return run


def _run_worker(job_file: Path, n_jobs: int, time_limit_s: float) -> tuple[int | None, int, bool]:
    """Run a job's process to its end; returns its return code, its peak memory in bytes, and whether it timed out."""
    with (job_file.parent / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "spikeinterface_huidurep.benchmark.worker", str(job_file.absolute())],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(n_jobs),
        )
        try:
            peak_bytes, timed_out = _watch(process, time_limit_s)
        finally:
            end_with_children(process)
    return process.returncode, peak_bytes, timed_out


def _environment(n_jobs: int) -> dict[str, str]:
    threads = {name: str(n_jobs) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**os.environ, **threads, "MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"}


def _watch(process: subprocess.Popen, time_limit_s: float) -> tuple[int, bool]:
    """Wait for a process; returns its peak memory in bytes with its children, and whether the limit was reached."""
    peak, started = 0, time.perf_counter()
    while True:
        peak = max(peak, _memory_bytes(process.pid))
        left = time_limit_s - (time.perf_counter() - started)
        try:
            process.wait(timeout=min(POLL_S, max(left, 0.0)))
            return peak, False
        except subprocess.TimeoutExpired:
            if time.perf_counter() - started >= time_limit_s:
                return peak, True


def _memory_bytes(pid: int) -> int:
    """Memory of a process and its children; shared memory counts once where the system reports it (PSS)."""
    total = 0
    try:
        processes = [psutil.Process(pid)]
        processes += processes[0].children(recursive=True)
    except psutil.Error:
        return 0
    for one in processes:
        try:
            full = one.memory_full_info()
            total += getattr(full, "pss", 0) or full.rss
        except psutil.Error:
            continue
    return total


def end_with_children(process: subprocess.Popen) -> None:
    """End a process and its children, if any still run."""
    if process.poll() is not None:
        return
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    for child in family:
        try:
            child.kill()
        except psutil.Error:
            continue
    process.kill()
    process.wait()


def _death(return_code: int | None) -> str:
    if return_code is not None and return_code < 0:
        name = signal.Signals(-return_code).name if -return_code in signal.valid_signals() else str(-return_code)
        hint = " (often for lack of memory)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with code {return_code} and gave no result"
