"""Compares sorters on a recording without ground truth: their agreement, and quality metrics of their units."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from spikeinterface.comparison import compare_multiple_sorters, compare_two_sorters
from spikeinterface.core import BaseRecording, BaseSorting, create_sorting_analyzer, load
from spikeinterface.curation import remove_excess_spikes
from spikeinterface.preprocessing import bandpass_filter
from tqdm.auto import tqdm

from .execution import Job, SorterRun, finished_run, run_job
from .library_units import SORTER_BAND_HZ
from .peers import PEERS, RecordingFacts, get_peer
from .runner import DEFAULT_TIME_LIMIT_S

logger = logging.getLogger(__name__)

ISI_THRESHOLD_MS = 1.5  # SpikeInterface's default


@dataclass
class AgreementResults:
    """Results of several sorters on one recording.

    Attributes
    ----------
    summary : pd.DataFrame
        One row for each sorter: status, units, spikes, units with a counterpart in another sorter and in all, median
        metrics, cost.
    units : pd.DataFrame
        One row for each unit: sorter, spikes, rate, SNR, ISI violations, and the number of sorters that found it.
    matrix : pd.DataFrame
        Fraction of the units of the row's sorter that have a counterpart in the column's.
    about : dict
        Facts of the recording.
    """

    summary: pd.DataFrame
    units: pd.DataFrame
    matrix: pd.DataFrame
    about: dict[str, Any] = field(default_factory=dict)


def compare_sorters(
    recording: BaseRecording,
    sorters: Sequence[str] | None = None,
    output_folder: str | Path = "huidurep-compare",
    name: str = "recording",
    drifts: bool = True,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    n_jobs: int | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> AgreementResults:
    """Run sorters on a recording without ground truth and compare their units.

    Parameters
    ----------
    recording : BaseRecording
        Raw, with a probe.
    sorters : sequence of str, optional
        By default all installed ones of :data:`~spikeinterface_huidurep.benchmark.PEERS`.
    output_folder : str or Path
        For the runs; finished runs in it are used again.
    name : str
        Of the recording, for the report.
    drifts : bool
        Correct drift in the sorters that can.
    time_limit_s, n_jobs, retry_failed, progress
        See :func:`~spikeinterface_huidurep.benchmark.run_benchmark`.

    Returns
    -------
    AgreementResults
    """
    folder = Path(output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    saved, key = _saved_recording(recording, folder)
    n_jobs = n_jobs or os.cpu_count() or 1
    facts = RecordingFacts(recording.get_num_channels(), recording.get_total_duration(), drifts, n_jobs)
    runs: list[SorterRun] = []
    for sorter in tqdm(list(sorters or PEERS), disable=not progress, desc="sorters"):
        peer = get_peer(sorter)
        job = Job(sorter, name, str(saved.absolute()), key, peer.version(), peer.parameters(facts), n_jobs)
        reason = peer.reason_to_skip(facts)
        if reason is not None:
            runs.append(SorterRun(sorter, name, "skipped", reason, job.version, job.parameters, n_jobs=n_jobs))
            continue
        run = finished_run(job, folder / "runs")
        if run is None or (retry_failed and run.status != "done"):
            run = run_job(job, folder / "runs", time_limit_s)
        run.folder = str(job.folder(folder / "runs"))
        runs.append(run)
    sortings = {run.sorter: load(Path(run.folder) / "sorting") for run in runs if run.status == "done"}
    sortings = {sorter: remove_excess_spikes(sorting, recording) for sorter, sorting in sortings.items()}
    matrix, counterparts = _agreement(sortings)
    units = _unit_table(recording, sortings, counterparts, n_jobs)
    summary = pd.DataFrame([_summary_row(run, units, facts.duration_s, len(sortings)) for run in runs])
    about = {"name": name, "n_channels": facts.n_channels, "duration_s": facts.duration_s, "drifts": drifts}
    return AgreementResults(summary, units, matrix, about)


def share_of_like_spikes(one: BaseSorting, other: BaseSorting) -> float:
    """Share of the spikes of both that one unit has in both at the same time, to within 0.2 ms; 0 to 1."""
    matches = compare_two_sorters(one, other, delta_time=0.2, agreement_method="count")
    same = sum(
        matches.match_event_count.at[unit, partner]
        for unit, partner in matches.hungarian_match_12.items()
        if partner in matches.match_event_count.columns
    )
    return float(2 * same / max(len(one.to_spike_vector()) + len(other.to_spike_vector()), 1))


def _saved_recording(recording: BaseRecording, folder: Path) -> tuple[Path, str]:
    """File or folder from which another process can load the recording, and a digest of its contents."""
    n_samples = [recording.get_num_samples(segment) for segment in range(recording.get_num_segments())]
    digest = hashlib.sha256(
        json.dumps([n_samples, recording.sampling_frequency, list(map(str, recording.channel_ids))]).encode()
    )
    for segment, count in enumerate(n_samples):
        for start in {0, max(0, count // 2), max(0, count - 1000)}:
            end = min(count, start + 1000)
            digest.update(recording.get_traces(segment_index=segment, start_frame=start, end_frame=end).tobytes())
    if recording.has_probe():
        digest.update(np.ascontiguousarray(recording.get_channel_locations()).tobytes())
    key = digest.hexdigest()[:12]
    if recording.check_serializability("json"):
        path = folder / f"recording-{key}.json"
        recording.dump(path)
        return path, key
    path = folder / f"recording-{key}"
    if not path.is_dir():
        recording.save(folder=path, n_jobs=1, progress_bar=False, verbose=False)
    return path, key


def _agreement(sortings: dict[str, BaseSorting]) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Fraction of units with a counterpart for each pair of sorters; for each unit, the number of sorters with it."""
    names = list(sortings)
    matrix = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    counterparts = {name: pd.Series(1, index=sorting.unit_ids) for name, sorting in sortings.items()}
    with_units = {name: sorting for name, sorting in sortings.items() if sorting.get_num_units() > 0}
    for name in set(names) - set(with_units):
        matrix.loc[name, :] = matrix.loc[:, name] = 0.0
    if len(with_units) < 2:
        return matrix, counterparts
    multi = compare_multiple_sorters(list(with_units.values()), name_list=list(with_units), verbose=False)
    for (one, other), comparison in multi.comparisons.items():
        pairs = [(a, b) for a, b in comparison.hungarian_match_12.items() if str(b) not in ("-1", "")]
        matrix.loc[one, other] = len(pairs) / max(1, sortings[one].get_num_units())
        matrix.loc[other, one] = len(pairs) / max(1, sortings[other].get_num_units())
        for a, b in pairs:
            counterparts[one][a] += 1
            counterparts[other][b] += 1
    return matrix, counterparts


