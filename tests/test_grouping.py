"""Templates of one neuron whose waveform changes become one unit, those of two neurons stay two; on known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stage_helpers import MOVING, NBEFORE, RATE, WHITE, recording_with, shank_of, templates_for, waveform

from spikeinterface_huidurep.stages.grouping.group import Grouping, group_templates
from spikeinterface_huidurep.stages.grouping.one_neuron import compare_templates, even_difference, one_neuron
from spikeinterface_huidurep.stages.grouping.spike_times import coincidences, times_log_odds
from spikeinterface_huidurep.stages.grouping.variability import Variability, measure_variances, pool_variability
from spikeinterface_huidurep.stages.matching.assignment import MatchingCriteria, assign_spikes
from spikeinterface_huidurep.stages.templates.whitened import whiten_templates
from spikeinterface_huidurep.stages.units.alike import alike_units
from spikeinterface_huidurep.stages.units.evidence import template_distances
from spikeinterface_huidurep.stages.units.loop import UnitCriteria

DEPTHS = [60.0, 160.0]
NONE_ALIKE = np.zeros((0, 2), dtype=int)
CHANGES = Variability(width=0.05, electrode=0.05)


def _broader(shape, factor):
    """The waveform stretched about its trough."""
    time = np.arange(len(shape)) - NBEFORE
    return np.column_stack([np.interp(time / factor, time, channel) for channel in shape.T]).astype("float32")


def _matched(shapes, samples, labels, depths):
    """Spikes of these waveforms, matched with the mean waveforms of these labels."""
    order = np.argsort(samples)
    samples, labels = samples[order], labels[order]
    recording = recording_with([(sample, shapes[spike]) for sample, spike in zip(samples, order, strict=True)])
    templates = templates_for(recording, samples, labels, depths)
    shank, space = shank_of(recording), whiten_templates(templates, WHITE)
    spikes = assign_spikes(shank, space, MatchingCriteria())
    return shank, space, templates, spikes


@pytest.mark.parametrize("kind", ["none", "amplitude", "width", "electrode"])
def test_the_variability_is_that_with_which_the_spikes_were_made(kind):
    rng = np.random.default_rng(3)
    samples = np.arange(1000, 298000, 450)
    labels = np.arange(len(samples)) % 2
    shapes = [waveform(DEPTHS[unit], 25.0) for unit in labels]
    if kind == "amplitude":
        shapes = [shape * rng.normal(1, 0.1) for shape in shapes]
    elif kind == "width":
        shapes = [_broader(shape, rng.normal(1, 0.08)) for shape in shapes]
    elif kind == "electrode":
        shapes = [shape * rng.normal(1, 0.08, shape.shape[1]).astype("float32") for shape in shapes]
    shank, space, _, spikes = _matched(shapes, samples, labels, DEPTHS)
    counts = np.bincount(spikes["unit_index"])
    found = pool_variability(measure_variances(shank, space, spikes), counts, np.arange(2), space, max_lag=18)
    made = dict(amplitude=0.1, width=0.08, electrode=0.08)
    for name, value in made.items():
        if name == kind:
            assert value * 0.75 < getattr(found, name) < value * 1.25
        elif (kind, name) != ("electrode", "amplitude"):  # electrodes that change change the whole a little
            assert getattr(found, name) < 0.02


def _two_states(rng, independent):
    """Spikes of two states: of one neuron, of which one follows the other, or of two that fire on their own."""
    if independent:
        trains = [np.sort(rng.choice(np.arange(1000, 298000), 400, replace=False)) for _ in range(2)]
        trains = [train[np.diff(train, prepend=-1000) > 90] for train in trains]
    else:
        train = np.sort(rng.choice(np.arange(1000, 298000), 1200, replace=False))
        train = train[np.diff(train, prepend=-1000) > 90]
        late = rng.random(len(train)) < 0.5
        trains = [train[~late], train[late]]
    samples = np.concatenate(trains)
    labels = np.repeat([0, 1], [len(train) for train in trains])
    return samples, labels


@pytest.mark.parametrize("independent", [False, True])
def test_two_waveforms_are_one_neuron_unless_their_spikes_meet(independent):
    """The same two waveforms: as the states of one neuron they never fire within 2 ms of each other."""
    samples, labels = _two_states(np.random.default_rng(5), independent)
    shapes = [waveform(100.0, 22.0), waveform(104.0, 16.0, width=4.8)]
    shank, space, templates, spikes = _matched([shapes[unit] for unit in labels], samples, labels, [100.0, 104.0])
    grouping = group_templates(shank, space, templates.counts, spikes, NONE_ALIKE)
    grouped, group = grouping.of(spikes), grouping.group
    assert len(np.unique(group)) == (2 if independent else 1)
    assert set(grouped["unit_index"]) == set(group)
    assert len(grouped) == len(spikes)


def test_spikes_of_a_group_are_aligned_with_its_largest_template():
    samples, labels = _two_states(np.random.default_rng(6), independent=False)
    shapes = [waveform(100.0, 20.0), np.roll(waveform(100.0, 20.0), 5, axis=0)]
    shank, space, templates, spikes = _matched([shapes[unit] for unit in labels], samples, labels, [100.0, 100.0])
    grouping = group_templates(shank, space, templates.counts, spikes, NONE_ALIKE)
    grouped, group = grouping.of(spikes), grouping.group
    assert group[0] == group[1]
    # the second template's trough comes five samples after what it calls the spike's
    trough = np.sort(samples + 5 * (labels == 1)) - 5 * (group[0] == 1)
    nearest = np.abs(grouped["sample_index"][:, None] - trough).min(axis=1)
    assert np.median(nearest) == 0


def _alike(one):
    """Two templates that differ by less than one neuron's may: of one that changes step by step, or of two neurons."""
    rng = np.random.default_rng(2)
    samples = np.arange(1000, 298000, 430)
    labels = rng.permutation(np.arange(len(samples)) % 2)
    ends = waveform(100.0, 20.0), waveform(104.0, 20.0)
    part = rng.random(len(samples)) if one else labels
    shapes = [(1 - share) * ends[0] + share * ends[1] for share in part]
    return _matched(shapes, samples, labels, [100.0, 104.0])


