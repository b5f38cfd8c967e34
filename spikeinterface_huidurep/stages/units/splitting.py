"""Splitting: two neurons in one unit show as two sources of the waveforms' residuals in whitened coordinates."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.core_tools import ms_to_samples

from ..templates.whitened import N_SUBSAMPLE, WhitenedTemplates
from ..traces.chunks import run_in_chunks, spikes_in_chunk
from .mixtures import separate_sources

# a split needs less distance than clusters that are not merged: two sources are evidence by themselves
SPLIT_SHARE = 0.85
# of many spikes a few are by chance like each other: a source has at least this share of those that are looked at
LEAST_SHARE = 0.02
# the amplitudes of a burst are no Gaussian: as far apart as they are, so many times the usual spread, is one neuron
BURSTS = 1.75
# largest time between the detection of two spikes of one unit, relative to their waveform
MAX_LAG_MS = 0.1


def split_units(
    recording: BaseRecording,
    spikes: np.ndarray,
    labels: np.ndarray,
    displacement: np.ndarray,
    templates: WhitenedTemplates,
    *,
    min_size: int = 20,
    min_separation: float = 4.0,
    variability: float = 0.06,
    amplitude_std: float = 0.12,
    max_spikes_per_unit: int = 1000,
    seed: int = 0,
    job_kwargs: dict | None = None,
) -> np.ndarray:
    """
    Split units whose spikes, less the template that follows the motion, have several sources.

    In whitened coordinates the residuals of one neuron are a ball of unit variance; those of two are two balls as far
    apart as their templates (`separate_sources`). Along the template, where the spikes of one vary with their
    amplitude, the ball is made as narrow as elsewhere: amplitudes tell two neurons apart where they differ by more than
    those of one.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`.
    labels : (n_spikes,) int
        Unit of each spike, -1 for none.
    displacement : (n_spikes,) float
        Displacement of the probe at each spike, um.
    templates : WhitenedTemplates
        Templates of the units.
    min_size : int
        Least number of spikes on each side, where there are few; of many it is a fiftieth.
    min_separation : float
        Least distance of the two means, in standard deviations of the noise.
    variability : float
        How much one neuron's own waveform varies, as a fraction of its norm; it adds to the noise.
    amplitude_std : float
        How much one neuron's amplitudes vary, as a fraction of the template's; bursts are allowed `BURSTS` times it.
    max_spikes_per_unit : int
        Spikes of a unit that are looked at; the others go to the nearer side, with the label -1 (they are found again
        by the assignment).
    seed : int
    job_kwargs : dict, optional

    Returns
    -------
    labels : (n_spikes,) int64
        New labels, -1 for spikes that were not looked at; halves of split units follow after the last unit.
    """
    generator = np.random.default_rng(seed)
    chosen = np.zeros(0, dtype="int64")
    for unit in range(templates.n_units):
        here = np.flatnonzero(labels == unit)
        if len(here) > max_spikes_per_unit:
            here = generator.choice(here, max_spikes_per_unit, replace=False)
        chosen = np.concatenate([chosen, here])
    chosen = chosen[np.lexsort((chosen, spikes["sample_index"][chosen], spikes["segment_index"][chosen]))]
    split = np.full(len(labels), -1, dtype="int64")
    split[chosen] = labels[chosen]
    if len(chosen) == 0:
        return split
    values = _whitened_spikes(recording, spikes[chosen], labels[chosen], templates, job_kwargs)
    max_lag = ms_to_samples(MAX_LAG_MS, recording.sampling_frequency)
    next_label = templates.n_units
    for unit in range(templates.n_units):
        here = np.flatnonzero(labels[chosen] == unit)
        if len(here) == 0:
            continue
        expected = templates.of_unit(unit, displacement[chosen[here]])
        residuals = _residuals(values[here], expected, templates, max_lag, variability, amplitude_std)
        least = max(min_size, int(LEAST_SHARE * len(here)))
        parts = separate_sources(residuals, min_size=least, min_separation=SPLIT_SHARE * min_separation, seed=seed)
        for part in range(1, parts.max(initial=0) + 1):
            split[chosen[here[parts == part]]] = next_label
            next_label += 1
    return split


def _residuals(values, coefficients, templates, max_lag, variability, amplitude_std):
    """One unit's whitened spikes less its template, in standard deviations of one neuron's, (n_spikes, n_values)."""
    expected, late = _best_shifted(values, coefficients, templates, max_lag)
    # a spike that was detected sooner or later is no other neuron's
    late = _unit_norm(late - (late * expected).sum(axis=1, keepdims=True) * expected)
    amplitude = (values * expected).sum(axis=1, keepdims=True)
    rest = values - amplitude * expected
    rest -= (rest * late).sum(axis=1, keepdims=True) * late
    norm = np.linalg.norm(coefficients, axis=(1, 2))[:, None]
    along = (amplitude - norm) / np.sqrt(1 + (BURSTS * amplitude_std * norm) ** 2)
    return rest / np.sqrt(1 + (variability * norm.mean()) ** 2) + along * expected


def _best_shifted(values, coefficients, templates, max_lag):
    """The template at the lag at which it fits each spike best, of unit norm, and its change in time."""
    middle = templates.response.shape[3] // 2
    answers = templates.response[N_SUBSAMPLE // 2, :, :, middle - max_lag - 1 : middle + max_lag + 2]
    shifted = np.einsum("ncq,kql->lnck", coefficients, answers, optimize=True).reshape(answers.shape[2], *values.shape)
    inner = shifted[1:-1]
    norm = np.maximum(np.linalg.norm(inner, axis=2), 1e-9)
    best = (np.einsum("lnv,nv->ln", inner, values) / norm).argmax(axis=0)
    rows = np.arange(len(values))
    change = shifted[best + 2, rows] - shifted[best, rows]
    return inner[best, rows] / norm[best, rows][:, None], _unit_norm(change)


def _unit_norm(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _whitened_spikes(recording, spikes, labels, templates, job_kwargs):
    """Whitened coefficients of each spike on its unit's channels, (n_spikes, n_values) float32."""
    # only channels near a unit's have a part in its whitened ones
    columns = [templates.whitening[:, channels] for channels in templates.channels]
    used = [np.flatnonzero(column.any(axis=1)) for column in columns]
    n_used = np.array([len(channels) for channels in used])
    inputs = np.zeros((len(used), n_used.max()), dtype=int)
    whitening = np.zeros((*inputs.shape, templates.channels.shape[1]), dtype="float32")
    for unit, (column, channels) in enumerate(zip(columns, used, strict=True)):
        inputs[unit, : len(channels)] = channels
        whitening[unit, : len(channels)] = column[channels]
    context = dict(
        recording=recording, spikes=spikes, labels=labels, inputs=inputs, n_used=n_used, whitening=whitening,
        filters=templates.filters, nbefore=templates.nbefore,
    )  # fmt: skip
    parts = run_in_chunks(recording, _whiten_in_chunk, context, job_name="whiten spikes", job_kwargs=job_kwargs)
    return np.concatenate(parts).reshape(len(spikes), -1)


def _whiten_in_chunk(segment_index, start_frame, end_frame, context):
    from ..templates.snippets import filtered_waveforms

    filters, nbefore = context["filters"], context["nbefore"]
    inside, traces, samples = spikes_in_chunk(
        context["recording"], context["spikes"], segment_index, start_frame, end_frame, filters.shape[1]
    )
    units = context["labels"][inside]
    return filtered_waveforms(
        traces, samples - nbefore, units, context["inputs"], context["n_used"], context["whitening"], filters
    )
