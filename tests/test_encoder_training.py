"""Losses, views, data and the training loop on a small library made here."""

import math

import numpy as np
import pytest
import torch

from spikeinterface_huidurep.encoder import augmentation as views
from spikeinterface_huidurep.encoder import load_encoder, load_library
from spikeinterface_huidurep.encoder.augmentation import MARGIN
from spikeinterface_huidurep.encoder.data import NoisePool, TemplateBank, View
from spikeinterface_huidurep.encoder.losses import denoising_loss, info_nce, symmetric_info_nce
from spikeinterface_huidurep.encoder.network import ContrastiveNetwork, EncoderConfig, attention
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.template_filter import BandPass, filter_and_resample
from spikeinterface_huidurep.encoder.training import Trainer, TrainingConfig

SMALL = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 16}


def write_library(path, steps=0, units=40, channels=16, seed=0):
    """A library in the documented format: Gaussian troughs whose width, place and after-potential differ."""
    rng = np.random.default_rng(seed)
    positions = np.zeros((channels, 3), np.float32)
    positions[:, 1] = 20 * (np.arange(channels) % 2)
    positions[:, 2] = 20 * (np.arange(channels) // 2)
    time = (np.arange(224) - 64) / 32.0
    width, late = rng.uniform(0.1, 0.25, units), rng.uniform(0.1, 0.5, units)
    shapes = -np.exp(-((time / width[:, None]) ** 2)) + late[:, None] * np.exp(-(((time - 0.6) / 0.4) ** 2))
    soma = np.c_[rng.uniform(0, 20, units), rng.uniform(20, 20 * channels // 2 - 20, units)]
    common = {
        "cell_model": np.array(["A", "B"])[np.arange(units) % 2],
        "channel_positions": positions,
        "sampling_frequency": np.float64(32_000),
        "nbefore": np.int64(64),
    }

    def footprint(shift):
        place = np.stack([soma[:, 0], soma[:, 1] + shift], axis=1)
        distance = np.linalg.norm(place[:, None] - positions[None, :, 1:], axis=2)
        return 100 * np.exp(-distance / 25)

    if not steps:
        templates = footprint(0)[..., None] * shapes[:, None]
        scale = np.abs(templates).max(axis=(1, 2)) / 32767
        packed = np.round(templates / scale[:, None, None]).astype(np.int16)
        np.savez(path, templates=packed, scale=scale.astype(np.float32), **common)
        return templates
    displacement = np.linspace(-20, 20, steps)
    space = np.stack([footprint(shift) for shift in displacement], axis=1)[..., None]
    u_scale = np.abs(space).max(axis=(1, 2, 3)) / 32767
    norm = np.abs(shapes).max(axis=1)
    np.savez(
        path,
        u=np.round(space / u_scale[:, None, None, None]).astype(np.int16),
        v=np.round(shapes[:, None] / norm[:, None, None] * 32767).astype(np.int16),
        u_scale=(u_scale * norm).astype(np.float32),
        rank=np.ones(units, np.int16),
        displacement=displacement.astype(np.float32),
        **common,
    )
    return space * shapes[:, None, None]


def settings(**changes):
    values = {
        "libraries": {"still": 1, "moving": 1},
        "steps": 12,
        "batch_size": 24,
        "warmup_steps": 2,
        "generated": 0,
        "encoder": SMALL,
    }
    return TrainingConfig.from_dict(values | changes)


# -- library ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 9])
def test_library_gives_the_templates_back(tmp_path, steps):
    templates = write_library(tmp_path / "library.npz", steps=steps)
    library = load_library(tmp_path / "library.npz", units=[3, 5], pad_ms=(1.0, 2.0))
    assert library["nbefore"] == 64 + 32 and library["templates"].dtype == np.float32
    assert library["templates"].shape[-1] == 224 + 32 + 64 and len(library["cell_model"]) == 2
    np.testing.assert_allclose(library["templates"][..., 32:-64], templates[[3, 5]], atol=0.02)
    assert np.abs(library["templates"][..., [0, -1]]).max() < 0.01 * np.abs(templates).max()


def test_library_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_library(tmp_path / "nowhere.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="not a template library"):
        load_library(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", cell_model=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickled"):
        load_library(tmp_path / "objects.npz")
    write_library(tmp_path / "library.npz")
    with pytest.raises(IndexError, match="40 units"):
        load_library(tmp_path / "library.npz", units=[40])


# -- losses and network -------------------------------------------------------------------------------------------


def test_info_nce_by_hand():
    queries = torch.eye(3)
    keys = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.6, 0, 0.8]])
    expected = -np.mean(
        [
            np.log(np.exp(2) / (np.exp(2) + 1 + np.exp(1.2))),
            np.log(np.exp(2) / (np.exp(2) + 2)),
            np.log(np.exp(1.6) / (np.exp(1.6) + 2)),
        ]
    )
    assert float(info_nce(queries, keys, 0.5)) == pytest.approx(0.5 * expected, rel=1e-5)
    # the third spike is of the first one's unit: neither is the other's negative
    ignoring = float(info_nce(queries, keys, 0.5, torch.tensor([0, 1, 0])))
    e2, e16 = np.exp(2), np.exp(1.6)
    by_hand = -np.mean(np.log([e2 / (e2 + 1), e2 / (e2 + 2), e16 / (e16 + 1)]))
    assert ignoring == pytest.approx(0.5 * by_hand, rel=1e-5)
    doubled = symmetric_info_nce(torch.cat([queries, keys]), torch.cat([queries, keys]), 0.5)
    assert float(doubled) == pytest.approx(float(info_nce(queries, keys, 0.5) + info_nce(keys, queries, 0.5)), rel=1e-6)


def test_denoising_loss_ignores_absent_channels():
    decoded, clean = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    clean[:, 2] = 100
    mask = torch.tensor([[True, True, False]] * 2)
    assert float(denoising_loss(decoded, clean, mask)) == pytest.approx(1.0)
    assert float(denoising_loss(decoded, clean)) > 1000


def test_attention_is_softmax_attention():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 7, 8, generator=generator) for _ in range(3))
    exists = torch.rand(2, 1, 1, 7, generator=generator) < 0.7
    exists[..., 0] = True
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=exists)
    torch.testing.assert_close(attention(query, key, value, exists), expected, atol=1e-5, rtol=1e-4)