@pytest.mark.parametrize("one", [True, False])
def test_alike_units_are_one_neuron_unless_their_spikes_leave_a_gap(one):
    shank, space, templates, spikes = _alike(one)
    criteria = UnitCriteria()
    distance, _ = template_distances(space, templates.counts, criteria.evidence, max_lag=18)
    assert distance[0, 1] < criteria.at_once * criteria.distance
    pairs = alike_units(shank, templates, space, spikes, criteria)
    assert sorted(pairs.ravel()) == ([0, 1] if one else [])
    moving = replace(shank, motion=MOVING)
    assert len(alike_units(moving, templates, space, spikes, criteria)) == 0


@pytest.mark.parametrize("independent", [False, True])
def test_alike_units_are_grouped_unless_their_spikes_meet(independent):
    """Of waveforms that are too different to be one neuron's, had nobody said that they are."""
    samples, labels = _two_states(np.random.default_rng(5), independent)
    shapes = [waveform(100.0, 22.0), waveform(135.0, 16.0)]
    shank, space, templates, spikes = _matched([shapes[unit] for unit in labels], samples, labels, [100.0, 135.0])
    group, said = (
        group_templates(shank, space, templates.counts, spikes, alike).group
        for alike in (NONE_ALIKE, np.array([[1, 0]]))
    )
    assert len(np.unique(group)) == 2
    assert len(np.unique(said)) == (2 if independent else 1)


def test_coincidences_are_counted_within_the_refractory_period_and_beside_it():
    rng = np.random.default_rng(0)
    one, other = (np.sort(rng.choice(np.arange(900_000), 2000, replace=False)) for _ in range(2))
    lag = np.abs(one[:, None] - other) / RATE * 1000
    observed, expected = coincidences([one, other], np.array([[0, 1]]), RATE)
    assert observed[0] == ((lag > 0.5) & (lag <= 2.0)).sum()
    # by chance 2,000 * 2,000 * 3 ms / 30 s
    assert abs(expected[0] - 400) < 20 and abs(observed[0] - expected[0]) < 80


def test_log_odds_follow_the_times_where_there_are_enough_and_the_waveforms_where_not():
    difference = np.array([0.1, 0.1, 0.9, 0.9, 0.2, 0.8])
    observed, expected = np.array([0, 30, 0, 30, 0, 0]), np.array([30.0, 30.0, 30.0, 30.0, 0.0, 0.0])
    assert (one_neuron(difference, observed, expected, CHANGES) > 0).tolist() == [True, False, True, False, True, False]


def test_the_recording_tells_how_different_one_neurons_templates_are():
    """Pairs up to a difference of 0.5 never meet in one recording; in another all pairs do from 0.2 on."""
    difference = np.linspace(0.05, 0.9, 40)
    expected = np.full(40, 3.0)
    varies = even_difference(difference, np.where(difference < 0.5, 0, 3), expected, CHANGES)
    constant = even_difference(difference, np.where(difference < 0.2, 0, 3), expected, CHANGES)
    assert varies > 0.45 and constant < 0.3


