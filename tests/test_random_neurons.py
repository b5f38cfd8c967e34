"""Neurons drawn at random: the physics of one, what changes in it, and the banks and libraries made of many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from spikeinterface_huidurep.encoder.augmentation import MARGIN, ViewConfig, choose_forms
from spikeinterface_huidurep.encoder.episodes import EpisodeConfig, draw_episodes
from spikeinterface_huidurep.encoder.layouts import LAYOUTS, layout
from spikeinterface_huidurep.encoder.network import EncoderConfig
from spikeinterface_huidurep.encoder.random_bank import low_rank, random_bank
from spikeinterface_huidurep.encoder.random_neurons import KINDS, UNCHANGED, draw_neuron
from spikeinterface_huidurep.encoder.random_neurons.medium import CONDUCTIVITY, transfer_matrix
from spikeinterface_huidurep.encoder.random_neurons.membrane import membrane_potentials
from spikeinterface_huidurep.encoder.random_neurons.morphology import AXON, SOMA, Morphology
from spikeinterface_huidurep.encoder.sampler import Source

TIME = np.arange(-4, 7, 1 / 40)
CONFIG = EncoderConfig()


def rod(length: float, diameter: float = 1.0) -> Morphology:
    """One segment along y about the origin."""
    half = np.array([[0.0, length / 2, 0.0]])
    return Morphology(-half, half, np.array([diameter]), np.array([-1]), np.array([SOMA]), np.zeros(1))


@pytest.fixture(scope="module")
def bank():
    """Sixty neurons around a shank of two columns."""
    return random_bank(layout("two-column-64"), CONFIG, seed=5, units=60, displacement=np.array([-30.0, 0.0, 30.0]))


def waves(bank, form=0):
    """The waveform of each neuron on its largest channel, (units, W)."""
    units = torch.arange(len(bank))
    prints = bank.footprints(units, torch.full_like(units, bank.steps // 2), torch.full_like(units, form))
    return prints.gather(prints.trough.argmax(dim=1)[:, None])[:, 0].numpy()


def half_widths(waveforms):
    """Width of the trough at half its depth, (n,) ms."""
    fine = np.fft.irfft(np.fft.rfft(waveforms), n=8 * waveforms.shape[1]) * 8
    widths = []
    for wave in fine:
        trough = int(wave.argmin())
        below = wave < 0.5 * wave[trough]
        widths.append((np.argmin(below[trough:]) + np.argmin(below[trough::-1])) / 8 / 30)
    return np.array(widths)


# -- one neuron ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_currents_sum_to_zero(kind):
    rng = np.random.default_rng(3)
    for _ in range(3):
        neuron = draw_neuron(rng, kind)
        for change in neuron.changes:
            currents = neuron.currents(TIME, change)
            largest = np.abs(currents).max()
            assert largest > 0.001
            assert np.abs(currents.sum(axis=0)).max() < 1e-9 * largest
            assert np.abs(currents[:, [0, -1]]).max() < 0.05 * largest  # a spike begins and ends


@pytest.mark.parametrize("kind", KINDS)
def test_trees_hang_together(kind):
    tree = draw_neuron(np.random.default_rng(4), kind).morphology
    assert tree.parent[0] == -1 and np.all(tree.parent[1:] < np.arange(1, len(tree))) and np.all(tree.parent[1:] >= 0)
    assert tree.part[0] == SOMA and AXON in tree.part
    beyond = tree.parent[1:] > 0
    np.testing.assert_allclose(tree.start[1:][beyond], tree.end[tree.parent[1:]][beyond], atol=1e-9)
    assert tree.length.min() > 5 and tree.diameter.min() >= 0.4


def test_pyramidal_cells_have_an_apical_dendrite_along_the_probe_and_flat_ones_lie_in_a_plane():
    rng = np.random.default_rng(5)
    spans = np.array([np.ptp(draw_neuron(rng, "pyramidal").morphology.end, axis=0) for _ in range(40)])
    assert np.median(spans[:, 1]) > 1.5 * np.median(spans[:, 0])
    for _ in range(5):
        tree = draw_neuron(rng, "flat").morphology
        dendrites = tree.end[tree.part > AXON]
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(dendrites.T)))
        assert spread[0] < 0.35 * spread[1]


def test_potential_of_a_segment_is_the_integral_of_point_sources():
    segment, contact = rod(40.0), np.array([12.0, 25.0, 0.0])
    density, _ = quad(lambda y: 1 / 40 / np.hypot(12.0, 25.0 - y), -20, 20)
    seen = transfer_matrix(segment, contact[None], contact_radius=0.0, gain=1.0)
    assert seen[0, 0] == pytest.approx(1000 * density / (4 * np.pi * CONDUCTIVITY), rel=1e-6)
    assert transfer_matrix(segment, np.zeros((1, 3)), contact_radius=0.0)[0, 0] < 1e4  # no pole inside the segment


def test_a_dipole_falls_with_the_square_of_the_distance_and_a_monopole_with_the_distance():
    near, far = (rod(2.0, 0.5) for _ in range(2))
    far = Morphology(far.start + [0, 20, 0], far.end + [0, 20, 0], far.diameter, far.parent, far.part, far.path)
    contacts = np.array([[0.0, 410.0, 0.0], [0.0, 810.0, 0.0]])
    sink, source = (transfer_matrix(one, contacts, 0.0)[:, 0] for one in (near, far))
    assert sink[0] / sink[1] == pytest.approx(810 / 410, rel=1e-3)
    dipole = source - sink
    assert dipole[0] / dipole[1] == pytest.approx(4.0, rel=0.02)


def test_a_neuron_far_away_is_a_dipole_or_less():
    """Its currents balance, so its potential falls faster than the distance grows."""
    neuron = draw_neuron(np.random.default_rng(8), "pyramidal")
    amplitudes = [
        np.abs(neuron.transfer(np.array([[0.0, 0.0, distance]])) @ neuron.currents(TIME)).max()
        for distance in (2000.0, 4000.0)
    ]
    assert amplitudes[0] / amplitudes[1] > 3.5


def test_an_axons_spike_travels_along_it():
    neuron = draw_neuron(np.random.default_rng(2), "axon")
    tree = neuron.morphology
    axis = tree.end[0] - tree.start[0]
    axis /= np.linalg.norm(axis)
    places = np.array([-90.0, -45.0, 0.0, 45.0, 90.0])
    side = np.cross(axis, [0.3, 0.5, 0.8])
    contacts = places[:, None] * axis + 12 * side / np.linalg.norm(side)
    wave = neuron.transfer(contacts) @ neuron.currents(TIME)
    times = TIME[wave.argmin(axis=1)]
    speed = np.polyfit(times, places, 1)[0]
    assert np.all(np.diff(times) > 0)
    assert speed == pytest.approx(neuron.conduction.axon_speed, rel=0.35)


def test_the_spike_begins_in_the_initial_segment():
    rng = np.random.default_rng(9)
    for _ in range(5):
        neuron = draw_neuron(rng, "pyramidal")
        tree = neuron.morphology
        peak = TIME[membrane_potentials(tree, neuron.shape, neuron.conduction, TIME).argmax(axis=1)]
        axon, dendrites = np.flatnonzero(tree.part == AXON), np.flatnonzero(tree.part > AXON)
        first = axon[np.argmin(np.abs(tree.path[axon] - neuron.conduction.initial_segment))]
        assert peak[first] < peak[0] and peak[first] <= peak[dendrites].min()
        assert np.corrcoef(tree.path[dendrites], peak[dendrites])[0, 1] > 0.5


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no kind of neuron 'granule'; the kinds are pyramidal"):
        draw_neuron(np.random.default_rng(0), "granule")


# -- its change ---------------------------------------------------------------------------------------------------


def test_a_change_makes_the_spike_smaller_and_broader_and_leaves_the_neuron():
    rng = np.random.default_rng(6)
    for _ in range(5):
        neuron = draw_neuron(rng, "interneuron")
        assert neuron.changes[0] == UNCHANGED and len(neuron.changes) == 4
        late = neuron.changes[1]
        assert 0.45 < late.height <= 1 and late.rise >= 1 and late.fall >= 1 and late.reach <= 1


def test_forms_of_one_neuron_are_more_alike_than_neurons(bank):
    """The change is the neuron's own: it stays nearer to itself than to the others, in its footprint and its wave."""
    units, channels = torch.arange(len(bank)), torch.arange(64).expand(len(bank), -1)
    middle = torch.full_like(units, 1)
    forms = [
        torch.nn.functional.normalize(
            bank.footprints(units, middle, torch.full_like(units, form)).gather(channels).flatten(1), dim=1
        )
        for form in range(bank.forms)
    ]
    for other in forms[1:]:
        alike = forms[0] @ other.T
        assert (alike.argmax(dim=1) == units).float().mean() > 0.95
        assert alike.diagonal().median() > 0.9


