"""Is a pair of templates that is given 0.9 one neuron's nine times of ten, and what does each kind of evidence bring?

    python studies/one_neuron.py OUTPUT --templates HELDOUT
    python studies/one_neuron.py OUTPUT --templates HELDOUT --recordings waveforms_64_all two_column_hard --duration 60

Each recording is sorted once up to the grouping of templates, which is then done with all evidence, with parts of it,
and with each constant 20 % smaller and larger. Writes `one_neuron.md` (tables) and `one_neuron.png`, the probability
that pairs were given against the share of them that are one neuron's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from constants import find_constants, patched

from spikeinterface_huidurep import sort
from spikeinterface_huidurep.benchmark import GroundTruth, get_recording, measure
from spikeinterface_huidurep.criteria import cleaning_criteria
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.stages.grouping import group as grouping
from spikeinterface_huidurep.stages.grouping.variability import Variability
from spikeinterface_huidurep.stages.result.cleaning import clean_spikes
from spikeinterface_huidurep.stages.result.finishing import finish, unscaled
from spikeinterface_huidurep.stages.traces.rescaling import rescale

RECORDINGS = (
    "waveforms_64_constant", "waveforms_64_electrode", "waveforms_64_shape", "waveforms_64_age", "waveforms_64_all",
    "waveforms_linear32_all", "waveforms_tetrode_all", "two_column_static", "two_column_hard", "two_column_zigzag",
    "grid100", "si_static",
)  # fmt: skip
JOBS: dict[str, Any] = dict(n_jobs=1, pool_engine="thread", chunk_duration="2s", progress_bar=False)
EVERYTHING = "waveforms in variability, and times"
FILES = ("grouping/group.py", "grouping/one_neuron.py", "grouping/spike_times.py", "grouping/variability.py")
EDGES = np.array([0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0])
# a template is a neuron's where so much of what it found is that neuron's, within so many ms
PURE, WITHIN_MS = 0.6, 0.4


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """A module's name with another value, within."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


class Sorted:
    """What a sort hands to the grouping of templates, and the result of a grouping of it."""

    def __init__(self, truth: GroundTruth):
        self.truth = truth
        self.given: tuple = ()
        self.spikes: Any = None
        self.templates: Any = None
        with (
            replaced(sort, "group_templates", self._group),
            replaced(sort, "clean_spikes", self._clean),
            replaced(sort, "finish", self._finish),
        ):
            sort.sort_recording(truth.recording, DEFAULT_PARAMS, JOBS)

    def _group(self, *given):
        self.given = given
        n_templates = given[1].n_units
        unchanged = np.arange(n_templates)
        return grouping.Grouping(unchanged, 0 * unchanged, np.zeros((0, 2), dtype=int), np.zeros(0))

    def _clean(self, spikes, energy, criteria):
        self.spikes = spikes
        return clean_spikes(spikes, energy, criteria)

    def _finish(self, traces, spikes, templates, piece_probability, **options):
        self.templates = templates
        return finish(traces, spikes, templates, piece_probability, **options)

    def figures(self, grouped: grouping.Grouping) -> dict[str, Any]:
        """Accuracy, units found, pieces and false units of a grouping."""
        traces = self.given[0].recording
        criteria = cleaning_criteria(
            DEFAULT_PARAMS, sampling_frequency=traces.sampling_frequency, duration_s=traces.get_total_duration()
        )
        cleaned = clean_spikes(grouped.of(self.spikes), self.given[1].energy, criteria)
        sorting = finish(traces, cleaned, self.templates, grouped.piece_probability(cleaned))
        sorting.known_units = []
        sorting = unscaled(sorting, self.truth.recording, step=kept_step(self.truth), distance_scale=1.0)
        return measure(self.truth, sorting).summary

    def true_neurons(self) -> np.ndarray:
        """The true neuron of each template, -1 where it is not clear, (n_templates,) int."""
        spikes = self.given[3]
        return true_neurons(self.truth, spikes, spikes["unit_index"], self.given[1].n_units, pure=PURE)


