"""What each part of the sorter brings: the same recordings sorted with one part replaced or left out at a time.

    python studies/sorter_ablation.py HELDOUT ablation --duration 100
    python studies/encoder_ablation.py LIBRARIES HELDOUT runs --only "both losses" "without drift"
    python studies/sorter_ablation.py HELDOUT ablation --recordings two_column_zigzag --parts encoder \
        --models "with drift views=runs/both_losses_all_views/encoder.safetensors" \
        "without=runs/without_drift/encoder.safetensors"

HELDOUT is a folder of template libraries of cell models that the encoder was not trained on (`huidurep templates
--cell-models evaluation`). Each sort has a file there and is not done again.
Writes `ablation.md` (accuracy, units found, false units) and, of the sorts with every part, `calibration.png`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import BaseRecording, Templates, get_channel_distances, get_noise_levels
from spikeinterface.sortingcomponents.matching import find_spikes_from_templates
from spikeinterface.sortingcomponents.motion import interpolate_motion
from spikeinterface.sortingcomponents.peak_localization import localize_peaks

from spikeinterface_huidurep import sort
from spikeinterface_huidurep.benchmark import GroundTruth, get_recording, measure
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.stages.matching.assignment import spike_dtype
from spikeinterface_huidurep.stages.motion.estimation import estimate_motion
from spikeinterface_huidurep.stages.peaks.embedding import embed_peaks
from spikeinterface_huidurep.stages.peaks.encoding import SpikeFeatures
from spikeinterface_huidurep.stages.templates.drifting import estimate_templates
from spikeinterface_huidurep.stages.traces.segments import away_from_ends
from spikeinterface_huidurep.stages.units import refining, units

STILL = ("two_column_static", "two_column_hard", "si_static", "linear32", "tetrode")
MOVING = ("two_column_zigzag", "two_column_ramp", "linear32_zigzag", "si_drift")
SVD_RADIUS_UM, SVD_COMPONENTS, SVD_SPIKES = 75.0, 5, 5000
JOBS: dict[str, Any] = dict(n_jobs=1, pool_engine="thread", chunk_duration="2s", progress_bar=False)


def _in_sort(**replacements: Callable) -> Callable:
    """Context in which functions that the sort calls are replaced."""

    @contextmanager
    def replaced(*_: GroundTruth) -> Iterator[None]:
        with ExitStack() as stack:
            for name, function in replacements.items():
                stack.enter_context(patch.object(sort, name, function))
            yield

    return replaced


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


def _without_encoder(recording: BaseRecording, peaks: np.ndarray, encoder: Any, **kwargs: Any) -> SpikeFeatures:
    return _located_by_waveforms(recording, peaks, _svd(recording, peaks), kwargs["job_kwargs"])


def _without_denoiser(recording: BaseRecording, peaks: np.ndarray, encoder: Any, **kwargs: Any) -> SpikeFeatures:
    features = embed_peaks(recording, peaks, encoder, **kwargs)
    return _located_by_waveforms(recording, peaks, features.embedding, kwargs["job_kwargs"])


def _located_by_waveforms(recording, peaks, embedding, job_kwargs) -> SpikeFeatures:
    """Locations by monopolar triangulation of the noisy waveforms, amplitudes of the peaks."""
    places = localize_peaks(recording, peaks, method="monopolar_triangulation", job_kwargs=job_kwargs)
    location = np.column_stack([places["x"], places["y"]]).astype("float32")
    return SpikeFeatures(embedding, location, np.abs(peaks["amplitude"]).astype("float32"))


def _nothing_split(recording: BaseRecording, spikes: np.ndarray, labels: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
    return labels.astype("int64")


def _nothing_merged(templates: Any, *_: Any, **__: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(templates.n_units), np.zeros(templates.n_units, dtype="int64")


def _not_split_again(
    recording: BaseRecording,
    spikes: np.ndarray,
    labels: np.ndarray,
    alone: np.ndarray,
    templates: Any,
    *_: Any,
    **__: Any,
) -> tuple[np.ndarray, Any]:
    return labels, templates


@contextmanager
def _without_second_split(*_: GroundTruth) -> Iterator[None]:
    with patch.object(refining, "split_assigned", _not_split_again):
        yield


@contextmanager
def _without_splitting(*_: GroundTruth) -> Iterator[None]:
    with patch.object(units, "split_units", _nothing_split), _without_second_split():
        yield


@contextmanager
def _without_merging(*_: GroundTruth) -> Iterator[None]:
    with (
        patch.object(units, "merge_clusters", _nothing_merged),
        patch.object(refining, "merge_clusters", _nothing_merged),
    ):
        yield


@contextmanager
def _without_matching(*_: GroundTruth) -> Iterator[None]:
    """The units' spikes are the peaks that they were made of; those of no cluster are lost."""
    made: list[units.Units] = []

    def make_units(*args, **kwargs):
        made.append(units.make_units(*args, **kwargs))
        return made[-1]

    def labelled_peaks(*_, **__):
        inside = made[-1].labels >= 0
        return _spikes(made[-1].peaks[inside], made[-1].labels[inside])

    kept = dict(make_units=make_units, refine_units=_not_refined, assign_spikes=labelled_peaks, **_TRUSTED)
    with _in_sort(**kept)():
        yield


