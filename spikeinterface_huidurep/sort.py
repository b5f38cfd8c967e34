"""The sort, told as the method section of a paper: one call a stage, in the order in which a spike travels."""

from __future__ import annotations

import logging
import warnings
from contextlib import ExitStack
from typing import Any

from spikeinterface.core import BaseRecording, BaseSorting
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.core.motion import Motion
from threadpoolctl import threadpool_limits

from .criteria import cleaning_criteria, cluster_size, detection_criteria, matching_criteria, unit_criteria
from .record import Record
from .shanks import split_shanks
from .stages.matching.assignment import assign_spikes
from .stages.matching.confidence import estimate_confidence
from .stages.motion.clock import given_motion
from .stages.motion.estimation import displacement_at, estimate_motion, register
from .stages.peaks.clustering import cluster_peaks
from .stages.peaks.detection import detect_peaks
from .stages.peaks.embedding import embed_peaks, load_for_sorting
from .stages.peaks.selection import select_peaks
from .stages.result.cleaning import clean_spikes
from .stages.result.finishing import empty_sorting, finish, join_shanks, unscaled
from .stages.shank import Shank
from .stages.templates.whitened import whiten_templates
from .stages.traces.caching import cached_traces, is_computed
from .stages.traces.noise import estimate_noise
from .stages.traces.preprocessing import preprocess
from .stages.traces.rescaling import rescale
from .stages.traces.segments import duration_of
from .stages.units.group import group_templates
from .stages.units.loop import make_units, refine_units

logger = logging.getLogger("spikeinterface_huidurep")


def sort_recording(
    recording: BaseRecording, params: dict[str, Any], job_kwargs: dict[str, Any], record: Record | None = None
) -> BaseSorting:
    """
    Sort a recording, each shank by itself.

    Parameters
    ----------
    recording : BaseRecording
        With channel locations; see `check_recording` for what is refused.
    params : dict
        Every parameter of the sorter, see `spikeinterface_huidurep.parameters`.
    job_kwargs : dict
        SpikeInterface's parameters for parallel processing.
    record : Record, optional
        Where the stages' results are kept; None keeps none.

    Returns
    -------
    BaseSorting
        With the recording's segments; empty, with a warning, where there is nothing to find.
    """
    record = record or Record()
    shanks = split_shanks(recording, params["sort_by_group"])
    if len(shanks) == 1:
        (shank,) = shanks.values()
        return sort_shank(shank, params, job_kwargs, record)
    sortings = []
    for index, (group, shank) in enumerate(shanks.items()):
        logger.info("group %s: %d channels", group, shank.get_num_channels())
        sortings.append(sort_shank(shank, params, job_kwargs, record.part(index, f"group_{group}")))
    return join_shanks(sortings, list(shanks))


def sort_shank(
    recording: BaseRecording, params: dict[str, Any], job_kwargs: dict[str, Any], record: Record
) -> BaseSorting:
    """Sort one shank: preprocess it, keep the traces on disk for as long as they are read, find the units."""
    with record.stage("preprocess"):
        traces = preprocess(
            recording,
            apply_filter=params["apply_preprocessing"],
            freq_min=params["freq_min"],
            freq_max=params["freq_max"],
            apply_common_reference=params["apply_preprocessing"] and params["common_reference"],
            seed=params["seed"],
        )
    if traces is None:
        return _nothing(recording, "every channel is silent")
    filtered, distance_scale = params["apply_preprocessing"], params["distance_scale"]
    freq_max = params["freq_max"] if filtered else None
    # the method knows a neuron's spikes: slower and wider potentials are brought to their size
    traces, step = rescale(traces, params["time_scale"], distance_scale, freq_max=freq_max)
    with ExitStack() as stack:
        # the jobs are the parallelism: threads of BLAS and OpenMP within them would multiply them
        stack.enter_context(threadpool_limits(1))
        if filtered or is_computed(recording):
            limits = dict(max_gb=params["max_cache_gb"], job_kwargs=job_kwargs)
            with record.stage("cache traces"):
                # what was preprocessed before is kept as it is
                traces = stack.enter_context(cached_traces(traces, record.scratch, exact=not filtered, **limits))
        sorting = find_units(traces, params, job_kwargs, record, given_motion(params["motion_folder"], recording))
    return unscaled(sorting, recording.sampling_frequency, step=step, distance_scale=distance_scale)