def test_momentum_branch_follows():
    network = ContrastiveNetwork(EncoderConfig(**SMALL))
    with torch.no_grad():
        for parameter in network.encoder.parameters():
            parameter.add_(1.0)
    before = network.momentum_encoder.decode.weight.clone()
    network.update_momentum(0.9)
    torch.testing.assert_close(network.momentum_encoder.decode.weight, before + 0.1)
    assert not any(parameter.requires_grad for parameter in network.momentum_encoder.parameters())


# -- views --------------------------------------------------------------------------------------------------------


def test_shift_moves_by_the_given_part_of_a_sample():
    time = torch.arange(64 + 2 * MARGIN, dtype=torch.float32)
    template = -torch.exp(-(((time - 40) / 5) ** 2))[None, None]
    matrices = views.shift_matrices(64)
    for steps in (0, 4, -24, 40):
        moved = views.apply_shift(template, torch.tensor([steps]), matrices)
        expected = -torch.exp(-(((time[:64] + MARGIN - steps / views.SUBSAMPLE_STEPS - 40) / 5) ** 2))
        torch.testing.assert_close(moved[0, 0], expected, atol=2e-3, rtol=0)


def test_noise_is_correlated_between_neighbours_and_of_unit_size():
    generator = torch.Generator().manual_seed(0)
    positions = torch.tensor([[0.0, 0], [0, 10], [0, 1000]]).expand(4000, -1, -1)
    covariance = views.noise_covariance(positions, generator)
    noise = views.correlated_noise(torch.randn(4000, 3, 8, generator=generator), covariance)
    correlation = torch.corrcoef(noise.transpose(0, 1).reshape(3, -1))
    assert correlation[0, 1] > 0.05 and abs(correlation[0, 2]) < 0.03
    assert noise.std().item() == pytest.approx(1.0, abs=0.03)


