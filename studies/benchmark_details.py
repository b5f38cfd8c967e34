"""What the tables of a benchmark do not show: spikes that overlap, and the worst time of a recording.

    python studies/benchmark_details.py OUTPUT --cache CACHE

OUTPUT is what `huidurep benchmark --output OUTPUT` wrote, CACHE its folder of recordings. Of each recording and sorter,
from its last run: the recall of isolated spikes; of those within 0.5 ms of another unit's, whatever its place; of those
whose other unit is also within 100 um of depth (of units that were found, that is, with an accuracy of 0.8 and more);
and the accuracy in the worst tenth of the time over that in the best, of windows of a twentieth each.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import BaseSorting, load

from spikeinterface_huidurep.benchmark import load_ground_truth
from spikeinterface_huidurep.benchmark.measures import WELL_DETECTED

COLLISION_MS, NEAR_UM = 0.5, 100.0


def collided(truth: BaseSorting, near_um: float) -> np.ndarray:
    """Whether another unit within this of depth fires within 0.5 ms, for each spike of the spike vector."""
    spikes, depth = truth.to_spike_vector(), np.asarray(truth.get_property("gt_depth"), dtype=float)
    sample, unit = spikes["sample_index"], spikes["unit_index"]
    within = COLLISION_MS * 1e-3 * truth.sampling_frequency
    hit = np.zeros(len(spikes), dtype=bool)
    for step in range(1, len(spikes)):
        together = sample[step:] - sample[:-step] <= within
        if not together.any():
            break
        first = np.flatnonzero(together)
        first = first[np.abs(depth[unit[first]] - depth[unit[first + step]]) <= near_um]
        first = first[unit[first] != unit[first + step]]
        hit[first] = hit[first + step] = True
    return hit


def recalls(truth: BaseSorting, tested: BaseSorting) -> dict[str, float]:
    """Recall of spikes of the units that were found: isolated, within 0.5 ms of another, and near that one too."""
    comparison = compare_sorter_to_ground_truth(truth, tested, exhaustive_gt=True, compute_labels=True)
    found = comparison.get_performance()["accuracy"].astype(float) >= WELL_DETECTED
    vector = truth.to_spike_vector()
    right = np.zeros(len(vector), dtype=bool)
    for index, unit in enumerate(truth.unit_ids):
        right[vector["unit_index"] == index] = comparison.get_labels1(unit)[0] == "TP"
    of_found = found.loc[truth.unit_ids].to_numpy()[vector["unit_index"]]
    anywhere, near = collided(truth, np.inf), collided(truth, NEAR_UM)
    parts = {"isolated": ~anywhere, "within 0.5 ms": anywhere, "within 0.5 ms and 100 um": near}
    return {name: float(right[of_found & part].mean()) for name, part in parts.items() if (of_found & part).any()}


def last_runs(output: Path) -> list[dict]:
    """The last run of each recording and sorter that is done."""
    newest: dict[tuple[str, str], Path] = {}
    for path in sorted(output.glob("runs/*/*/result.json"), key=lambda path: path.stat().st_mtime):
        result = json.loads(path.read_text())
        if result["status"] == "done":
            newest[result["recording"], result["sorter"]] = path.parent
    return [json.loads((folder / "job.json").read_text()) | {"folder": folder} for folder in newest.values()]


def worst_over_best(over_time: pd.DataFrame, recording: str, sorter: str) -> float:
    """Mean accuracy in the worst tenth of the windows over that in the best."""
    here = over_time[(over_time.recording == recording) & (over_time.sorter == sorter)].accuracy.sort_values()
    n = max(len(here) // 10, 1)
    return float(here.iloc[:n].mean() / here.iloc[-n:].mean())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args(arguments)
    over_time = pd.read_csv(options.output / "over_time.csv")
    rows = []
    for job in last_runs(options.output):
        truth = load_ground_truth(options.cache / job["recording_key"])
        row = {"recording": job["recording"], "sorter": job["sorter"]}
        row |= recalls(truth.sorting, load(job["folder"] / "sorting"))
        row["worst / best tenth of the time"] = worst_over_best(over_time, job["recording"], job["sorter"])
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["recording", "sorter"])
    print("| " + " | ".join(table.columns) + " |\n" + "|---" * len(table.columns) + "|")
    for row in table.itertuples(index=False):
        print("| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
