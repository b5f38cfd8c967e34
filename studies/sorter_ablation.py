"""What parts of the sorter bring: the same recordings with one of them replaced or left out at a time.

    python studies/sorter_ablation.py HELDOUT ablation --duration 100
    python studies/encoder_ablation.py LIBRARIES HELDOUT runs --only "both losses" "without drift"
    python studies/sorter_ablation.py HELDOUT ablation --recordings two_column_zigzag --parts encoder \
        --models "with drift views=runs/both_losses_all_views/encoder.safetensors" \
        "without=runs/without_drift/encoder.safetensors"

Sorts differ in the sorter's parameters. Rows that begin with *clusters* are no sorts: the units are the clusters of the
peaks that the sorter clusters, so that they compare features of the peaks; their accuracy counts all spikes, of which
only the peaks that were clustered can be found.

HELDOUT is a folder of template libraries of cell models that the encoder was not trained on (`huidurep templates
--cell-models evaluation`). Each row has a file there and is not made again.
Writes `ablation.md` (accuracy, units found, false units) and, of the sorts with every part, `calibration.png`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import BaseRecording, BaseSorting, NumpySorting, get_channel_distances
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.core.motion import Motion
from spikeinterface.sortingcomponents.motion import interpolate_motion
from spikeinterface.sortingcomponents.peak_localization import localize_peaks

from spikeinterface_huidurep.benchmark import GroundTruth, get_recording, measure
from spikeinterface_huidurep.criteria import detection_criteria, most_peaks
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.sort import sort_recording
from spikeinterface_huidurep.stages.motion.estimation import displacement_at, estimate_motion, register
from spikeinterface_huidurep.stages.peaks.clustering import cluster_peaks, least_cluster_size
from spikeinterface_huidurep.stages.peaks.detection import detect_peaks
from spikeinterface_huidurep.stages.peaks.embedding import embed_peaks, load_for_sorting
from spikeinterface_huidurep.stages.peaks.selection import select_peaks
from spikeinterface_huidurep.stages.spike_features import SpikeFeatures
from spikeinterface_huidurep.stages.traces.preprocessing import preprocess
from spikeinterface_huidurep.stages.traces.segments import duration_of

STILL = ("two_column_static", "two_column_hard", "si_static", "linear32", "tetrode")
MOVING = ("two_column_zigzag", "two_column_ramp", "linear32_zigzag", "si_drift")
SVD_RADIUS_UM, SVD_COMPONENTS, SVD_SPIKES = 75.0, 5, 5000
JOBS: dict[str, Any] = dict(n_jobs=1, pool_engine="thread", chunk_duration="2s", progress_bar=False)
#: Below any distance of two templates: no two clusters are one unit.
NOTHING_MERGED = 1e-3

Part = Callable[[GroundTruth], tuple[BaseSorting, Motion | None]]


def sorted_with(**changed: Any) -> Part:
    """The sort with some parameters changed."""

    def run(truth: GroundTruth) -> tuple[BaseSorting, Motion | None]:
        return sort_recording(truth.recording, {**DEFAULT_PARAMS, **changed}, JOBS), None

    return run


def with_true_motion(truth: GroundTruth) -> tuple[BaseSorting, Motion | None]:
    """The sort that is given the true motion."""
    params = {**DEFAULT_PARAMS, "motion_folder": str(truth.folder / "motion")}
    return sort_recording(truth.recording, params, JOBS), truth.motion


def preprocessed_peaks(truth: GroundTruth) -> tuple[BaseRecording, np.ndarray]:
    """Traces and peaks as the sorter clusters them."""
    traces = preprocess(truth.recording)
    if traces is None:
        raise ValueError(f"every channel of {truth.name} is silent")
    params, rate = DEFAULT_PARAMS, traces.sampling_frequency
    window = max(ms_to_samples(params[name], rate) for name in ("ms_before", "ms_after"))
    peaks = detect_peaks(traces, detection_criteria(params), margin_samples=window + 2, seed=0, job_kwargs=JOBS)
    most = most_peaks(params, duration_of(traces))
    return traces, peaks[select_peaks(peaks, traces.get_num_channels(), max_peaks_per_channel=most, seed=0)]


def by_encoder(traces: BaseRecording, peaks: np.ndarray) -> SpikeFeatures:
    """Features of the peaks as in a sort."""
    return embed_peaks(traces, peaks, load_for_sorting("default", "cpu"), job_kwargs=JOBS)


def by_svd(traces: BaseRecording, peaks: np.ndarray) -> SpikeFeatures:
    """Per-channel SVD in place of the encoder."""
    return _located_by_waveforms(traces, peaks, _svd(traces, peaks))


def by_noisy_waveforms(traces: BaseRecording, peaks: np.ndarray) -> SpikeFeatures:
    """The encoder's vectors, but locations and amplitudes without its denoiser."""
    return _located_by_waveforms(traces, peaks, by_encoder(traces, peaks).embedding)


