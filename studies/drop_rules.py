"""What does each rule that drops units take: neurons, pieces of neurons, or no neurons?

    python studies/drop_rules.py OUTPUT --templates HELDOUT --duration 100

Sorts the recordings of the benchmark, and looks at each unit that a rule drops. It is a *neuron* if most of its spikes
are one true neuron's and no unit that stays has most of its spikes from that neuron; a *piece* if one does; *none*
otherwise. Many of the last kind are neurons far from the probe, whose spikes are in the recording and not in its truth.
Writes `drop_rules.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from one_neuron import JOBS, replaced, true_neurons

from spikeinterface_huidurep import sort
from spikeinterface_huidurep.benchmark import GroundTruth, get_recording
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.stages.result import cleaning
from spikeinterface_huidurep.stages.units import drop, loop

RECORDINGS = (
    "two_column_static", "two_column_hard", "two_column_zigzag", "two_column_bumps", "linear32", "tetrode", "grid100",
    "four_column", "si_static", "waveforms_64_all", "waveforms_64_shape", "waveforms_tetrode_all",
)  # fmt: skip
# a unit is a neuron's where so much of it is that neuron's
PURE = 0.5


class Dropped:
    """The units that each rule drops in the sort of one recording, with the true neuron of each."""

    def __init__(self, truth: GroundTruth):
        self.truth = truth
        self.rows: list[dict[str, Any]] = []
        self.spikes: Any = None

    def neurons(self, spikes: np.ndarray, labels: np.ndarray, n_units: int) -> np.ndarray:
        """The true neuron of each unit, -1 for none, (n_units,) int."""
        return true_neurons(self.truth, spikes, labels, n_units, pure=PURE)

    def note(self, where: str, rules: dict[str, np.ndarray], present: np.ndarray, neurons: np.ndarray) -> None:
        """Add a row for each unit that a rule takes first."""
        taken = np.any(list(rules.values()), axis=0)
        stay, gone = set(neurons[present & ~taken]), np.zeros(len(present), dtype=bool)
        for name, doubtful in rules.items():
            for unit in np.flatnonzero(doubtful & ~gone & present):
                kind = "none" if neurons[unit] < 0 else "piece" if neurons[unit] in stay else "neuron"
                self.rows.append({"where": where, "rule": name, "recording": self.truth.name, "kind": kind})
            gone |= doubtful

    def drop_units(self, units: Any, rules: dict[str, np.ndarray]) -> Any:
        """In place of `drop.drop_units`."""
        where = "make units" if units.locations is not None else "refine units"
        present = np.ones(units.n_units, dtype=bool)
        self.note(where, rules, present, self.neurons(units.spikes, units.labels, units.n_units))
        return drop.drop_units(units, rules)

    def clean_spikes(self, spikes: np.ndarray, energy: np.ndarray, criteria: Any) -> np.ndarray:
        """In place of `cleaning.clean_spikes`."""
        self.spikes = spikes[spikes["confidence"] >= criteria.min_confidence]
        return cleaning.clean_spikes(spikes, energy, criteria)

    def taken_by_rules(self, rules: dict[str, np.ndarray], present: np.ndarray, message: str) -> np.ndarray:
        """In place of `taken_by_rules` in the cleaning."""
        neurons = self.neurons(self.spikes, self.spikes["unit_index"], len(present))
        self.note("finish", rules, present, neurons)
        return drop.taken_by_rules(rules, present, message)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the rules of the sorts within."""
        with (
            replaced(loop, "drop_units", self.drop_units),
            replaced(sort, "clean_spikes", self.clean_spikes),
            replaced(cleaning, "taken_by_rules", self.taken_by_rules),
        ):
            yield


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--templates", type=Path, help="folder of template libraries")
    parser.add_argument("--recordings", nargs="+", default=RECORDINGS)
    parser.add_argument("--duration", type=float, default=100.0, help="s")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name in options.recordings:
        dropped = Dropped(get_recording(name, library_folder=options.templates, duration_s=options.duration))
        with dropped.watched():
            sort.sort_recording(dropped.truth.recording, DEFAULT_PARAMS, JOBS)
        rows += dropped.rows
        found = pd.DataFrame(rows, columns=["where", "rule", "recording", "kind"])
        table = pd.crosstab([found["where"], found["rule"]], found["kind"]).reset_index().to_markdown(index=False)
        text = f"# What the rules that drop units take\n\n{len(rows)} units.\n\n{table}\n"
        (options.output / "drop_rules.md").write_text(text, encoding="utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
