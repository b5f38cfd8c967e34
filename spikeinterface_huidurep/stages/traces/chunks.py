"""Chunks: a function run on each chunk of a recording, on as many workers as are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, get_chunk_with_margin
from spikeinterface.core.job_tools import TimeSeriesChunkExecutor, fix_job_kwargs
from spikeinterface.core.node_pipeline import (
    GatherToMemory,
    PipelineNode,
    _compute_peak_pipeline_chunk,
    _init_peak_pipeline,
    check_graph,
)


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
    executor = TimeSeriesChunkExecutor(
        recording, function, _as_it_is, (context,), job_name=job_name,
        handle_returns=gather is None, gather_func=gather, **_without_limits(job_kwargs),
    )  # fmt: skip
    return executor.run() or []


def run_nodes(
    recording: BaseRecording,
    nodes: list[PipelineNode],
    *,
    job_name: str,
    job_kwargs: dict | None = None,
    slices: list[tuple[int, int, int]] | None = None,
) -> tuple[np.ndarray, ...]:
    """
    Run SpikeInterface's node pipeline, as its `run_node_pipeline` does.

    That one has each chunk limit the threads of BLAS and OpenMP anew, even if the process has limited them: 3 ms of
    processor time a chunk, 10 with the libraries of a GPU, in which no other thread runs.

    Parameters
    ----------
    recording : BaseRecording
    nodes : list of PipelineNode
        The first one finds the peaks.
    job_name : str
        For the progress bar.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.
    slices : list of (segment_index, start_frame, end_frame), optional
        Look only there.

    Returns
    -------
    tuple of array
        What each node that returns its output gives for all peaks.
    """
    check_graph(nodes, check_for_peak_source=False)
    gather = GatherToMemory()
    executor = TimeSeriesChunkExecutor(
        recording, _compute_peak_pipeline_chunk, _init_peak_pipeline, (recording, nodes, None), gather_func=gather,
        job_name=job_name, **_without_limits(job_kwargs),
    )  # fmt: skip
    executor.run(slices=slices)
    return gather.finalize_buffers()


def _without_limits(job_kwargs):
    """The parameters of the executor; the sort has limited the threads of its own process, workers limit theirs."""
    job_kwargs = fix_job_kwargs(job_kwargs or {})
    if job_kwargs["pool_engine"] == "thread":
        job_kwargs["max_threads_per_worker"] = None
    return job_kwargs


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
