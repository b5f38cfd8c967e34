"""The evaluation: its scores mean what they say, and its episodes are what a detector would cut out."""

import json

import numpy as np
import pytest
import torch
from test_encoder_training import SMALL, write_library

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.encoder import save_encoder
from spikeinterface_huidurep.encoder.augmentation import MARGIN
from spikeinterface_huidurep.encoder.data import NoisePool, TemplateBank
from spikeinterface_huidurep.encoder.episodes import EpisodeConfig, make_episode
from spikeinterface_huidurep.encoder.evaluation import denoising_error, neighbourhoods, score, svd_features
from spikeinterface_huidurep.encoder.inference import Encoder
from spikeinterface_huidurep.encoder.network import EncoderConfig, SpikeEncoder
from spikeinterface_huidurep.encoder.template_filter import BandPass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation")
    write_library(path / "neuropixels2-64.npz")
    write_library(path / "neuropixels2-64_zdrift.npz", steps=9)
    return path


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder(SpikeEncoder(EncoderConfig(**SMALL)))


def episode(folder, config, seed=0):
    bank = TemplateBank.from_library(folder / f"{config.library}.npz", EncoderConfig())
    generator = torch.Generator().manual_seed(seed)
    noise = NoisePool(BandPass(), EncoderConfig(), generator, samples=bank.samples + 2 * MARGIN, plain=config.plain)
    return make_episode(bank, noise, config, generator)


def test_scores_of_perfect_and_of_empty_features():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 80)
    perfect = 20 * np.eye(32)[labels] + rng.standard_normal((320, 32))
    best = score(perfect, labels)
    assert best.ari == pytest.approx(1) and best.ari_principal == pytest.approx(1) and best.purity == pytest.approx(1)
    assert best.ari_hdbscan > 0.95
    worst = score(rng.standard_normal((320, 32)), labels)
    assert abs(worst.ari) < 0.1 and abs(worst.ari_principal) < 0.1 and worst.purity < 0.45


@pytest.mark.parametrize("drift", [0.0, 15.0])
def test_episode_is_cut_at_the_detected_trough(folder, drift):
    library = "neuropixels2-64_zdrift" if drift else "neuropixels2-64"
    config = EpisodeConfig(library, snr=(8.0, 12.0), spikes=40, drift_um=drift, collision=0.0)
    spikes = episode(folder, config)
    assert spikes.waveforms.shape == spikes.clean.shape and len(spikes.labels) == 240
    rows = np.arange(240)
    at = spikes.waveforms[rows, :, spikes.detected]
    near = at[:, spikes.nbefore - 3 : spikes.nbefore + 4]
    assert (near.argmin(axis=1) == 3).all()
    depth = -spikes.clean[rows, spikes.nbefore, spikes.detected]
    assert 4 < np.median(depth) < 13
    noise = (spikes.waveforms - spikes.clean).std()
    assert 0.85 < noise < 1.3


def test_second_channel_is_used_for_every_other_spike(folder):
    spikes = episode(folder, EpisodeConfig(snr=(8.0, 12.0), spikes=40, second_channel=True))
    for unit in range(6):
        detected = spikes.detected[spikes.labels == unit]
        assert len(set(detected[::2])) == 1 and len(set(detected[1::2])) == 1 and detected[0] != detected[1]


def test_plain_noise_is_the_same_in_every_episode_and_spikes_are_found_near_their_trough(folder):
    config = EpisodeConfig(snr=(8.0, 12.0), spikes=60, plain=True)
    for seed in range(3):
        spikes = episode(folder, config, seed)
        noise = spikes.waveforms - spikes.clean
        assert noise.std() == pytest.approx(1.0, abs=0.03)
        together = np.corrcoef(noise.reshape(-1, noise.shape[2]).T)
        locations = spikes.channel_locations
        expected = 0.7 * np.exp(-np.linalg.norm(locations[:, None] - locations[None], axis=2) / 25.0)
        apart = ~np.eye(len(locations), dtype=bool)
        assert np.abs(together - expected)[apart].max() < 0.05
        for unit in range(6):
            clean = spikes.clean[spikes.labels == unit]
            channel = clean.min(axis=1).mean(axis=0).argmin()
            assert (spikes.detected[spikes.labels == unit] == channel).all()
            late = clean[:, :, channel].argmin(axis=1) - spikes.nbefore
            assert np.abs(late).max() <= 3 and len(set(late.tolist())) >= 4


def test_same_seed_same_episode(folder):
    first, second = (episode(folder, EpisodeConfig(spikes=20), seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.waveforms, second.waveforms)


def test_neighbourhoods_and_baseline(folder, encoder):
    spikes = episode(folder, EpisodeConfig(snr=(8.0, 10.0), spikes=60))
    near, locations = neighbourhoods(spikes, 12)
    rows = np.arange(len(near))
    np.testing.assert_array_equal(near[:, :, 0], spikes.waveforms[rows, :, spikes.detected])
    np.testing.assert_array_equal(locations[:, 0], spikes.channel_locations[spikes.detected])
    assert score(svd_features(spikes), spikes.labels, hdbscan=False).ari > 0.2
    denoised, noisy = denoising_error(encoder, spikes)
    assert 0.8 < noisy < 1.6 and denoised > 0


def test_command_line_evaluates(folder, encoder, tmp_path, capsys):
    weights = save_encoder(tmp_path / "small.safetensors", encoder.network)
    command = ["evaluate", "--libraries", str(folder), "--weights", str(weights), "--episodes", "1"]
    command += ["--output", str(tmp_path / "table.md"), "--only", "A", "--rows"]
    assert main([*command, "SNR 4-10"]) == 0
    assert "per-channel SVD" in capsys.readouterr().out
    content = json.loads((tmp_path / "table.json").read_text())
    methods = {row["method"] for row in content["rows"]}
    assert methods >= {"encoder", "encoder, shape alone", "as the sorter clusters", "PCA"}
    assert content["denoiser"]["snr"] == 5.0 and content["only"] == ["A"]
    assert (tmp_path / "table.md").read_text().count("\n|") >= 6
    assert main([*command, "tetrode"]) == 2  # its library is not there
    assert main([*command, "no such row"]) == 2
