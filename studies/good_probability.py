"""
Fits and judges the probability that a unit is one neuron's, see `spikeinterface_huidurep.good_probability`.

Recordings with ground truth are sorted, and each unit is compared with all neurons: it is right where its accuracy with
one of them is 0.8 and more. The model is fitted to all of them, and judged on each kind of recording by a model that is
fitted to the other kinds.

    HUIDUREP_TEMPLATES=templates python studies/good_probability.py --kept kept
    HUIDUREP_TEMPLATES=templates python studies/good_probability.py --kept kept --write    # writes the model, too

What was measured on each recording is kept in the folder of --kept: a run that was stopped goes on where it was. With
--also, the model is judged on recordings of other seeds as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import spikeinterface.core as sc
from scipy.optimize import minimize
from scipy.special import expit
from spikeinterface.core import BaseRecording, BaseSorting
from spikeinterface.sorters import run_sorter

import spikeinterface_huidurep
from spikeinterface_huidurep.benchmark import RECORDINGS, get_recording
from spikeinterface_huidurep.benchmark.measures import WELL_DETECTED, compare_to_truth
from spikeinterface_huidurep.good_probability import FACTORS, FEATURES, MODEL_FILE, GoodModel, describe_units

# by name: the benchmark's recording, its length in s and what is changed; None is SpikeInterface's generator with much
# noise. Many small neurons, dense probes and changing waveforms: easy recordings have no wrong units to learn from.
SOURCES: dict[str, tuple[str, float, dict[str, Any]] | None] = {
    "small neurons": ("two_column_hard", 60.0, {}),
    "few spikes": ("two_column_hard", 30.0, {"rate_hz": (0.3, 6.0)}),
    "drifting": ("two_column_zigzag", 40.0, {"drift_period_s": 40.0}),
    "dense grid": ("grid100", 25.0, {"n_units": 70}),
    "linear": ("linear32", 40.0, {}),
    "tetrode": ("tetrode", 60.0, {"n_units": 10}),
    "drifting tetrode": ("short_tetrode_sine", 90.0, {"drift_period_s": 90.0}),
    "changing waveforms": ("waveforms_64_all", 40.0, {}),
    "changing, tetrode": ("waveforms_tetrode_all", 90.0, {}),
    "generator": ("si_static_16", 45.0, {"n_units": 16}),
    "generator, drifting": ("si_drift_24", 60.0, {}),
    "generator, noisy": None,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[201], help="of the recordings (default: %(default)s)")
    parser.add_argument("--also", type=int, nargs="+", default=[], help="seeds of recordings to judge on, too")
    parser.add_argument("--also-sources", nargs="+", default=list(SOURCES), help="kinds of these (default: all)")
    parser.add_argument("--kept", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--write", action="store_true", help="write the model into the package")
    given = parser.parse_args(arguments)
    given.kept.mkdir(parents=True, exist_ok=True)
    units = collect(SOURCES, given.seeds, given.kept)
    known, right = units[[*FEATURES, *FACTORS]].to_numpy(), right_of(units)
    model = fit_model(known[:, : len(FEATURES)], right)
    weights = dict(zip(FEATURES, np.round(model.weights, 3).tolist(), strict=True))
    saved = {"weights": weights, "offset": round(model.offset, 3)}
    print(f"fitted to {len(units)} units, {right.sum()} right: {json.dumps(saved)}")
    if given.write:
        path = Path(spikeinterface_huidurep.__file__).parent / MODEL_FILE
        path.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf8")
    probability = np.zeros(len(units))
    for source in SOURCES:
        mine = (units["source"] == source).to_numpy()
        others = fit_model(known[~mine, : len(FEATURES)], right[~mine])
        probability[mine] = others.probability(known[mine])
    print("each kind by a model of the other kinds:")
    print_judged(units, probability)
    if given.also:
        units = collect(given.also_sources, given.also, given.kept)
        print(f"recordings of seeds {given.also}, {', '.join(given.also_sources)}:")
        print_judged(units, model.probability(units[[*FEATURES, *FACTORS]].to_numpy()))
    return 0


def collect(sources: Iterable[str], seeds: Iterable[int], kept: Path) -> pd.DataFrame:
    """The units of all these recordings."""
    return pd.concat([measured(name, seed, kept) for seed in seeds for name in sources], ignore_index=True)


def right_of(table: pd.DataFrame) -> np.ndarray:
    """Whether each unit is one neuron's."""
    return (table["accuracy"] >= WELL_DETECTED).to_numpy()


