"""The sort, told as the method section of a paper: one call a stage, in the order in which a spike travels."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, BaseSorting
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.core.motion import Motion

from .encoder import load_encoder
from .record import Record
from .stages.assignment import assign_spikes
from .stages.cleaning import clean_spikes
from .stages.clustering import cluster_peaks, least_cluster_size
from .stages.detection import detect_peaks
from .stages.embedding import embed_peaks
from .stages.finishing import empty_sorting, finish, join_shanks
from .stages.merging import distances_across_drift, merge_clusters, relabel
from .stages.motion import displacement_at, displacement_grid, estimate_motion
from .stages.noise import estimate_noise
from .stages.preprocessing import preprocess
from .stages.selection import select_peaks
from .stages.splitting import split_units
from .stages.template_space import whiten_templates
from .stages.templates import estimate_templates

logger = logging.getLogger("spikeinterface_huidurep")

# largest time between the samples on which two clusters of one unit are centred
MAX_LAG_MS = 0.3


def sort_recording(
    recording: BaseRecording, params: dict[str, Any], job_kwargs: dict[str, Any], folder: Path | None = None
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
    folder : Path, optional
        Where the stages' arrays are saved; None saves none.

    Returns
    -------
    BaseSorting
        With the recording's segments; empty, with a warning, where there is nothing to find.
    """
    record = Record(folder)
    groups = np.unique(recording.get_channel_groups())
    if not params["sort_by_group"] or len(groups) == 1:
        return sort_shank(recording, params, job_kwargs, record)
    shanks = recording.split_by("group")
    sortings = []
    for group, shank in shanks.items():
        logger.info("group %s: %d channels", group, shank.get_num_channels())
        sortings.append(sort_shank(shank, params, job_kwargs, record.part(f"group_{group}")))
    return join_shanks(sortings, list(shanks))


def sort_shank(
    recording: BaseRecording, params: dict[str, Any], job_kwargs: dict[str, Any], record: Record
) -> BaseSorting:
    """Sort one shank: the method, from the raw traces to the units."""
    seed = params["seed"]
    rate = recording.sampling_frequency
    nbefore, nafter = ms_to_samples(params["ms_before"], rate), ms_to_samples(params["ms_after"], rate)

    with record.stage("preprocess"):
        traces = preprocess(
            recording,
            apply_filter=params["apply_preprocessing"],
            freq_min=params["freq_min"],
            freq_max=params["freq_max"],
            apply_common_reference=params["apply_preprocessing"] and params["common_reference"],
            seed=seed,
        )
    if traces is None:
        return _nothing(recording, "every channel is silent")

    with record.stage("detect peaks"):
        peaks = detect_peaks(
            traces,
            peak_sign=params["peak_sign"],
            detect_threshold=params["detect_threshold"],
            exclude_sweep_ms=params["exclude_sweep_ms"],
            radius_um=params["detection_radius_um"],
            margin_samples=max(nbefore, nafter) + 2,
            job_kwargs=job_kwargs,
        )
    if len(peaks) == 0:
        return _nothing(recording, f"no peak reaches {params['detect_threshold']} times the noise")

    with record.stage("embed spikes"):
        encoder = load_encoder(params["model"], params["device"])
        peaks = peaks[
            select_peaks(
                peaks,
                traces.get_num_channels(),
                max_peaks_per_channel=params["max_peaks_per_channel"],
                seed=seed,
            )
        ]
        features = embed_peaks(traces, peaks, encoder, job_kwargs=job_kwargs)

    with record.stage("estimate motion"):
        motion = estimate_motion(
            traces,
            peaks,
            features.location,
            features.amplitude,
            correct=params["motion_correction"],
            given=Motion.load(params["motion_folder"]) if params["motion_folder"] else None,
        )
        displacement = displacement_at(motion, traces, peaks, features.location[:, 1])
        registered = features.location - np.column_stack([np.zeros(len(peaks)), displacement])

    with record.stage("cluster"):
        min_cluster_size = params["min_cluster_size"] or least_cluster_size(len(peaks))
        clusters = cluster_peaks(features.embedding, registered, min_cluster_size=min_cluster_size, seed=seed)

    with record.stage("make templates"):
        noise = estimate_noise(traces, peaks, n_lags=nbefore + nafter, seed=seed)
        grid = displacement_grid(motion)

        def templates_of(peaks, labels):
            return estimate_templates(
                traces, peaks, labels, registered, displacement,
                displacements=grid, nbefore=nbefore, nafter=nafter, job_kwargs=job_kwargs,
            )  # fmt: skip

        templates = templates_of(peaks, clusters)

    with record.stage("split clusters"):
        labels = split_units(
            traces,
            peaks,
            clusters,
            displacement,
            whiten_templates(templates, noise),
            min_size=min_cluster_size,
            min_separation=params["merge_threshold"],
            seed=seed,
            job_kwargs=job_kwargs,
        )
        if labels.max() > clusters.max():
            templates = templates_of(peaks, labels)

    with record.stage("merge clusters"):
        n_clusters = templates.n_units
        units, lags = merge_clusters(
            whiten_templates(templates, noise),
            templates.n_spikes,
            merge_threshold=params["merge_threshold"],
            across_drift=distances_across_drift(features.embedding, labels, registered, displacement, grid, seed=seed),
            amplitude_std=params["amplitude_std"],
            max_lag=ms_to_samples(MAX_LAG_MS, rate),
        )
        peaks, labels = relabel(peaks, labels, units, lags)
        if labels.max() + 1 < n_clusters:
            templates = templates_of(peaks, labels)
        logger.info("%d clusters, %d after splitting, %d units", clusters.max() + 1, n_clusters, templates.n_units)
    record.save(
        peaks=peaks, embedding=features.embedding, locations=features.location, amplitudes=features.amplitude,
        motion=motion, clusters=clusters, labels=labels, templates=templates.waveforms,
    )  # fmt: skip

    with record.stage("assign spikes"):
        spikes = assign_spikes(
            traces,
            whiten_templates(templates, noise),
            motion,
            threshold=params["assignment_threshold"],
            amplitude_std=params["amplitude_std"],
            refractory_ms=params["censored_period_ms"],
            job_kwargs=job_kwargs,
        )

    with record.stage("finish"):
        spikes = clean_spikes(
            spikes,
            templates.n_units,
            duration_s=recording.get_total_duration(),
            censored_period=ms_to_samples(params["censored_period_ms"], rate),
            min_spikes=params["min_spikes"],
            min_firing_rate=params["min_firing_rate"],
        )
        lengths = [recording.get_num_samples(i) for i in range(recording.get_num_segments())]
        sorting = finish(traces, spikes, templates, segment_lengths=lengths)
    if len(sorting.unit_ids) == 0:
        return _nothing(recording, "no cluster of peaks made a unit")
    return sorting


def _nothing(recording, why):
    warnings.warn(f"huidurep found no units: {why}.", stacklevel=2)
    return empty_sorting(recording.sampling_frequency, recording.get_num_segments())