def _matching_by(method: str, **method_kwargs: Any) -> Callable:
    """Context in which one of SpikeInterface's methods matches the refined templates."""

    @contextmanager
    def replaced(*_: GroundTruth) -> Iterator[None]:
        refined: list[Any] = []

        def refine_units(*args, **kwargs):
            refined.append(refining.refine_units(*args, **kwargs))
            return refined[-1]

        def assign_spikes(traces, space, motion, *, job_kwargs, **_):
            still = int(np.argmin(np.abs(refined[-1].displacements)))
            dense = refined[-1].dense(still, traces.get_num_channels()).astype("float32")
            templates = Templates(
                dense, traces.sampling_frequency, refined[-1].nbefore, probe=traces.get_probe(), is_in_uV=False
            )
            if method == "tdc-peeler":
                method_kwargs["noise_levels"] = get_noise_levels(traces, return_in_uV=False)
            found = find_spikes_from_templates(
                traces, templates, method, method_kwargs=method_kwargs, job_kwargs=job_kwargs
            )
            return _spikes(found, found["cluster_index"])

        with _in_sort(refine_units=refine_units, assign_spikes=assign_spikes, **_TRUSTED)():
            yield

    return replaced


@contextmanager
def _true_templates(truth: GroundTruth) -> Iterator[None]:
    """Templates of the true units' true spikes: what is lost then, the assignment loses."""

    def refine_units(traces, templates, noise, motion, **kwargs):
        spikes = truth.sorting.to_spike_vector()
        nafter = templates.waveforms.shape[2] - templates.nbefore
        spikes = spikes[away_from_ends(traces, spikes, templates.nbefore, nafter)]
        depths = np.asarray(truth.sorting.get_property("gt_depth"), dtype=float)
        across = np.full(len(depths), traces.get_channel_locations()[:, 0].mean())
        places, labels = np.column_stack([across, depths]), spikes["unit_index"].astype("int64")
        return estimate_templates(
            traces, spikes, labels, places[labels], np.zeros(len(labels)), displacements=np.zeros(1),
            nbefore=templates.nbefore, nafter=nafter, unit_locations=places, job_kwargs=kwargs["job_kwargs"],
        )  # fmt: skip

    with _in_sort(refine_units=refine_units)():
        yield


def _not_refined(recording: BaseRecording, templates: Any, *_: Any, **__: Any) -> Any:
    return templates


def _spikes(found: np.ndarray, unit_index: np.ndarray) -> np.ndarray:
    spikes = np.zeros(len(found), dtype=spike_dtype)
    spikes["sample_index"], spikes["segment_index"] = found["sample_index"], found["segment_index"]
    spikes["unit_index"], spikes["amplitude"] = unit_index, 1.0
    return spikes[np.lexsort((spikes["unit_index"], spikes["sample_index"], spikes["segment_index"]))]