def fit_model(features: np.ndarray, right: np.ndarray) -> GoodModel:
    """The likeliest logistic model whose weights are not positive; each is believed to be small, with a spread of 3."""
    design, sign = np.column_stack([features, np.ones(len(features))]), np.where(right, 1.0, -1.0)
    precision = np.append(np.full(features.shape[1], 1 / 9), 0.0)

    def loss(weights):
        margin = sign * (design @ weights)
        slope = design.T @ (-sign * expit(-margin)) + precision * weights
        return np.logaddexp(0, -margin).sum() + 0.5 * (precision * weights**2).sum(), slope

    bounds = [(None, 0.0)] * features.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(design.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B")
    return GoodModel(found.x[:-1], float(found.x[-1]))


def print_judged(judge: pd.DataFrame, probability: np.ndarray) -> None:
    """How many units of each probability are right, by label, and how well the probability parts them."""
    right = right_of(judge)
    print(f"judged on {len(judge)} units, {right.sum()} right")
    print("| probability | units | right | mean probability |\n|---|---|---|---|")
    edges = [0, 0.5, 0.8, 0.9, 0.95, 1.0001]
    for low, high in zip(edges, edges[1:], strict=False):
        here = (probability >= low) & (probability < high)
        mean = probability[here].mean() if here.any() else np.nan
        print(f"| {low:g} to {min(high, 1):g} | {here.sum()} | {right[here].sum()} | {mean:.2f} |")
    for label in ("good", "mua", "noise"):
        mine = (judge["quality"] == label).to_numpy()
        print(f"label {label}: {mine.sum()} units, {right[mine].sum()} right")
    wrong, good = probability[~right], probability[right]
    parted = (good[:, None] > wrong[None]).mean() + 0.5 * (good[:, None] == wrong[None]).mean()
    print(
        f"a right unit has the larger probability in {100 * parted:.0f} % of pairs; Brier score "
        f"{((probability - right) ** 2).mean():.3f}, of always saying the mean {right.mean() * (1 - right.mean()):.3f}"
    )
    for name, those in judge.assign(right=right, probability=probability).groupby("source"):
        print(f"{name}: {len(those)} units, {those['right'].sum()} right, expected {those['probability'].sum():.1f}")


def measured(name: str, seed: int, kept: Path) -> pd.DataFrame:
    """The units of one recording: properties, and the best accuracy of each with a neuron."""
    path = kept / f"{name.replace(', ', '_').replace(' ', '_')}_{seed}.json"
    if not path.is_file():
        recording, truth = make(name, seed)
        table = units_of(recording, truth)
        path.write_text(table.to_json(orient="records"), encoding="utf8")
        right = int((table["accuracy"] >= WELL_DETECTED).sum()) if len(table) else 0
        print(f"{name}, seed {seed}: {len(table)} units, {right} right", flush=True)
    table = pd.DataFrame(json.loads(path.read_text(encoding="utf8")))
    table["source"], table["seed"] = name, seed
    return table


def make(name: str, seed: int) -> tuple[BaseRecording, BaseSorting]:
    """A recording and its true units."""
    source = SOURCES[name]
    if source is None:
        recording, truth = sc.generate_ground_truth_recording(
            durations=[40.0], sampling_frequency=30000.0, num_channels=16, num_units=16, seed=seed,
            generate_sorting_kwargs={"firing_rates": (1.0, 12.0), "refractory_period_ms": 3.0},
            noise_kwargs={"noise_levels": 14.0, "strategy": "on_the_fly"},
        )  # fmt: skip
        recording.annotate(is_filtered=False)
        return recording, truth
    named, duration_s, changes = source
    made = get_recording(replace(RECORDINGS[named], seed=seed, duration_s=duration_s, **changes))
    return made.recording, made.sorting


def units_of(recording: BaseRecording, truth: BaseSorting) -> pd.DataFrame:
    """Sort a recording; one row a unit."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not recording.check_serializability("json"):
            recording = recording.save(folder=Path(folder) / "recording", n_jobs=1, progress_bar=False, verbose=False)
        sorting = run_sorter("huidurep", recording, folder=Path(folder) / "sort", n_jobs=1, device="cpu")
        found = sc.NumpySorting.from_sorting(sorting, copy_spike_vector=True)
        # they outlive the folder
        for key in sorting.get_property_keys():
            found.set_property(key, sorting.get_property(key))
        sure = np.load(Path(folder) / "sort" / "sorter_output" / "spike_confidence.npy")
    lengths = [recording.get_num_samples(segment) for segment in range(recording.get_num_segments())]
    known = describe_units(found, sure, lengths, recording.get_total_duration())
    table = pd.DataFrame(known, columns=[*FEATURES, *FACTORS])
    for name in ("snr", "num_spikes", "confidence", "quality"):
        table[name] = found.get_property(name)
    scores = compare_to_truth(truth, found).agreement_scores
    table["accuracy"] = scores.to_numpy().max(axis=0) if len(table) else np.zeros(0)
    return table


if __name__ == "__main__":
    raise SystemExit(main())
