"""
Many recordings on a dask cluster
=================================

SpikeInterface's ``run_sorter_jobs`` sorts a list of recordings on a dask cluster, or with slurm. Here the cluster is
one worker on this machine; on a real one only the line that makes the client changes.
"""

# %%
# The recordings
# --------------
# Workers read the recordings from where they lie, so recordings have to be on a disk that all of them see: those that
# are read from files are, those that were made in memory have to be saved.
import tempfile
import time
from pathlib import Path

import spikeinterface.core as si
from dask.distributed import Client, LocalCluster
from spikeinterface.sorters import read_sorter_folder, run_sorter_jobs

folder = Path(tempfile.mkdtemp())
recordings = {}
for seed, name in enumerate(["monday", "tuesday"]):
    recording, _ = si.generate_ground_truth_recording(durations=[10.0], num_channels=4, num_units=4, seed=seed)
    recordings[name] = recording.save(folder=folder / name, n_jobs=1, progress_bar=False)

# %%
# The jobs
# --------
# Each is the arguments of one ``run_sorter``. ``n_jobs`` is what one sort may use of its worker.
jobs = [
    {"sorter_name": "huidurep", "recording": recording, "folder": folder / f"sorted_{name}", "n_jobs": 1}
    for name, recording in recordings.items()
]

# %%
# The cluster
# -----------
# One worker, within this process. With dask_jobqueue, ``Client(SLURMCluster(cores=4, memory="16GB"))`` takes the place
# of this client. Where the workers are processes of this machine (``processes=True``), these lines of a script stand
# below ``if __name__ == "__main__":``, since the workers import it. Without dask, ``engine="slurm"`` submits a script
# for each job.
start = time.perf_counter()
with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
    with Client(cluster) as client:
        run_sorter_jobs(jobs, engine="dask", engine_kwargs={"client": client})
seconds = time.perf_counter() - start

# %%
# The results are read from the folders.
for job in jobs:
    print(job["folder"].name, read_sorter_folder(job["folder"]))

# %%
# What will it cost?
# ------------------
# The real-time factor (seconds of one core for each second of recording) is all that is needed; :doc:`../clusters` has
# the reckoning for 1,000 hours of 384 channels. On these two tetrodes, much of the time is the loading and compilation
# of code:
total = sum(recording.get_total_duration() for recording in recordings.values())
print(f"{seconds / total:.2f} s for each second of recording")