def kept_step(truth: GroundTruth) -> int:
    """One in so many samples of the recording is kept in a sort."""
    return rescale(truth.recording, 1.0, 1.0, freq_max=DEFAULT_PARAMS["freq_max"])[1]


def true_neurons(
    truth: GroundTruth, spikes: np.ndarray, labels: np.ndarray, n_units: int, *, pure: float
) -> np.ndarray:
    """
    The true neuron that has more than this share of each unit's spikes, -1 where none has, (n_units,) int.

    `spikes` are on a sort's clock; `labels` (n_spikes,) int is the unit of each, -1 for none.
    """
    true, samples = truth.sorting.to_spike_vector(), spikes["sample_index"] * kept_step(truth)
    tolerance = WITHIN_MS * truth.recording.sampling_frequency / 1000
    found = np.zeros((n_units, len(truth.sorting.unit_ids)), dtype=int)
    for neuron in range(found.shape[1]):
        train = true["sample_index"][true["unit_index"] == neuron]
        after = np.clip(np.searchsorted(train, samples), 1, len(train) - 1)
        gap = np.abs(samples - train[[after, after - 1]]).min(axis=0)
        found[:, neuron] = np.bincount(labels[(gap <= tolerance) & (labels >= 0)], minlength=n_units)
    counts = np.bincount(labels[labels >= 0], minlength=n_units)
    return np.where(found.max(axis=1) > pure * np.maximum(counts, 1), found.argmax(axis=1), -1)


def with_evidence(given: tuple, *, varies: bool, times: bool) -> grouping.Grouping:
    """The grouping, with waveforms in noise alone or in what one neuron varies, with spike times or without."""
    constant = Variability(0.0, 0.0, 0.0)
    measured = grouping.pool_variability
    with replaced(grouping, "pool_variability", measured if varies else lambda *_, **__: constant):
        if times:
            return grouping.group_templates(*given)
        with replaced(grouping, "coincidences", lambda _, pairs, __: (np.zeros(len(pairs)), np.zeros(len(pairs)))):
            return grouping.group_templates(*given)


def evidence_rows(sorted_: Sorted) -> list[dict[str, Any]]:
    """Figures of a recording with each kind of evidence."""
    given = sorted_.given
    n_templates = given[1].n_units
    none = grouping.Grouping(np.arange(n_templates), np.zeros(n_templates, int), np.zeros((0, 2), int), np.zeros(0))
    kinds = {
        "no grouping": none,
        "waveforms in noise": with_evidence(given, varies=False, times=False),
        "waveforms in variability": with_evidence(given, varies=True, times=False),
        "waveforms in noise, and times": with_evidence(given, varies=False, times=True),
        EVERYTHING: with_evidence(given, varies=True, times=True),
    }
    return [{"recording": sorted_.truth.name, "evidence": name, **sorted_.figures(one)} for name, one in kinds.items()]


def constant_rows(sorted_: Sorted) -> list[dict[str, Any]]:
    """Accuracy and pieces of a recording with each constant 20 % smaller and larger."""
    rows = []
    for constant in find_constants():
        if constant.file in FILES:
            for direction in ("down", "up"):
                with patched(constant, constant.changed(direction)):
                    figures = sorted_.figures(grouping.group_templates(*sorted_.given))
                rows.append({"recording": sorted_.truth.name, "constant": constant.key, "change": direction, **figures})
    return rows


def constants_table(rows: pd.DataFrame, evidence: pd.DataFrame) -> pd.DataFrame:
    """Change of the mean accuracy, and of the number of pieces, by each constant."""
    usual = evidence[evidence["evidence"] == EVERYTHING]
    table = rows.groupby(["constant", "change"]).agg(accuracy=("accuracy", "mean"), pieces=("pieces", "sum"))
    table["accuracy"] -= usual["accuracy"].mean()
    table["pieces"] -= usual["pieces"].sum()
    return (
        table.unstack("change")
        .set_axis(["accuracy, 20 % less", "20 % more", "pieces, 20 % less", "20 % more "], axis=1)
        .reset_index()
    )


