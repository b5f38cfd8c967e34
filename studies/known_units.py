"""Does a sort that starts from yesterday's units find as much as a fresh one, with the right names, and sooner?

    python studies/known_units.py OUTPUT --templates HELDOUT
    python studies/known_units.py OUTPUT --templates HELDOUT --only "linear, 32" --seeds 200 --moves 0 2

Two sessions are made as those of the suite `days`: 70 % of the neurons stay, the others go and come, the probe has
moved, amplitudes have changed by up to 30 %, widths and each electrode by 5 %, and rates, spikes, noise and background
are others. Both sessions are sorted; then the second one with `known_units`. Writes `known_units.csv`, a row for each
pair of sessions, and `known_units.md`. Times are the processor's, of one job.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import BaseRecording, BaseSorting
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep.benchmark import DAYS, DaysSettings, GroundTruth, get_days
from spikeinterface_huidurep.benchmark.days import NEURON

PROBES = {"two columns, 64": "days_64", "linear, 32": "days_linear32", "tetrode": "days_tetrode"}
# um between the sessions, and of a zigzag within each
MOVES = ((0.0, 0.0), (20.0, 0.0), (40.0, 0.0), (-30.0, 20.0))
# ms between a true spike and the same found one: the spikes of a waveform with two troughs may be centred on either,
# and with SpikeInterface's 0.4 ms that alone would decide whether such a neuron counts as found
WITHIN_MS = 1.0
# a neuron has been found where its unit has this accuracy: in the session before, and in this one
FOUND_BEFORE, FOUND_NOW = 0.8, 0.5


def sort_timed(recording: BaseRecording, folder: Path, **params: Any) -> tuple[BaseSorting, float]:
    """Sort into a folder; the Sorting and the processor time, s."""
    shutil.rmtree(folder, ignore_errors=True)
    start = time.process_time()
    sorting = run_sorter("huidurep", recording, folder=folder, n_jobs=1, device="cpu", **params)
    return sorting, time.process_time() - start


def matches(truth: BaseSorting, sorting: BaseSorting, least: float) -> tuple[dict[int, int], float]:
    """Unit of each true neuron that was found this well, and the mean accuracy of all."""
    comparison = compare_sorter_to_ground_truth(truth, sorting, exhaustive_gt=True, delta_time=WITHIN_MS)
    accuracy = comparison.get_performance()["accuracy"].astype(float).fillna(0.0)
    found = {
        int(neuron): int(unit)
        for neuron, unit in comparison.hungarian_match_12.items()
        if accuracy[neuron] >= least and str(unit) not in ("-1", "")
    }
    return found, float(accuracy.mean())


def names(before: dict[int, int], now: dict[int, int], named: set[int]) -> dict[str, int]:
    """How many neurons were found in both sessions, have their name, and how many units another's."""
    both = [neuron for neuron in before if neuron in now]
    right = {before[neuron] for neuron in both if before[neuron] == now[neuron]}
    return {"still there": len(both), "named right": len(right), "named otherwise": len(named - right)}


def of_neurons(session: GroundTruth) -> BaseSorting:
    """The true spikes of a session; a neuron has the same unit id in all."""
    return session.sorting.rename_units(session.sorting.get_property(NEURON))


def figures(settings: DaysSettings, library: Path, folder: Path) -> dict[str, Any]:
    """Make, sort and compare both sessions."""
    first, second = get_days(settings, folder / "cache", library)
    truth_1, truth_2 = of_neurons(first), of_neurons(second)
    sort_1, _ = sort_timed(first.recording, folder / "sort_1")
    fresh, fresh_s = sort_timed(second.recording, folder / "sort_2")
    known, known_s = sort_timed(second.recording, folder / "sort_2_known", known_units=folder / "sort_1")
    before, _ = matches(truth_1, sort_1, FOUND_BEFORE)
    _, accuracy_fresh = matches(truth_2, fresh, FOUND_NOW)
    now, accuracy_known = matches(truth_2, known, FOUND_NOW)
    named = set(known.unit_ids[known.get_property("known")].tolist())
    stays = set(truth_1.unit_ids.tolist()) & set(truth_2.unit_ids.tolist())
    return {
        "accuracy, fresh": accuracy_fresh,
        "accuracy, known": accuracy_known,
        "stay": len(stays),
        "found before": len(stays & set(before)),
        **names(before, now, named),
        "s, fresh": fresh_s,
        "s, known": known_s,
    }


def warm_up(library: Path, folder: Path) -> None:
    """A short sort of each kind, so that no figure has the time of compiling."""
    settings = replace(DAYS["days_tetrode"], displacements_um=(0.0, 0.0), duration_s=10.0, seed=1)
    first, second = get_days(settings, folder / "cache", library)
    sort_timed(first.recording, folder / "sort_1")
    sort_timed(second.recording, folder / "sort_2", known_units=folder / "sort_1")


def summary(table: pd.DataFrame) -> str:
    """The table as text, with a line for each probe."""
    rows = []
    for probe, part in table.groupby("probe", sort=False):
        rows.append(
            {
                "probe": probe,
                "pairs": len(part),
                "accuracy, fresh": part["accuracy, fresh"].mean(),
                "accuracy, known": part["accuracy, known"].mean(),
                "still there": part["still there"].sum(),
                "named right": part["named right"].sum(),
                "share": part["named right"].sum() / max(part["still there"].sum(), 1),
                "named otherwise": part["named otherwise"].sum(),
                "time, known / fresh": part["s, known"].sum() / part["s, fresh"].sum(),
            }
        )
    text = ["# Known units", "", pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3f"), ""]
    return "\n".join([*text, "## Each pair of sessions", "", table.to_markdown(index=False, floatfmt=".3f"), ""])


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--templates", type=Path, required=True, help="folder of template libraries")
    parser.add_argument("--only", nargs="+", choices=PROBES, default=list(PROBES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[200])
    parser.add_argument("--moves", nargs="+", type=int, choices=range(len(MOVES)), default=list(range(len(MOVES))))
    parser.add_argument("--duration", type=float, default=80.0, help="s, of each session")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    warm_up(options.templates, options.output / "warm_up")
    rows: list[dict[str, Any]] = []
    for probe in options.only:
        for seed in options.seeds:
            for move in options.moves if probe != "tetrode" else [0]:
                displacement, drift = MOVES[move]
                settings = replace(
                    DAYS[PROBES[probe]], displacements_um=(0.0, displacement), drift_um=drift,
                    duration_s=options.duration, seed=seed + 10 * move,
                )  # fmt: skip
                folder = options.output / f"{probe.split(',')[0].replace(' ', '_')}_{settings.seed}"
                found = figures(settings, options.templates, folder)
                rows.append({"probe": probe, "seed": settings.seed, "um": displacement, "drift": drift, **found})
                print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.3f"), flush=True)
                table = pd.DataFrame(rows)
                table.to_csv(options.output / "known_units.csv", index=False)
                (options.output / "known_units.md").write_text(summary(table), encoding="utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
