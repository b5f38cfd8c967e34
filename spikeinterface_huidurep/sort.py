"""The sort, told as the method section of a paper: one call a stage, in the order in which a spike travels."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, BaseSorting
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.core.motion import Motion
from threadpoolctl import threadpool_limits

from .criteria import cleaning_criteria, detection_criteria, matching_criteria, most_peaks, unit_criteria
from .good_probability import set_good_probability
from .known_units import read_known_units
from .progress import TimeLeft
from .record import Record
from .shanks import split_shanks
from .stages.device import CPU, compute_device, filters_on, jobs_on
from .stages.grouping.group import group_templates
from .stages.known.follow import (
    NONE_KNOWN,
    Followed,
    KnownUnits,
    follow_units,
    name_units,
    remember_units,
    with_new_units,
)
from .stages.known.since import ASKED
from .stages.matching.assignment import assign_spikes
from .stages.matching.confidence import estimate_confidence
from .stages.motion.clock import given_motion, on_recording_clock
from .stages.motion.estimation import estimate_motion, register
from .stages.peaks.clustering import cluster_peaks
from .stages.peaks.detection import detect_peaks
from .stages.peaks.embedding import EncodedSome, embed_peaks, load_for_sorting
from .stages.peaks.selection import select_peaks, some_peaks
from .stages.result.cleaning import clean_spikes
from .stages.result.finishing import empty_sorting, finish, join_shanks, unscaled
from .stages.shank import Shank
from .stages.spike_features import SpikeFeatures
from .stages.templates.drifting import DriftingUnitTemplates
from .stages.templates.whitened import whiten_templates
from .stages.traces.caching import cached_traces, is_computed
from .stages.traces.noise import estimate_noise
from .stages.traces.preprocessing import preprocess
from .stages.traces.rescaling import rescale
from .stages.traces.segments import duration_of
from .stages.units.alike import alike_units
from .stages.units.loop import UnitCriteria, make_units, refine_units, refit_units
from .stages.units.unit_set import UnitSet

logger = logging.getLogger("spikeinterface_huidurep")

# seconds of the recording in which units are refined that start from known templates: these need fewer spikes
KNOWN_REFINED_S = 40.0


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
    device = compute_device(params["device"])
    if device != CPU:
        logger.info("the heavy stages compute on %s", device)
    job_kwargs = jobs_on(device, job_kwargs)
    shanks = split_shanks(recording, params["sort_by_group"])
    record.time_left = TimeLeft([one.get_num_channels() for one in shanks.values()], duration_of(recording))
    known = read_known_units(params["known_units"]) if params["known_units"] else [NONE_KNOWN] * len(shanks)
    sorting = _sort_shanks(shanks, params, job_kwargs, record, known)
    set_good_probability(sorting, recording, params["time_scale"])
    return sorting


def _sort_shanks(shanks, params, job_kwargs, record, known):
    """One Sorting of all shanks."""
    if len(shanks) == 1:
        (shank,) = shanks.values()
        return sort_shank(shank, params, job_kwargs, record, known[0])
    sortings = []
    for index, (group, shank) in enumerate(shanks.items()):
        logger.info("group %s: %d channels", group, shank.get_num_channels())
        part = record.part(index, f"group_{group}")
        sortings.append(sort_shank(shank, params, job_kwargs, part, known[index]))
    return join_shanks(sortings, list(shanks), known[0].next_id)


def sort_shank(
    recording: BaseRecording,
    params: dict[str, Any],
    job_kwargs: dict[str, Any],
    record: Record,
    known: KnownUnits,
) -> BaseSorting:
    """Sort one shank: preprocess it, keep the traces on disk for as long as they are read, find the units."""
    record.n_channels = recording.get_num_channels()
    with record.stage("preprocess"):
        traces = preprocess(
            recording,
            apply_filter=params["apply_preprocessing"],
            freq_min=params["freq_min"],
            freq_max=params["freq_max"],
            apply_common_reference=params["apply_preprocessing"] and params["common_reference"],
            seed=params["seed"],
            device=filters_on(compute_device(params["device"]), job_kwargs),
        )
    if traces is None:
        return _nothing(recording, "every channel is silent", known)
    filtered, distance_scale = params["apply_preprocessing"], params["distance_scale"]
    freq_max = params["freq_max"] if filtered else None
    # no more samples than the frequencies need; slower and wider potentials come to the size of a neuron's spikes
    traces, step = rescale(traces, params["time_scale"], distance_scale, freq_max=freq_max)
    with ExitStack() as stack:
        # the jobs are the parallelism: threads of BLAS and OpenMP within them would multiply them
        stack.enter_context(threadpool_limits(1))
        if filtered or is_computed(recording):
            limits = dict(max_gb=params["max_cache_gb"], job_kwargs=job_kwargs)
            with record.stage("cache traces"):
                # what was preprocessed before is kept as it is
                traces = stack.enter_context(cached_traces(traces, record.scratch, exact=not filtered, **limits))
        given = given_motion(params["motion_folder"], recording)
        on_clock = partial(
            on_recording_clock, recording=recording,
            rate=traces.sampling_frequency, step=step, distance_scale=distance_scale,
        )  # fmt: skip
        sorting = find_units(traces, params, job_kwargs, record, known, given, on_clock)
    return unscaled(sorting, recording, step=step, distance_scale=distance_scale)


def find_units(
    traces: BaseRecording,
    params: dict[str, Any],
    job_kwargs: dict[str, Any],
    record: Record,
    known: KnownUnits = NONE_KNOWN,
    motion_given: Motion | None = None,
    on_clock: Callable[[Motion], Motion] | None = None,
) -> BaseSorting:
    """
    The method, from the preprocessed traces of one shank to its units; what is known before, it starts from.

    `on_clock` brings a motion to the clock of the recording for those who read it later.
    """
    seed, rate, device = params["seed"], traces.sampling_frequency, compute_device(params["device"])
    nbefore, nafter = ms_to_samples(params["ms_before"], rate), ms_to_samples(params["ms_after"], rate)

    peaks = record.run(
        "detect peaks", detect_peaks, traces, detection_criteria(params),
        margin_samples=max(nbefore, nafter) + 2, seed=seed, job_kwargs=job_kwargs, device=device,
    )  # fmt: skip
    if len(peaks) == 0:
        return _nothing(traces, f"no peak reaches {params['detect_threshold']} times the noise", known)
    if not params["find_new_units"] and known.n_templates == 0:
        return _nothing(traces, "none is known, and new ones are not looked for", known)
    most = most_peaks(params, duration_of(traces))
    peaks = peaks[select_peaks(peaks, traces.get_num_channels(), max_peaks_per_channel=most, seed=seed)]
    encoded = encode(traces, peaks, params, job_kwargs, record, known)
    motion = record.run(
        "estimate motion", estimate_motion, traces, peaks[encoded.which], encoded.features,
        correct=params["motion_correction"], given=motion_given, seed=seed, device=device,
    )  # fmt: skip
    record.save(motion=on_clock(motion) if on_clock is not None and motion is not None else motion)
    noise = record.run("measure noise", estimate_noise, traces, peaks, n_lags=nbefore + nafter, seed=seed)
    shank, moving = Shank(traces, noise, nbefore, nafter, motion, seed, job_kwargs, device), motion is not None
    templates, followed = find_templates(shank, peaks, encoded, params, record, known)
    space, matching = whiten_templates(templates, noise), matching_criteria(params, moving=moving)
    spikes = record.run("assign spikes", assign_spikes, shank, space, matching)
    spikes["confidence"] = estimate_confidence(spikes, space.energy, matching, n_values=space.n_values)
    sure = spikes[spikes["confidence"] >= params["min_confidence"]]
    if params["find_new_units"]:
        criteria = unit_criteria(params, n_peaks=len(peaks))
        alike = record.run("compare alike units", alike_units, shank, templates, space, spikes, criteria)
        grouping = record.run("group templates", group_templates, shank, space, templates.counts, sure, alike)
    else:
        grouping = known.grouping(shank)
    duration_s = duration_of(traces) * params["time_scale"]
    kept = cleaning_criteria(params, sampling_frequency=rate, duration_s=duration_s)
    spikes = clean_spikes(grouping.of(spikes), space.energy, kept)
    names = name_units(shank, templates, spikes, known, followed) if params["known_units"] else None
    if names is not None and not params["find_new_units"]:
        spikes = spikes[names[spikes["unit_index"]] >= 0]
    sorting = finish(
        traces, spikes, templates, grouping.piece_probability(spikes), names=names, first_new=known.next_id,
        censored_period_ms=params["censored_period_ms"],
    )  # fmt: skip
    if len(sorting.unit_ids) == 0:
        return _nothing(traces, "no cluster of peaks made a unit", known)
    sorting.known_units = [remember_units(traces, templates, grouping, sorting, known, followed)]
    return sorting


def encode(
    traces: BaseRecording,
    peaks: np.ndarray,
    params: dict[str, Any],
    job_kwargs: dict[str, Any],
    record: Record,
    known: KnownUnits,
) -> EncodedSome:
    """
    Encode the peaks; where units are known and no motion is estimated only those that are asked where the probe is.

    Most of the others are of known units. To estimate how the probe moves takes all: with 2000 of 6700 a zigzag of 20
    um was not seen on 32 channels.
    """
    embed = partial(
        embed_peaks, traces, encoder=load_for_sorting(params["model"], params["device"]),
        adaptation_steps=params["adaptation_steps"], seed=params["seed"], job_kwargs=job_kwargs,
    )  # fmt: skip
    which = np.ones(len(peaks), dtype=bool)
    told = params["motion_correction"] is False or params["motion_folder"] is not None
    if known.n_templates and told and not params["adaptation_steps"]:
        which = some_peaks(len(peaks), ASKED, seed=params["seed"])
    return EncodedSome(which, record.run("embed spikes", embed, peaks[which]), embed)


def find_templates(
    shank: Shank,
    peaks: np.ndarray,
    encoded: EncodedSome,
    params: dict[str, Any],
    record: Record,
    known: KnownUnits,
) -> tuple[DriftingUnitTemplates, Followed | None]:
    """Templates of the units: known ones where the probe has them now, and those of the peaks that they leave over."""
    criteria = unit_criteria(params, n_peaks=len(peaks))
    if known.n_templates:
        return find_known_and_new(shank, peaks, encoded, params, record, known)
    units = units_of_peaks(shank, peaks, encoded.features, params, record, criteria)
    return record.run("refine units", refine_units, shank, units.templates, criteria), None


def find_known_and_new(
    shank: Shank,
    peaks: np.ndarray,
    encoded: EncodedSome,
    params: dict[str, Any],
    record: Record,
    known: KnownUnits,
) -> tuple[DriftingUnitTemplates, Followed]:
    """Templates of known units as they are today, and of new ones."""
    some = encoded.features
    depths = shank.recording.get_channel_locations()[peaks["channel_index"], 1]
    depths[encoded.which] = some.location[:, 1]
    displacement = shank.displacement_of(peaks, depths)
    registered = register(some.location, displacement[encoded.which], shank.recording.get_channel_locations())
    criteria = replace(unit_criteria(params, n_peaks=len(peaks)), duration_s=KNOWN_REFINED_S)
    followed = record.run(
        "follow known units", follow_units, shank, known, peaks, registered, some.amplitude, displacement, criteria
    )
    if not params["find_new_units"]:
        return record.run("refit units", refit_units, shank, followed.templates, criteria), followed
    new = followed.labels < 0
    features = record.run("embed what is left", encoded.of, peaks, new)
    units = units_of_peaks(shank, peaks[new], features, params, record, criteria)
    templates = with_new_units(shank, followed, units, criteria.join_peaks(shank))
    return record.run("refine units", refine_units, shank, templates, criteria), followed


def units_of_peaks(
    shank: Shank,
    peaks: np.ndarray,
    features: SpikeFeatures,
    params: dict[str, Any],
    record: Record,
    criteria: UnitCriteria,
) -> UnitSet:
    """Cluster the peaks, and make units of the clusters."""
    displacement = shank.displacement_of(peaks, features.location[:, 1])
    registered = register(features.location, displacement, shank.recording.get_channel_locations())
    clusters = record.run(
        "cluster", cluster_peaks, features.embedding, registered, min_cluster_size=criteria.min_size, seed=shank.seed
    )
    units = record.run(
        "make units", make_units, shank, peaks, clusters, features.embedding, registered, displacement, criteria
    )
    record.save(
        peaks=units.spikes, embedding=features.embedding, locations=features.location, amplitudes=features.amplitude,
        clusters=clusters, labels=units.labels, templates=units.templates.waveforms,
    )  # fmt: skip
    return units


def _nothing(recording, why, known):
    # Python shows a repeated warning once: the log has it each time
    logger.info("no units: %s", why)
    warnings.warn(f"huidurep found no units: {why}.", stacklevel=2)
    sorting = empty_sorting(recording.sampling_frequency, recording.get_num_segments())
    sorting.known_units = [known]
    return sorting