def pair_rows(sorted_: Sorted) -> pd.DataFrame:
    """Probability and truth of each pair of templates that are both clearly some neuron's."""
    made = grouping.group_templates(*sorted_.given)
    neuron = sorted_.true_neurons()[made.pairs]
    clear = (neuron >= 0).all(axis=1)
    probability = 1 / (1 + np.exp(-made.log_odds[clear]))
    one = neuron[clear, 0] == neuron[clear, 1]
    return pd.DataFrame({"recording": sorted_.truth.name, "probability": probability, "one": one})


def calibration(pairs: pd.DataFrame) -> pd.DataFrame:
    """Mean probability, and share that is one neuron's, of the pairs in each bin."""
    bins = pd.cut(pairs["probability"], EDGES, include_lowest=True)
    table = pairs.groupby(bins, observed=True).agg(
        pairs=("one", "size"), probability=("probability", "mean"), share=("one", "mean")
    )
    return table.reset_index(drop=True)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Plot the calibration."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 4.6), layout="constrained")
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    error = np.sqrt(np.maximum(table["share"] * (1 - table["share"]), 0.25 / table["pairs"]) / table["pairs"])
    axis.errorbar(table["probability"], table["share"], yerr=error, marker="o", capsize=3)
    for row in table.itertuples():
        axis.annotate(str(row.pairs), (row.probability, row.share), (6, -12), textcoords="offset points", fontsize=9)
    axis.set(xlabel="probability given to pairs", ylabel="share that is one neuron", xlim=(0, 1), ylim=(0, 1))
    axis.set_title("Pairs of templates (with their number)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--templates", type=Path, help="folder of template libraries")
    parser.add_argument("--recordings", nargs="+", default=RECORDINGS)
    parser.add_argument("--duration", type=float, default=100.0, help="s")
    parser.add_argument("--seed", type=int, help="of the recordings, in place of their own")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    evidence: list[dict[str, Any]] = []
    constants: list[dict[str, Any]] = []
    pairs: list[pd.DataFrame] = []
    for name in options.recordings:
        settings = sort_settings(name, options.seed)
        truth = get_recording(settings, library_folder=options.templates, duration_s=options.duration)
        one = Sorted(truth)
        if not one.given:
            continue
        evidence += evidence_rows(one)
        constants += constant_rows(one)
        pairs.append(pair_rows(one))
        write(options.output, pd.DataFrame(evidence), pd.DataFrame(constants), pd.concat(pairs))
    return 0


def sort_settings(name: str, seed: int | None) -> Any:
    """A recording's settings, with another seed where one is given."""
    from spikeinterface_huidurep.benchmark import RECORDINGS as NAMED

    return NAMED[name] if seed is None else replace(NAMED[name], seed=seed)


def write(output: Path, evidence: pd.DataFrame, constants: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """Write the tables and the picture."""
    table = calibration(pairs)
    kinds = evidence.pivot_table(index="recording", columns="evidence", values="accuracy", sort=False)
    pieces = evidence.groupby("evidence", sort=False)[["well_detected", "pieces", "false_positive"]].sum()
    tables = {
        "Pairs of templates": table,
        "Accuracy by evidence": kinds.reset_index(),
        "All recordings": pieces.reset_index(),
        "Constants": constants_table(constants, evidence),
    }
    text = ["# One neuron or two", ""]
    for title, one in tables.items():
        text += [f"## {title}", "", one.to_markdown(index=False, floatfmt=".3f"), ""]
    (output / "one_neuron.md").write_text("\n".join(text), encoding="utf8")
    draw(table, output / "one_neuron.png")


if __name__ == "__main__":
    sys.exit(main())
