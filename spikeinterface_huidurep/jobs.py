"""How a sort is run in parallel: SpikeInterface's job parameters, filled in."""

from __future__ import annotations

import sys
from typing import Any

# length of a chunk: so many seconds of one channel (24 MB, which the system lends again and again without clearing it
# anew), within limits
CHUNK_CHANNEL_SECONDS, SHORTEST_CHUNK_S, LONGEST_CHUNK_S = 192.0, 0.25, 5.0
# what SpikeInterface has where nobody has said anything of chunks
SPIKEINTERFACE_CHUNK = {"chunk_duration": "1s"}


def resolve_job_kwargs(params: dict[str, Any], verbose: bool, n_channels: int = 128) -> dict[str, Any]:
    """
    SpikeInterface's job parameters: how many jobs is given, else set globally, else every core of this process.

    Threads are the engine unless another one is given: the heavy parts release Python's lock, nothing is copied into
    workers, and a script without a `__main__` guard works where processes are spawned. SpikeInterface's global engine
    is always one of processes, whether somebody chose it or not, and so it does not count. The fewer the channels, the
    longer the chunks: what a chunk costs by itself is the same for all. A length that was given stays, and so does a
    global one other than SpikeInterface's own.
    """
    from spikeinterface.core.globals import get_global_job_kwargs, is_set_global_job_kwargs_set
    from spikeinterface.core.job_tools import fix_job_kwargs, get_usable_cpu_count

    job_kwargs = dict(params["job_kwargs"])
    if params["n_jobs"] is not None:
        job_kwargs["n_jobs"] = params["n_jobs"]
    everywhere = get_global_job_kwargs()
    if not is_set_global_job_kwargs_set():
        job_kwargs.setdefault("n_jobs", get_usable_cpu_count())
    if job_kwargs.get("pool_engine") is None:
        # how processes are started says that processes are wanted
        job_kwargs["pool_engine"] = "process" if job_kwargs.get("mp_context") else "thread"
    if not _chunk_length(job_kwargs) and _chunk_length(everywhere) in ({}, SPIKEINTERFACE_CHUNK):
        length = min(max(CHUNK_CHANNEL_SECONDS / n_channels, SHORTEST_CHUNK_S), LONGEST_CHUNK_S)
        job_kwargs["chunk_duration"] = f"{length:.2f}s"
    wanted = job_kwargs.get("progress_bar", everywhere.get("progress_bar", True))
    job_kwargs["progress_bar"] = bool(verbose and wanted)
    return fix_job_kwargs(job_kwargs)


def bars_shown(wanted: bool) -> bool:
    """Whether a command draws progress bars: only in a terminal, since each step of a bar is a line in a file."""
    return wanted and sys.stderr is not None and sys.stderr.isatty()


def _chunk_length(job_kwargs):
    """What is said of the length of chunks."""
    return {name: value for name, value in job_kwargs.items() if name.startswith("chunk_") or name == "total_memory"}
