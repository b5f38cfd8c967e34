"""Refining: the templates are made again of the spikes that they find, and what finds hardly any is no unit."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.core_tools import ms_to_samples

from ..matching.assignment import assign_spikes
from ..matching.confidence import estimate_confidence
from ..matching.lone_spikes import lone_spikes
from ..motion.estimation import displacement_at
from ..templates.drifting import DriftingUnitTemplates, templates_like
from ..templates.whitened import whiten_templates
from ..traces.noise import NoiseModel
from ..traces.segments import away_from_ends
from .inseparable import inseparable_pairs
from .merging import merge_clusters, relabel
from .redundancy import redundant_units
from .second_split import split_assigned
from .units import MAX_LAG_MS

logger = logging.getLogger("spikeinterface_huidurep")

# what a split finds is a template of its own in the next round, and takes spikes that its neighbours' were made of
ROUNDS = 2
# spikes that are surely enough a unit's for its template
SURE = 0.6
# ... and of which the template explains this part
FIT = 0.6
# a second neuron is looked for among those, too, of which it explains only this part: that is where one without a
# template is
LEAST_FIT = 0.2
# spikes of a second neuron that make a template of their own
LEAST_SOURCE = 10
# a peak that the template was made of counts as so many of the spikes that it finds, among which are a neighbour's:
# without that the templates of small units wander off to those
KEPT = 3
# cosine of two templates of one unit: what finds another waveform than its own is none
SAME = 0.7
# noise units that a template reaches on some channel, half of what a peak needs to be detected. What is left of an
# artefact's ringing has less, and finds the slow end of other units' spikes
LEAST_AMPLITUDE = 1.5
# the units were told apart before: they are one only if refining has made them so, nearer than what was merged then
SAME_AGAIN = 0.75
# units up to so many times as far apart as what is merged are one where their spikes have one source: two templates
# that share one neuron's spikes keep the differences of what they were made of
FURTHEST = 1.75
# a spike is alone where no other is within this of it: the middle of its waveform is its own
ALONE_MS = 1.2
SLICE_S = 2.0


def refine_units(
    recording: BaseRecording,
    templates: DriftingUnitTemplates,
    noise: NoiseModel,
    motion: Any = None,
    *,
    threshold: float = 14.0,
    amplitude_std: float = 0.12,
    merge_threshold: float = 3.4,
    min_norm: float = 4.5,
    min_spikes: int = 5,
    duration_s: float = 100.0,
    job_kwargs: dict | None = None,
) -> DriftingUnitTemplates:
    """
    Assign the spikes of a part of the recording, and average what each unit was given.

    Clusters are made of the peaks that were detected: of a small neuron the larger ones, so that its template is too
    large and its other spikes do not fit. The assignment finds the smaller spikes too. A template that was made of
    peaks of noise finds hardly anything, or something much smaller. Spikes of a neuron that has no template go to the
    nearest, which explains them badly: among a unit's spikes, those that fit and those that do not, a second neuron is
    looked for. Where there was one, all of it is done once more with what was found.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    templates : DriftingUnitTemplates
        From `make_units`.
    noise : NoiseModel
    motion : spikeinterface.core.motion.Motion, optional
    threshold, amplitude_std : float
        As for `assign_spikes`.
    merge_threshold : float
        As for `merge_clusters`.
    min_norm : float
        Least norm of a refined template, in standard deviations of the noise.
    min_spikes : int
        Of fewer sure spikes no new template is made.
    duration_s : float
        How much of the recording is used, in stretches spread over all of it.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    DriftingUnitTemplates
        Of the units that stay.
    """
    slices = _slices(recording, duration_s)
    for _ in range(ROUNDS):
        templates, n_found = _refined(
            recording, templates, noise, motion,
            threshold=threshold, amplitude_std=amplitude_std, merge_threshold=merge_threshold, min_norm=min_norm,
            min_spikes=min_spikes, slices=slices, job_kwargs=job_kwargs,
        )  # fmt: skip
        if n_found == 0:
            break
    return templates


def _refined(
    recording, templates, noise, motion,
    *, threshold, amplitude_std, merge_threshold, min_norm, min_spikes, slices, job_kwargs,
):  # fmt: skip
    """One round: the templates, and how many neurons were found beside those that had one."""
    space = whiten_templates(templates, noise)
    spikes = assign_spikes(
        recording, space, motion,
        threshold=threshold, amplitude_std=amplitude_std, slices=slices, job_kwargs=job_kwargs,
    )  # fmt: skip
    redundant = redundant_units(
        recording, spikes, space, motion,
        min_distance=SAME_AGAIN * merge_threshold,
        threshold=threshold, amplitude_std=amplitude_std, job_kwargs=job_kwargs,
    )  # fmt: skip
    expected = dict(threshold=threshold, amplitude_std=amplitude_std, n_values=space.n_values)
    spikes["confidence"], anyhow = (
        estimate_confidence(spikes, space.energy, least_share=share, **expected) for share in (FIT, LEAST_FIT)
    )
    nafter = templates.waveforms.shape[2] - templates.nbefore
    usable = (np.maximum(spikes["confidence"], anyhow) >= SURE) & away_from_ends(
        recording, spikes, templates.nbefore, nafter
    )
    alone = lone_spikes(spikes, space.channels, ms_to_samples(ALONE_MS, recording.sampling_frequency))[usable]
    spikes = spikes[usable]
    labels, sure = spikes["unit_index"], spikes["confidence"] >= SURE
    refined = _templates_of(recording, spikes[sure], labels[sure], templates, motion, min_spikes, job_kwargs)
    real = _real_units(templates, refined, noise, min_norm) & ~redundant
    refined = refined.select(real)
    labels = np.where(real, np.cumsum(real) - 1, -1)[labels]
    n_real = refined.n_units
    parts, refined = split_assigned(
        recording, spikes, labels, alone, refined, noise, motion,
        min_size=LEAST_SOURCE, merge_threshold=merge_threshold, amplitude_std=amplitude_std, job_kwargs=job_kwargs,
    )  # fmt: skip
    n_found = refined.n_units - n_real
    # what fits a unit badly and is no other neuron's says nothing of the unit
    told = sure | np.isin(labels, labels[parts >= n_real])
    refined = _merged_again(
        recording, spikes[told], parts[told], refined, noise, motion,
        merge_threshold=merge_threshold, amplitude_std=amplitude_std, min_spikes=min_spikes, job_kwargs=job_kwargs,
    )  # fmt: skip
    logger.info(
        "refining: %d of %d units are real, %d after splitting, %d units",
        n_real, templates.n_units, n_real + n_found, refined.n_units,
    )  # fmt: skip
    return refined, n_found


def _real_units(templates, refined, noise, min_norm):
    """Units whose spikes are large enough, and of the waveform that their templates had, (n_units,) bool."""
    real = np.sqrt(whiten_templates(refined, noise).energy) >= min_norm
    real &= _similarity(templates, refined) >= SAME
    return real & (np.abs(refined.waveforms).max(axis=(1, 2, 3)) >= LEAST_AMPLITUDE)


def _merged_again(
    recording, spikes, labels, refined, noise, motion, *, merge_threshold, amplitude_std, min_spikes, job_kwargs
):
    """The templates, those made again that refining has brought so near to each other that they are one unit's."""
    max_lag = ms_to_samples(MAX_LAG_MS, recording.sampling_frequency)
    other_distance = None
    if motion is None:  # what is left of a motion would split any two
        one = inseparable_pairs(
            recording, spikes, labels, refined, noise,
            merge_threshold=merge_threshold, furthest=FURTHEST * merge_threshold, max_lag=max_lag,
            amplitude_std=amplitude_std, job_kwargs=job_kwargs,
        )  # fmt: skip
        other_distance = np.where(one, 0.0, np.inf)
    group, lags = merge_clusters(
        whiten_templates(refined, noise),
        refined.counts,
        merge_threshold=SAME_AGAIN * merge_threshold,
        other_distance=other_distance,
        amplitude_std=amplitude_std,
        max_lag=max_lag,
    )
    n_merged = int(group.max(initial=-1)) + 1
    if n_merged == refined.n_units:
        return refined
    spikes, labels = relabel(spikes, labels, group, lags)
    largest = np.array([_largest(refined, group == unit) for unit in range(n_merged)], dtype=int)
    return _templates_of(recording, spikes, labels, refined.select(largest), motion, min_spikes, job_kwargs)


