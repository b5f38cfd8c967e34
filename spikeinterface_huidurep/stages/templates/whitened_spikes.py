"""Spikes in whitened coordinates, in which the noise of every value has unit variance."""

from __future__ import annotations

import numpy as np

from ..shank import Shank
from ..traces.chunks import run_in_chunks, spikes_in_chunk
from .whitened import WhitenedTemplates


def whiten_spikes(shank: Shank, spikes: np.ndarray, labels: np.ndarray, templates: WhitenedTemplates) -> np.ndarray:
    """
    Express spikes in the coordinates of their units' templates.

    Parameters
    ----------
    shank : Shank
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`; sorted by both.
    labels : (n_spikes,) int
        Unit of each.
    templates : WhitenedTemplates

    Returns
    -------
    values : (n_spikes, n_values) float32
        On the unit's channels, in standard deviations of the noise.
    """
    # only channels near those of a unit contribute to its whitened ones
    columns = [templates.whitening[:, channels] for channels in templates.channels]
    used = [np.flatnonzero(column.any(axis=1)) for column in columns]
    n_used = np.array([len(channels) for channels in used])
    inputs = np.zeros((len(used), n_used.max()), dtype=int)
    whitening = np.zeros((*inputs.shape, templates.channels.shape[1]), dtype="float32")
    for unit, (column, channels) in enumerate(zip(columns, used, strict=True)):
        inputs[unit, : len(channels)] = channels
        whitening[unit, : len(channels)] = column[channels]
    context = dict(
        recording=shank.recording, spikes=spikes, labels=labels, inputs=inputs, n_used=n_used, whitening=whitening,
        filters=templates.filters, nbefore=templates.nbefore,
    )  # fmt: skip
    parts = run_in_chunks(
        shank.recording, _whiten_in_chunk, context, job_name="whiten spikes", job_kwargs=shank.job_kwargs
    )
    return np.concatenate(parts).reshape(len(spikes), -1)


def _whiten_in_chunk(segment_index, start_frame, end_frame, context):
    from .snippets import filtered_waveforms

    filters, nbefore = context["filters"], context["nbefore"]
    inside, traces, samples = spikes_in_chunk(
        context["recording"], context["spikes"], segment_index, start_frame, end_frame, filters.shape[1]
    )
    units = context["labels"][inside]
    return filtered_waveforms(
        traces, samples - nbefore, units, context["inputs"], context["n_used"], context["whitening"], filters
    )
