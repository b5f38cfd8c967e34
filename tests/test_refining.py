"""Refining: templates made again of what they were assigned, split, merged and left out, on known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spikeinterface.core.motion import Motion
from stage_helpers import (
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
from spikeinterface_huidurep.stages.matching.lone_spikes import lone_spikes
from spikeinterface_huidurep.stages.templates.whitened import whiten_templates
from spikeinterface_huidurep.stages.units.drop import DropCriteria, explained_by_others
from spikeinterface_huidurep.stages.units.evidence import EvidenceCriteria, template_distances
from spikeinterface_huidurep.stages.units.join import JoinCriteria, join_units
from spikeinterface_huidurep.stages.units.loop import UnitCriteria, refine_units
from spikeinterface_huidurep.stages.units.split import SplitCriteria, split_units


@pytest.fixture(scope="module")
def two_units():
    return two_units_apart()


def test_a_template_of_the_largest_spikes_is_made_right():
    """Clusters of small units hold their larger spikes: refined, the template is that of all of them."""
    rng = np.random.default_rng(5)
    samples = np.arange(1000, 290000, 600)
    gains = rng.normal(1.0, 0.15, len(samples))
    recording = recording_with([(s, g * waveform(100.0, 8.0)) for s, g in zip(samples, gains, strict=True)])
    largest = np.flatnonzero(gains > 1.15)
    templates = templates_for(recording, samples[largest], np.zeros(len(largest), int), [100.0])
    refined = refine_units(shank_of(recording), templates, UnitCriteria())
    trough = [-one.dense(0, N_CHANNELS)[0].min() for one in (templates, refined)]
    assert trough[0] > 9.2
    assert abs(trough[1] - 8.0) < 0.6


# where a motion is corrected, be it of no um, other rules apply
STANDING = Motion([np.zeros((2, 1))], [np.array([0.0, 10.0])], np.zeros(1))


@pytest.mark.parametrize("motion", [None, STANDING], ids=["still", "moving"])
@pytest.mark.parametrize("depth, one", [(100.0, True), (113.0, False)])
def test_templates_that_are_too_far_apart_are_one_neurons_where_its_spikes_are_one_source(depth, one, motion):
    at = np.arange(1000, 298000, 600)
    labels = np.arange(len(at)) % 2
    shapes = waveform(100.0, 9.0), waveform(depth, 9.0)
    recording = recording_with([(sample, shapes[unit]) for sample, unit in zip(at, labels, strict=True)])
    units = units_for(recording, at, labels, [100.0, 106.0])
    templates = units.templates
    if one:  # a template made of collisions with another neuron
        waveforms = templates.waveforms.copy()
        waveforms[1, 0] += waveform(150.0, 4.0, width=6.0)[:, templates.channels[1]]
        units = replace(units, templates=replace(templates, waveforms=waveforms))
    space = whiten_templates(units.templates, WHITE)
    distance, _ = template_distances(space, templates.counts, EvidenceCriteria(), max_lag=10)
    assert 3.5 < distance[0, 1] < 6.0
    criteria, shank = JoinCriteria(sources=SplitCriteria(min_size=10)), shank_of(recording, motion)
    assert join_units(units, shank, criteria).n_units == 2
    assert join_units(units, shank, criteria, spikes=units).n_units == (1 if one else 2)


@pytest.mark.parametrize("depth, n_units", [(100.0, 1), (107.0, 2)])
def test_two_neurons_that_are_alike_are_not_joined_where_their_spikes_leave_a_gap(depth, n_units):
    at = np.arange(1000, 298000, 280)
    labels = np.arange(len(at)) % 2
    shapes = waveform(100.0, 9.0), waveform(depth, 9.0)
    recording = recording_with([(sample, shapes[unit]) for sample, unit in zip(at, labels, strict=True)])
    units = units_for(recording, at, labels, [100.0, depth])
    distance, _ = template_distances(
        whiten_templates(units.templates, WHITE), units.templates.counts, EvidenceCriteria(), max_lag=10
    )
    assert distance[0, 1] < 3.4
    shank, criteria = shank_of(recording), JoinCriteria()
    assert join_units(units, shank, criteria).n_units == 1
    assert join_units(units, shank, criteria, spikes=units).n_units == n_units
    # what is left of a motion makes gaps within a neuron: there a gap keeps apart only what is not near
    moving = shank_of(recording, STANDING)
    assert join_units(units, moving, criteria, spikes=units).n_units == 1
    blind = replace(criteria, distance=0.5 * distance[0, 1], sources=SplitCriteria(min_size=1000))
    assert join_units(units, moving, blind, spikes=units).n_units == n_units


@pytest.mark.parametrize("copied, n_units", [(1.0, 1), (0.75, 2)])
def test_a_late_copy_goes_and_a_neuron_that_is_a_little_like_one_stays(copied, n_units):
    """Of the second unit so much is the first one's waveform, 0.7 ms late; the rest of it is its own."""
    at = np.arange(1000, 298000, 600)
    labels = (np.arange(len(at)) % 5 == 0).astype(int)
    first, own = waveform(100.0, 12.0), waveform(140.0, 12.0, width=6.0)
    late = np.concatenate([np.zeros((22, N_CHANNELS), "float32"), first[:-22]])
    own = own - late * (own * late).sum() / (late**2).sum()
    own *= np.linalg.norm(late) / np.linalg.norm(own)
    shapes = first, copied * late + np.sqrt(1 - copied**2) * own
    recording = recording_with([(sample, shapes[unit]) for sample, unit in zip(at, labels, strict=True)])
    units = units_for(recording, at, labels, [100.0, 110.0])
    assert join_units(units, shank_of(recording), JoinCriteria()).n_units == n_units


