"""Runs one sorter in this process: ``python -m spikeinterface_huidurep.benchmark.worker job.json``.

The process that starts it (see :mod:`~spikeinterface_huidurep.benchmark.execution`) measures it from outside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any


def last_error_line(text: str) -> str:
    """Line of a traceback that names the error; of a traceback quoted inside another one, the innermost error."""
    errors = [
        line.strip()
        for line in text.splitlines()
        if re.match(r"\s*[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b:?", line)
    ]
    errors = [line for line in errors if "SpikeSortingError" not in line] or errors
    lines = errors or [line.strip() for line in text.splitlines() if line.strip()] or ["unknown error"]
    return lines[-1][:300]


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Run the sorter of a job and save its sorting.

    Parameters
    ----------
    job : dict
        `sorter`, `recording_folder`, `parameters`, `n_jobs`, `output_folder`.

    Returns
    -------
    dict
        `status` ("done" or "failed"), `message`, `run_time_s`, and the sorter's own version.
    """
    import spikeinterface as si
    from spikeinterface.sorters import run_sorter, sorter_dict

    output = Path(job["output_folder"])
    si.set_global_job_kwargs(n_jobs=job["n_jobs"], chunk_duration="1s", progress_bar=False)
    recording = si.load(job["recording_folder"])
    if job["sorter"] == "herdingspikes":
        _give_channels_a_location_property()
    result: dict[str, Any] = {"status": "done", "message": ""}
    started, cpu_before = time.perf_counter(), sum(os.times()[:4])
    try:
        sorting = run_sorter(
            job["sorter"],
            recording,
            folder=output / "sorter",
            remove_existing_folder=True,
            verbose=False,
            **job["parameters"],
        )
        result["run_time_s"] = time.perf_counter() - started
        # of this process and of those that it has started and waited for
        result["cpu_time_s"] = sum(os.times()[:4]) - cpu_before
        si.NumpySorting.from_sorting(sorting).save(folder=output / "sorting", format="numpy_folder", overwrite=True)
    except Exception as error:  # any exception of a sorter is reported in its row
        text = "".join(traceback.format_exception(error))
        sys.stderr.write(text)
        result.update(status="failed", message=last_error_line(text), run_time_s=time.perf_counter() - started)
    log = output / "sorter" / "sorter_output" / "huidurep.log"
    if log.is_file():
        # the sorter's folder goes
        shutil.copy(log, output / log.name)
    try:
        result["sorter_version"] = str(sorter_dict[job["sorter"]].get_sorter_version())
    except Exception:  # a sorter that cannot be imported has no version
        result["sorter_version"] = "unknown"
    return result


def _give_channels_a_location_property() -> None:
    """Give recordings of this process the channel property "location", as before SpikeInterface 0.105.

    HerdingSpikes 0.4.6 reads it, and would fail on every recording.
    """
    from spikeinterface.core.baserecordingsnippets import BaseRecordingSnippets

    original = BaseRecordingSnippets.get_channel_property

    def get_channel_property(self, channel_id, key):
        if key == "location":
            return self.get_channel_locations(channel_ids=[channel_id])[0]
        return original(self, channel_id, key)

    BaseRecordingSnippets.get_channel_property = get_channel_property


def _end_with_parent(parent: int) -> None:
    """End this process and its children when the process that started it has ended, so that no sorter is left over."""
    import psutil

    while psutil.pid_exists(parent) and os.getppid() == parent:
        time.sleep(2)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)


def main() -> None:
    """Read the job's file, run the job, and write `worker.json` to its output folder."""
    job = json.loads(Path(sys.argv[1]).read_text())
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    result = run_job(job)
    (Path(job["output_folder"]) / "worker.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
