"""Stages on arrays with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import spikeinterface.core as sc
from spikeinterface.core.base import base_peak_dtype
from spikeinterface.core.motion import Motion
from stage_helpers import (
    JOB,
    MOVING,
    N_CHANNELS,
    WHITE,
    recording_with,
    shank_of,
    templates_for,
    two_units_apart,
    units_for,
    waveform,
)

from spikeinterface_huidurep.stages.matching.assignment import MatchingCriteria, assign_spikes, spike_dtype
from spikeinterface_huidurep.stages.matching.confidence import estimate_confidence
from spikeinterface_huidurep.stages.motion import estimation as motion_stage
from spikeinterface_huidurep.stages.peaks.detection import detect_peaks
from spikeinterface_huidurep.stages.peaks.selection import select_peaks
from spikeinterface_huidurep.stages.result.cleaning import CleaningCriteria, clean_spikes
from spikeinterface_huidurep.stages.result.quality import QualityCriteria, label_units
from spikeinterface_huidurep.stages.spike_features import SpikeFeatures
from spikeinterface_huidurep.stages.templates.drifting import channels_of_a_unit
from spikeinterface_huidurep.stages.templates.whitened import whiten_templates
from spikeinterface_huidurep.stages.units.drop import DropCriteria, at_threshold, not_centred
from spikeinterface_huidurep.stages.units.join import JoinCriteria, join_units
from spikeinterface_huidurep.stages.units.split import SplitCriteria, split_units
from spikeinterface_huidurep.stages.units.unit_set import UnitSet


@pytest.fixture(scope="module")
def two_units():
    return two_units_apart()


def test_templates_are_the_mean_waveforms(two_units):
    recording, samples, labels, shapes = two_units
    templates = templates_for(recording, samples, labels, [80.0, 120.0])
    for unit in (0, 1):
        assert np.abs(templates.dense(0, N_CHANNELS)[unit] - shapes[unit]).max() < 0.5


def test_templates_follow_the_motion():
    """Seen at 0 and 20 um only, a unit's template at 10 um is interpolated."""
    samples = np.arange(1000, 290000, 1000)
    displacement = np.where(np.arange(len(samples)) % 2, 20.0, 0.0)
    recording = recording_with([(s, waveform(100.0 + d, 12.0)) for s, d in zip(samples, displacement, strict=True)])
    templates = templates_for(recording, samples, np.zeros(len(samples), int), [100.0], displacement, MOVING)
    for d in (0.0, 10.0, 20.0):
        index = int(np.flatnonzero(templates.displacements == d)[0])
        assert np.abs(templates.dense(index, N_CHANNELS)[0] - waveform(100.0 + d, 12.0)).max() < 1.2


def test_overlapping_spikes_are_all_found(two_units):
    recording, samples, labels, shapes = two_units
    space = whiten_templates(templates_for(recording, samples, labels, [80.0, 120.0]), WHITE)
    first = np.arange(2000, 290000, 3000)
    together = recording_with([(s, shapes[0]) for s in first] + [(s + 6, shapes[1]) for s in first], seed=1)
    spikes = assign_spikes(shank_of(together), space)
    assert np.all(np.diff(spikes["sample_index"]) >= 0)
    for unit, lag in ((0, 0), (1, 6)):
        found = spikes["sample_index"][spikes["unit_index"] == unit]
        # a tenth of a millisecond; SpikeInterface's comparisons allow 0.4 ms
        hits = np.isin(first + lag, (found[:, None] + np.arange(-3, 4)).ravel())
        assert hits.mean() > 0.97
        assert len(found) <= 1.03 * len(first)


def test_two_spikes_at_once_are_not_one_of_a_neuron_between_them():
    """Two neurons that fire together look most like a third one, whose spikes are as wide as both."""
    shapes = [waveform(60.0, 16.0), waveform(120.0, 16.0), waveform(90.0, 22.0, width=4.5)]
    samples = np.arange(1000, 290000, 700)
    labels = np.arange(len(samples)) % 3
    apart = recording_with([(s, shapes[unit]) for s, unit in zip(samples, labels, strict=True)])
    space = whiten_templates(templates_for(apart, samples, labels, [60.0, 120.0, 90.0]), WHITE)
    both = np.arange(2000, 290000, 3000)
    together = recording_with([(s, shapes[0]) for s in both] + [(s + 1, shapes[1]) for s in both], seed=1)
    spikes = assign_spikes(shank_of(together), space)
    for unit, expected in enumerate((both, both + 1)):
        found = spikes["sample_index"][spikes["unit_index"] == unit]
        assert np.isin(expected, (found[:, None] + np.arange(-2, 3)).ravel()).mean() > 0.97
        assert np.median(spikes["confidence"][spikes["unit_index"] == unit]) > 0.95
    assert (spikes["unit_index"] == 2).sum() < 0.03 * len(both)
    # and the third one's own spikes stay its own
    alone = assign_spikes(shank_of(recording_with([(s, shapes[2]) for s in both], seed=2)), space)
    assert (alone["unit_index"] == 2).mean() > 0.97


