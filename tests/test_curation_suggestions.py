"""Suggested merges and labels, the file that the GUI reads, and the Sorting that a curation leads to."""

import json

import numpy as np
import pytest
from spikeinterface.core.zarrextractors import super_zarr_open
from spikeinterface.curation import validate_curation_dict

from spikeinterface_huidurep.curation import load_analyzer, suggest_curation
from spikeinterface_huidurep.curation.curation_file import curated_sorting, read_curation, save_curation
from spikeinterface_huidurep.curation.suggestions import merge_candidates, suggest_labels


def test_halves_of_a_unit_are_suggested_as_a_merge(analyzer_folder, curation_recording):
    analyzer = load_analyzer(analyzer_folder)
    curation = read_curation(analyzer)
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
    labels = {label["unit_id"]: label["labels"]["quality"] for label in read_curation(analyzer)["manual_labels"]}
    assert labels == {unit: [label] for unit, label in expected.items()}

    analyzer.sorting.delete_property("quality")
    by_metrics = suggest_labels(analyzer)
    assert set(by_metrics) == set(range(6)) and set(by_metrics.values()) <= {"good", "MUA", "noise"}
    # Bombcell wants 300 spikes of a good unit: in fifteen seconds there are none
    assert "good" not in by_metrics.values()
    analyzer.delete_extension("template_metrics")
    assert set(suggest_labels(analyzer).values()) == {""}


def test_a_curation_becomes_a_sorting(analyzer_folder, curation_recording):
    analyzer = load_analyzer(analyzer_folder)
    counts = analyzer.sorting.count_num_spikes_per_unit(outputs="dict")
    quality = list(analyzer.sorting.get_property("quality"))
    curation = read_curation(analyzer)
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
    curation = read_curation(analyzer)
    analyzer.delete_extension("principal_components")  # whose pickled model Zarr refuses to read
    archive = analyzer.save_as(format="zarr", folder=tmp_path / "analyzer.zarr")
    assert read_curation(archive) is None
    with pytest.raises(FileNotFoundError, match="No curation"):
        curated_sorting(archive)
    save_curation(archive, curation)
    assert read_curation(load_analyzer(tmp_path / "analyzer.zarr")) == curation
    # where the GUI looks for it
    root = super_zarr_open(tmp_path / "analyzer.zarr", mode="r")
    assert root["spikeinterface_gui"].attrs["curation_data"] == curation
    # and saving again replaces it
    save_curation(archive, {**curation, "merges": []})
    assert read_curation(load_analyzer(tmp_path / "analyzer.zarr"))["merges"] == []


def test_curations_that_cannot_be_saved(analyzer_folder):
    analyzer = load_analyzer(analyzer_folder)
    before = read_curation(analyzer)
    with pytest.raises(ValueError, match="not in the unit list"):
        save_curation(analyzer, {**before, "merges": [{"unit_ids": [0, 77]}]})
    assert read_curation(analyzer) == before
    in_memory = analyzer.select_units([0, 1])
    with pytest.raises(ValueError, match="in memory"):
        save_curation(in_memory, {**before, "merges": [], "manual_labels": [], "unit_ids": [0, 1]})