def test_forms_differ_in_width_and_size(bank):
    widths = np.array([half_widths(waves(bank, form)) for form in range(bank.forms)])
    depths = np.array([-waves(bank, form).min(axis=1) for form in range(bank.forms)])
    ratio, size = widths.max(axis=0) / widths.min(axis=0), depths.max(axis=0) / depths.min(axis=0)
    assert 1.1 < np.median(ratio) < 1.8 and np.percentile(ratio, 90) > 1.35
    assert 1.2 < np.median(size) < 2.5 and np.percentile(size, 90) > 1.7
    assert (
        np.mean(np.abs(depths[0] - 1) < 0.01) > 0.9
    )  # relative to the usual form's trough, unless a later one is deeper


def test_views_are_of_all_forms():
    generator = torch.Generator().manual_seed(0)
    forms = choose_forms(4000, 4, ViewConfig(change=0.6), generator)
    shares = torch.bincount(forms, minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.2, 0.2, 0.2]), atol=0.03, rtol=0)
    assert not choose_forms(50, 4, ViewConfig(change=0.0), generator).any()


# -- many ---------------------------------------------------------------------------------------------------------


def test_widths_and_peaks_span_those_of_recorded_neurons(bank):
    widths = half_widths(waves(bank))
    assert widths.min() < 0.16 and widths.max() > 0.4 and 0.17 < np.median(widths) < 0.35
    after = [wave[wave.argmin() :].max() for wave in waves(bank)]
    before = [wave[: wave.argmin()].max() for wave in waves(bank)]
    assert np.percentile(after, 10) < 0.3 and np.percentile(after, 90) > 0.6
    assert np.percentile(before, 10) < 0.1 and np.max(before) > 0.5  # some are positive first
    to_peak = np.array([wave[wave.argmin() :].argmax() / 30 for wave in waves(bank)])
    assert to_peak.min() < 0.25 and to_peak.max() > 0.8