def test_noise_pool_has_unit_deviation_and_the_band():
    pool = NoisePool(BandPass(), EncoderConfig(), torch.Generator().manual_seed(0), traces=6)
    trace = pool.traces[1]
    assert trace.abs().median().item() / 0.6745 == pytest.approx(1.0, abs=0.05)
    power = torch.fft.rfft(trace).abs().square()
    frequency = torch.fft.rfftfreq(len(trace), 1 / 30_000)
    inside = power[(frequency > 500) & (frequency < 5000)].mean()
    assert power[frequency < 100].mean() < 1e-3 * inside and power[frequency > 12_000].mean() < 1e-3 * inside


def test_filter_keeps_a_tone_of_the_band_and_its_time():
    time = (np.arange(336) - 112) / 32_000
    burst = np.exp(-((time / 1e-3) ** 2)) * np.cos(2 * np.pi * 1500 * time)
    out = filter_and_resample(burst[None], BandPass(), 32_000, 112, 30_000, 38, 96)[0]
    there = (np.arange(96) - 38) / 30_000
    np.testing.assert_allclose(out, np.exp(-((there / 1e-3) ** 2)) * np.cos(2 * np.pi * 1500 * there), atol=0.03)


def test_locations_and_channels():
    generator = torch.Generator().manual_seed(0)
    locations = torch.tensor([[0.0, 0], [0, 20], [0, 40], [0, 60]])
    ptp = torch.tensor([[0.2, 1.0, 1.0, 0.2]]).expand(500, -1)
    allowed = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(views.estimated_location(ptp[:1], locations, allowed), torch.tensor([[0.0, 30.0]]))
    detected = views.choose_channel(ptp, allowed, generator)
    assert set(detected.tolist()) == {1, 2}
    assert set(views.choose_channel(ptp, allowed & (torch.arange(4) != 1), generator).tolist()) == {2}
    near = views.nearest_channels(torch.tensor([[0.0, 21.0]]), locations, torch.tensor([True, True, False, True]), 2)
    assert set(near[0].tolist()) == {0, 1}


def test_views_of_a_unit_agree_without_corruption(libraries):
    """With every change switched off both views are the unit's template, and the offset says where it lies."""
    off = dict(noise=0.0, collision=0.0, amplitude_jitter=0.0, burst=0.0, shift=0, drift_um=0.0, recentre=0.0)
    off |= dict(location_jitter_um=0.0, missing=0.0, thin=0.0, random_probe=0.0, symmetry=False, gain=0.0, stretch=0.0)
    config = settings(views=off, libraries={"still": 1})
    first, second, units, tokens = build_sampler(config, libraries).draw(24)
    assert len(set(units.tolist())) == 24
    torch.testing.assert_close(first.waveforms, first.clean)
    torch.testing.assert_close(first.clean.amin((1, 2)), second.clean.amin((1, 2)), rtol=0.02, atol=0.02)
    weight = (first.clean.amax(2) - first.clean.amin(2)).square()
    weight = (weight - 0.1 * weight.amax(1, keepdim=True)).clamp(min=0)
    centre = (weight[..., None] * first.positions).sum(1) / weight.sum(1, keepdim=True)
    assert (centre - first.offset).abs().max() < 3.0
    seen = first.seen_from(first.offset, tokens)
    assert seen.positions.shape == (24, tokens, 2) and seen.offset.abs().max() < 1e-6


