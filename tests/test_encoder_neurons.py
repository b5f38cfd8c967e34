"""Generated neurons, and where neurons beyond a probe's end are."""

import numpy as np
import pytest
import torch
from test_encoder_training import settings, write_library

from spikeinterface_huidurep.encoder import augmentation as views
from spikeinterface_huidurep.encoder.augmentation import MARGIN
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.generated import generated_bank
from spikeinterface_huidurep.encoder.library import load_factors
from spikeinterface_huidurep.encoder.network import EncoderConfig
from spikeinterface_huidurep.encoder.sources import build_sampler


def two_columns(channels):
    return np.array([[20.0 * (i % 2), 20.0 * (i // 2)] for i in range(channels)], dtype=np.float32)


def test_generated_neurons_move_along_the_probe_and_differ():
    locations, displacement = two_columns(24), np.array([-20.0, 0.0, 20.0])
    bank, again = (
        generated_bank(locations, EncoderConfig(), seed=3, units=30, displacement=displacement) for _ in range(2)
    )
    assert torch.equal(bank.templates, again.templates)
    assert bank.templates.shape == (30, 3, 24, 64 + 2 * MARGIN) and bank.step_um == 20
    inside = (bank.location[:, 1] > 70) & (bank.location[:, 1] < 150)
    assert inside.sum() > 5
    # a row is 20 um: 20 um lower each channel sees what the one above it saw
    lower, middle = bank.templates[inside, 0, :-2].float(), bank.templates[inside, 1, 2:].float()
    torch.testing.assert_close(lower, middle, rtol=0, atol=0.02)
    vectors = torch.nn.functional.normalize(bank.templates[:, 1].float().flatten(1), dim=1)
    assert (vectors @ vectors.T - torch.eye(30)).max() < 0.98


def test_generated_neurons_are_trained_on(tmp_path):
    write_library(tmp_path / "still.npz")
    write_library(tmp_path / "moving.npz", steps=9)
    sampler = build_sampler(settings(generated=2.0, generated_units=6, libraries={"still": 1, "moving": 3}), tmp_path)
    made = [source for source in sampler.sources if source.bank.name == "generated"]
    assert len(made) == 1  # both libraries are on one probe
    assert made[0].weight == 2.0 and len(made[0].bank) == 6


@pytest.fixture(scope="module")
def shank():
    """Neurons of one shape around a shank of 14 rows, 10 um beside it: inside, at an end and beyond it."""
    locations = two_columns(28)
    place = np.array([[10.0, 130.0], [10.0, 262.0], [10.0, -8.0]])
    displacement = np.linspace(-30.0, 30.0, 13)
    time = (np.arange(64 + 2 * MARGIN) - 22 - MARGIN) / 30.0
    wave = -np.exp(-((time / 0.15) ** 2))
    places = np.stack([np.repeat(place[:, :1], 13, axis=1), place[:, 1:] + displacement], axis=2)
    distance = np.linalg.norm(places[:, :, None] - locations, axis=3)
    blocks = np.exp(-distance / 25)[..., None] * wave
    return blocks.astype(np.float32), locations, places.astype(np.float32)


def test_a_drifting_neuron_is_where_it_is_beyond_the_probes_end(shank):
    """The centre of mass of its channels stays at the end, its location goes on."""
    blocks, locations, places = shank
    bank = TemplateBank(blocks, locations, EncoderConfig(), places=places)
    steps = torch.arange(13)
    everywhere = torch.ones(28, dtype=torch.bool)
    for unit in range(3):
        prints = bank.footprints(torch.full((13,), unit), steps)
        seen = views.estimated_location(prints.ptp, prints.locations, everywhere)
        located = seen + prints.unseen
        np.testing.assert_allclose(located[:, 1].diff(), 5.0, atol=0.01)
        assert (located - torch.from_numpy(places[unit])).abs().max() < 6
    assert (seen[:, 1] - torch.from_numpy(places[2, :, 1])).max() > 20  # which the centre of mass alone would be off


def test_a_cut_shank_has_pieces_between_gaps():
    depth = torch.arange(0.0, 2000.0, 10.0)
    locations = torch.stack([torch.zeros(200), depth], dim=1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        edges = depth[1:][views.cut_shank(locations, generator).diff()]
        lengths = edges.diff()
        assert len(edges) >= 7  # of about ten ends of pieces
        gaps, pieces = lengths[lengths < 145], lengths[lengths >= 145]
        assert (gaps >= 90).all() and (pieces <= 310).all() and abs(len(gaps) - len(pieces)) <= 1


def test_a_side_is_hidden_beyond_a_line():
    locations = torch.stack([torch.zeros(200), torch.arange(0.0, 2000.0, 10.0)], dim=1)
    here = torch.tensor([[3.0, 1000.0]]).expand(400, 2)
    left = views.hide_side(here, locations, 0.5, torch.Generator().manual_seed(0))
    lost = ~left.all(dim=1)
    assert 160 < int(lost.sum()) < 240
    sides = []
    for row in left[lost]:
        kept = locations[row, 1]
        assert (kept.diff() == 10).all()  # in one piece
        low, high = kept[0] == 0, kept[-1] == 1990
        assert low != high  # with one end of the shank
        edge = float(kept[-1] - 1000 if low else 1000 - kept[0])
        assert -30 <= edge <= 60
        sides.append(bool(low))
    assert 0.3 < sum(sides) / len(sides) < 0.7


@pytest.mark.parametrize("lost", ["cut", "hide"])
def test_views_of_a_part_of_a_shank_say_where_the_neuron_is(tmp_path, lost):
    """Its location is that on the whole probe, whichever channels are left."""
    write_library(tmp_path / "still.npz", channels=40)
    views_off = dict(thin=0.0, missing=0.0, symmetry=False, **{lost: 1.0})
    sampler = build_sampler(settings(views=views_off, libraries={"still": 1}), tmp_path)
    bank = sampler.sources[0].bank
    assert bank.shank
    for _ in range(4):
        first, second, units, _ = sampler.draw(24)
        for view in (first, second):
            nearest = view.positions[:, :, None] + bank.location[units][:, None, None] - view.offset[:, None, None]
            assert (nearest - bank.locations).norm(dim=-1).amin(
                dim=-1
            ).max() < 0.5  # every token is one of its channels


def test_a_still_neuron_near_the_end_is_at_its_soma(shank):
    blocks, locations, places = shank
    bank = TemplateBank(blocks[:, :1], locations, EncoderConfig(), places=places[:, :1])
    located = bank.location + bank.unseen[:, 0]
    np.testing.assert_allclose(located[2, 1], places[2, 0, 1], atol=1e-3)
    assert not bank.unseen[0].any()  # far from the ends it is the centre of mass
    small = TemplateBank(blocks[:, :1, :4], locations[:4], EncoderConfig(), places=places[:, :1])
    assert not small.unseen.any()  # a tetrode is all ends


def test_a_library_says_where_its_neurons_are(tmp_path):
    write_library(tmp_path / "moving.npz", steps=9)
    moves = load_factors(tmp_path / "moving.npz").planar_places()
    np.testing.assert_allclose(moves[:, :, 1], np.broadcast_to(np.linspace(-20, 20, 9), (40, 9)), atol=1e-4)
    with np.load(tmp_path / "moving.npz") as content:
        arrays = dict(content)
    soma = np.random.default_rng(0).normal(0, 50, (40, 9, 3))
    np.savez(tmp_path / "placed.npz", **arrays, location=soma)  # the probe lies in the plane of y and z
    np.testing.assert_allclose(load_factors(tmp_path / "placed.npz").planar_places(), soma[..., 1:], atol=1e-4)
    soma[3] = np.nan
    np.savez(tmp_path / "unknown.npz", **arrays, location=soma)
    np.testing.assert_array_equal(load_factors(tmp_path / "unknown.npz").planar_places(), moves)
    write_library(tmp_path / "still.npz")
    assert load_factors(tmp_path / "still.npz").planar_places() is None
