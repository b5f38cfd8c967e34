"""The figures of a benchmark are those of SpikeInterface's comparison, and the files show them all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_helpers import perturbed
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import NumpySorting, generate_ground_truth_recording

from spikeinterface_huidurep.benchmark import BenchmarkResults, GroundTruth, measure, write_report
from spikeinterface_huidurep.benchmark.figures import plot_sorted_accuracy
from spikeinterface_huidurep.benchmark.report import _overview, to_markdown


@pytest.fixture(scope="module")
def truth() -> GroundTruth:
    recording, sorting = generate_ground_truth_recording(durations=[30.0], num_channels=4, num_units=6, seed=1)
    sorting.set_property("gt_snr", np.linspace(3, 20, 6))
    return GroundTruth("made", recording, sorting, None, Path("nowhere"), {"name": "made"})


@pytest.mark.parametrize(("missed", "false"), [(0.0, 0.0), (0.15, 0.1), (0.4, 0.0)])
def test_figures_are_those_of_a_comparison_by_hand(truth, missed, false):
    tested = perturbed(truth.sorting, missed, false)
    measures = measure(truth, tested)
    by_hand = compare_sorter_to_ground_truth(truth.sorting, tested, exhaustive_gt=True)
    table = by_hand.get_performance()
    for column in ("accuracy", "precision", "recall"):
        np.testing.assert_allclose(measures.units[column], table[column].to_numpy(dtype=float))
        assert measures.summary[column] == pytest.approx(table[column].astype(float).mean())
    assert measures.summary["well_detected"] == by_hand.count_well_detected_units(0.8)
    assert measures.summary["false_positive"] == by_hand.count_false_positive_units()
    assert measures.summary["redundant"] == by_hand.count_redundant_units()
    assert measures.summary["overmerged"] == by_hand.count_overmerged_units()
    assert measures.units["accuracy"].iloc[-1] == 0, "the unit that was left out counts"
    assert measures.summary["true_units"] == 6 and measures.summary["found_units"] == 5


def test_accuracy_over_time_shows_where_a_sorter_loses_units(truth):
    n_samples = truth.recording.get_num_samples()
    trains = {unit: truth.sorting.get_unit_spike_train(unit) for unit in truth.sorting.unit_ids}
    first_two_thirds = {unit: train[train < 0.65 * n_samples] for unit, train in trains.items()}
    tested = NumpySorting.from_unit_dict([first_two_thirds], truth.sorting.sampling_frequency)
    over_time = measure(truth, tested).over_time
    assert over_time["time_s"].is_monotonic_increasing and over_time["time_s"].iloc[-1] < 30
    assert np.all(over_time["accuracy"][:13] == 1) and np.all(over_time["accuracy"][13:] == 0)


def test_pieces_and_doubles_are_counted_at_their_neuron(truth):
    trains = [truth.sorting.get_unit_spike_train(unit) for unit in truth.sorting.unit_ids]
    thirds = np.arange(trains[1].size) % 3
    mixed = np.sort(np.concatenate([trains[3][::2], trains[4][::4]]))
    tested = {
        "whole": trains[0],
        "double": np.sort(trains[0][:-5] + 3),
        **{f"third_{third}": trains[1][thirds == third] for third in range(3)},
        "half_a": trains[2][: trains[2].size // 2 + 3],
        "half_b": trains[2][trains[2].size // 2 + 3 :],
        "few": trains[2][:12],
        "most": trains[3],
        "mostly_3": mixed,
        "noise": np.arange(100, 800_000, 7001),
    }
    sorting = NumpySorting.from_unit_dict([tested], truth.sorting.sampling_frequency)
    measures = measure(truth, sorting)
    # the best third of the second neuron is no piece, although no third fits it well enough to be its pair
    assert measures.units["pieces"].tolist() == [1, 2, 2, 1, 0, 0]
    assert measures.summary["pieces"] == 6
    assert measure(truth, truth.sorting).summary["pieces"] == 0


def test_pieces_are_counted_where_the_truth_is_not_complete(truth):
    partly = GroundTruth("part", truth.recording, truth.sorting, None, Path("nowhere"), {"exhaustive": False})
    train = truth.sorting.get_unit_spike_train(truth.sorting.unit_ids[0])
    sorting = NumpySorting.from_unit_dict([{"a": train, "b": train[::2]}], truth.sorting.sampling_frequency)
    assert measure(partly, sorting).summary["pieces"] == 1


def test_an_empty_sorting_has_zeros(truth):
    empty = NumpySorting.from_unit_dict([{}], truth.sorting.sampling_frequency)
    measures = measure(truth, empty)
    assert measures.summary["accuracy"] == 0 and measures.summary["found_units"] == 0
    assert measures.summary["pieces"] == 0 and (measures.units["pieces"] == 0).all()
    assert (measures.over_time["accuracy"] == 0).all()


def test_nothing_is_called_false_where_the_truth_is_not_complete(truth):
    partly = GroundTruth("part", truth.recording, truth.sorting, None, Path("nowhere"), {"exhaustive": False})
    summary = measure(partly, perturbed(truth.sorting, 0.1, 0.1)).summary
    assert summary["false_positive"] is None and summary["redundant"] is None and summary["accuracy"] > 0.5


@pytest.fixture
def results(truth) -> BenchmarkResults:
    rows, units, over_time = [], [], []
    for sorter, missed in (("huidurep", 0.05), ("lupin", 0.3)):
        measures = measure(truth, perturbed(truth.sorting, missed, 0.0))
        rows.append(
            {
                "recording": "made",
                "sorter": sorter,
                "status": "done",
                "message": "",
                "drifts": False,
                "run_time_s": 3.0,
                "run_time_ratio": 0.1,
                "peak_memory_gb": 1.5,
                **measures.summary,
                "version": "1",
                "parameters": {"detect_threshold": 5},
                "n_jobs": 1,
            }
        )
        label = {"recording": "made", "sorter": sorter}
        units.append(measures.units.assign(**label))
        over_time.append(measures.over_time.assign(**label))
    failed = {
        "recording": "made",
        "sorter": "kilosort4",
        "status": "failed",
        "message": "RuntimeError: <no> GPU | here",
    }
    rows.append({**failed, "drifts": False, "version": "4", "parameters": {}, "n_jobs": 1})
    results = BenchmarkResults(pd.DataFrame(rows), pd.concat(units), pd.concat(over_time))
    results.recordings = {
        "made": {"n_channels": 4, "duration_s": 30.0, "settings": {}, "figures": {}},
        "missing": {"error": "There is no library."},
    }
    results.motions = {"made": (np.array([0.0, 30.0]), np.array([-10.0, 10.0]))}
    return results


def test_the_page_stands_alone_and_shows_every_row(results, tmp_path):
    files = write_report(results, tmp_path, "huidurep benchmark --suite quick")
    text = files.html.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    sources = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert sources and all(source.startswith(("data:image/svg+xml", "#")) for source in sources)
    assert "@import" not in text and "url(" not in text
    for word in (
        "huidurep benchmark --suite quick",
        "RuntimeError: &lt;no&gt; GPU",
        "There is no library.",
        "detect_threshold",
    ):
        assert word in text
    accuracy = results.summary["accuracy"].iloc[0]
    assert f">{accuracy:.3f}</td>" in text
    assert text.count("<tr") == text.count("</tr>") and text.count("<figure>") == 4
    assert str(tmp_path) not in text


def test_only_what_has_beaten_another_is_bold(results):
    """The best of one is no best, and who has not finished is not beaten."""
    first = results.summary.assign(recording="first")
    alone = first.assign(recording="alone")
    alone.loc[alone["sorter"] == "lupin", ["status", "accuracy", "well_detected"]] = ["timeout", np.nan, np.nan]
    overview = _overview(pd.concat([first, alone], ignore_index=True))
    rows = dict(re.findall(r'<tr class="">(?:<td[^>]*>(first|alone)</td>)(.*?)</tr>', overview))
    assert rows["first"].count('class="best"') == 1 and 'class="best"' not in rows["alone"]
    assert ">timeout<" in rows["alone"] and ">failed<" in rows["alone"]


def test_units_are_counted_in_whole_numbers(results):
    few = results.units[results.units["unit_id"].isin(results.units["unit_id"].unique()[:3])]
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", plot_sorted_accuracy(few, ["huidurep", "lupin"]))
    assert {"1", "2", "3"} <= set(labels) and not {"1.5", "2.5", "1.25"} & set(labels)


def test_the_tables_hold_the_same_figures(results, tmp_path):
    files = write_report(results, tmp_path)
    table = pd.read_csv(files.csv)
    np.testing.assert_allclose(table["accuracy"], results.summary["accuracy"].astype(float))
    assert len(pd.read_csv(files.units_csv)) == 12 and len(pd.read_csv(files.over_time_csv)) == 40
    lines = files.markdown.read_text().splitlines()
    assert lines == to_markdown(results).splitlines() and len(lines) == 6
    assert len({line.count("|") for line in lines}) == 1, "every line has as many cells"
    assert "huidurep" in lines[2] and "lupin" in lines[3] and "RuntimeError" in lines[4]
