"""Libraries of free neurons: generated ones, mouse models, and what a training says of its data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_encoder_training import settings, write_library

from spikeinterface_huidurep.commands import templates as templates_command
from spikeinterface_huidurep.commands import train as train_command
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.library import load_library
from spikeinterface_huidurep.encoder.network import EncoderConfig
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.training import Trainer
from spikeinterface_huidurep.encoder.weights import read_network
from spikeinterface_huidurep.simulation import build_generated_library, cells, mouse_cells, mouse_worker

TINY = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 16}


def run(module, *words):
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    arguments = parser.parse_args([str(word) for word in words])
    return arguments.run(arguments)


# -- generated libraries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["random", "spikeinterface"])
def test_a_library_says_its_source_and_licence(tmp_path, source, capsys):
    path = tmp_path / "a.npz"
    assert run(templates_command, "templates", path, "--source", source, "--probe", "diamond", "--units", 8) == 0
    assert capsys.readouterr().out.strip() == str(path)
    library = load_library(path)
    assert library["licence"] == "MIT"
    assert library["source"] == {
        "random": "random neurons of spikeinterface-huidurep",
        "spikeinterface": "SpikeInterface's template generator",
    }[source]  # fmt: skip
    templates = library["templates"]
    assert templates.shape[:2] == (8, 4) and library["location"].shape == (8, 3)
    depth = -templates.min(axis=(1, 2))
    assert np.all(depth > 29.9) and np.all(depth >= templates.max(axis=(1, 2)))
    trough = templates.min(axis=1).argmin(axis=1)
    assert np.all(np.abs(trough - library["nbefore"]) < 0.5e-3 * library["sampling_frequency"])
    assert TemplateBank.from_library(path, EncoderConfig()).licence == "MIT"


def test_the_seed_makes_a_library(tmp_path):
    made = [build_generated_library(tmp_path / f"{i}.npz", "diamond", units=5, seed=s) for i, s in enumerate((3, 3, 4))]
    first, second, other = (load_library(path)["templates"] for path in made)
    np.testing.assert_array_equal(first, second)
    assert first.shape != other.shape or not np.allclose(first, other)


def test_drifting_neurons_are_the_still_ones_seen_by_moved_contacts(tmp_path):
    path = build_generated_library(tmp_path / "a.npz", "linear-32", drift="shank", units=6, seed=2)
    library = load_library(path)
    assert library["templates"].shape[:3] == (6, 31, 32)
    steps = library["displacement"]
    assert steps[0] == -50 and steps[-1] == 50
    np.testing.assert_allclose(np.diff(library["location"][:, :, 2], axis=1), 100 / 30, rtol=1e-4)
    # contacts are 20 um apart and six steps are 20 um: what one contact sees, the next sees six steps later
    templates = library["templates"]
    np.testing.assert_allclose(templates[:, :-6, :-1], templates[:, 6:, 1:], atol=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "random", "drift": "free"}, "drift none or shank, not 'free'"),
        ({"source": "random", "kinds": ("granule",)}, "kinds of random neurons are pyramidal.*not granule"),
        ({"source": "spikeinterface", "kinds": ("axon",)}, "Only random neurons have kinds"),
        ({"source": "mine"}, "source must be one of random, spikeinterface, not 'mine'"),
        ({"units": 0}, "at least one unit"),
    ],
)
def test_bad_requests_write_nothing(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        build_generated_library(tmp_path / "a.npz", "diamond", **options)
    assert not list(tmp_path.iterdir())


# -- mouse models -------------------------------------------------------------------------------------------------


def test_sources_take_their_own_cell_models_only():
    assert templates_command._cell_models("bmtk", None) == list(cells.MOUSE_CELL_MODELS)
    assert templates_command._cell_models("bbp", None) == list(cells.EVALUATION_CELL_MODELS)
    with pytest.raises(ValueError, match="source bmtk has no cell model 'L5_BP_bAC217_1'; it has V1_Scnn1a_Scnn1a"):
        templates_command._cell_models("bmtk", ["L5_BP_bAC217_1"])


def test_cell_models_state_their_terms():
    def of(name):
        return cells.CellSpikes(name, *[np.zeros(0)] * 3, 32000.0, 96)

    mouse = [of(name) for name in cells.MOUSE_CELL_MODELS]
    assert {cell.licence for cell in mouse} == {"BSD-3-Clause"} and all("bmtk" in cell.source for cell in mouse)
    assert {cell.cell_type for cell in mouse if cell.cell_class == "E"} == set(mouse_cells.EXCITATORY)
    assert {of(name).licence for name in cells.BLUE_BRAIN_CELL_MODELS} == {"CC BY-NC-SA 4.0"}


def test_peaks_are_those_of_spikes_inside_the_window():
    time = np.arange(4000)
    potential = -70 + sum(100 * np.exp(-0.5 * ((time - peak) / 8) ** 2) for peak in (50, 1000, 2000, 3990))
    assert mouse_worker.find_peaks(potential, 96, 192).tolist() == [1000, 2000]
    assert mouse_worker.find_peaks(np.full(500, -70.0), 96, 192).size == 0


needs_free_extra = pytest.mark.skipif(
    bool(cells.missing_packages(cells._MOUSE_PACKAGES)), reason="the extra 'simulate-free' is not installed"
)


@needs_free_extra
@pytest.mark.slow
def test_a_mouse_neuron_is_simulated(tmp_path):
    cell = cells.load_cell("V1_Pvalb2_Pvalb2", tmp_path)
    assert cell.currents.shape[1:] == (cell.segment_diameters.size, 288) and len(cell.currents) >= 3
    largest = np.abs(cell.currents).max()
    assert np.abs(cell.currents.sum(axis=1)).max() < 1e-4 * largest  # nothing is lost, the electrode's is taken off
    assert np.abs(cell.segment_ends[:, 0].mean(axis=1)).max() < 10  # the soma is at the origin
    assert 90 < np.abs(cell.currents[0, 0]).argmax() < 100


def test_the_free_extra_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "_MOUSE_PACKAGES", ("no_such_package_1",))
    with pytest.raises(ModuleNotFoundError, match=r"needs no_such_package_1.*\[simulate-free\]"):
        cells.load_cell("V1_Rorb_Rorb", tmp_path)


# -- training -----------------------------------------------------------------------------------------------------


def free_settings(**changes):
    return settings(
        **{
            "libraries": {},
            "layouts": ["diamond"],
            "random_neurons": 2.0,
            "random_units": 16,
            "licences": ["MIT"],
            "steps": 2,
            **changes,
        }
    )


def test_neurons_are_drawn_around_layouts_without_any_library():
    sampler = build_sampler(free_settings(generated=1.0, generated_units=4))
    sizes = [(source.bank.name, len(source.bank), round(source.weight, 3)) for source in sampler.sources]
    assert sizes == [
        ("generated", 4, 1.0), ("random neurons", 16, 1.4), ("random neurons", 2, 0.3), ("random neurons", 2, 0.3)
    ]  # fmt: skip
    assert all(source.bank.licence == "MIT" for source in sampler.sources)
    with pytest.raises(FileNotFoundError, match="holds none of the libraries"):
        build_sampler(free_settings(layouts=[]))


def test_the_views_of_a_pair_are_of_different_forms():
    quiet = {
        name: 0.0
        for name in (
            "noise",
            "collision",
            "amplitude_jitter",
            "burst",
            "missing",
            "drift_um",
            "gain",
            "stretch",
            "shift",
        )
    }
    quiet["shift"] = 0

    def difference(**changes):
        views = {**quiet, "symmetry": False, **changes}
        first, second, _, _ = build_sampler(free_settings(views=views, other_bands=False)).draw(16)
        return (first.clean - second.clean).abs().amax(dim=(1, 2)) / first.clean.abs().amax(dim=(1, 2))

    same, changed = difference(change=0.0), difference(change=1.0)
    assert (changed > 0.05).float().mean() > (same > 0.05).float().mean() + 0.3
    electrode = difference(change=0.0, electrode=0.3)
    assert electrode.median() > same.median() + 0.05


def test_weights_say_what_they_were_trained_on_and_unfree_ones_are_refused(tmp_path):
    run_ = Trainer(free_settings(), build_sampler(free_settings()), tmp_path / "run")
    run_.run(progress=False)
    _, facts, _ = read_network(run_.export(tmp_path / "free.safetensors"))
    assert facts["trained_on"] == {"random neurons": "MIT"}

    write_library(tmp_path / "still.npz")
    unfree = settings(libraries={"still": 1}, steps=1, licences=[])
    other = Trainer(unfree, build_sampler(unfree, tmp_path), tmp_path / "other")
    other.run(progress=False)
    _, facts, _ = read_network(other.export(tmp_path / "unfree.safetensors"))
    assert facts["trained_on"] == {"still": "not stated"}
    with pytest.raises(ValueError, match="licence of .*still.npz is not stated, and the settings allow MIT only"):
        build_sampler(settings(libraries={"still": 1}, licences=["MIT"]), tmp_path)

    again = Trainer(free_settings(), build_sampler(free_settings()), tmp_path / "again")
    with pytest.raises(ValueError, match="licence of still is not stated"):
        again.begin_with_network(other.checkpoint_path)
    again.begin_with_network(run_.checkpoint_path)
    free = Trainer(free_settings(licences=[]), build_sampler(free_settings()), tmp_path / "free")
    free.begin_with_network(other.checkpoint_path)
    assert free.trained_on == {"still": "not stated", "random neurons": "MIT"}


def test_one_settings_file_and_one_command(tmp_path, capsys):
    content = {
        "layouts": ["diamond"], "random_neurons": 1.0, "random_units": 12, "generated": 0.0, "batch_size": 8,
        "encoder": TINY, "licences": ["MIT"], "libraries": {},
    }  # fmt: skip
    config, weights = tmp_path / "free.json", tmp_path / "free.safetensors"
    config.write_text(json.dumps(content))
    words = ["train", "--config", config, "--output", tmp_path / "run", "--export", weights, "--no-progress"]
    assert run(train_command, *words, "--steps", 2, "--threads", torch.get_num_threads()) == 0
    assert "2 of 2 steps" in capsys.readouterr().out and weights.is_file()
    started = ["--output", tmp_path / "next", "--from-weights", weights]
    assert run(train_command, "train", "--config", config, "--no-progress", "--steps", 1, *started) == 0
    with pytest.raises(ValueError, match="licence of bmtk-two-column-64 is BSD-3-Clause.* allow MIT only"):
        started = ["--output", tmp_path / "third", "--from-weights", "default"]
        run(train_command, "train", "--config", config, "--no-progress", "--steps", 1, *started)


def test_nothing_to_train_on_says_what_there_could_be(tmp_path):
    with pytest.raises(ValueError, match="nothing to train on.*--libraries.*--config free"):
        run(train_command, "train", "--output", tmp_path)


def test_the_shipped_settings_are_free(tmp_path):
    yaml = pytest.importorskip("yaml")
    from spikeinterface_huidurep.encoder.training_config import TrainingConfig
    from spikeinterface_huidurep.encoder.weights import find_weights

    path = find_weights("default").parent / "free.yaml"
    assert train_command._shipped(Path("free")) == path
    assert train_command._shipped(tmp_path / "free") == tmp_path / "free"
    config = TrainingConfig.from_dict(yaml.safe_load(path.read_text()))
    assert config.generates and set(config.licences) == {"MIT", "BSD-3-Clause"} and config.views.change > 0
    assert all(name.startswith("bmtk-") for name in config.libraries)
