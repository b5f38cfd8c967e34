"""Chunks: a function run on each chunk of a recording, on as many workers as are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, get_chunk_with_margin
from spikeinterface.core.job_tools import TimeSeriesChunkExecutor, fix_job_kwargs


def run_in_chunks(
    recording: BaseRecording,
    function: Callable[[int, int, int, dict], Any],
    context: dict[str, Any],
    *,
    job_name: str,
    job_kwargs: dict | None = None,
    gather: Callable[[Any], None] | None = None,
) -> list:
    """
    Run a function on each chunk with SpikeInterface's executor.

    Parameters
    ----------
    recording : BaseRecording
    function : callable
        Of segment index, first and last frame, and the context; of a module, so that processes find it.
    context : dict
        What the function needs.
    job_name : str
        For the progress bar.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.
    gather : callable, optional
        Takes what each chunk gives, in the chunks' order.

    Returns
    -------
    list
        What the chunks gave, in their order; empty where it was gathered.
    """
    job_kwargs = fix_job_kwargs(job_kwargs or {})
    if job_kwargs["pool_engine"] == "thread":
        # the sort has limited its own process; the executor would look through all libraries again, in every chunk
        job_kwargs["max_threads_per_worker"] = None
    executor = TimeSeriesChunkExecutor(
        recording, function, _as_it_is, (context,), job_name=job_name,
        handle_returns=gather is None, gather_func=gather, **job_kwargs,
    )  # fmt: skip
    return executor.run() or []


def _as_it_is(context):
    return context


def spikes_in_chunk(
    recording: BaseRecording, spikes: np.ndarray, segment_index: int, start_frame: int, end_frame: int, margin: int
) -> tuple[slice, np.ndarray, np.ndarray]:
    """
    Find the spikes of a chunk and read its traces.

    Parameters
    ----------
    recording : BaseRecording
    spikes : (n_spikes,) structured array
        `segment_index` and `sample_index`, sorted by both.
    segment_index, start_frame, end_frame : int
        The chunk.
    margin : int
        Samples that are read before and after it; zeros beyond the ends of the segment.

    Returns
    -------
    inside : slice
        The chunk's spikes.
    traces : (n_samples, n_channels) array
        Empty where there is no spike.
    samples : (n_inside,) int
        Of the spikes, in the traces.
    """
    first, last = np.searchsorted(spikes["segment_index"], [segment_index, segment_index + 1])
    found = first + np.searchsorted(spikes["sample_index"][first:last], [start_frame, end_frame])
    inside = slice(int(found[0]), int(found[1]))
    samples = spikes["sample_index"][inside] - start_frame + margin
    if len(samples) == 0:
        return inside, np.zeros((0, recording.get_num_channels()), dtype="float32"), samples
    traces, _, _ = get_chunk_with_margin(
        recording.segments[segment_index], start_frame, end_frame, None, margin, add_zeros=True
    )
    return inside, traces, samples
