"""Suggested merges and labels, the file that the GUI reads, and the Sorting that a curation leads to."""

import json

import numpy as np
import pytest
from spikeinterface.core.zarrextractors import super_zarr_open
from spikeinterface.curation import validate_curation_dict

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.curation import load_analyzer, suggest_curation
from spikeinterface_huidurep.curation.curation_file import (
    curated_sorting,
    read_curation,
    read_suggestions,
    save_curation,
    save_suggestions,
)
from spikeinterface_huidurep.curation.export import curated_analyzer
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME
from spikeinterface_huidurep.curation.pair_evidence import pair_evidence, times_in_words
from spikeinterface_huidurep.curation.splits import split_candidates
from spikeinterface_huidurep.curation.suggestions import merge_candidates, suggest_labels


def test_halves_of_a_unit_are_suggested_as_a_merge(analyzer_folder, curation_recording):
    analyzer = load_analyzer(analyzer_folder)
    curation = read_suggestions(analyzer)
    validate_curation_dict(curation)
    assert [set(merge["unit_ids"]) for merge in curation["merges"]] == [set(curation_recording[2])]
    assert curation == json.loads(json.dumps(suggest_curation(analyzer)))
    candidates = merge_candidates(analyzer)
    assert candidates["suggested"].sum() == 1
    best = candidates.iloc[0]
    assert {best["unit_a"], best["unit_b"]} == set(curation_recording[2])
    assert best["mixing"] > 0.8 and best["similarity"] > 0.8 and best["refractory"]
    assert not merge_candidates(analyzer, min_mixing=1.01)["suggested"].any()


def test_labels_of_the_sorter_and_of_the_metrics(analyzer_folder):
    analyzer = load_analyzer(analyzer_folder)
    expected = dict(zip(range(6), ["good", "good", "MUA", "noise", "good", "good"], strict=True))
    assert suggest_labels(analyzer) == expected
    labels = {label["unit_id"]: label["labels"]["quality"] for label in read_suggestions(analyzer)["manual_labels"]}
    assert labels == {unit: [label] for unit, label in expected.items()}

    analyzer.sorting.delete_property("quality")
    by_metrics = suggest_labels(analyzer)
    assert set(by_metrics) == set(range(6)) and set(by_metrics.values()) <= {"good", "MUA", "noise"}
    # Bombcell wants 300 spikes of a good unit: in fifteen seconds there are none
    assert "good" not in by_metrics.values()
    analyzer.delete_extension("template_metrics")
    assert set(suggest_labels(analyzer).values()) == {""}


def test_only_what_was_accepted_applies(analyzer_folder, curation_recording, capsys, tmp_path):
    analyzer = load_analyzer(analyzer_folder)
    assert read_curation(analyzer) is None
    with pytest.raises(FileNotFoundError, match="accept_suggestions=True"):
        curated_sorting(analyzer)
    assert main(["export", str(analyzer_folder), str(tmp_path / "phy"), "--to", "phy", "--curated"]) == 2
    assert "--accept-suggestions" in capsys.readouterr().err and not (tmp_path / "phy").exists()
    unseen = curated_sorting(analyzer, accept_suggestions=True)
    assert len(unseen.unit_ids) == len(analyzer.unit_ids) - 1
    # the merge was refused: that stays so, whoever accepts suggestions
    save_curation(analyzer, {**read_suggestions(analyzer), "merges": []})
    for accept in (False, True):
        kept = curated_sorting(analyzer, accept_suggestions=accept)
        assert list(kept.unit_ids) == list(analyzer.unit_ids)


def test_the_evidence_that_two_units_are_one(analyzer_folder, curation_recording):
    """Halves of a neuron have the same template and never fire within 2 ms of each other; other pairs neither."""
    analyzer = load_analyzer(analyzer_folder)
    pairs = [(a, b) for a in range(6) for b in range(a + 1, 6)]
    table = pair_evidence(analyzer, pairs)
    of_one = np.array([pair == curation_recording[2] for pair in pairs])
    assert of_one.sum() == 1
    assert (table["probability"][of_one] > 0.9).all() and (table["probability"][~of_one] < 0.1).all()
    assert (table["difference"][of_one] < 0.1).all() and (table["observed"][of_one] == 0).all()
    assert len(pair_evidence(analyzer, [])) == 0
    candidates = merge_candidates(analyzer)
    assert (candidates["probability"] > 0.9).tolist() == candidates["suggested"].tolist()
    assert "keep a refractory period together" in times_in_words(1, 40.0)
    assert "keep no refractory period" in times_in_words(38, 40.0)
    assert "say little" in times_in_words(0, 1.0)