def _svd(recording: BaseRecording, peaks: np.ndarray) -> np.ndarray:
    """Per-channel SVD within 75 um of the peak's channel, zero elsewhere: (n_peaks, 32), by a second SVD."""
    rate = recording.sampling_frequency
    window = np.arange(-int(0.8e-3 * rate), int(1.6e-3 * rate))
    order = np.random.default_rng(0).permutation(len(peaks))[:SVD_SPIKES]
    near = get_channel_distances(recording) <= SVD_RADIUS_UM
    waveforms = np.empty((len(peaks), len(window), recording.get_num_channels()), dtype="float32")
    for segment in range(recording.get_num_segments()):
        traces = recording.get_traces(segment_index=segment)
        inside = peaks["segment_index"] == segment
        waveforms[inside] = traces[peaks["sample_index"][inside][:, None] + window]
    main = waveforms[order, :, peaks["channel_index"][order]]
    vectors = TruncatedSVD(SVD_COMPONENTS, random_state=0).fit(main).components_
    values = np.einsum("ntc,kt->nck", waveforms, vectors) * near[peaks["channel_index"]][:, :, None]
    values = values.reshape(len(peaks), -1)
    return TruncatedSVD(min(32, values.shape[1] - 1), random_state=0).fit_transform(values).astype("float32")


def _located_by_waveforms(traces: BaseRecording, peaks: np.ndarray, embedding: np.ndarray) -> SpikeFeatures:
    """Locations by monopolar triangulation of the noisy waveforms, amplitudes of the peaks."""
    places = localize_peaks(traces, peaks, method="monopolar_triangulation", job_kwargs=JOBS)
    location = np.column_stack([places["x"], places["y"]]).astype("float32")
    return SpikeFeatures(embedding, location, np.abs(peaks["amplitude"]).astype("float32"))


def clustered_by(features_of: Callable[[BaseRecording, np.ndarray], SpikeFeatures]) -> Part:
    """Clusters of the peaks with the given features, as units."""

    def run(truth: GroundTruth) -> tuple[BaseSorting, Motion | None]:
        traces, peaks = preprocessed_peaks(truth)
        features = features_of(traces, peaks)
        motion = estimate_motion(traces, peaks, features)
        displacement = displacement_at(motion, traces, peaks, features.location[:, 1])
        registered = register(features.location, displacement, traces.get_channel_locations())
        size = least_cluster_size(len(peaks))
        labels = cluster_peaks(features.embedding, registered, min_cluster_size=size, seed=0)
        samples = [peaks["sample_index"][(peaks["segment_index"] == s) & (labels >= 0)] for s in _segments(traces)]
        units = [labels[(peaks["segment_index"] == s) & (labels >= 0)] for s in _segments(traces)]
        return NumpySorting.from_samples_and_labels(samples, units, traces.sampling_frequency), motion

    return run


def with_moved_traces(truth: GroundTruth) -> tuple[BaseSorting, Motion | None]:
    """The motion, estimated as in a sort, moves the traces (kriging), and the sort takes the probe as still."""
    traces, peaks = preprocessed_peaks(truth)
    features = by_encoder(traces, peaks)
    motion = estimate_motion(traces, peaks, features)
    still = traces if motion is None else interpolate_motion(traces, motion, border_mode="force_extrapolate")
    params = {**DEFAULT_PARAMS, "apply_preprocessing": False, "motion_correction": False}
    return sort_recording(still, params, JOBS), motion


def _segments(recording: BaseRecording) -> range:
    return range(recording.get_num_segments())


#: Parts that matter on any recording, and those that matter where the probe is still or moves.
ALWAYS: dict[str, Part] = {
    "everything": sorted_with(),
    "no merging": sorted_with(merge_threshold=NOTHING_MERGED),
    "clusters, by the encoder": clustered_by(by_encoder),
    "clusters, by per-channel SVD": clustered_by(by_svd),
    "clusters, no denoiser: locations of the noisy waveforms": clustered_by(by_noisy_waveforms),
}
ON_STILL_PROBES: dict[str, Part] = {"motion correction forced": sorted_with(motion_correction=True)}
ON_MOVING_PROBES: dict[str, Part] = {
    "no motion correction": sorted_with(motion_correction=False),
    "traces interpolated": with_moved_traces,
    "true motion given": with_true_motion,
}


def measured(truth: GroundTruth, name: str, part: Part) -> tuple[dict[str, Any], pd.DataFrame]:
    """One row's figures, and the confidence and correctness of each of its spikes."""
    sorting, motion = part(truth)
    row = {"recording": truth.name, "part": name, **measure(truth, sorting).summary}
    row["motion_error_um"] = _motion_error(truth, motion)
    comparison = compare_sorter_to_ground_truth(truth.sorting, sorting, exhaustive_gt=True, compute_labels=True)
    vector = sorting.to_spike_vector()
    right = np.zeros(len(vector), dtype=bool)
    for index, unit in enumerate(sorting.unit_ids):
        right[vector["unit_index"] == index] = comparison.get_labels2(unit)[0] == "TP"
    confidence = getattr(sorting, "spike_confidence", np.ones(len(vector)))
    return row, pd.DataFrame({"confidence": confidence, "right": right})


