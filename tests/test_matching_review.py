"""The groups of several sessions in one analyzer, to leave or refuse them in the GUI."""

import json

import numpy as np
import pytest
import spikeinterface.core as sc
from test_matching import make_analyzer

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.curation import load_analyzer, save_curation
from spikeinterface_huidurep.curation.curation_file import read_suggestions
from spikeinterface_huidurep.curation.gui import open_gui
from spikeinterface_huidurep.matching import make_review, match_units, read_groups

DAYS = (([0, 1, 2, 3], 0.0), ([1, 2, 3, 4], 20.0))


@pytest.fixture(scope="module")
def matches():
    analyzers = [make_analyzer(neurons, moved, seed=k, n_neurons=5) for k, (neurons, moved) in enumerate(DAYS)]
    return match_units(analyzers, names=["day1", "day2"])


@pytest.fixture(scope="module")
def review(matches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("review") / "matched"
    matches.save(folder, report=False, review=True, n_jobs=1)
    return folder


def test_each_neuron_is_a_suggested_merge(matches, review):
    analyzer = load_analyzer(review)
    assert set(analyzer.unit_ids) == {f"day{day} {unit}" for day, (units, _) in enumerate(DAYS, 1) for unit in units}
    merges = {frozenset(merge["unit_ids"]) for merge in read_suggestions(analyzer)["merges"]}
    assert merges == {frozenset((f"day1 {unit}", f"day2 {unit}")) for unit in (1, 2, 3)}
    # a unit fires in its own session only, as often as there
    for name, sorting in matches.sortings.items():
        segment = list(matches.sortings).index(name)
        for unit in sorting.unit_ids:
            trains = [analyzer.sorting.get_unit_spike_train(f"{name} {unit}", segment_index=k) for k in (0, 1)]
            np.testing.assert_array_equal(trains[segment], sorting.get_unit_spike_train(unit))
            assert len(trains[1 - segment]) == 0
    # the waveforms are those of its session, in uV
    template = analyzer.get_extension("templates").get_unit_template("day1 2")
    alone = matches.sessions[0].analyzer.recording
    frames = matches.sortings["day1"].get_unit_spike_train(2)
    peak = alone.get_traces()[frames].mean(axis=0).min()
    assert template.min() == pytest.approx(peak, rel=0.15)


def test_what_was_refused_is_read_back(review):
    analyzer = load_analyzer(review)
    with pytest.raises(FileNotFoundError, match="No curation was saved"):
        read_groups(review)
    curation = read_suggestions(analyzer)
    refused = {"day1 2", "day2 2"}
    curation["merges"] = [merge for merge in curation["merges"] if set(merge["unit_ids"]) != refused]
    curation["removed"] = ["day1 0"]
    save_curation(analyzer, curation)
    groups = read_groups(review)
    assert list(groups.columns) == ["neuron", "session", "unit"]
    together = {tuple(sorted(zip(mine["session"], mine["unit"], strict=True))) for _, mine in groups.groupby("neuron")}
    assert together == {
        (("day1", 1), ("day2", 1)), (("day1", 3), ("day2", 3)), (("day1", 2),), (("day2", 2),), (("day2", 4),),
    }  # fmt: skip


def test_two_units_of_one_session_are_not_one_neuron(review):
    analyzer = load_analyzer(review)
    curation = read_suggestions(analyzer)
    curation["merges"].append({"unit_ids": ["day1 0", "day1 2"]})
    curation["merges"] = curation["merges"][-1:]
    save_curation(analyzer, curation)
    with pytest.raises(ValueError, match="two units of one session"):
        read_groups(analyzer)


def test_the_gui_shows_the_neurons(review, monkeypatch):
    pytest.importorskip("spikeinterface_gui")
    pytest.importorskip("panel")
    from gui_helpers import stand_in_palette

    stand_in_palette(monkeypatch)
    analyzer = load_analyzer(review)
    saved = review / "analyzer" / "spikeinterface_gui" / "curation_data.json"
    saved.unlink(missing_ok=True)
    window = open_gui(analyzer, mode="web", start=False)
    shown = window.controller.curation_data["merges"]
    assert {frozenset(merge["unit_ids"]) for merge in shown} == {
        frozenset(merge["unit_ids"]) for merge in read_suggestions(analyzer)["merges"]
    }


def test_what_cannot_be_reviewed_is_said(matches, tmp_path):
    analyzer = make_analyzer([0, 1, 2], n_neurons=5)
    with pytest.raises(ValueError, match="holds one session"):
        read_groups(analyzer)
    without = [make_analyzer(neurons, moved, seed=k, n_neurons=5) for k, (neurons, moved) in enumerate(DAYS)]
    found = match_units(without)
    without[1]._recording = None
    with pytest.raises(ValueError, match="recording of the session session_2 cannot be found"):
        make_review(found, tmp_path / "review")
    with pytest.raises(ValueError, match="recording of the session session_2"):
        found.save(tmp_path / "matched", report=False, review=True)
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_it(matches, tmp_path, capsys):
    for name, session in zip(matches.names, matches.sessions, strict=True):
        recording = session.analyzer.recording.save(folder=tmp_path / f"{name}_recording", n_jobs=1)
        recording.annotate(is_filtered=True)
        analyzer = sc.create_sorting_analyzer(
            session.sorting, recording, format="binary_folder", folder=tmp_path / name
        )
        analyzer.compute({"random_spikes": {}, "waveforms": {}})
    days = [str(tmp_path / name) for name in matches.names]
    assert main(["match", *days, "--output", str(tmp_path / "out"), "--review"]) == 0
    assert f"huidurep gui {tmp_path / 'out'}" in capsys.readouterr().out
    merges = read_suggestions(load_analyzer(tmp_path / "out"))["merges"]
    assert len(merges) == 3
    json.dumps(merges)
