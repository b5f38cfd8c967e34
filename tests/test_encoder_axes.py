"""The axes of the shape beside which the place stands."""

import numpy as np
import torch
from test_encoder_training import settings, write_library

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.axes import axes_without, hidden_side_axes
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.training import Trainer


def test_of_a_shank_the_axes_beside_the_place_are_exported(tmp_path):
    """The same ones each time."""
    write_library(tmp_path / "still.npz", channels=40)
    config = settings(libraries={"still": 1.0})
    run = Trainer(config, build_sampler(config, tmp_path), tmp_path)
    assert run.sampler.sources[0].bank.shank
    axes, again = (load_encoder(run.export(tmp_path / "exported.safetensors"), "cpu").beside_place for _ in range(2))
    assert axes.shape == (32, 30) and torch.equal(axes, again)


def test_without_a_shank_nothing_is_hidden(tmp_path):
    write_library(tmp_path / "tetrode.npz", channels=4)
    config = settings(libraries={"tetrode": 1.0})
    run = Trainer(config, build_sampler(config, tmp_path), tmp_path)
    assert load_encoder(run.export(tmp_path / "out.safetensors"), "cpu").beside_place is None


def test_axes_of_known_vectors():
    """What hiding moves is found among noise that moves the vectors more, and left out; the rest is turned only."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(8, 8, generator=rng)).Q
    spread = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.7, 0.4])

    def views(hidden):
        for _ in range(2):
            noise = torch.randn(4000, 8, generator=rng) * spread
            moves = torch.randn(4000, 2, generator=rng) * hidden
            yield noise @ directions.T + moves @ directions[:, [2, 6]].T

    left_out = hidden_side_axes(tuple(views(2.0)), tuple(views(0.0)))
    inside = (left_out.T.float() @ directions[:, [2, 6]]).square().sum(dim=1)
    assert left_out.shape == (8, 2) and (inside > 0.95).all()
    vectors = next(views(0.0))
    axes = axes_without(vectors, left_out)
    torch.testing.assert_close(axes.T @ axes, torch.eye(6), atol=1e-5, rtol=0)
    assert (left_out.T.float() @ axes).abs().max() < 1e-5
    covariance = (vectors @ axes).T.cov()
    assert (covariance.diagonal().diff() < 0).all()
    torch.testing.assert_close(covariance, covariance.diagonal().diag(), atol=1e-3, rtol=0)


def test_a_missing_side_moves_mostly_what_gives_way():
    """Of the shipped weights: what a footprint loses beyond a probe's end changes the two directions that ``embed``
    leaves out more than the thirty that it keeps."""
    encoder = load_encoder("default", "cpu")
    rng = np.random.default_rng(0)
    locations = np.stack([np.tile([0.0, 32.0], 16), 15.0 * np.repeat(np.arange(16), 2)], axis=1)
    soma = np.stack([rng.uniform(-10, 42, 200), rng.uniform(90, 150, 200)], axis=1)
    distance = np.sqrt(((locations - soma[:, None]) ** 2).sum(axis=2) + 20.0**2)
    time = np.arange(80) - 30
    shape = -np.exp(-((time / 4.0) ** 2)) + 0.4 * np.exp(-(((time - 14) / 8.0) ** 2))
    waveforms = 12 * shape[:, None] * (20.0 / distance[:, None]) ** 1.5 + rng.standard_normal((200, 80, 32))
    ends = waveforms.copy()
    ends[np.broadcast_to((locations[:, 1] > soma[:, 1:] + rng.uniform(0, 40, (200, 1)))[:, None], ends.shape)] = np.nan
    whole, end = (encoder.embed(one, locations, 30_000.0, 30, place=False) for one in (waveforms, ends))
    kept, all_of_it = (np.square((end - whole) @ axes).sum() for axes in (encoder.beside_place.numpy(), np.eye(32)))
    assert kept < 0.5 * all_of_it
