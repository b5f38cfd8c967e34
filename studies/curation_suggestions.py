"""
How far the suggestions of a curation can be believed: merges, their probability, and splits.

Neurons of SpikeInterface's generator are cut in two at random, and others are put together with a neighbour. Their
analyzers are asked which units are one neuron, and which are two. Prints the probabilities of pairs, how often they are
right, and the valleys of single and of double units.

    python studies/curation_suggestions.py --seeds 5
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import spikeinterface.core as sc
from spikeinterface.core import BaseSorting, SortingAnalyzer

from spikeinterface_huidurep import make_analyzer
from spikeinterface_huidurep.curation.pair_evidence import pair_evidence
from spikeinterface_huidurep.curation.splits import split_candidates
from spikeinterface_huidurep.curation.suggestions import merge_candidates

N_CHANNELS, N_UNITS, DURATION_S = 16, 14, 60.0
# of each recording: neurons that are cut, and pairs of neighbours that are put together
N_CUT, N_TOGETHER = 4, 2
NEAR_UM = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="recordings (default: %(default)s)")
    given = parser.parse_args(arguments)
    pairs, units = [], []
    for seed in range(given.seeds):
        analyzer, neurons = spoilt_analyzer(seed)
        pairs.append(judged_pairs(analyzer, neurons))
        units.append(judged_units(analyzer, neurons))
    print_pairs(pd.concat(pairs, ignore_index=True))
    print_units(pd.concat(units, ignore_index=True))
    return 0


def spoilt_analyzer(seed: int) -> tuple[SortingAnalyzer, list[set[int]]]:
    """An analyzer of true units, some cut and some together, and the neurons of each unit."""
    recording, truth = sc.generate_ground_truth_recording(
        durations=[DURATION_S], sampling_frequency=30000.0, num_channels=N_CHANNELS, num_units=N_UNITS, seed=seed,
        noise_kwargs={"noise_levels": 8.0, "strategy": "on_the_fly"},
    )  # fmt: skip
    sorting, neurons = spoil(truth, truth.get_property("gt_unit_locations"), np.random.default_rng(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_analyzer(sorting, recording, suggest=False, n_jobs=1, progress_bar=False), neurons


def spoil(truth: BaseSorting, locations: np.ndarray, rng: np.random.Generator) -> tuple[BaseSorting, list[set[int]]]:
    """Cut neurons at random, and put neighbours together."""
    trains = [truth.get_unit_spike_train(unit, segment_index=0) for unit in truth.unit_ids]
    order = rng.permutation(len(trains))
    made: list[tuple[np.ndarray, set[int]]] = []
    for neuron in order[:N_CUT]:
        first = rng.random(len(trains[neuron])) < rng.uniform(0.2, 0.5)
        made += [(trains[neuron][first], {int(neuron)}), (trains[neuron][~first], {int(neuron)})]
    left = list(order[N_CUT:])
    for _ in range(N_TOGETHER):
        one = left.pop()
        other = min(left, key=lambda neuron: np.linalg.norm(locations[neuron] - locations[one]))
        left.remove(other)
        made.append((np.sort(np.concatenate([trains[one], trains[other]])), {int(one), int(other)}))
    made += [(trains[neuron], {int(neuron)}) for neuron in left]
    sorting = sc.NumpySorting.from_unit_dict([{unit: one for unit, (one, _) in enumerate(made)}], 30000.0)
    return sorting, [neurons for _, neurons in made]


def judged_pairs(analyzer: SortingAnalyzer, neurons: list[set[int]]) -> pd.DataFrame:
    """Evidence of all pairs of single neurons that are near each other, and whether they are one."""
    places = analyzer.get_extension("unit_locations").get_data()[:, :2]
    near = [
        (a, b)
        for a in range(len(neurons))
        for b in range(a + 1, len(neurons))
        if np.linalg.norm(places[a] - places[b]) <= NEAR_UM and len(neurons[a]) == len(neurons[b]) == 1
    ]
    table = pair_evidence(analyzer, near)
    table["true"] = [neurons[a] == neurons[b] for a, b in near]
    candidates = merge_candidates(analyzer)
    suggested = {frozenset((pair.unit_a, pair.unit_b)) for pair in candidates.itertuples() if pair.suggested}
    table["suggested"] = [frozenset(pair) in suggested for pair in near]
    return table


def judged_units(analyzer: SortingAnalyzer, neurons: list[set[int]]) -> pd.DataFrame:
    """Valleys of all units, and whether they are two neurons."""
    table = split_candidates(analyzer)
    table["true"] = [len(neurons[unit]) == 2 for unit in table["unit"]]
    snr = analyzer.get_extension("quality_metrics").get_data()["snr"]
    table["snr"] = snr.loc[table["unit"]].to_numpy()
    return table


def print_pairs(pairs: pd.DataFrame) -> None:
    """How often pairs of each probability are one neuron."""
    print(f"{len(pairs)} pairs of units less than {NEAR_UM:g} um apart, {pairs['true'].sum()} of one neuron")
    print("| probability | pairs | one neuron |\n|---|---|---|")
    edges = [0, 0.1, 0.5, 0.9, 1.0001]
    for low, high in zip(edges, edges[1:], strict=False):
        here = pairs[(pairs["probability"] >= low) & (pairs["probability"] < high)]
        print(f"| {low:g} to {min(high, 1):g} | {len(here)} | {here['true'].sum()} |")
    found = pairs[pairs["suggested"]]
    print(f"suggested merges: {len(found)}, {found['true'].sum()} of one neuron")


def print_units(units: pd.DataFrame) -> None:
    """Valleys and shares of units of one neuron and of two."""
    for double, those in units.groupby("true"):
        print(f"{len(those)} units of {'two neurons' if double else 'one neuron'}: {those['suggested'].sum()} splits")
    print(units.sort_values("valley").head(40).to_string(index=False, float_format=lambda value: f"{value:.2f}"))


if __name__ == "__main__":
    raise SystemExit(main())