def _certain(spikes: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
    return np.ones(len(spikes), dtype="float32")


def _not_cleaned(spikes: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
    return spikes


_TRUSTED: dict[str, Callable] = dict(estimate_confidence=_certain, clean_spikes=_not_cleaned)


@contextmanager
def _interpolated(*_: GroundTruth) -> Iterator[None]:
    """The motion, estimated as ever, moves the traces (kriging), and the rest takes the probe as still."""

    def find_units(traces, params, job_kwargs, record):
        motions: list[Any] = []

        def keep(*args, **kwargs):
            motions.append(estimate_motion(*args, **kwargs))
            raise _MotionKnown

        with patch.object(sort, "estimate_motion", keep):
            try:
                whole(traces, params, job_kwargs, record)
            except _MotionKnown:
                pass
        still = (
            traces if motions[-1] is None else interpolate_motion(traces, motions[-1], border_mode="force_extrapolate")
        )
        return whole(still, {**params, "motion_correction": False}, job_kwargs, record)

    whole = sort.find_units
    with patch.object(sort, "find_units", find_units):
        yield


class _MotionKnown(Exception):
    """Ends a sort of which only the motion is wanted."""


#: Parts that matter on any recording, and those that matter where the probe moves: (context, parameters).
ALWAYS: dict[str, tuple[Callable, dict[str, Any]]] = {
    "everything": (_in_sort(), {}),
    "per-channel SVD in place of the encoder": (_in_sort(embed_peaks=_without_encoder), {}),
    "no denoiser: locations of the noisy waveforms": (_in_sort(embed_peaks=_without_denoiser), {}),
    "no splitting": (_without_splitting, {}),
    "no second split": (_without_second_split, {}),
    "no merging": (_without_merging, {}),
    "no refining": (_in_sort(refine_units=_not_refined), {}),
    "no matching": (_without_matching, {}),
}
ON_STILL_PROBES: dict[str, tuple[Callable, dict[str, Any]]] = {
    "SpikeInterface's wobble in place of the matching": (_matching_by("wobble"), {}),
    "SpikeInterface's tdc-peeler in place of the matching": (_matching_by("tdc-peeler"), {}),
    "motion correction forced": (_in_sort(), {"motion_correction": True}),
    "templates of the true spikes": (_true_templates, {"motion_correction": False}),
}
ON_MOVING_PROBES: dict[str, tuple[Callable, dict[str, Any]]] = {
    "no motion correction": (_in_sort(), {"motion_correction": False}),
    "traces interpolated": (_interpolated, {}),
    "true motion given": (_in_sort(), {"motion_folder": "the true one"}),
}


def sorted_once(truth: GroundTruth, part: str, context: Callable, changed: dict[str, Any]) -> tuple[dict, pd.DataFrame]:
    """One sort's figures, and the confidence and correctness of each of its spikes."""
    params = {**DEFAULT_PARAMS, **changed}
    if params["motion_folder"]:
        params["motion_folder"] = str(truth.folder / "motion")
    motions: list[Any] = []

    def estimate(*args, **kwargs):
        motions.append(estimate_motion(*args, **kwargs))
        return motions[-1]

    with patch.object(sort, "estimate_motion", estimate), context(truth):
        sorting = sort.sort_recording(truth.recording, params, JOBS)
    row = {"recording": truth.name, "part": part, **measure(truth, sorting).summary}
    row["motion_error_um"] = _motion_error(truth, motions[-1] if motions else None)
    comparison = compare_sorter_to_ground_truth(truth.sorting, sorting, exhaustive_gt=True, compute_labels=True)
    vector = sorting.to_spike_vector()
    right = np.zeros(len(vector), dtype=bool)
    for index, unit in enumerate(sorting.unit_ids):
        right[vector["unit_index"] == index] = comparison.get_labels2(unit)[0] == "TP"
    return row, pd.DataFrame({"confidence": sorting.spike_confidence, "right": right})


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
    for names in (STILL, MOVING):
        here = results[results.recording.isin(names)]
        names = [name for name in names if name in set(here.recording)]
        if not names:
            continue
        lines += ["| | " + " | ".join(names) + " | mean |", "|---" * (len(names) + 2) + "|"]
        for part in dict.fromkeys(here.part):
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
    other_models = {f"encoder {name}": (_in_sort(), {"model": file}) for name, file in models.items()}
    for name in options.recordings:
        truth = get_recording(name, options.cache, options.templates, options.duration)
        parts = ALWAYS | (ON_MOVING_PROBES if truth.motion is not None else ON_STILL_PROBES) | other_models
        for part, (context, changed) in parts.items():
            path = options.output / f"{name}-{list(parts).index(part)}.csv"
            if path.exists() or (options.parts and not any(word in part for word in options.parts)):
                continue
            row, spikes = sorted_once(truth, part, context, changed)
            print(name, part, f"{row['accuracy']:.3f}", flush=True)
            if part == "everything":
                spikes.to_csv(options.output / f"{name}.spikes.csv.gz", index=False)
            pd.DataFrame([row]).to_csv(path, index=False)
    results = pd.concat([pd.read_csv(path) for path in sorted(options.output.glob("*-*.csv"))])
    results.to_csv(options.output / "results.csv", index=False)
    write_table(results, options.output / "ablation.md")
    spikes = {path.name.split(".")[0]: pd.read_csv(path) for path in sorted(options.output.glob("*.spikes.csv.gz"))}
    draw_calibration(spikes, options.output / "calibration.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
