"""Adaptation of the encoder: bounded, kept only where it helps, from templates or from unlabelled spikes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_encoder_training import SMALL

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.encoder import adaptation
from spikeinterface_huidurep.encoder.adaptation import AdaptationConfig, adapt, adapt_encoder, mean_waveforms
from spikeinterface_huidurep.encoder.inference import Encoder
from spikeinterface_huidurep.encoder.network import EncoderConfig, SpikeEncoder

LOCATIONS = np.array([[0, 0], [0, 20], [20, 0], [20, 20]], dtype=float)


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder(SpikeEncoder(EncoderConfig(**SMALL)))


def unit_templates(units=8):
    """Troughs of 10 noise units whose widths, tails and places differ, (units, 110, 4)."""
    rng = np.random.default_rng(0)
    time = (np.arange(110) - 45) / 30.0
    width = rng.uniform(0.1, 0.25, units)[:, None]
    late = rng.uniform(0.1, 0.5, (units, 1))
    shapes = -np.exp(-((time / width) ** 2)) + late * np.exp(-(((time - 0.6) / 0.4) ** 2))
    return 10 * shapes[:, :, None] * rng.uniform(0.2, 1.0, (units, 1, 4))


def spikes_of(templates, each=40, seed=1):
    labels = np.repeat(np.arange(len(templates)), each)
    noise = np.random.default_rng(seed).standard_normal((len(labels), *templates.shape[1:]))
    return (templates[labels] + noise).astype(np.float32), labels


def test_adaptation_is_kept_only_if_better(encoder):
    templates, locations = unit_templates(), LOCATIONS
    before = {key: value.clone() for key, value in encoder.network.state_dict().items()}
    steps = AdaptationConfig(steps=30, head_steps=10, batch_size=32, episodes=2, learning_rate=2e-3, margin=-1.0)
    kept = adapt(encoder, templates, locations, 30_000.0, 45, steps)
    assert kept.kept and kept.encoder is not encoder
    assert any(not torch.equal(value, kept.encoder.network.state_dict()[key]) for key, value in before.items())
    refused = adapt(encoder, templates, locations, 30_000.0, 45, replace(steps, margin=2.0))
    assert not refused.kept and refused.encoder is encoder and refused.after == kept.after
    for key, value in before.items():
        assert torch.equal(value, encoder.network.state_dict()[key])
    too_few = adapt(encoder, 0.1 * templates, locations, 30_000.0, 45, steps)
    assert too_few.encoder is encoder and not too_few.kept
    with pytest.raises(ValueError, match="do not fit"):
        adapt(encoder, templates, locations[:3], 30_000.0, 45, steps)


def test_command_line_adapts_to_a_recording(tetrode_recording, tmp_path, capsys):
    recording, _ = tetrode_recording
    recording.save(folder=tmp_path / "recording", verbose=False)
    command = ["train", "--recording", str(tmp_path / "recording"), "--output", str(tmp_path), "--steps", "3"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "ARI on the recording's" in said
    assert ("keep using 'default'" in said) != (tmp_path / "adapted.safetensors").is_file()
    assert main(["train", "--output", str(tmp_path)]) == 2


def test_a_third_of_the_units_is_kept_for_the_check():
    units = np.arange(3, 18)
    learned, asked = adaptation._split(units, seed=0)
    assert len(asked) == 5 and set(learned) | set(asked) == set(units) and not set(learned) & set(asked)
    few = np.arange(11)
    assert all(np.array_equal(part, few) for part in adaptation._split(few, seed=0))


def test_mean_waveforms_gather_each_spikes_own_channels():
    templates = unit_templates(3)
    waveforms, labels = spikes_of(templates, each=60)
    means, sites = mean_waveforms(waveforms, LOCATIONS, labels)
    order = [int(np.flatnonzero((sites == place).all(axis=1))[0]) for place in LOCATIONS]
    np.testing.assert_allclose(means[:, :, order], templates, atol=5 / np.sqrt(60))
    # every spike on three channels of its own choice, one of them missing now and then, and a few spikes of no cluster
    rng = np.random.default_rng(2)
    own = np.array([rng.permutation(4)[:3] for _ in labels])
    part = np.take_along_axis(waveforms, own[:, None], axis=2)
    part[::7, :, 2] = np.nan
    labels = np.where(np.arange(len(labels)) % 10 == 9, -1, labels)
    means, again = mean_waveforms(part, LOCATIONS[own], labels)
    np.testing.assert_array_equal(again, sites)
    np.testing.assert_allclose(means[:, :, order], templates, atol=5.5 / np.sqrt(30))
    assert len(mean_waveforms(part, LOCATIONS[own], np.where(labels == 1, -1, labels))[0]) == 2
    assert mean_waveforms(part, LOCATIONS[own], np.full(len(labels), -1))[0].shape == (0, 110, 4)


def test_adapting_to_unlabelled_spikes(encoder, monkeypatch):
    templates = unit_templates()
    waveforms, labels = spikes_of(templates)
    seen = []

    def checked(given, means, sites, rate, nbefore, config):
        seen.append((means, config))
        return adapt(given, means, sites, rate, nbefore, replace(config, batch_size=16, episodes=2, margin=-1.0))

    monkeypatch.setattr(adaptation, "adapt", checked)
    before = {key: value.clone() for key, value in encoder.network.state_dict().items()}
    adapted = adapt_encoder(encoder, waveforms, LOCATIONS, 30_000.0, 45, steps=6, seed=3, labels=labels)
    assert seen[-1][1].steps == 6 and len(seen[-1][0]) == 8
    assert adapted is not encoder and adapted.embed(waveforms[:3], LOCATIONS, 30_000.0, 45).shape == (3, 32)
    again = adapt_encoder(encoder, waveforms, LOCATIONS, 30_000.0, 45, steps=6, seed=3, labels=labels)
    for key, value in adapted.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key
        assert torch.equal(before[key], encoder.network.state_dict()[key]), key
    # the check refuses what is no better
    monkeypatch.setattr(
        adaptation, "adapt", lambda *arguments: adapt(*arguments[:5], replace(arguments[5], margin=2.0))
    )
    assert adapt_encoder(encoder, waveforms, LOCATIONS, 30_000.0, 45, steps=2, labels=labels) is encoder


def test_too_little_to_adapt_to_leaves_the_encoder(encoder):
    waveforms, labels = spikes_of(unit_templates(), each=20)
    arguments = (LOCATIONS, 30_000.0, 45)
    assert adapt_encoder(encoder, waveforms[:0], *arguments) is encoder
    assert adapt_encoder(encoder, waveforms[:100], *arguments) is encoder
    assert adapt_encoder(encoder, waveforms, *arguments, labels=labels) is encoder  # 20 spikes a unit
    assert adapt_encoder(encoder, waveforms, *arguments, steps=0) is encoder
    for steps in (-1, 100_000):
        with pytest.raises(ValueError, match="steps must be 0 to"):
            adapt_encoder(encoder, waveforms, *arguments, steps=steps)
    with pytest.raises(ValueError, match="do not fit"):
        adapt_encoder(encoder, waveforms, LOCATIONS[:3], 30_000.0, 45, labels=labels)
    with pytest.raises(ValueError, match="labels"):
        adapt_encoder(encoder, waveforms, *arguments, labels=labels[:5])