def test_two_neurons_in_one_unit_are_seen(analyzer_folder):
    analyzer = load_analyzer(analyzer_folder)
    assert not split_candidates(analyzer)["suggested"].any()
    together = analyzer.merge_units([[1, 2]], merging_mode="soft", sparsity_overlap=0.1)
    (made,) = set(together.unit_ids) - set(analyzer.unit_ids)
    table = split_candidates(together)
    assert list(table["unit"][table["suggested"]]) == [made]
    # and parted as they were, with the spikes that had no embedding before
    (split,) = suggest_curation(together)["splits"]
    assert split["unit_id"] == made
    trains = [analyzer.sorting.get_unit_spike_train(unit) for unit in (1, 2)]
    of_second = np.isin(together.sorting.get_unit_spike_train(made), trains[1])
    in_split = np.zeros(len(of_second), dtype=bool)
    in_split[split["indices"][0]] = True
    assert np.mean(in_split == of_second) > 0.97 or np.mean(in_split != of_second) > 0.97
    # one merge of halves, one split
    curation = suggest_curation(together)
    together.sorting.set_property("good_probability", np.full(len(together.unit_ids), 0.9))
    parted = curated_sorting(together, curation)
    assert len(parted.unit_ids) == len(together.unit_ids)
    probability = parted.get_property("good_probability")
    np.testing.assert_array_equal(np.isnan(probability), ~np.isin(parted.unit_ids, together.unit_ids))
    exported = curated_analyzer(together, curation)
    assert len(exported.unit_ids) == len(together.unit_ids)
    assert len(np.unique(exported.get_extension(EXTENSION_NAME).get_data(outputs="unit_index"))) == len(
        together.unit_ids
    )
    counts = analyzer.get_extension("random_spikes").get_random_spikes()["unit_index"]
    fewer = min(np.sum(counts == 1), np.sum(counts == 2)) / np.sum(np.isin(counts, (1, 2)))
    assert table["share"][0] == pytest.approx(fewer, abs=0.05) and table["valley"][0] < 0.2


def test_a_curation_becomes_a_sorting(analyzer_folder, curation_recording):
    analyzer = load_analyzer(analyzer_folder)
    counts = analyzer.sorting.count_num_spikes_per_unit(outputs="dict")
    quality = list(analyzer.sorting.get_property("quality"))
    curation = read_suggestions(analyzer)
    curation["manual_labels"] = [
        {"unit_id": unit, "labels": {"quality": ["noise" if unit == 2 else "good"]}} for unit in range(6)
    ]
    curation["removed"] = [4]
    save_curation(analyzer, curation)

    curated = curated_sorting(load_analyzer(analyzer_folder))
    merged = set(curated.unit_ids) - set(range(6))
    assert len(merged) == 1 and set(curated.unit_ids) == {1, 2, 3} | merged
    spikes = curated.get_unit_spike_train(merged.pop())
    assert len(spikes) == pytest.approx(sum(counts[unit] for unit in curation_recording[2]), abs=5)
    assert np.diff(spikes).min() > 0.5e-3 * curated.sampling_frequency
    assert 2 not in curated_sorting(analyzer, curation, drop=("noise",)).unit_ids
    assert list(analyzer.sorting.get_property("quality")) == quality


def test_curations_in_a_zarr_archive(analyzer_folder, tmp_path):
    analyzer = load_analyzer(analyzer_folder)
    curation = read_suggestions(analyzer)
    analyzer.delete_extension("principal_components")  # whose pickled model Zarr refuses to read
    archive = analyzer.save_as(format="zarr", folder=tmp_path / "analyzer.zarr")
    assert read_curation(archive) is None
    with pytest.raises(FileNotFoundError, match="No curation"):
        curated_sorting(archive)
    save_curation(archive, curation)
    assert read_curation(load_analyzer(tmp_path / "analyzer.zarr")) == curation
    # suggestions lie beside it
    save_suggestions(archive, {**curation, "merges": []})
    assert read_suggestions(archive)["merges"] == [] and read_curation(archive) == curation
    # where the GUI looks for it
    root = super_zarr_open(tmp_path / "analyzer.zarr", mode="r")
    assert root["spikeinterface_gui"].attrs["curation_data"] == curation
    # and saving again replaces it
    save_curation(archive, {**curation, "merges": []})
    assert read_curation(load_analyzer(tmp_path / "analyzer.zarr"))["merges"] == []


def test_curations_that_cannot_be_saved(analyzer_folder):
    analyzer = load_analyzer(analyzer_folder)
    before = read_suggestions(analyzer)
    save_curation(analyzer, before)
    with pytest.raises(ValueError, match="not in the unit list"):
        save_curation(analyzer, {**before, "merges": [{"unit_ids": [0, 77]}]})
    assert read_curation(analyzer) == before
    in_memory = analyzer.select_units([0, 1])
    with pytest.raises(ValueError, match="in memory"):
        save_curation(in_memory, {**before, "merges": [], "manual_labels": [], "unit_ids": [0, 1]})