def small_under_large(large, small, depths):
    """Spikes of a large unit, those of a small one 9 samples after each; when the large ones come; both templates."""
    first, second = np.arange(1000, 290000, 2000), np.arange(1900, 290000, 2000)
    samples, labels = np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)])
    order = np.argsort(samples)
    apart = recording_with([(s, large) for s in first] + [(s, small) for s in second])
    space = whiten_templates(templates_for(apart, samples[order], labels[order], depths), WHITE)
    together = recording_with([(s, large) for s in first] + [(s + 9, small) for s in first], seed=1)
    return together, first, space


def test_small_spikes_are_found_beside_large_ones():
    """A large unit's spikes leave something behind, but not at another place on the probe."""
    large, small = waveform(60.0, 60.0), waveform(150.0, 6.0, width=5.0)
    together, first, space = small_under_large(large, small, [60.0, 150.0])
    spikes = assign_spikes(shank_of(together), space)
    found = spikes["sample_index"][spikes["unit_index"] == 1]
    assert np.isin(first + 9, (found[:, None] + np.arange(-3, 4)).ravel()).mean() > 0.95


def test_the_less_a_template_leaves_behind_the_smaller_the_spikes_under_it_that_are_found():
    large, small = waveform(80.0, 40.0), waveform(95.0, 6.0, width=6.0)
    together, first, space = small_under_large(large, small, [80.0, 95.0])

    def found(unexplained):
        spikes = assign_spikes(shank_of(together), space, MatchingCriteria(unexplained=unexplained))
        samples = spikes["sample_index"][spikes["unit_index"] == 1]
        return np.isin(first + 9, (samples[:, None] + np.arange(-3, 4)).ravel()).mean()

    assert found(0.0) > 0.9
    assert found(0.1) < 0.1


def test_what_a_large_spike_leaves_behind_is_not_held_against_a_small_one():
    """Large spikes that differ a little from their template, and small ones a fifth of a millisecond after each."""
    large, small = waveform(60.0, 45.0), waveform(130.0, 4.0, width=5.0)
    _, first, space = small_under_large(large, small, [60.0, 130.0])
    unlike = waveform(68.0, 45.0, width=4.8)
    together = recording_with([(s, unlike) for s in first] + [(s + 6, small) for s in first], seed=3)

    def kept(forgiven):
        criteria = MatchingCriteria(unexplained=0.005, forgiven=forgiven)
        spikes = assign_spikes(shank_of(together), space, criteria)
        confidence = estimate_confidence(spikes, space.energy, MatchingCriteria(), n_values=space.n_values)
        samples = spikes["sample_index"][(spikes["unit_index"] == 1) & (confidence > 0.5)]
        return np.isin(first + 6, (samples[:, None] + np.arange(-3, 4)).ravel()).mean()

    assert kept(0.02) > 0.9
    assert kept(0.0) < 0.5


def test_spikes_of_a_neuron_without_a_template_are_not_its_neighbours(two_units):
    """What a template explains in part only is left out; the spikes of its own unit stay."""
    recording, samples, labels, shapes = two_units
    own_template = templates_for(recording, samples, np.where(labels == 0, 0, -1), [80.0])
    space = whiten_templates(own_template, WHITE)
    own, foreign = np.arange(2000, 290000, 3000), np.arange(3500, 290000, 3000)
    stranger = waveform(115.0, 20.0, width=5.0)
    spikes = [(s, shapes[0]) for s in own] + [(s, stranger) for s in foreign]
    found = assign_spikes(shank_of(recording_with(spikes, seed=2)), space)
    real = np.isin(found["sample_index"], (own[:, None] + np.arange(-3, 4)).ravel())
    # the stranger does match: without a look at what is left it would be the unit's
    by_gain = estimate_confidence(found, space.energy, MatchingCriteria())
    assert (by_gain[~real] > 0.5).sum() > 0.5 * len(foreign)
    confidence = estimate_confidence(found, space.energy, MatchingCriteria(), n_values=space.n_values)
    assert (confidence[real] > 0.9).sum() > 0.97 * len(own)
    assert (confidence[~real] > 0.1).sum() < 0.05 * len(foreign)


