"""Weights files: round trip, and files that are not weights."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spikeinterface_huidurep.encoder import load_encoder, save_encoder
from spikeinterface_huidurep.encoder.network import EncoderConfig, SpikeEncoder
from spikeinterface_huidurep.encoder.weights import FORMAT, available_weights
from spikeinterface_huidurep.stages.peaks.embedding import load_for_sorting

SMALL = EncoderConfig(width=16, layers=1, heads=2, feed_forward=16)


@pytest.fixture
def saved(tmp_path):
    network = SpikeEncoder(SMALL)
    return network, save_encoder(tmp_path / "small.safetensors", network, {"steps": 3})


def test_round_trip(saved):
    network, path = saved
    encoder = load_encoder(path, device="cpu")
    assert encoder.config == SMALL and encoder.facts == {"steps": 3}
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, encoder.network.state_dict()[key])
    assert not path.with_suffix(".partial").exists()


def test_axes_beside_the_place_come_along(tmp_path):
    axes = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0))).Q[:, :30]
    path = save_encoder(tmp_path / "small.safetensors", SpikeEncoder(SMALL), beside_place=axes)
    torch.testing.assert_close(load_encoder(path, "cpu").beside_place, axes)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (torch.eye(32), "not a float32 matrix of 32 x 30"),
        (torch.eye(32)[:, :30].double(), "not a float32 matrix"),
        (2 * torch.eye(32)[:, :30], "not orthonormal"),
        (torch.full((32, 30), torch.nan), "not orthonormal"),
    ],
)
def test_axes_that_are_none(tmp_path, axes, message):
    path = save_encoder(tmp_path / "small.safetensors", SpikeEncoder(SMALL), beside_place=axes)
    with pytest.raises(ValueError, match=message):
        load_encoder(path, "cpu")


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such"):
        load_encoder("no_such")
    with pytest.raises(FileNotFoundError):
        load_encoder(tmp_path)


def test_foreign_files(tmp_path):
    pickled = tmp_path / "pickled.pt"
    torch.save({"a": torch.zeros(2)}, pickled)
    text = tmp_path / "text.safetensors"
    text.write_text("these are no weights")
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    for path in (pickled, text, empty):
        with pytest.raises(ValueError, match="not an encoder weights file"):
            load_encoder(path)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    with pytest.raises(ValueError, match="not encoder weights of this package"):
        load_encoder(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": "2"}, "format version 2"),
        ({"format_version": "new"}, "format version"),
        ({"config": "{"}, "do not fit"),
        ({"config": json.dumps({"width": 32})}, "do not fit"),
        ({"config": json.dumps({"colour": 1})}, "do not fit"),
    ],
)
def test_changed_metadata(saved, tmp_path, change, message):
    network, _ = saved
    metadata = {"format": FORMAT, "format_version": "1", "config": json.dumps({"width": 16}), "training": "{}"}
    path = tmp_path / "changed.safetensors"
    save_file(dict(network.state_dict()), path, metadata=metadata | change)
    with pytest.raises(ValueError, match=message):
        load_encoder(path)


@pytest.mark.parametrize(
    ("setting", "other"),
    [("architecture", "samples"), ("projector", "none"), ("location_head", False), ("location_mean", False),
     ("footprints", False), ("aligned", False)],
)  # fmt: skip
def test_settings_that_are_none_any_more(saved, tmp_path, setting, other):
    """A file that names one with the value that it has now is read as ever; with another value it is refused."""
    network, _ = saved
    now = "channels" if setting == "architecture" else "mlp" if setting == "projector" else True
    path = tmp_path / "earlier.safetensors"
    for value in (now, other):
        config = json.dumps({"width": 16, "layers": 1, "heads": 2, "feed_forward": 16, setting: value})
        metadata = {"format": FORMAT, "format_version": "1", "config": config, "training": "{}"}
        save_file(dict(network.state_dict()), path, metadata=metadata)
        if value == now:
            assert load_encoder(path, "cpu").config == SMALL
        else:
            with pytest.raises(ValueError, match=f"the setting {setting} can only be {now!r} now, not {other!r}"):
                load_encoder(path, "cpu")


def test_unknown_device(saved):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ValueError, match="no CUDA"):
        load_encoder(saved[1], device="cuda")


def test_shipped_weights_are_small_and_work():
    """They are found, documented, at most 10 MB, and their denoiser removes noise from a spike."""
    path = available_weights()["default"]
    assert path.stat().st_size < 10e6
    encoder = load_encoder(device="cpu")
    assert encoder.dimensions == 32 and encoder.facts["steps"] > 0 and "date" in encoder.facts
    noise = np.random.default_rng(0).standard_normal((50, 70, 12)).astype(np.float32)
    locations = np.stack([16 * (np.arange(12) % 2), 20 * (np.arange(12) // 2)], axis=1)
    time = (np.arange(70) - 25) / 30.0
    clean = -6 * np.exp(-((time / 0.15) ** 2)) + 2 * np.exp(-(((time - 0.5) / 0.3) ** 2))
    footprint = np.exp(-np.linalg.norm(locations - locations[5], axis=1) / 25)
    spikes = (clean[:, None] * footprint)[None].astype(np.float32)
    denoised = encoder.denoise(spikes + noise, locations, 30_000.0, 25)[:, 3:67]
    assert np.square(denoised - spikes[:, 3:67]).mean() < 0.5 * np.square(noise[:, 3:67]).mean()


def test_how_many_channels_it_looks_at():
    """Those that are nearest: of five, what lies beyond them changes nothing."""
    rng = np.random.default_rng(0)
    waveforms = rng.standard_normal((20, 70, 9)).astype(np.float32)
    waveforms[:, 25, 4] -= 30
    locations = np.stack([np.zeros(9), 40.0 * np.arange(9)], axis=1)
    near, far = waveforms.copy(), waveforms.copy()
    far[:, :, [0, 8]] = 0
    few, many = load_encoder(device="cpu", channels=5), load_encoder(device="cpu")
    assert many.config.channels > 9 and few.config.channels == 5
    np.testing.assert_array_equal(few.embed(near, locations, 30_000.0, 25), few.embed(far, locations, 30_000.0, 25))
    assert np.abs(many.embed(near, locations, 30_000.0, 25) - many.embed(far, locations, 30_000.0, 25)).max() > 0.01


@pytest.mark.parametrize("channels", [0, -3, 2.5, "12"])
def test_a_number_of_channels_that_is_none(channels):
    with pytest.raises(ValueError, match="channels must be a whole number"):
        load_encoder(channels=channels)


@pytest.mark.parametrize(("own", "looked_at"), [({"channels": 8}, 8), ({"channels": 30}, 12)])
def test_sorts_look_at_twelve_channels_or_at_what_an_encoder_was_trained_with(tmp_path, own, looked_at):
    network = SpikeEncoder(EncoderConfig(width=16, layers=1, heads=2, feed_forward=16, **own))
    path = save_encoder(tmp_path / "own.safetensors", network)
    assert load_for_sorting(str(path), "cpu").config.channels == looked_at
