"""The suite `days`: sessions of one set of neurons, and how matches are measured."""

from dataclasses import replace

import numpy as np
import pytest
from benchmark_helpers import perturbed, write_library
from spikeinterface.core import NumpySorting

from spikeinterface_huidurep.benchmark import DAYS, DaysSettings, get_days, make_days, write_days
from spikeinterface_huidurep.benchmark.days_baselines import one_to_one
from spikeinterface_huidurep.benchmark.days_benchmark import MATCHED, days_analyzer, score_days, tabulate
from spikeinterface_huidurep.benchmark.days_measures import (
    PairsOfSessions,
    calibration_error,
    figures,
    found_units,
)
from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.matching import match_units

SETTINGS = DaysSettings(
    "tiny", "moving.npz", 6, (-10.0, 10.0, 0.0), duration_s=12.0, n_hash=0, snr_range=(6.0, 25.0), rate_hz=(5.0, 12.0)
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    write_library(folder / "moving.npz", n_units=60, displacements=13)
    write_library(folder / "still.npz")
    return folder


@pytest.fixture(scope="module")
def days(library, tmp_path_factory):
    return get_days(SETTINGS, tmp_path_factory.mktemp("cache"), library)


def test_neurons_come_and_go(days):
    first, second, third = (set(truth.sorting.get_property("neuron").tolist()) for truth in days)
    assert len(first) == len(second) == len(third) == 6
    assert len(first & second) == len(second & third) == 4  # 70 % of 6
    assert len(first & third) == 5  # one is back


def test_the_tissue_moves_and_amplitudes_change(library):
    sessions = make_days(SETTINGS, library)
    depth = []
    for session in sessions[:2]:
        traces, sorting = session.recording.get_traces(return_in_uV=True), session.sorting
        places = session.recording.get_channel_locations()[:, 1]
        found = {}
        for unit, neuron in zip(sorting.unit_ids, sorting.get_property("neuron"), strict=True):
            spikes = sorting.get_unit_spike_train(unit)
            size = -traces[spikes].mean(axis=0).clip(max=0)
            found[int(neuron)] = (float((size**2 @ places) / (size**2).sum()), float(size.max()))
        depth.append(found)
    both = sorted(set(depth[0]) & set(depth[1]))
    moved = np.array([depth[1][neuron][0] - depth[0][neuron][0] for neuron in both])
    assert np.median(moved) == pytest.approx(20, abs=8)
    ratio = np.array([depth[1][neuron][1] / depth[0][neuron][1] for neuron in both])
    assert np.abs(np.log(ratio)).max() > 0.02


def test_sessions_may_drift(library):
    settings = replace(SETTINGS, displacements_um=(0.0, 10.0), drift_um=16.0, duration_s=20.0)
    spread = []
    for drift in (0.0, 16.0):
        session = make_days(replace(settings, drift_um=drift), library)[1]
        traces = session.recording.get_traces(return_in_uV=True)
        depth = session.recording.get_channel_locations()[:, 1]
        of_units = []
        for unit in session.sorting.unit_ids:
            parts = np.array_split(session.sorting.get_unit_spike_train(unit), 8)
            sizes = np.array([-traces[part].mean(axis=0).clip(max=0) for part in parts])
            of_units.append(np.ptp((sizes**2 @ depth) / (sizes**2).sum(axis=1)))
        spread.append(np.median(of_units))
    assert spread[1] > spread[0] + 2.0


def test_what_cannot_be_made_is_said(library):
    with pytest.raises(ValueError, match="one displacement only"):
        make_days(DaysSettings("still", "still.npz", 4, (0.0, 0.0)), library)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        make_days(DaysSettings("none", "none.npz", 4, (0.0, 0.0)), library)
    with pytest.raises(ValueError, match="no sessions named"):
        get_days("nothing", library_folder=library)


def test_a_smaller_probe(library):
    settings = DaysSettings(
        "four", "moving.npz", 4, (0.0, 5.0), contacts=(2, 1), n_hash=3, duration_s=5.0, snr_range=(4.0, 25.0)
    )
    for session in make_days(settings, library):
        assert session.recording.get_num_channels() == 4
        assert np.ptp(session.recording.get_channel_locations(), axis=0).tolist() == [32, 20]


def test_true_spikes_are_matched_and_measured(days, tmp_path):
    sortings = [perturbed(truth.sorting, missed=0.02, false=0.02, seed=k) for k, truth in enumerate(days)]
    analyzers = [days_analyzer(sorting, truth) for sorting, truth in zip(sortings, days, strict=True)]
    matches = match_units(analyzers)
    table = tabulate(score_days("tiny", "truth", days, analyzers, matches))
    ours = table[(table["days"] == "all") & (table["method"] == MATCHED)].iloc[0]
    assert ours["shared"] == 3 + 4 + 3  # the last unit of each session, one neuron in all, was left out
    assert ours["area"] >= 0.9
    path = write_days(table, tmp_path, "huidurep benchmark --suite days")
    assert path.read_text().count("\n| tiny |") == 6 and (tmp_path / "days.csv").is_file()


def test_units_are_the_neurons_that_most_of_their_spikes_are_of(days):
    truth = days[0].sorting
    spikes = truth.to_spike_vector()
    # unit 0 of all of the first neuron, unit 1 of a tenth of the second, unit 2 of two neurons' spikes, unit 3 of none
    rng = np.random.default_rng(0)
    of = [spikes["sample_index"][spikes["unit_index"] == k] for k in range(4)]
    times = [of[0], of[1][::10], np.sort(np.concatenate([of[2], of[3]])), rng.integers(0, 300_000, 60)]
    tested = NumpySorting.from_unit_dict([{k: np.sort(one) for k, one in enumerate(times)}], truth.sampling_frequency)
    neurons = truth.get_property("neuron")
    found = found_units(truth, tested, neurons)
    assert found.neuron[0] == neurons[0] and found.neuron[1] == neurons[1] and found.neuron[3] == -1
    assert found.best.tolist()[:2] == [True, False] and not found.best[3]


def test_the_figures_are_right():
    same = np.eye(4, dtype=bool)
    wanted = same.copy()
    wanted[3, 3] = False  # a piece: neither asked for nor wrong
    score = np.zeros((4, 4))
    score[0, 0], score[1, 1], score[3, 3], score[0, 2] = 0.9, 0.4, 0.8, 0.6
    row = figures([PairsOfSessions(score, same, wanted)])
    assert row["shared"] == 3
    assert row["recall"] == pytest.approx(1 / 3)
    assert row["precision"] == pytest.approx(2 / 3)
    # bins 0.9, 0.4, 0.8, 0.6 of a pair each
    assert row["calibration"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.6) / 4)
    perfect = figures([PairsOfSessions(np.where(wanted, 0.9, 0.1), same, wanted)], threshold=None)
    assert perfect["area"] == perfect["recall"] == perfect["precision"] == 1
    assert np.isnan(calibration_error(np.zeros(3), np.zeros(3, dtype=bool)))


def test_an_assignment_leaves_the_others_below_all():
    score = one_to_one(np.array([[3.0, 2.0], [2.5, 0.0]]))
    assert score.argmax(axis=1).tolist() == [1, 0] and score[0, 0] < -100


def test_the_command_names_the_sessions(capsys):
    assert main(["benchmark", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"sessions {name}:" in listed for name in DAYS)
    assert main(["benchmark", "--suite", "days", "--recordings", "si_static"]) == 2
    assert "sessions only" in capsys.readouterr().err