def _largest(templates, members):
    return np.flatnonzero(members)[np.argmax(templates.n_spikes[members])]


def _templates_of(recording, spikes, labels, templates, motion, min_spikes, job_kwargs):
    """Templates of the units' spikes beside what they were made of; with too few spikes they stay as they are."""
    displacement = displacement_at(motion, recording, spikes, templates.locations[np.maximum(labels, 0), 1])
    refined = templates_like(templates, recording, spikes, labels, templates.locations, displacement, job_kwargs)
    # the locations are the same, and so are the channels
    before, counts = KEPT * templates.counts, refined.counts
    weight = (before / np.maximum(before + counts, 1))[:, :, None, None].astype("float32")
    waveforms = weight * templates.waveforms + (1 - weight) * refined.waveforms
    few = refined.n_spikes < min_spikes
    waveforms[few] = templates.waveforms[few]
    counts = np.where(few[:, None], templates.counts, counts)
    return replace(refined, waveforms=waveforms, counts=counts)


def _similarity(templates, refined):
    """Cosine of each unit's templates before and after, where it has most spikes, (n_units,)."""
    similarity = np.zeros(refined.n_units)
    for unit, counts in enumerate(refined.counts):
        most = int(np.argmax(counts))
        before, after = templates.waveforms[unit, most].ravel(), refined.waveforms[unit, most].ravel()
        similarity[unit] = before @ after / max(np.linalg.norm(before) * np.linalg.norm(after), 1e-9)
    return similarity


def _slices(recording, duration_s):
    """Stretches spread evenly over the recording; all of it, as None, where it is no longer than that."""
    total = recording.get_total_duration()
    if total <= 1.5 * duration_s:
        return None
    rate = recording.sampling_frequency
    every = int(SLICE_S * rate * total / duration_s)
    length = int(SLICE_S * rate)
    return [
        (segment, start, min(start + length, recording.get_num_samples(segment)))
        for segment in range(recording.get_num_segments())
        for start in range(0, recording.get_num_samples(segment), every)
    ]