def test_halves_are_merged_and_neighbours_are_not(two_units):
    recording, samples, labels, _ = two_units
    halves = np.where(labels == 0, np.arange(len(labels)) // 2 % 2, 2)
    units = units_for(recording, samples, halves, [80.0, 80.0, 120.0])
    joined = join_units(units, shank_of(recording), JoinCriteria())
    np.testing.assert_array_equal(joined.labels, np.array([0, 0, 1])[halves])
    np.testing.assert_array_equal(joined.spikes["sample_index"], samples)
    assert joined.n_units == 2


def test_two_neurons_in_one_cluster_are_split(two_units):
    recording, samples, labels, _ = two_units
    mixed = np.zeros(len(labels), int)
    units = units_for(recording, samples, mixed, [100.0])
    split, changed = split_units(units, shank_of(recording), SplitCriteria(distance=4.0))
    assert split.n_units == 2
    np.testing.assert_array_equal(changed, [0, 1])
    agreement = (split.labels == labels).mean()
    assert max(agreement, 1 - agreement) > 0.98
    one = np.flatnonzero(labels == 0)
    units = units_for(recording, samples[one], mixed[one], [80.0])
    whole, changed = split_units(units, shank_of(recording), SplitCriteria(distance=4.0))
    assert whole.n_units == 1 and len(changed) == 0


def test_the_seed_chooses_the_spikes_that_splits_look_at(two_units):
    recording, samples, labels, _ = two_units
    units = units_for(recording, samples, np.zeros(len(labels), int), [100.0])
    criteria = SplitCriteria(distance=4.0, max_spikes=100)
    first, again, other = (
        split_units(units, replace(shank_of(recording), seed=seed), criteria)[0].labels for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first >= 0).sum() == (other >= 0).sum() == 100
    assert (first >= 0).tolist() != (other >= 0).tolist()


@pytest.mark.parametrize("neurons", [1, 2])
def test_amplitudes_tell_neurons_of_one_waveform_apart_but_not_a_burst(neurons):
    """The last spike of a burst has half of the first one's amplitude, and there is something between them."""
    at = np.arange(1000, 298000, 500)
    place = np.arange(len(at)) % 4
    gains = 0.8**place if neurons == 1 else np.where(place == 3, 0.35, 1.0)
    gains = gains * np.random.default_rng(0).normal(1.0, 0.05, len(at))
    recording = recording_with([(s, g * waveform(100.0, 10.0)) for s, g in zip(at, gains, strict=True)])
    labels = np.zeros(len(at), dtype=int)
    units = units_for(recording, at, labels, [100.0])
    split = split_units(units, shank_of(recording), SplitCriteria(distance=4.0))[0].labels
    assert len(np.unique(split)) == neurons
    if neurons == 2:
        assert np.mean((split == split[3]) == (place == 3)) > 0.98


def test_a_unit_some_of_whose_spikes_were_detected_late_is_not_split():
    widths = [3.0, 2.0, 3.0, 6.0, 8.0]
    at = [np.arange(1000, 598000, 400)] + [np.arange(1200 + 400 * unit, 598000, 4000) for unit in range(1, 5)]
    depths = 40 + 30.0 * np.arange(5)
    spikes = [(s, waveform(depths[unit], 8.0, widths[unit])) for unit in range(5) for s in at[unit]]
    recording = recording_with(spikes, duration_s=20.0)
    at[0] = at[0] + 4 * (np.arange(len(at[0])) % 12 == 0)
    found, labels = np.concatenate(at), np.repeat(np.arange(5), [len(samples) for samples in at])
    found, labels = found[np.argsort(found)], labels[np.argsort(found)]
    units = units_for(recording, found, labels, depths)
    assert split_units(units, shank_of(recording), SplitCriteria(distance=4.0))[0].n_units == 5


def test_repeats_and_echoes_are_cleaned():
    train = np.arange(1000, 101000, 1000)
    spikes = np.zeros(2 * len(train) + 1, dtype=spike_dtype)
    spikes["sample_index"] = np.concatenate([train, train + 3, [train[5] + 8]])
    spikes["unit_index"] = np.concatenate([0 * train, 0 * train + 1, [0]])
    spikes["gain"] = np.concatenate([0 * train + 200, 0 * train + 50, [40]])
    spikes["confidence"] = 1.0
    kept = clean_spikes(spikes, np.zeros(2), CleaningCriteria.in_samples(30000.0))
    np.testing.assert_array_equal(np.sort(kept["sample_index"]), train)
    assert np.all(kept["unit_index"] == 0)


def test_selection_is_bounded_and_keeps_quiet_channels():
    peaks = np.zeros(50100, dtype=[("sample_index", "int64"), ("channel_index", "int64")])
    peaks["sample_index"] = np.arange(50100)
    peaks["channel_index"][:100] = 1
    chosen = select_peaks(peaks, 20, max_peaks_per_channel=1000, min_total=0, seed=0)
    counts = np.bincount(peaks["channel_index"][chosen])
    np.testing.assert_array_equal(counts, [1000, 100])
    assert np.all(np.diff(chosen) > 0)


def test_echoes_at_a_lag_are_cleaned_and_neurons_that_fire_by_chance_stay():
    """A unit that always comes 2 ms after a larger one is its echo; one that fires on its own is not."""
    rng = np.random.default_rng(0)
    large = np.sort(rng.choice(np.arange(1000, 290000, 200), 300, replace=False))
    echo = large[:250] + 60 + rng.integers(-2, 3, 250)
    own = np.sort(rng.choice(np.arange(1000, 290000, 200), 250, replace=False))
    spikes = np.zeros(len(large) + len(echo) + len(own), dtype=spike_dtype)
    spikes["sample_index"] = np.concatenate([large, echo, own])
    spikes["unit_index"] = np.repeat([0, 1, 2], [len(large), len(echo), len(own)])
    spikes["gain"] = np.repeat([500.0, 60.0, 60.0], [len(large), len(echo), len(own)])
    spikes["confidence"] = 1.0
    kept = clean_spikes(spikes, np.zeros(3), CleaningCriteria.in_samples(30000.0))
    assert set(kept["unit_index"]) == {0, 2}


def test_confidence_is_calibrated():
    """Of the spikes that are given a probability about that share is real, whatever the unit's size."""
    rng = np.random.default_rng(1)
    stiffness, threshold = 0.12**-2, 14.0
    energy = np.array([60.0, 120.0, 400.0])
    parts = []
    for unit, e in enumerate(energy):
        match = rng.normal(0.95, np.hypot(0.1, e**-0.5), 4000)
        amplitude = np.clip((match * e + stiffness) / (e + stiffness), 0.4, 1.6)
        gain = 2 * amplitude * match * e - amplitude**2 * e - stiffness * (amplitude - 1) ** 2
        spurious = threshold + rng.exponential(5.0, 2000)
        # the amplitude at which the matched filter's output explains as much as a spurious spike does
        grid = np.linspace(0.05, 1.6, 4000)
        a = np.clip((grid * e + stiffness) / (e + stiffness), 0.4, 1.6)
        curve = 2 * a * grid * e - a**2 * e - stiffness * (a - 1) ** 2
        part = np.zeros(len(gain) + len(spurious), dtype=[*spike_dtype.descr, ("real", bool)])
        part["unit_index"], part["confidence"] = unit, 1.0
        part["gain"] = np.concatenate([gain, spurious])
        part["amplitude"] = np.concatenate([amplitude, np.interp(spurious, curve, a)])
        part["real"][: len(gain)] = True
        parts.append(part[part["gain"] > threshold])
    spikes = np.concatenate(parts)
    confidence = estimate_confidence(spikes, energy, MatchingCriteria(threshold=threshold))
    for low, high in ((0.0, 0.2), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        here = (confidence >= low) & (confidence <= high)
        assert here.sum() > 50
        assert abs(spikes["real"][here].mean() - confidence[here].mean()) < 0.15
    for unit in range(3):
        mine = spikes["unit_index"] == unit
        in_order = confidence[mine][np.argsort(spikes["gain"][mine], kind="stable")]
        assert np.all(np.diff(in_order) >= 0)


def test_clusters_of_echoes_and_of_noise_are_screened_out(two_units):
    recording, samples, _, shapes = two_units
    rng = np.random.default_rng(2)
    first = samples[np.isin(samples, np.arange(1000, 290000, 2000))]
    quiet = first[:-1] + 450
    peaks = np.zeros(
        3 * len(first) - 1,
        dtype=[("sample_index", "int64"), ("segment_index", "int64"), ("amplitude", "f4"), ("score", "f4")],
    )
    peaks["sample_index"] = np.concatenate([first, first + 20, quiet])
    peaks["amplitude"] = -np.concatenate(
        [rng.normal(12, 1, len(first)), rng.normal(6, 0.5, len(first)), 5 + rng.exponential(0.2, len(quiet))]
    )
    peaks["score"] = np.abs(peaks["amplitude"])
    labels = np.repeat([0, 1, 2], [len(first), len(first), len(quiet)])
    order = np.argsort(peaks["sample_index"])
    peaks, labels = peaks[order], labels[order]
    templates = templates_for(recording, peaks["sample_index"], labels, [80.0, 80.0, 200.0])
    units = UnitSet(peaks, labels, templates)
    np.testing.assert_array_equal(not_centred(units, DropCriteria(), 9), [False, True, False])
    np.testing.assert_array_equal(at_threshold(units, DropCriteria()), [False, False, True])


def test_pieces_of_a_drifting_unit_are_merged_where_they_meet():
    """A unit is one cluster below 8 um of displacement and another above; a neighbour is seen throughout."""
    samples = np.arange(1000, 290000, 700)
    displacement = 20.0 * np.arange(len(samples)) / len(samples)
    other = np.arange(len(samples)) % 3 == 2
    spikes = [
        (s, waveform(125.0 + d, 11.0, width=6.0) if o else waveform(100.0 + d, 12.0))
        for s, d, o in zip(samples, displacement, other, strict=True)
    ]
    recording = recording_with(spikes)
    labels = np.where(other, 2, (displacement > 8.0).astype(int))
    units = units_for(recording, samples, labels, [100.0, 100.0, 125.0], displacement, MOVING)
    joined = join_units(units, shank_of(recording, MOVING), JoinCriteria())
    np.testing.assert_array_equal(joined.labels, np.array([0, 0, 1])[labels])
    assert joined.n_units == 2


def test_units_are_labelled_by_their_refractory_period_and_confidence():
    """Beside: a unit that may be a piece of a larger one, and one of a dozen spikes, are not good."""
    rng = np.random.default_rng(3)
    regular = np.cumsum(rng.integers(150, 450, 2000))
    poisson = np.sort(rng.choice(regular[-1], 2000, replace=False))
    trains = [regular, poisson, regular, regular, regular[::180]]
    spikes = np.zeros(sum(map(len, trains)), dtype=spike_dtype)
    spikes["sample_index"] = np.concatenate(trains)
    spikes["unit_index"] = np.repeat(np.arange(5), [len(train) for train in trains])
    spikes["confidence"] = np.where(spikes["unit_index"] == 2, 0.45, 0.95)
    spikes = spikes[np.argsort(spikes["sample_index"], kind="stable")]
    labels = label_units(
        spikes, np.full(5, 8.0), np.array([0.1, 0.0, 0.0, 0.4, 0.0]), QualityCriteria(),
        sampling_frequency=30000.0, duration_s=regular[-1] / 30000,
    )  # fmt: skip
    assert labels.tolist() == ["good", "mua", "noise", "mua", "mua"]


def test_small_spikes_on_several_channels_are_detected():
    """Spikes of 3.5 times the noise are rarely beyond 5 on a channel; matched filters see most of them."""
    large, small = np.arange(1000, 290000, 3000), np.arange(2500, 290000, 3000)
    recording = recording_with([(s, waveform(40.0, 14.0)) for s in large] + [(s, waveform(170.0, 3.5)) for s in small])
    peaks = detect_peaks(recording, job_kwargs=JOB)
    near = peaks["sample_index"][peaks["channel_index"] >= 6]
    found = np.isin(small, (near[:, None] + np.arange(-9, 10)).ravel())
    assert found.mean() > 0.7
    assert (np.abs(peaks["amplitude"][peaks["channel_index"] >= 6]) > 5).mean() < 0.4
    explained = np.isin(peaks["sample_index"], (np.concatenate([large, small])[:, None] + np.arange(-9, 10)).ravel())
    assert (~explained).sum() <= 5
    assert np.all(np.diff(peaks["sample_index"]) >= 0)


def test_a_unit_of_sure_spikes_that_are_smaller_than_its_template_stays():
    """On a dense grid that was so of 17 of 67 neurons, all of them true."""
    spikes = np.zeros(60, dtype=spike_dtype)
    spikes["sample_index"] = 1000 * np.arange(60)
    spikes["unit_index"] = np.arange(60) % 2
    spikes["confidence"] = 1.0
    spikes["gain"] = np.where(spikes["unit_index"] == 0, 95.0, 15.0)
    energy = np.array([100.0, 100.0])
    kept = clean_spikes(spikes, energy, CleaningCriteria.in_samples(30000.0))
    np.testing.assert_array_equal(np.unique(kept["unit_index"]), [0, 1])
    # what is doubtful, too, are no such waveforms
    spikes["confidence"][spikes["unit_index"] == 1] = 0.8
    kept = clean_spikes(spikes, energy, CleaningCriteria.in_samples(30000.0))
    np.testing.assert_array_equal(np.unique(kept["unit_index"]), [0])


@pytest.mark.parametrize("moves", [True, False])
def test_motion_is_believed_where_two_halves_of_the_peaks_show_it(monkeypatch, moves):
    """A bin in which one half has too few peaks is no disagreement, and a jump in one bin no agreement."""
    rng = np.random.default_rng(8)
    times, depths = np.arange(60.0), np.array([100.0])
    drift = 10 * np.sin(times / 10) if moves else 12.0 * (times == 30)
    calls = []

    def estimate(recording, peaks, *_args, **_options):
        calls.append(len(peaks))
        found = drift + rng.normal(size=60)
        if moves and len(calls) > 1:
            found[rng.choice(60, 6, replace=False)] += rng.choice([-25, 25], 6)
        return Motion([found[:, None]], [times], depths)

    monkeypatch.setattr("spikeinterface_huidurep.stages.motion.dredge.si_estimate_motion", estimate)
    recording = sc.NumpyRecording([np.zeros((60 * 1000, 20), dtype="float32")], 1000.0)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(20), 20.0 * np.arange(20)]))
    peaks = np.zeros(1200, dtype=base_peak_dtype)
    peaks["sample_index"] = np.arange(0, 60000, 50)
    features = SpikeFeatures(np.zeros((len(peaks), 32)), np.zeros((len(peaks), 2)), np.ones(len(peaks)))
    found = motion_stage.estimate_motion(recording, peaks, features)
    assert (found is not None) == moves
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("pitch_um", "n_channels"), [(6.0, 64), (15.0, 49), (17.5, 37), (50.0, 24)], ids=["ultra", "15", "17.5", "50"]
)
def test_a_template_has_the_channels_that_see_the_spike(pitch_um, n_channels):
    """A square grid of 144 contacts: as many as lie within 60 um of one, but no fewer than 24 and no more than 64."""
    row, column = np.divmod(np.arange(144), 12)
    assert channels_of_a_unit(pitch_um * np.column_stack([column, row])) == n_channels


def test_a_template_on_a_dense_grid_has_nearly_all_of_the_spike():
    """24 channels of a grid of 15 um would hold four fifths of the energy of this spike at its edge."""
    row, column = np.divmod(np.arange(100), 10)
    places = 15.0 * np.column_stack([column, row])
    footprint = np.exp(-np.linalg.norm(places - [0.0, 67.0], axis=1) / 40.0)
    spike = (-20 * np.exp(-(((np.arange(72) - 24) / 4.0) ** 2))[:, None] * footprint).astype("float32")
    traces = np.random.default_rng(0).normal(0, 0.1, (60_000, 100)).astype("float32")
    samples = np.arange(1000, 59_000, 500)
    for sample in samples:
        traces[sample - 24 : sample + 48] += spike
    recording = sc.NumpyRecording([traces], 30_000.0)
    recording.set_dummy_probe_from_locations(places)
    templates = templates_for(recording, samples, np.zeros(len(samples), int), [67.0])
    channels = templates.channels[0]
    assert (spike[:, channels] ** 2).sum() > 0.9 * (spike**2).sum()
    np.testing.assert_allclose(templates.waveforms[0, 0], spike[:, channels], atol=0.1)
