"""Settings of the training and of the network that change what is learned: each does what it says."""

import numpy as np
import pytest
import torch
from test_encoder_training import SMALL, settings

from spikeinterface_huidurep.encoder import augmentation as views
from spikeinterface_huidurep.encoder.augmentation import ViewConfig
from spikeinterface_huidurep.encoder.evaluation import score
from spikeinterface_huidurep.encoder.network import LOCATION_UNIT_UM, EncoderConfig, SpikeEncoder
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.training import Trainer


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_momentum_branch_sees_a_share_of_the_noise(libraries, tmp_path, monkeypatch, share):
    config = settings(key_noise=share, views={"recentre": 1.0})
    trainer = Trainer(config, build_sampler(config, libraries), tmp_path / "run")
    seen = []
    keys = trainer.network.keys
    monkeypatch.setattr(
        trainer.network, "keys", lambda waveforms, *rest: seen.append(waveforms) or keys(waveforms, *rest)
    )
    first, second, units, tokens = trainer.sampler.draw(config.batch_size)
    trainer.losses(first, second, units, tokens)
    first, second = (
        trainer.located(view, tokens, torch.ones_like(units, dtype=torch.bool)) for view in (first, second)
    )
    noisy, clean = (torch.cat([getattr(first, name), getattr(second, name)]) for name in ("waveforms", "clean"))
    torch.testing.assert_close(seen[0], clean + share * (noisy - clean), atol=1e-5, rtol=1e-5)
    assert (noisy - clean).std() > 0.5


@pytest.mark.parametrize("narrow", [0.0, 1.0])
def test_skewed_snr_stays_in_its_range_and_is_lower(narrow):
    generator = torch.Generator().manual_seed(0)

    def drawn(skew):
        config = ViewConfig(snr=(2.5, 25.0), snr_skew=skew, narrow_snr=narrow)
        return torch.cat([views.choose_snr(50, config, generator) for _ in range(200)])

    even, skewed = drawn(1.0), drawn(2.0)
    for values in (even, skewed):
        assert values.min() >= 2.5 - 1e-4 and values.max() <= 25 + 1e-4
    assert skewed.median() < 0.8 * even.median()


def test_location_is_a_weighted_mean_of_existing_channels():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpikeEncoder(EncoderConfig(**SMALL))
    waveforms, positions = torch.randn(5, 12, 64), 30 * torch.randn(5, 12, 2)
    with torch.no_grad():
        network.weigh.weight.zero_()
        network.weigh.bias.zero_()
        everywhere = network(waveforms, positions).offset[:, :2]
        mask = torch.zeros(5, 12, dtype=torch.bool)
        mask[:, :3] = True
        some = network(waveforms, positions, mask).offset[:, :2]
    torch.testing.assert_close(everywhere * LOCATION_UNIT_UM, positions.mean(dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(some * LOCATION_UNIT_UM, positions[:, :3].mean(dim=1), atol=1e-4, rtol=1e-4)


def test_mixture_is_the_likeliest_of_several_fits():
    """Ten unequal clusters, in which a single fit ends in a poor optimum for some of these seeds."""
    from sklearn.metrics import adjusted_rand_score
    from sklearn.mixture import GaussianMixture

    singles = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        centres = 6 * rng.standard_normal((10, 6))
        labels = np.repeat(np.arange(10), 60)
        features = centres[labels] + rng.standard_normal((600, 6)) * rng.uniform(0.4, 1.6, 10)[labels, None]
        scaled = features / features.std()
        singles.append(
            adjusted_rand_score(labels, GaussianMixture(10, reg_covar=1e-2, random_state=0).fit_predict(scaled))
        )
        assert score(features, labels, hdbscan=False).ari > 0.97
    assert min(singles) < 0.95


def test_footprints_tell_apart_what_only_places_do():
    """The same waveforms on exchanged channels: another spike, for a network with random weights in its footprints."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpikeEncoder(EncoderConfig(**SMALL))
        torch.nn.init.normal_(network.gather.out.weight)
    waveforms, positions = torch.randn(5, 12, 64), 30 * torch.randn(5, 12, 2)
    order = torch.arange(11, -1, -1)
    with torch.no_grad():
        here = network(waveforms, positions).representation
        turned = network(waveforms[:, order], positions[:, order]).representation
        exchanged = network(waveforms[:, order], positions).representation
        mask = torch.ones(5, 12, dtype=torch.bool)
        mask[:, 7:] = False
        some = network(waveforms, positions, mask).representation
        fewer = network(waveforms[:, :7], positions[:, :7]).representation
    torch.testing.assert_close(here, turned, atol=1e-4, rtol=1e-4)
    assert (here - exchanged).abs().mean() > 0.01
    torch.testing.assert_close(some, fewer, atol=1e-4, rtol=1e-4)


def test_widened_views_keep_what_belongs_together(libraries, monkeypatch):
    """Channels and the spike's place are stretched alike along each axis, and the waveforms stay as they are."""
    drawn = [views.widening_matrix(0.5, torch.Generator().manual_seed(seed)).diagonal() for seed in range(200)]
    factors = torch.stack(drawn)
    assert factors.min() > 1 / 1.5 - 1e-5 and factors.max() < 1.5 + 1e-5
    assert factors.log().mean().abs() < 0.05 and (factors[:, 0] - factors[:, 1]).abs().max() > 0.3
    stretch = torch.tensor([2.0, 0.5])
    monkeypatch.setattr(views, "widening_matrix", lambda widen, generator: stretch.diag())
    plain, wide = (
        build_sampler(settings(views={"widen": widen, "symmetry": False}), libraries).draw(50)[0]
        for widen in (0.0, 0.5)
    )
    assert torch.equal(wide.positions, plain.positions * stretch) and torch.equal(wide.offset, plain.offset * stretch)
    assert torch.equal(wide.waveforms, plain.waveforms) and plain.positions.abs().max() > 10


def test_heads_learn_first(libraries, tmp_path):
    """While they do the encoder stays as it is; then it learns too."""
    config = settings(heads_first=3, warmup_steps=0)
    run = Trainer(config, build_sampler(config, libraries), tmp_path / "run")

    def weights():
        network = run.network
        return [torch.cat([p.detach().flatten() for p in part.parameters()]).clone() for part in (
            network.encoder, network.momentum_encoder, network.projector, network.predictor)]  # fmt: skip

    before = weights()
    for _ in range(3):
        run.train_step()
    after = weights()
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False, False]
    run.train_step()
    assert not torch.equal(weights()[0], after[0])
