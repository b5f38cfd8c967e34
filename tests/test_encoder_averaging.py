"""The mean of several encoders."""

import numpy as np
import pytest
import torch
from test_encoder_training import SMALL, settings

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.encoder import load_encoder, save_encoder
from spikeinterface_huidurep.encoder.averaging import mean_encoder
from spikeinterface_huidurep.encoder.inference import Encoder
from spikeinterface_huidurep.encoder.network import EncoderConfig, SpikeEncoder


def build(seed, **changes):
    """An encoder with random weights, also where the first ones are zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = SpikeEncoder(EncoderConfig(**{**SMALL, **changes}))
        for parameter in encoder.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return encoder


def rotation(seed):
    """Random orthonormal axes of the representation."""
    return torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(seed))).Q


def embedded(encoder):
    """Vectors of eight spikes."""
    waveforms = np.random.default_rng(0).standard_normal((8, 70, 4)).astype(np.float32)
    locations = np.array([[0, 0], [0, 20], [20, 0], [20, 20]], dtype=float)
    return Encoder(encoder).embed(waveforms, locations, 30_000.0, 25, place=False)


def test_the_mean_of_an_encoder_in_several_coordinates_is_that_encoder():
    """Exported encoders have axes of their own, which have no mean before they are turned to the same ones."""
    first = build(1)
    others = [build(1) for _ in range(2)]
    for seed, other in enumerate(others):
        other.turn(torch.zeros(32), rotation(seed))
        assert np.abs(embedded(other) - embedded(first)).max() > 0.1
    np.testing.assert_allclose(embedded(mean_encoder([first, *others])), embedded(first), atol=1e-4)


def test_weights_lie_in_the_middle_and_the_encoders_stay_as_they_are():
    encoders = [build(seed) for seed in (1, 2, 3)]
    before = [{key: value.clone() for key, value in encoder.state_dict().items()} for encoder in encoders]
    mean = mean_encoder(encoders).state_dict()
    for key in ("waveform.0.weight", "blocks.0.qkv.bias", "decode.weight", "spike_token"):
        expected = (before[0][key] + before[1][key] + before[2][key]) / 3
        torch.testing.assert_close(mean[key], expected, msg=key)
    for encoder, weights in zip(encoders, before, strict=True):
        assert all(torch.equal(value, weights[key]) for key, value in encoder.state_dict().items())


def test_encoders_without_a_mean():
    with pytest.raises(ValueError, match="at least one"):
        mean_encoder([])
    with pytest.raises(ValueError, match="one configuration"):
        mean_encoder([build(1), build(1, feed_forward=24)])


def test_training_begins_with_the_mean_and_can_export_it(libraries, tmp_path, capsys):
    config = settings()
    encoders = [build(seed) for seed in (1, 2)]
    files = [str(save_encoder(tmp_path / f"{i}.safetensors", encoder)) for i, encoder in enumerate(encoders)]
    out = tmp_path / "mean.safetensors"
    command = ["train", "--libraries", str(libraries), "--output", str(tmp_path / "run"), "--no-progress"]
    command += ["--steps", "0", "--from-weights", *files, "--export", str(out), "--set", 'libraries={"still": 1}']
    settings_of_network = [f"encoder.{name}={value}" for name, value in SMALL.items()]
    assert config.encoder == encoders[0].config
    assert main([*command, *settings_of_network]) == 0
    mean, exported = (one.decode.weight for one in (mean_encoder(encoders), load_encoder(out, "cpu").network))
    torch.testing.assert_close(exported, mean)
    files[1] = str(save_encoder(tmp_path / "wide.safetensors", build(1, feed_forward=24)))
    command[command.index("--output") + 1] = str(tmp_path / "again")
    command[command.index("--from-weights") + 2] = files[1]
    assert main([*command, *settings_of_network]) == 2
    assert "one configuration" in capsys.readouterr().err