def test_a_unit_that_may_be_a_piece_has_the_probability_of_its_likeliest_pair():
    grouping = Grouping(
        np.array([0, 0, 2, 3]), np.zeros(4, int), np.array([[0, 1], [0, 2], [1, 2]]), np.array([5.0, -3.0, -1.0])
    )
    spikes = np.zeros(60, dtype=[("sample_index", "i8"), ("segment_index", "i8"), ("unit_index", "i8")])
    spikes["unit_index"] = np.repeat([0, 1, 2, 3], [30, 10, 15, 5])
    probability = grouping.piece_probability(grouping.of(spikes))
    np.testing.assert_allclose(probability, [0, 0, 1 / (1 + np.e), 0])


def test_where_no_waveform_changes_only_the_same_waveform_is_one_neurons():
    """Templates that differ by 0.4 are one neuron's where waveforms change, but not where they do not."""
    difference, nothing = np.array([0.05, 0.4]), np.zeros(2)
    assert (one_neuron(difference, nothing, nothing, CHANGES) > 0).all()
    constant = Variability(width=0.01, electrode=0.0)
    assert (one_neuron(difference, nothing, nothing, constant) > 0).tolist() == [True, False]


def test_two_that_are_nothing_alike_are_two_even_if_by_chance_they_never_meet():
    """Of some pairs in a recording one has no coincidence where seven are expected."""
    difference, observed, expected = np.array([0.7, 0.9, 1.1]), np.array([6.0, 8.0, 0.0]), np.array([6.2, 7.9, 7.4])
    for varies in (CHANGES, Variability(0.07, 0.0, 0.0)):
        assert (one_neuron(difference, observed, expected, varies) < 0).all()


def test_a_broader_and_smaller_template_is_like_the_larger_one_where_widths_vary():
    """The late spikes of a burst: half as broad again and 0.6 times as large; a narrower one is no burst's."""
    shape = waveform(100.0, 40.0)
    shapes = [shape, 0.6 * _broader(shape, 1.5), 0.6 * _broader(shape, 0.67)]
    samples, labels = np.arange(1000, 290000, 1000), np.arange(289) % 3
    recording = recording_with([(sample, shapes[label]) for sample, label in zip(samples, labels, strict=True)])
    templates = templates_for(recording, samples, labels, [100.0] * 3)
    space = whiten_templates(templates, WHITE)
    found = {}
    for width in (0.0, 0.06):
        compared = compare_templates(space, templates.counts, Variability(0.05, width, 0.0), max_lag=18)
        pairs = [tuple(sorted(pair)) for pair in compared.pairs.tolist()]
        found[width] = dict(zip(pairs, compared.difference, strict=True))
    assert found[0.0][0, 1] > 0.4 and found[0.06][0, 1] < 0.2
    assert found[0.06][0, 2] > 0.4


def test_far_more_coincidences_than_by_chance_are_no_two_neurons():
    """As many as by chance are two neurons', none is one neuron's; ten times as many are one spike found twice."""
    observed, expected = np.array([20.0, 0.0, 40.0, 200.0]), np.full(4, 20.0)
    log_odds = times_log_odds(observed, expected)
    assert log_odds[0] < -5 and log_odds[1] > 5
    assert log_odds[2] < -5, "two neurons that are driven together"
    assert log_odds[3] == 0


def test_of_two_templates_of_a_neuron_that_find_one_spike_one_has_it():
    dtype = [("sample_index", "i8"), ("segment_index", "i8"), ("unit_index", "i8"), ("gain", "f4")]
    spikes = np.array(
        [(1000, 0, 0, 90.0), (1020, 0, 1, 40.0), (1030, 0, 2, 50.0), (2000, 0, 1, 40.0), (2040, 0, 1, 30.0),
         (1010, 1, 1, 20.0)],
        dtype=dtype,
    )  # fmt: skip
    grouping = Grouping(np.array([0, 0, 2]), np.zeros(3, int), np.zeros((0, 2), int), np.zeros(0), same_spike=45)
    kept = grouping.of(spikes)
    # the second template's spike beside the first's goes; what one template finds twice, and other segments, stay
    assert kept["sample_index"].tolist() == [1000, 1030, 2000, 2040, 1010]
    assert kept["unit_index"].tolist() == [0, 2, 0, 0, 0]