def _motion_error(truth: GroundTruth, motion: Any) -> float:
    """Median over time and depth of the estimate's distance from the truth, up to a constant, um."""
    if truth.motion is None or motion is None:
        return float("nan")
    depths = np.quantile(truth.recording.get_channel_locations()[:, 1], np.linspace(0.1, 0.9, 9))
    times = np.arange(0.5, truth.recording.get_total_duration() - 0.5, 0.5)
    error = np.array([
        one.get_displacement_at_time_and_depth(times, np.full(len(times), depth), segment_index=0)
        for one in (motion, truth.motion) for depth in depths
    ])  # fmt: skip
    error = error[: len(depths)] - error[len(depths) :]
    return float(np.median(np.abs(error - np.median(error))))


_CELL = "{accuracy:.3f} ({well_detected:.0f} of {true_units:.0f}, {false_positive:.0f} false)"


def write_table(results: pd.DataFrame, path: Path) -> None:
    """The parts down, the recordings across: accuracy, units found of all, false units."""
    lines = []
    moving = results.recording.isin({*MOVING, *results.recording[results.part.isin(ON_MOVING_PROBES)]})
    for here in (results[~moving], results[moving]):
        names = list(dict.fromkeys(here.recording))
        if not names:
            continue
        lines += ["| | " + " | ".join(names) + " | mean |", "|---" * (len(names) + 2) + "|"]
        order = [*ALWAYS, *ON_STILL_PROBES, *ON_MOVING_PROBES]
        for part in sorted(set(here.part), key=lambda part: (order.index(part) if part in order else len(order), part)):
            rows = here[here.part == part].set_index("recording")
            cells = [_CELL.format(**rows.loc[name]) if name in rows.index else "" for name in names]
            lines.append(f"| {part} | " + " | ".join(cells) + f" | {rows.accuracy.mean():.3f} |")
        lines.append("")
    path.write_text("\n".join(lines))


def draw_calibration(spikes: dict[str, pd.DataFrame], path: Path) -> None:
    """Of the spikes of each confidence, how many are right, and how many spikes there are."""
    from matplotlib.figure import Figure

    edges = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])
    figure = Figure(figsize=(9, 4), layout="constrained")
    share, number = figure.subplots(1, 2)
    share.plot([0.4, 1], [0.4, 1], color="0.7", lw=1)
    for name, table in spikes.items():
        bins = np.clip(np.digitize(table.confidence, edges) - 1, 0, len(edges) - 2)
        group = table.groupby(bins)
        enough = group.size() >= 50
        share.plot(group.confidence.mean()[enough], group.right.mean()[enough], marker="o", ms=4, lw=1, label=name)
        counts = np.bincount(bins, minlength=len(edges) - 1)
        number.step(edges, np.append(counts, counts[-1]) / len(table), where="post")
    share.set(xlabel="confidence", ylabel="share of the spikes that are right")
    number.set(xlabel="confidence", ylabel="share of all spikes", yscale="log")
    share.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Make the rows that are not there yet, then the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("templates", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--recordings", nargs="*", default=[*STILL, *MOVING])
    parser.add_argument("--parts", nargs="*", help="only those whose name holds one of these words")
    parser.add_argument("--duration", type=float, default=None, help="s of each recording")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=FILE", help="other weights to sort with")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    models = dict(model.split("=", 1) for model in options.models)
    other_models = {f"encoder {name}": sorted_with(model=file) for name, file in models.items()}
    for recording in options.recordings:
        truth = get_recording(recording, options.cache, options.templates, options.duration)
        parts = ALWAYS | (ON_MOVING_PROBES if truth.motion is not None else ON_STILL_PROBES) | other_models
        for name, part in parts.items():
            path = options.output / f"{recording}-{re.sub('[^a-z0-9]+', '_', name.lower())}.csv"
            if path.exists() or (options.parts and not any(word in name for word in options.parts)):
                continue
            row, spikes = measured(truth, name, part)
            print(recording, name, f"{row['accuracy']:.3f}", flush=True)
            if name == "everything":
                spikes.to_csv(options.output / f"{recording}.spikes.csv.gz", index=False)
            pd.DataFrame([row]).to_csv(path, index=False)
    results = pd.concat([pd.read_csv(path) for path in sorted(options.output.glob("*-*.csv"))])
    results.to_csv(options.output / "results.csv", index=False)
    write_table(results, options.output / "ablation.md")
    found = {path.name.split(".")[0]: pd.read_csv(path) for path in sorted(options.output.glob("*.spikes.csv.gz"))}
    if found:
        draw_calibration(found, options.output / "calibration.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