def test_refining_joins_what_is_one_unit(two_units):
    recording, samples, labels, shapes = two_units
    halves = np.where(labels == 0, np.arange(len(labels)) // 2 % 2, 2)
    templates = templates_for(recording, samples, halves, [80.0, 80.0, 120.0])
    refined = refine_units(shank_of(recording), templates, UnitCriteria())
    assert refined.n_units == 2
    for unit in (0, 1):
        assert np.abs(refined.dense(0, N_CHANNELS)[unit] - shapes[unit]).max() < 0.5


@pytest.mark.parametrize("lag", [20, 38])
def test_a_template_of_collisions_is_redundant_and_a_small_unit_is_not(two_units, lag):
    """A third unit is made of overlaps of the first two; a fourth, with as few spikes, is a neuron."""
    shapes = [*two_units[3], waveform(100.0, 9.0, width=8.0)]
    first = np.arange(1000, 290000, 1000)
    spikes = [(s, shapes[0]) for s in first] + [(s + 400, shapes[1]) for s in first]
    both, rare = np.arange(11700, 290000, 12000), np.arange(5700, 290000, 12000)
    spikes += [(s + later, shapes[unit]) for s in both for unit, later in ((0, 0), (1, lag))]
    spikes += [(s, shapes[2]) for s in rare]
    recording = recording_with(spikes)
    samples = np.concatenate([first, first + 400, both, rare])
    labels = np.repeat([0, 1, 2, 3], [len(first), len(first), len(both), len(rare)])
    order = np.argsort(samples)
    space = whiten_templates(
        templates_for(recording, samples[order], labels[order], [80.0, 120.0, 100.0, 100.0]), WHITE
    )
    shank, matching = shank_of(recording), MatchingCriteria()
    found = assign_spikes(shank, space, matching)
    assert np.bincount(found["unit_index"], minlength=4)[2:].min() > 0.8 * len(both)
    assert explained_by_others(found, space, shank, DropCriteria(), matching).tolist() == [False, False, True, False]
    # units that are all small have no others to explain them
    assert not explained_by_others(found, space, shank, DropCriteria(few=1000), matching).any()


def test_a_spike_is_alone_where_none_of_its_neighbourhood_is_near_in_time():
    spikes = np.zeros(6, dtype=spike_dtype)
    spikes["sample_index"] = [100, 110, 112, 200, 230, 231]
    spikes["segment_index"] = [0, 0, 0, 0, 0, 1]
    spikes["unit_index"] = [0, 2, 1, 0, 0, 0]
    channels = np.array([[0, 1], [1, 2], [5, 6]])
    assert lone_spikes(spikes, channels, 20).tolist() == [False, True, False, True, True, True]
    assert lone_spikes(spikes, channels, 30).tolist() == [False, True, False, False, False, True]


@pytest.mark.parametrize("depth, n_units", [(100.0, 1), (118.0, 2)])
def test_two_neurons_in_one_template_are_told_apart_by_the_spikes_that_it_is_assigned(depth, n_units):
    at = np.arange(1000, 298000, 500)
    other = np.arange(len(at)) % 4 == 0
    shapes = waveform(100.0, 9.0), waveform(depth, 9.0)
    recording = recording_with([(sample, shapes[int(second)]) for sample, second in zip(at, other, strict=True)])
    templates = templates_for(recording, at, np.zeros(len(at), int), [104.0])
    refined = refine_units(shank_of(recording), templates, UnitCriteria())
    assert refined.n_units == n_units
    dense = refined.dense(0, N_CHANNELS)
    for shape in shapes[:n_units]:
        assert min(np.abs(one - shape).max() for one in dense) < 1.0


def test_neurons_without_a_template_are_found_among_the_spikes_that_fit_their_neighbours_badly():
    """The second resembles the one that has a template, the third only the second: it takes a round more."""
    at = np.arange(1000, 298000, 450)
    neuron = np.arange(len(at)) % 3
    shapes = [waveform(depth, 12.0) for depth in (100.0, 130.0, 162.0)]
    recording = recording_with([(sample, shapes[unit]) for sample, unit in zip(at, neuron, strict=True)])
    templates = templates_for(recording, at[neuron == 0], np.zeros((neuron == 0).sum(), int), [100.0])
    refined = refine_units(shank_of(recording), templates, UnitCriteria())
    assert refined.n_units == 3
    dense = refined.dense(0, N_CHANNELS)
    for shape in shapes:
        assert min(np.abs(one - shape).max() for one in dense) < 1.0


def test_spikes_that_overlap_with_one_neighbour_are_no_neuron():
    """Every fourth spike comes half a millisecond before that of a larger neuron."""
    at = np.arange(1000, 298000, 500)
    late = at[::4] + 15
    recording = recording_with(
        [*((s, waveform(100.0, 9.0)) for s in at), *((s, waveform(150.0, 30.0, width=6.0)) for s in late)]
    )
    samples = np.sort(np.concatenate([at, late]))
    labels = np.isin(samples, late).astype(int)
    units = units_for(recording, samples, labels, [100.0, 150.0])
    alone = np.isin(samples, np.setdiff1d(at, at[::4]))
    for looked_at, n_units in ((alone, 2), (np.ones(len(samples), dtype=bool), 3)):
        split, _ = split_units(units, shank_of(recording), UnitCriteria().split_matched, looked_at=looked_at)
        assert split.n_units == n_units
        if n_units == 2:
            assert np.array_equal(split.labels, labels)


@pytest.mark.parametrize("neurons", [1, 2])
def test_a_unit_is_not_split_by_displacement(neurons):
    """A template that fits badly where the probe stood for a while makes two sources, as a second neuron does."""
    at = np.arange(1000, 298000, 600)
    moved = at > 200000
    other = moved if neurons == 1 else np.arange(len(at)) % 3 == 0
    shapes = np.where(other[:, None, None], waveform(125.0, 12.0), waveform(100.0, 12.0))
    recording = recording_with(list(zip(at, shapes, strict=True)))
    # the template knows nothing of the motion: for it the spikes of both places are at the same one
    motion = Motion([np.array([[0.0], [0.0], [20.0], [20.0]])], [np.array([0.0, 6.66, 6.67, 10.0])], np.zeros(1))
    units = units_for(recording, at, np.zeros(len(at), int), [100.0], np.zeros(len(at)), motion)
    waveforms = units.templates.waveforms[:, np.zeros(len(units.templates.displacements), int)]
    units = replace(units, templates=replace(units.templates, waveforms=waveforms))
    found, _ = split_units(units, shank_of(recording, motion), UnitCriteria().split_matched)
    assert found.n_units == neurons
    assert len(np.unique(found.labels)) == neurons
