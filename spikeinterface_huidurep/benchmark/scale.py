"""What the suite `scale` says of a sort: whether time is linear in the length, memory bounded, and a kill no loss."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from spikeinterface.core import load

from .execution import end_with_children
from .report import machine
from .runner import BenchmarkResults
from .worker import last_error_line

#: Most memory of one sort, GB.
MOST_GB = 4.0
# a sort is killed after this stage, on the way to the next: in the middle of what takes longest
KILLED_AFTER = "make units"
RESUME = "import sys; from spikeinterface_huidurep import resume; resume(sys.argv[1])"
LOG, RESUMED, POLL_S = "huidurep.log", "resumed.json", 0.1


class Resumed(NamedTuple):
    """
    A sort that was killed and resumed.

    recording, its name; killed_s, after how long it was killed; done, the last stage that it had finished; resumed_s,
    how long the rest took; same, whether the spikes are those of the sort that nobody killed.
    """

    recording: str
    killed_s: float
    done: str
    resumed_s: float
    same: bool


def stage_times(log: Path) -> dict[str, float]:
    """Seconds of each stage, from the log of a sort."""
    found: dict[str, float] = {}
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        match = re.search(r" INFO ([a-z ]+): ([0-9.]+) s$", line)
        if match:
            found[match[1]] = found.get(match[1], 0.0) + float(match[2])
    return found


def kill_and_resume(run_folder: Path, recording: str) -> Resumed:
    """
    Sort once more, kill the sort (SIGKILL) on the way, and resume it.

    Parameters
    ----------
    run_folder : Path
        Of the finished run of :func:`~spikeinterface_huidurep.benchmark.execution.run_job`.
    recording : str
        Its name.

    Returns
    -------
    Resumed
        Kept in `run_folder`: a second call does not sort again.
    """
    kept = run_folder / RESUMED
    if kept.is_file():
        return Resumed(**json.loads(kept.read_text()))
    folder = run_folder / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    job = json.loads((run_folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**job, "output_folder": str(folder.absolute())}))
    command = [sys.executable, "-m", "spikeinterface_huidurep.benchmark.worker", str(folder / "job.json")]
    quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
    log = folder / "sorter" / "sorter_output" / LOG
    started = time.perf_counter()
    try:
        while process.poll() is None and not (log.is_file() and KILLED_AFTER in stage_times(log)):
            time.sleep(POLL_S)
    finally:
        end_with_children(process)
    killed_s = time.perf_counter() - started
    done = list(stage_times(log))
    started = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", RESUME, str(folder / "sorter")], capture_output=True, text=True)
    if said.returncode != 0:
        raise RuntimeError(f"The sort in {folder} that was killed is not resumed: {last_error_line(said.stderr)}")
    resumed_s = time.perf_counter() - started
    before, after = (
        load(path).to_spike_vector()
        for path in (run_folder / "sorting", folder / "sorter" / "sorter_output" / "sorting")
    )
    same = len(before) == len(after) and all(np.array_equal(before[name], after[name]) for name in before.dtype.names)
    result = Resumed(recording, killed_s, done[-1] if done else "nothing", resumed_s, bool(same))
    shutil.rmtree(folder, ignore_errors=True)
    kept.write_text(json.dumps(result._asdict()))
    return result


def scale_table(results: BenchmarkResults) -> pd.DataFrame:
    """
    How a sorter's cost grows.

    Parameters
    ----------
    results : BenchmarkResults
        Of recordings that differ in their length.

    Returns
    -------
    pd.DataFrame
        A row for each recording and sorter that is done, by length: `duration_s`, `run_time_s`, `run_time_ratio`,
        `further_s` (what each second that it is longer than the one before it has taken), the same of processor time
        (`cpu_time_s`, `further_cpu_s`), `peak_memory_gb`,
        `accuracy`, `well_detected`, `true_units`, `false_positive`, `stages` (dict of s).
    """
    done = results.summary[results.summary["status"] == "done"].copy()
    done["duration_s"] = [results.recordings[name]["duration_s"] for name in done["recording"]]
    done = done.sort_values(["sorter", "duration_s"], kind="stable")
    by_sorter = done.groupby("sorter")
    for further, time_s in (("further_s", "run_time_s"), ("further_cpu_s", "cpu_time_s")):
        done[further] = by_sorter[time_s].diff() / by_sorter["duration_s"].diff()
    logs = [Path(folder) / LOG for folder in done["folder"]]
    done["stages"] = [stage_times(log) if log.is_file() else {} for log in logs]
    return done


def write_scale(
    results: BenchmarkResults, output_folder: str | Path, command: str = "", resumed: Resumed | None = None
) -> Path:
    """
    Write what the suite `scale` found as ``scale.md``.

    Parameters
    ----------
    results : BenchmarkResults
    output_folder : str or Path
    command : str
        That made them.
    resumed : Resumed, optional

    Returns
    -------
    Path
    """
    table = scale_table(results)
    text = [f"# Longer and longer\n\n`{command}`\n\n{machine()}\n", _costs(table), _stages(table)]
    if resumed is not None:
        same = "the same" if resumed.same else "NOT the same"
        text.append(
            f"{resumed.recording}: killed after {resumed.killed_s:.0f} s, when it had finished '{resumed.done}'; the "
            f"rest took {resumed.resumed_s:.0f} s, and the spikes are {same}.\n"
        )
    path = Path(output_folder) / "scale.md"
    path.write_text("\n".join(text), encoding="utf-8")
    return path


def _costs(table):
    times = ("Run time, s", "Time / length", "Each further s", "CPU, s", "Each further s")
    heads = ["Sorter", "Length, min", *times, "Memory, GB", "Accuracy", "Found", "False"]
    lines = [_line(heads), "|" + "---|" * len(heads)]
    columns = (("run_time_s", 0), ("run_time_ratio", 2), ("further_s", 2), ("cpu_time_s", 0), ("further_cpu_s", 2))
    for _, row in table.iterrows():
        over = "" if row["peak_memory_gb"] <= MOST_GB else f" (more than {MOST_GB:g})"
        cells = [row["sorter"], f"{row['duration_s'] / 60:g}"]
        cells += ["" if pd.isna(row[name]) else f"{row[name]:.{digits}f}" for name, digits in columns]
        cells += [f"{row['peak_memory_gb']:.2f}{over}", f"{row['accuracy']:.3f}"]
        cells += [f"{row['well_detected']:.0f} of {row['true_units']:.0f}", f"{row['false_positive']:.0f}"]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _stages(table):
    """Seconds of each stage of this sorter, and what each further second of the longest part took."""
    own = table[[len(stages) > 0 for stages in table["stages"]]]
    if not len(own):
        return ""
    lengths = own["duration_s"].to_numpy()
    heads = ["Stage", *(f"{length / 60:g} min, s" for length in lengths)]
    lines = [_line([*heads, "Each further s"]), "|" + "---|" * (len(heads) + 1)]
    for stage in dict.fromkeys(name for stages in own["stages"] for name in stages):
        seconds = [stages.get(stage, 0.0) for stages in own["stages"]]
        further = "" if len(own) < 2 else f"{(seconds[-1] - seconds[-2]) / (lengths[-1] - lengths[-2]):.3f}"
        lines.append(_line([stage, *(f"{value:.1f}" for value in seconds), further]))
    return "\n".join(lines) + "\n"


def _line(cells):
    return "| " + " | ".join(cells) + " |"