def find_units(
    traces: BaseRecording,
    params: dict[str, Any],
    job_kwargs: dict[str, Any],
    record: Record,
    motion_given: Motion | None = None,
) -> BaseSorting:
    """The method, from the preprocessed traces of one shank to its units; the motion, where it is known already."""
    seed, rate = params["seed"], traces.sampling_frequency
    nbefore, nafter = ms_to_samples(params["ms_before"], rate), ms_to_samples(params["ms_after"], rate)

    peaks = record.run(
        "detect peaks", detect_peaks, traces, detection_criteria(params),
        margin_samples=max(nbefore, nafter) + 2, seed=seed, job_kwargs=job_kwargs,
    )  # fmt: skip
    if len(peaks) == 0:
        return _nothing(traces, f"no peak reaches {params['detect_threshold']} times the noise")
    peaks = peaks[
        select_peaks(peaks, traces.get_num_channels(), max_peaks_per_channel=params["max_peaks_per_channel"], seed=seed)
    ]
    features = record.run(
        "embed spikes", embed_peaks, traces, peaks, load_for_sorting(params["model"], params["device"]),
        adaptation_steps=params["adaptation_steps"], seed=seed, job_kwargs=job_kwargs,
    )  # fmt: skip
    motion = record.run(
        "estimate motion", estimate_motion, traces, peaks, features,
        correct=params["motion_correction"], given=motion_given, seed=seed,
    )  # fmt: skip
    displacement = displacement_at(motion, traces, peaks, features.location[:, 1])
    registered = register(features.location, displacement, traces.get_channel_locations())
    clusters = record.run(
        "cluster", cluster_peaks, features.embedding, registered,
        min_cluster_size=cluster_size(params, len(peaks)), seed=seed,
    )  # fmt: skip
    noise = record.run("measure noise", estimate_noise, traces, peaks, n_lags=nbefore + nafter, seed=seed)
    shank, moving = Shank(traces, noise, nbefore, nafter, motion, seed, job_kwargs), motion is not None
    criteria = unit_criteria(params, n_peaks=len(peaks), moving=moving)
    units = record.run(
        "make units", make_units, shank, peaks, clusters, features.embedding, registered, displacement, criteria
    )
    record.save(
        peaks=units.spikes, embedding=features.embedding, locations=features.location, amplitudes=features.amplitude,
        motion=motion, clusters=clusters, labels=units.labels, templates=units.templates.waveforms,
    )  # fmt: skip
    templates = record.run("refine units", refine_units, shank, units.templates, criteria)
    space, matching = whiten_templates(templates, noise), matching_criteria(params, moving=moving)
    spikes = record.run("assign spikes", assign_spikes, shank, space, matching)
    spikes["confidence"] = estimate_confidence(spikes, space.energy, matching, n_values=space.n_values)
    sure = spikes[spikes["confidence"] >= params["min_confidence"]]
    grouping = record.run("group templates", group_templates, shank, space, templates.counts, sure)
    duration_s = duration_of(traces) * params["time_scale"]
    kept = cleaning_criteria(params, sampling_frequency=rate, duration_s=duration_s)
    spikes = grouping.of(spikes)
    sorting = finish(
        traces, clean_spikes(spikes, space.energy, kept), templates, grouping.piece_probability(spikes),
        censored_period_ms=params["censored_period_ms"],
    )  # fmt: skip
    if len(sorting.unit_ids) == 0:
        return _nothing(traces, "no cluster of peaks made a unit")
    return sorting


def _nothing(recording, why):
    # Python shows a repeated warning once: the log has it each time
    logger.info("no units: %s", why)
    warnings.warn(f"huidurep found no units: {why}.", stacklevel=2)
    return empty_sorting(recording.sampling_frequency, recording.get_num_segments())
