"""The parts of sorting with known units: templates that are moved, peaks that they explain, displacements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stage_helpers import N_CHANNELS, NBEFORE, recording_with, shank_of, templates_for, waveform

from spikeinterface_huidurep.stages.known.explained import explain_peaks
from spikeinterface_huidurep.stages.known.follow import (
    Followed,
    KnownUnits,
    follow_units,
    name_units,
    with_new_units,
)
from spikeinterface_huidurep.stages.known.likeness import similarities
from spikeinterface_huidurep.stages.known.since import SpikesAt, likely_displacements
from spikeinterface_huidurep.stages.matching.assignment import MatchingCriteria
from spikeinterface_huidurep.stages.peaks.embedding import EncodedSome
from spikeinterface_huidurep.stages.peaks.selection import some_peaks
from spikeinterface_huidurep.stages.spike_features import SpikeFeatures
from spikeinterface_huidurep.stages.templates.placing import SessionTemplates, coverage, place_templates
from spikeinterface_huidurep.stages.units.loop import UnitCriteria
from spikeinterface_huidurep.stages.units.unit_set import UnitSet

DEPTHS = np.array([80.0, 140.0])
SHAPES = [waveform(80.0, 14.0), waveform(140.0, 12.0, width=6.0)]
# a neuron at the place of the first, and as large, with two phases of like size
OTHER = waveform(80.0, 14.0) - np.roll(waveform(80.0, 14.0), 4, axis=0)
SAMPLES = [np.arange(1000, 290000, 3000), np.arange(2500, 290000, 3000)]


def shank_with(shapes, seed=0):
    """A shank on which units fire in turns, its peaks and their units."""
    spikes = [(sample, shape) for samples, shape in zip(SAMPLES, shapes, strict=True) for sample in samples]
    recording = recording_with(spikes, seed=seed)
    recording.set_property("noise_level", np.full(N_CHANNELS, 5.0))
    labels = np.repeat([0, 1], [len(samples) for samples in SAMPLES])
    samples = np.concatenate(SAMPLES)
    order = np.argsort(samples)
    peaks = np.zeros(len(samples), [("sample_index", "i8"), ("segment_index", "i8"), ("channel_index", "i8")])
    peaks["sample_index"] = samples[order]
    peaks["channel_index"] = np.array([np.abs(shape).max(axis=0).argmax() for shape in shapes])[labels[order]]
    return shank_of(recording), peaks, labels[order]


@pytest.fixture(scope="module")
def session():
    """Templates of a session."""
    shank, peaks, labels = shank_with(SHAPES)
    templates = templates_for(shank.recording, peaks["sample_index"], labels, DEPTHS)
    return SessionTemplates(templates, shank.recording.get_channel_locations(), np.full(N_CHANNELS, 5.0))


@pytest.fixture(scope="module")
def known(session):
    return KnownUnits(session, np.array([7, 3]), np.zeros(2, dtype=int), next_id=9)


def dense(templates, unit):
    return templates.dense(0, N_CHANNELS)[unit]


def test_templates_are_moved_between_the_channels(session):
    shank, _, _ = shank_with(SHAPES)
    placed = place_templates(session, shank, np.array([13.0, -7.0]))
    np.testing.assert_allclose(placed.locations[:, 1], DEPTHS + [13.0, -7.0])
    for unit, moved in enumerate((waveform(93.0, 14.0), waveform(133.0, 12.0, width=6.0))):
        error = np.linalg.norm(dense(placed, unit) - moved) / np.linalg.norm(moved)
        assert error < 0.12


def test_templates_are_in_units_of_the_noise_of_the_new_session(session):
    shank, _, _ = shank_with(SHAPES)
    shank.recording.set_property("noise_level", np.full(N_CHANNELS, 10.0))
    placed = place_templates(session, shank, np.zeros(2))
    np.testing.assert_allclose(dense(placed, 0), SHAPES[0] / 2, atol=0.6)
    assert placed.nbefore == NBEFORE


def test_nothing_is_known_beyond_the_channels_that_saw_the_unit(session):
    shank, _, _ = shank_with(SHAPES)
    few = replace(
        session.templates, channels=session.templates.channels[:, :6], waveforms=session.templates.waveforms[..., :6]
    )
    cut = replace_templates(session, few)
    moved = np.zeros(2)
    told = coverage(cut, shank, place_templates(cut, shank, moved), moved)[:, 0]
    assert (told[:, :6] > 0.95).all()
    assert (told[:, 8:] < 0.3).all()


def replace_templates(session, templates):
    return SessionTemplates(templates, session.channel_locations, session.noise_level)


def test_peaks_are_explained_by_their_unit_at_their_time(session):
    shank, peaks, labels = shank_with(SHAPES)
    late = peaks.copy()
    late["sample_index"] += 2
    placed = place_templates(session, shank, np.zeros(2))
    explained = explain_peaks(shank, late, placed, np.zeros(len(peaks)), MatchingCriteria())
    np.testing.assert_array_equal(explained.labels, labels)
    assert (explained.lag == -2).mean() > 0.95


def test_peaks_of_another_neuron_are_not_explained(session):
    shank, peaks, labels = shank_with([OTHER, SHAPES[1]])
    placed = place_templates(session, shank, np.zeros(2))
    explained = explain_peaks(shank, peaks, placed, np.zeros(len(peaks)), MatchingCriteria())
    assert (explained.labels[labels == 0] == -1).mean() > 0.9
    assert (explained.labels[labels == 1] == 1).all()


def test_displacements_that_put_units_on_peaks_come_first():
    generator = np.random.default_rng(0)
    units = SpikesAt(generator.uniform([0, 0], [40, 600], (30, 2)), generator.uniform(6, 30, 30))
    chosen = generator.integers(0, 30, 3000)
    places = units.locations[chosen] + [0.0, 34.0] + generator.normal(0, 5, (3000, 2))
    peaks = SpikesAt(places, units.amplitudes[chosen] * generator.normal(1, 0.1, 3000))
    found = likely_displacements(units, peaks)
    np.testing.assert_allclose(found[0], 34.0, atol=2.0)


def test_on_a_long_probe_the_displacement_changes_with_depth():
    generator = np.random.default_rng(0)
    units = SpikesAt(generator.uniform([0, 0], [40, 3000], (150, 2)), generator.uniform(6, 30, 150))
    chosen = generator.integers(0, 150, 4000)
    moved = 20.0 + 12.0 * (units.locations[:, 1] / 3000 - 0.5)
    places = units.locations[chosen] + np.column_stack([np.zeros(4000), moved[chosen]])
    peaks = SpikesAt(places + generator.normal(0, 4, (4000, 2)), units.amplitudes[chosen])
    assert np.abs(likely_displacements(units, peaks)[0] - moved).max() < 5.0


def test_without_peaks_nothing_has_moved():
    none, some = SpikesAt(np.zeros((0, 2)), np.zeros(0)), SpikesAt(np.zeros((2, 2)), np.ones(2))
    np.testing.assert_array_equal(likely_displacements(some, none), [np.zeros(2)])


def followed_and_templates(known, shapes, depths):
    shank, peaks, labels = shank_with(shapes, seed=1)
    locations = np.column_stack([np.zeros(len(peaks)), np.asarray(depths)[labels]])
    amplitudes = np.array([np.abs(shape).max() for shape in shapes])[labels]
    followed = follow_units(shank, known, peaks, locations, amplitudes, np.zeros(len(peaks)), UnitCriteria())
    today = templates_for(shank.recording, peaks["sample_index"], labels, depths)
    spikes = np.zeros(len(peaks), [("unit_index", "i8")])
    spikes["unit_index"] = labels
    return shank, followed, today, spikes, labels


def test_units_are_followed_and_named(known):
    shapes = [waveform(100.0, 17.0), waveform(160.0, 10.0, width=6.0)]
    shank, followed, today, spikes, labels = followed_and_templates(known, shapes, [100.0, 160.0])
    np.testing.assert_array_equal(followed.labels, labels)
    np.testing.assert_allclose(followed.moved, 20.0, atol=3.0)
    # they follow: 17 is nearer to today's amplitude than 14 was
    assert np.abs(dense(followed.templates, 0)).max() == pytest.approx(17.0, rel=0.15)
    assert name_units(shank, today, spikes, known, followed).tolist() == [7, 3]


def test_a_known_template_gives_no_name_to_another_neuron(known):
    shank, followed, today, spikes, labels = followed_and_templates(known, [OTHER, SHAPES[1]], DEPTHS)
    assert (followed.labels[labels == 0] == -1).mean() > 0.9
    assert name_units(shank, today, spikes, known, followed).tolist() == [-1, 3]


def test_units_of_very_different_size_are_not_alike(session):
    shank, _, _ = shank_with(SHAPES)
    placed = place_templates(session, shank, np.zeros(2))
    larger = replace(placed, waveforms=3 * placed.waveforms)
    told, same = np.ones(placed.waveforms.shape[:2] + (placed.channels.shape[1],)), np.array([[0, 0], [1, 1]])
    np.testing.assert_allclose(similarities(shank, placed, placed, told, same), 1.0, atol=0.02)
    np.testing.assert_array_equal(similarities(shank, larger, placed, told, same), 0.0)


def test_known_groups_stay_together(session):
    of_one_unit = KnownUnits(session, np.array([4, 4]), np.array([0, 3]))
    grouping = of_one_unit.grouping(shank_with(SHAPES)[0])
    assert len(set(grouping.group)) == 1
    np.testing.assert_array_equal(grouping.lag, [0, 3])


def test_known_templates_without_peaks_are_not_matched(session):
    shank, peaks, labels = shank_with(SHAPES)
    placed = place_templates(session, shank, np.zeros(2))
    nothing_new = UnitSet(peaks[:0], np.zeros(0, dtype=int), placed.select(np.zeros(0, dtype=int)))
    for gone, left in ((0, [1]), (1, [0]), (None, [0, 1])):
        followed = Followed(placed, placed, np.where(labels == gone, -1, labels), np.zeros(2))
        kept = with_new_units(shank, followed, nothing_new, UnitCriteria().join_peaks(shank))
        np.testing.assert_array_equal(kept.waveforms, placed.waveforms[left])


def test_only_what_is_missing_is_encoded():
    rng = np.random.default_rng(0)
    peaks = np.zeros(50, [("sample_index", "i8")])
    peaks["sample_index"] = np.arange(50)
    every = SpikeFeatures(rng.normal(size=(50, 32)), rng.normal(size=(50, 2)), rng.normal(size=50))
    encoded = []

    def embed(some):
        encoded.extend(some["sample_index"].tolist())
        return SpikeFeatures(*(values[some["sample_index"]] for values in every))

    which, wanted = some_peaks(50, 15, seed=1), np.arange(50) % 2 == 0
    found = EncodedSome(which, SpikeFeatures(*(values[which] for values in every)), embed).of(peaks, wanted)
    for values, expected in zip(found, every, strict=True):
        np.testing.assert_array_equal(values, expected[wanted])
    assert encoded == np.flatnonzero(wanted & ~which).tolist()


@pytest.mark.parametrize(("most", "expected"), [(30, 30), (200, 100)])
def test_some_of_the_peaks_are_drawn(most, expected):
    chosen = some_peaks(100, most, seed=3)
    assert chosen.sum() == expected
    np.testing.assert_array_equal(chosen, some_peaks(100, most, seed=3))