def _unit_table(
    recording: BaseRecording, sortings: dict[str, BaseSorting], counterparts: dict[str, pd.Series], n_jobs: int
) -> pd.DataFrame:
    """SNR, rate and ISI violations of every unit of every sorter."""
    filtered = bandpass_filter(recording, *SORTER_BAND_HZ, dtype="float32")
    tables = []
    for name, sorting in sortings.items():
        sorting = sorting.select_units([unit for unit in sorting.unit_ids if len(_frames(sorting, unit)) > 0])
        if sorting.get_num_units() == 0:
            continue
        analyzer = create_sorting_analyzer(sorting, filtered, format="memory", sparse=False)
        job_kwargs = {"n_jobs": n_jobs, "progress_bar": False}
        analyzer.compute(["random_spikes", "noise_levels", "templates"], **job_kwargs)
        analyzer.compute(
            "quality_metrics",
            metric_names=["num_spikes", "firing_rate", "snr", "isi_violation"],
            metric_params={"isi_violation": {"isi_threshold_ms": ISI_THRESHOLD_MS, "min_isi_ms": 0}},
        )
        metrics = analyzer.get_extension("quality_metrics").get_data()
        tables.append(
            pd.DataFrame(
                {
                    "sorter": name,
                    "unit_id": [str(unit) for unit in metrics.index],
                    "n_spikes": metrics["num_spikes"].to_numpy(dtype=int),
                    "rate_hz": metrics["firing_rate"].to_numpy(dtype=float),
                    "snr": metrics["snr"].to_numpy(dtype=float),
                    "isi_violations_ratio": metrics["isi_violations_ratio"].to_numpy(dtype=float),
                    "isi_violations_count": metrics["isi_violations_count"].to_numpy(dtype=int),
                    "sorters_with_it": counterparts[name].loc[metrics.index].to_numpy(dtype=int),
                }
            )
        )
    columns = [
        "sorter",
        "unit_id",
        "n_spikes",
        "rate_hz",
        "snr",
        "isi_violations_ratio",
        "isi_violations_count",
        "sorters_with_it",
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _frames(sorting: BaseSorting, unit) -> np.ndarray:
    return np.concatenate(
        [sorting.get_unit_spike_train(unit, segment_index=s) for s in range(sorting.get_num_segments())]
    )


def _summary_row(run: SorterRun, units: pd.DataFrame, duration_s: float, n_sortings: int) -> dict[str, Any]:
    row: dict[str, Any] = {"sorter": run.sorter, "status": run.status, "message": run.message}
    if run.status == "done":
        mine = units[units["sorter"] == run.sorter]
        row.update(
            units=len(mine),
            spikes=int(mine["n_spikes"].sum()),
            in_another=int((mine["sorters_with_it"] > 1).sum()),
            in_all=int((mine["sorters_with_it"] == n_sortings).sum()),
            snr_median=float(mine["snr"].median()) if len(mine) else None,
            isi_violations_median=float(mine["isi_violations_ratio"].median()) if len(mine) else None,
            run_time_ratio=run.run_time_s / duration_s if run.run_time_s else None,
        )
    row.update(peak_memory_gb=run.peak_memory_gb, version=run.version, parameters=run.parameters, n_jobs=run.n_jobs)
    return row
