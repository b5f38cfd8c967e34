"""Runs of the training: resumed, begun with another run's weights, on a GPU, from the command line."""

import json

import pytest
import torch
from test_encoder_training import SMALL, settings

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.training import Trainer, read_checkpoint

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_a_resumed_run_is_the_uninterrupted_one(libraries, tmp_path, device):
    config = settings()

    def trainer(folder):
        return Trainer(config, build_sampler(config, libraries, device), tmp_path / folder, device)

    whole = trainer("whole")
    whole.run(log_every=4, progress=False)
    first = trainer("parts")
    for _ in range(5):
        first.train_step()
    first.save_checkpoint()
    second = trainer("parts")
    second.resume()
    second.run(progress=False)
    assert second.step == 12
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[key]), key
    assert (tmp_path / "whole" / "losses.png").is_file()
    assert len((tmp_path / "whole" / "log.csv").read_text().splitlines()) == 4


def test_a_checkpoint_of_before_views_were_made_on_the_device_is_resumed(libraries, tmp_path):
    config = settings()
    run = Trainer(config, build_sampler(config, libraries), tmp_path)
    run.train_step()
    run.save_checkpoint()
    content = read_checkpoint(run.checkpoint_path)
    (content["generator"],) = content["generator"]  # it was one state, of the CPU
    torch.save(content, run.checkpoint_path)
    again = Trainer(config, build_sampler(config, libraries), tmp_path)
    again.resume()
    assert again.train_step() == run.train_step()


@NEEDS_GPU
def test_views_made_on_a_gpu_are_like_those_of_the_cpu(libraries):
    config = settings(batch_size=256)
    means = []
    for device in ("cpu", "cuda"):
        sampler = build_sampler(config, libraries, device)
        drawn = [view for _ in range(60) for view in sampler.draw(256)[:2]]
        assert all(view.waveforms.device.type == device for view in drawn)
        numbers = [(v.waveforms.std(), v.clean.std(), v.offset.norm(dim=1).mean(), v.delay.abs().mean()) for v in drawn]
        means.append(torch.tensor(numbers).mean(dim=0))
    torch.testing.assert_close(*means, rtol=0.25, atol=0.0)  # seeds differ by a tenth


def test_training_begins_with_the_network_of_another_run(libraries, tmp_path, capsys):
    """Encoder and heads as they were, at the first step of a new schedule."""
    config = settings()
    other = Trainer(config, build_sampler(config, libraries), tmp_path / "other")
    other.train_step()
    other.save_checkpoint()
    command = ["train", "--libraries", str(libraries), "--output", str(tmp_path / "run"), "--no-progress"]
    command += ["--from-weights", str(other.checkpoint_path), "--steps", "0", "--set", 'libraries={"still": 1}']
    command += [f"encoder.{name}={value}" for name, value in SMALL.items()]
    assert main(command) == 0
    begun = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert begun["step"] == 0 and not begun["optimizer"]["state"]
    for key, value in other.network.state_dict().items():
        assert torch.equal(value, begun["network"][key]), key
    (tmp_path / "run" / "checkpoint.pt").unlink()
    assert main([*command, "encoder.feed_forward=24"]) == 2
    assert "of another network" in capsys.readouterr().err


def test_training_goes_on_from_weights_of_the_same_network_only(libraries, tmp_path, capsys):
    config = settings()
    old = Trainer(config, build_sampler(config, libraries), tmp_path / "old").export(tmp_path / "old.safetensors")
    run = Trainer(settings(seed=3), build_sampler(config, libraries), tmp_path / "new")
    run.begin_with(load_encoder(old, "cpu").network)
    for key, value in load_encoder(old, "cpu").network.state_dict().items():
        assert torch.equal(run.network.encoder.state_dict()[key], value)
        assert torch.equal(run.network.momentum_encoder.state_dict()[key], value)
    command = ["train", "--libraries", str(libraries), "--output", str(tmp_path / "run"), "--steps", "1"]
    command += ["--no-progress", "--from-weights", str(old), "--set", 'libraries={"still": 1}', "encoder.layers=1"]
    assert main(command) == 2
    assert "of another network" in capsys.readouterr().err


def test_foreign_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save({"a": 1}, tmp_path / "other.pt")
    for name in ("text.pt", "other.pt"):
        with pytest.raises(ValueError, match="not a training checkpoint"):
            read_checkpoint(tmp_path / name)


def test_command_line_trains_and_goes_on(libraries, tmp_path, capsys):
    config = tmp_path / "settings.json"
    config.write_text(json.dumps({"libraries": {"still": 1}, "batch_size": 16, "encoder": SMALL}))
    base = ["train", "--libraries", str(libraries), "--output", str(tmp_path / "run"), "--config", str(config)]
    base += ["--no-progress", "--set", "views.collision=0.1", "other_bands=false"]
    assert main([*base, "--steps", "3"]) == 0
    assert main([*base, "--steps", "5", "--export", str(tmp_path / "out.safetensors")]) == 0
    assert "5 of 5 steps" in capsys.readouterr().out
    encoder = load_encoder(tmp_path / "out.safetensors", device="cpu")
    assert encoder.facts["steps"] == 5 and encoder.facts["config"]["views"]["collision"] == 0.1
    assert main(["train", "--libraries", str(tmp_path), "--output", str(tmp_path / "run2")]) == 2