def test_banks_are_the_same_for_a_seed_and_move_along_the_probe(bank):
    again = random_bank(layout("two-column-64"), CONFIG, seed=5, units=60, displacement=np.array([-30.0, 0.0, 30.0]))
    other = random_bank(layout("two-column-64"), CONFIG, seed=6, units=60, displacement=np.array([-30.0, 0.0, 30.0]))
    assert torch.equal(bank.space, again.space) and torch.equal(bank.time, again.time)
    assert not torch.equal(bank.time, other.time)
    assert bank.templates.shape == (60, 3, 64, 64 + 2 * MARGIN) and bank.step_um == 30 and bank.licence == "MIT"
    # two rows are 30 um: what a channel sees is what the one two rows above sees after the move
    inside = bank.location[:, 1].abs() < 130
    lower, middle = bank.templates[inside, 0, :-4].float(), bank.templates[inside, 1, 4:].float()
    assert inside.sum() > 20
    torch.testing.assert_close(lower, middle, rtol=0, atol=0.02)


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    random_bank(layout("diamond"), CONFIG, seed=0, units=3)
    after = np.random.get_state()[1], torch.get_rng_state()  # noqa: NPY002
    assert np.array_equal(before[0], after[0]) and torch.equal(before[1], after[1])


def test_low_rank_gives_the_product_back():
    rng = np.random.default_rng(0)
    transfer, courses = rng.standard_normal((3, 8, 5)), rng.standard_normal((2, 5, 20))
    space, time = low_rank(transfer, courses, rank=7)
    assert space.shape == (3, 8, 7) and time.shape == (2, 7, 20)
    product = space[None] @ time[:, None]
    np.testing.assert_allclose(product, transfer[None] @ courses[:, None], atol=1e-4)


def test_episodes_of_changing_neurons_are_the_same_but_for_the_forms(bank):
    still, changing = (
        next(iter(draw_episodes(bank, EpisodeConfig(units=3, spikes=20, change=share), CONFIG, 1, 4)))
        for share in (0.0, 0.5)
    )
    np.testing.assert_array_equal(still.units, changing.units)
    differs = np.abs(still.clean - changing.clean).max(axis=(1, 2)) > 1e-3
    spike = np.arange(60) % 20
    assert not differs[spike >= 10].all() and differs[spike < 10].mean() > 0.8


def test_a_grids_neurons_are_seen_by_other_probes_in_all_forms():
    grid = random_bank(layout("grid-100"), CONFIG, seed=1, units=6, displacement=np.array([-20.0, 0.0, 20.0]))
    assert Source(grid, None).dense_grid
    units, forms = torch.arange(6), torch.tensor([0, 1, 2, 3, 0, 1])
    # contacts of a probe that are contacts of the grid see what these see
    own = grid.locations[[44, 45, 55]]
    seen = grid.interpolated(units, own, forms).gather(torch.arange(3).expand(6, -1))
    there = grid.footprints(units, torch.ones_like(units), forms).gather(torch.tensor([[44, 45, 55]]).expand(6, -1))
    error = (seen - there).abs().amax(dim=(1, 2)) / there.abs().amax(dim=(1, 2))
    assert error.median() < 0.35  # it is smoothed over a pitch
    usual = grid.interpolated(units, own).gather(torch.arange(3).expand(6, -1))
    assert torch.equal(usual[[0, 4]], seen[[0, 4]]) and not torch.allclose(usual[1:4], seen[1:4], rtol=0.05)


def test_layouts():
    for name in LAYOUTS:
        places = layout(name)
        distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places))
        assert places.ndim == 2 and places.shape[1] == 2 and distances.min() > 10
    assert len(layout("two-column-64")) == 64
    with pytest.raises(ValueError, match="no probe layout 'x'; the layouts are tetrode-25"):
        layout("x")