def test_offset_says_where_the_spike_is(libraries):
    """On a still probe the window's centre and the offset add up to the same place in both views."""
    off = dict(thin=0.0, missing=0.0, random_probe=0.0, symmetry=False)
    sampler = build_sampler(settings(views=off, libraries={"still": 1}), libraries)
    bank = sampler.sources[0].bank
    for _ in range(4):
        first, second, units, _ = sampler.draw(24)
        for view in (first, second):
            nearest = view.positions[:, :, None] + bank.location[units][:, None, None] - view.offset[:, None, None]
            distance = (nearest - bank.locations).norm(dim=-1).amin(dim=-1)
            assert distance.max() < 0.5  # every token then lies on a channel of the probe


def test_every_view_is_finite_and_reaches_the_snr(libraries):
    sampler = build_sampler(settings(), libraries)
    for _ in range(20):
        for view in sampler.draw(24)[:2]:
            assert torch.isfinite(view.waveforms).all() and torch.isfinite(view.positions).all()
            assert 1.0 < -view.clean.amin((1, 2)).mean() < 40


def test_seen_from_takes_the_nearest_channels_with_their_waveforms():
    positions = torch.arange(5.0)[None, :, None] * torch.tensor([0.0, 20.0])
    waveforms = torch.arange(5.0)[None, :, None].expand(1, 5, 3)
    view = View(waveforms, positions, None, 2 * waveforms, torch.tensor([[0.0, 70.0]]), torch.tensor([1.0]))
    moved = view.seen_from(torch.tensor([[0.0, 55.0]]), 2)
    order = moved.positions[0, :, 1].argsort()
    torch.testing.assert_close(moved.positions[0, order, 1], torch.tensor([-15.0, 5.0]))
    torch.testing.assert_close(moved.waveforms[0, order, 0], torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(moved.clean, 2 * moved.waveforms)
    torch.testing.assert_close(moved.offset, torch.tensor([[0.0, 15.0]]))


def test_left_out_cell_models_are_left_out(libraries):
    bank = TemplateBank.from_library(libraries / "still.npz", EncoderConfig(), exclude=("A",))
    assert set(bank.cell_model) == {"B"} and len(bank) == 20
    with pytest.raises(ValueError, match="no unit"):
        TemplateBank.from_library(libraries / "still.npz", EncoderConfig(), exclude=("A", "B"))


# -- training -----------------------------------------------------------------------------------------------------


def test_training_learns(libraries, tmp_path):
    config = settings(steps=120, learning_rate=3e-3, seed=1)
    run = Trainer(config, build_sampler(config, libraries), tmp_path)
    rows = [run.train_step() for _ in range(120)]
    for name in ("contrastive", "denoising"):
        assert np.mean([row[name] for row in rows[-20:]]) < 0.9 * np.mean([row[name] for row in rows[:20]])


def test_windows_are_centred_where_the_network_sees_the_spike(libraries, tmp_path):
    views_off = dict(location_jitter_um=0.0, recentre=0.0)
    # few channels: no place that an untrained network gives is so far off that it is not followed
    config = settings(views=views_off, encoder=SMALL | {"channels": 8})
    run = Trainer(config, build_sampler(config, libraries), tmp_path)
    view, _, _, tokens = run.sampler.draw(24)
    stay = torch.zeros(24, dtype=torch.bool)
    before = run.located(view, tokens, stay)  # the heads of a new network give a weighted mean of the channels
    with torch.no_grad():
        run.network.momentum_encoder.locate.bias.add_(torch.tensor([0.3, -0.7, 1.0]))  # in 10 um, and in two samples
    after = run.located(view, tokens, stay)
    torch.testing.assert_close(before.offset - after.offset, torch.tensor([3.0, -7.0]).expand(24, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(before.delay - after.delay, torch.full((24,), 2.0))
    stay[::2] = True  # these stay where the first pass looks from: on a channel
    mixed = run.located(view, tokens, stay)
    torch.testing.assert_close(mixed.offset[~stay], after.offset[~stay])
    assert (mixed.positions[stay].norm(dim=2).amin(dim=1) < 1e-4).all()


def test_exported_vectors_lie_on_principal_axes(libraries, tmp_path):
    """Their numbers are uncorrelated and fall in variance, and the training does not notice that it was exported."""
    config = settings()
    run = Trainer(config, build_sampler(config, libraries), tmp_path)
    state = run.sampler.generator.get_state()
    path = run.export(tmp_path / "turned.safetensors")
    assert torch.equal(state, run.sampler.generator.get_state())
    before = run.representations(run.network.momentum_encoder)[0]
    run.sampler.generator.set_state(state)
    after = run.representations(load_encoder(path, "cpu").network)[0]
    covariance = after.double().T.cov()
    variance = covariance.diagonal()
    torch.testing.assert_close(covariance, variance.diag(), atol=1e-3, rtol=0)
    assert (variance.diff() < 1e-3).all() and variance.mean() == pytest.approx(1, rel=1e-3)
    distances = torch.stack([torch.cdist(vectors, vectors) for vectors in (before, after)])
    assert torch.corrcoef(distances.flatten(1))[0, 1] > 0.999


def test_the_average_of_the_last_steps_is_exported(libraries, tmp_path):
    config = settings()
    run = Trainer(config, build_sampler(config, libraries), tmp_path)
    for _ in range(3):
        run.train_step()
    exported = load_encoder(run.export(tmp_path / "out.safetensors"), "cpu").network.decode.weight
    torch.testing.assert_close(exported, run.network.momentum_encoder.decode.weight)
    assert not torch.equal(exported, run.network.encoder.decode.weight)


def test_one_loss_alone(libraries, tmp_path):
    for switched_off in ("contrastive_weight", "denoising_weight"):
        config = settings(**{switched_off: 0.0})
        row = Trainer(config, build_sampler(config, libraries), tmp_path).train_step()
        assert math.isfinite(row["gradient_norm"]) and row["gradient_norm"] > 0


def test_settings_are_checked():
    with pytest.raises(ValueError, match="views.colour"):
        TrainingConfig.from_dict({"views": {"colour": 1}})
    with pytest.raises(ValueError, match="multiple of heads"):
        EncoderConfig(width=30, heads=4)


def test_retired_settings_are_read_with_their_value_only():
    old = TrainingConfig.from_dict(
        {"encoder": {"architecture": "channels", "aligned": True}, "views": {"locate": True}}
    )
    assert old == TrainingConfig()
    for wrong in ({"encoder": {"projector": "none"}}, {"views": {"locate": False}}, {"encoder": {"footprints": 1}}):
        with pytest.raises(ValueError, match="can only be"):
            TrainingConfig.from_dict(wrong)


def test_bank_from_a_recordings_templates():
    time = (np.arange(110) - 40) / 30.0
    shape = -np.exp(-((time / 0.15) ** 2)) + 0.3 * np.exp(-(((time - 0.5) / 0.3) ** 2))
    templates = 10 * shape[None, :, None] * np.array([[1, 0.5, 0.2, 0.1], [0.1, 0.3, 1, 0.4]])[:, None]
    locations = np.array([[0, 0], [0, 20], [0, 40], [0, 60]], dtype=float)
    bank = TemplateBank.from_templates(templates, locations, 30_000.0, 40, EncoderConfig())
    assert bank.templates.shape == (2, 1, 4, 64 + 2 * MARGIN)
    torch.testing.assert_close(bank.peak, torch.tensor([10.0, 10.0]), rtol=0.02, atol=0)
    start = 40 - 22 - MARGIN
    expected = templates[0, start : start + 64 + 2 * MARGIN].T / 10
    np.testing.assert_allclose(bank.templates[0, 0].float().numpy(), expected, atol=0.02)
