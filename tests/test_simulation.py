"""Building template libraries: most of it without NEURON, the simulation itself where the extra is installed."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spikeinterface_huidurep.commands import templates as command
from spikeinterface_huidurep.encoder.library import load_library
from spikeinterface_huidurep.simulation import build, cells, extracellular, library_file, placement, probes

extra_installed = not cells.missing_packages()
needs_extra = pytest.mark.skipif(not extra_installed, reason="the extra 'simulate' is not installed")
needs_lfpykit = pytest.mark.skipif(importlib.util.find_spec("lfpykit") is None, reason="LFPykit is not installed")
data_folder = Path(os.environ.get("HUIDUREP_DATA", "/nonexistent")) / "templates"

SOMA = 0  # index of the sink in the synthetic cell's currents


@pytest.fixture
def cell() -> cells.CellSpikes:
    """A dipole along y: a sink of 5 um at the origin, its source 200 um away; a spike at sample 96 and one of half."""
    starts = np.array([[0.0, -2.5, 0.0], [0.0, 197.5, 0.0]])
    ends = starts + [0.0, 5.0, 0.0]
    time = np.arange(288)
    sink = -np.exp(-0.5 * ((time - 96) / 6) ** 2)
    current = np.stack([sink, -sink]).astype(np.float32)
    return cells.CellSpikes(
        cell_model="L5_NBC_bAC217_1",
        segment_ends=np.stack([starts, ends], axis=2).transpose(1, 0, 2),
        segment_diameters=np.array([2.0, 2.0]),
        currents=np.stack([current, current / 2]) * 4,
        sampling_frequency=cells.SAMPLING_FREQUENCY,
        nbefore=96,
    )


@pytest.fixture
def probe() -> probes.SimulationProbe:
    """Eight contacts, 20 um apart along z, in the y-z plane."""
    positions = np.stack([np.zeros(8), np.zeros(8), 20.0 * np.arange(8)], axis=1)
    points = np.repeat(positions[:, None], probes.CONTACT_POINTS, axis=1)
    return probes.SimulationProbe("line", positions, points, depth_axis=0, depth_sign=1, gain=2.0)


def point_source_templates(cell, spike_index, angles, locations, probe):
    """Stands in for LFPykit where it is missing: the cell's sink alone, as a point in an infinite medium."""
    distance = np.linalg.norm(probe.channel_positions - np.asarray(locations)[:, None], axis=2)
    transfer = 1000 * probe.gain / (4 * np.pi * extracellular.CONDUCTIVITY * distance)
    return (transfer[..., None] * cell.currents[spike_index, SOMA]).astype(np.float32)


class TestCells:
    def test_the_two_groups_do_not_overlap(self):
        assert len(cells.TRAINING_CELL_MODELS) == 9
        assert len(cells.EVALUATION_CELL_MODELS) == 4
        assert not set(cells.TRAINING_CELL_MODELS) & set(cells.EVALUATION_CELL_MODELS)

    def test_unknown_model(self, tmp_path):
        with pytest.raises(ValueError, match="no cell model 'L6_X'.*L5_BTC_bAC217_1"):
            cells.load_cell("L6_X", tmp_path)

    def test_missing_extra_is_named_with_its_remedy(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cells, "_EXTRA_PACKAGES", ("numpy", "no_such_package_1", "no_such_package_2"))
        with pytest.raises(ModuleNotFoundError, match=r"needs no_such_package_1, no_such_package_2.*\[simulate\]"):
            cells.load_cell("L5_BP_bAC217_1", tmp_path)

    def test_cached_cell_needs_no_extra(self, tmp_path, monkeypatch, cell):
        monkeypatch.setattr(cells, "_EXTRA_PACKAGES", ("no_such_package",))
        stored = {name: getattr(cell, name) for name in cell.__dataclass_fields__}
        np.savez(tmp_path / f"{cell.cell_model}_v{cells.CACHE_FORMAT}.npz", **stored)
        loaded = cells.load_cell(cell.cell_model, tmp_path)
        np.testing.assert_array_equal(loaded.currents, cell.currents)
        np.testing.assert_array_equal(loaded.segment_ends, cell.segment_ends)
        assert (loaded.cell_type, loaded.cell_class, loaded.nbefore) == ("NBC", "I", 96)

    def test_pyramidal_cells_are_excitatory(self):
        every = [cells.CellSpikes(name, *[np.zeros(0)] * 3, 32000.0, 96) for name in cells.BLUE_BRAIN_CELL_MODELS]
        excitatory = {cell.cell_type for cell in every if cell.cell_class == "E"}
        assert excitatory == {"STPC", "TTPC1", "TTPC2", "UTPC"}

    def test_compiler_failure_is_an_os_error(self, tmp_path, monkeypatch):
        compiler = tmp_path / "bin" / "nrnivmodl"
        compiler.parent.mkdir()
        compiler.write_text("#!/bin/sh\necho 'cannot translate Ca.mod' >&2\nexit 3\n")
        compiler.chmod(0o755)
        monkeypatch.setattr(cells.sys, "executable", str(compiler.parent / "python"))
        with pytest.raises(OSError, match="C compiler are needed.*cannot translate Ca.mod"):
            cells._compile(tmp_path)


class TestPlacement:
    def test_positions_are_inside_and_fill_the_box(self, probe):
        limits = placement.position_limits(probe, placement.PlacementRules())
        np.testing.assert_allclose(limits, [[10, 80], [-30, 30], [-30, 170]])
        generator = np.random.default_rng(0)
        positions = np.array([placement.draw_position(limits, generator) for _ in range(2000)])
        assert np.all((positions >= limits[:, 0]) & (positions <= limits[:, 1]))
        np.testing.assert_allclose(positions.mean(axis=0), limits.mean(axis=1), atol=6)

    def test_wire_probes_have_the_cells_ahead(self, probe):
        wire = probes.SimulationProbe("wire", probe.channel_positions * 0, probe.contact_points * 0, 2, -1, 1.0)
        np.testing.assert_allclose(placement.position_limits(wire, placement.PlacementRules())[2], [-80, -10])

    @pytest.mark.parametrize("cell_type", ["TTPC1", "STPC", "BP", "MC"])
    def test_oriented_cells_stand_along_the_shank(self, cell_type):
        generator = np.random.default_rng(1)
        angles = np.array([placement.draw_rotation(cell_type, generator) for _ in range(500)])
        apical = Rotation.from_euler("xyz", angles).apply([0.0, 1.0, 0.0])
        tilt = np.rad2deg(np.arccos(apical[:, 2]))
        assert tilt.max() <= 15.0 + 1e-6
        # Uniform on the cap: half of its area is within arccos of the middle cosine, 10.6 degrees.
        assert 0.4 < np.mean(tilt < 10.6) < 0.6
        side = Rotation.from_euler("xyz", angles).apply([1.0, 0.0, 0.0])
        assert np.abs(side.mean(axis=0)).max() < 0.12  # every roll occurs

    @pytest.mark.parametrize("cell_type", ["BTC", "ChC", "DBC", "LBC", "NBC", "NGC", "SBC"])
    def test_other_interneurons_are_turned_at_random(self, cell_type):
        generator = np.random.default_rng(2)
        angles = np.array([placement.draw_rotation(cell_type, generator) for _ in range(2000)])
        apical = Rotation.from_euler("xyz", angles).apply([0.0, 1.0, 0.0])
        np.testing.assert_allclose(apical.mean(axis=0), 0, atol=0.06)
        np.testing.assert_allclose(apical.T @ apical / 2000, np.eye(3) / 3, atol=0.04)

    def test_free_drift_keeps_to_its_rules(self, probe):
        rules = placement.PlacementRules()
        limits = placement.position_limits(probe, rules)
        generator = np.random.default_rng(3)
        start = np.array([40.0, 0.0, 70.0])
        steps = np.array([placement.draw_drift(start, limits, rules, generator) for _ in range(500)]) - start
        assert np.abs(steps[:, :2]).max() <= 10
        assert 30 <= np.abs(steps[:, 2]).min() and np.abs(steps[:, 2]).max() <= 80
        assert 0.4 < np.mean(steps[:, 2] > 0) < 0.6
        np.testing.assert_array_less(np.linalg.norm(steps, axis=1), 100)

    def test_free_drift_that_cannot_fit(self, probe):
        limits = np.array([[10.0, 80.0], [-30.0, 30.0], [-5.0, 5.0]])
        generator = np.random.default_rng(4)
        assert placement.draw_drift(np.array([40.0, 0, 0]), limits, placement.PlacementRules(), generator) is None


class TestProbes:
    def test_points_on_a_disc(self):
        points = probes.points_on_contacts(500, "circle", 7.5, np.random.default_rng(0))
        radius = np.linalg.norm(points, axis=-1)
        assert points.shape == (500, probes.CONTACT_POINTS, 2)
        assert radius.max() <= 7.5
        assert abs(np.mean(radius < 7.5 / np.sqrt(2)) - 0.5) < 0.03  # half of the points on half of the area

    def test_points_on_a_square(self):
        points = probes.points_on_contacts(500, "square", 6.0, np.random.default_rng(0))
        assert np.abs(points).max() <= 6.0
        np.testing.assert_allclose(points.std(axis=(0, 1)), 12 / np.sqrt(12), rtol=0.03)

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match="'rect'"):
            probes.points_on_contacts(1, "rect", 1.0, np.random.default_rng(0))

    def test_missing_probe_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "MEAutility", None)  # what an import finds where it is not installed
        with pytest.raises(ModuleNotFoundError, match=r"MEAutility.*\[simulate\]"):
            probes.load_probe("tetrode", np.random.default_rng(0))

    def test_mea_probes(self):
        pytest.importorskip("MEAutility")
        probe = probes.load_probe("Neuropixels2-64", np.random.default_rng(0))
        assert np.unique(probe.channel_positions[:, 1]).tolist() == [-16, 16]
        assert np.allclose(np.diff(np.unique(probe.channel_positions[:, 2])), 15)
        offsets = probe.contact_points - probe.channel_positions[:, None]
        assert np.abs(offsets[..., 0]).max() == 0 and 5 < np.abs(offsets).max() <= 6
        wire = probes.load_probe("tetrode", np.random.default_rng(0))
        assert (wire.gain, wire.depth_axis, wire.depth_sign) == (1.0, 2, -1)
        with pytest.raises(ValueError, match="no probe 'Neuropixels9'"):
            probes.load_probe("Neuropixels9", np.random.default_rng(0))


class TestExtracellular:
    @needs_lfpykit
    def test_far_field_is_that_of_two_points(self, cell, probe):
        # Turned by 90 degrees about x, the source is 200 um above the sink.
        location = np.array([60.0, 5.0, 30.0])
        template = extracellular.cell_templates(cell, 0, np.array([np.pi / 2, 0, 0]), location[None], probe)[0]
        to_sink = np.linalg.norm(probe.channel_positions - location, axis=1)
        to_source = np.linalg.norm(probe.channel_positions - location - [0, 0, 200], axis=1)
        expected = -2 * 1000 * 4 / (4 * np.pi * 0.3) * (1 / to_sink - 1 / to_source)  # nA / (S/m um) is mV
        np.testing.assert_allclose(template[:, 96], expected, rtol=2e-3)

    @needs_lfpykit
    def test_moving_the_cell_is_moving_the_probe(self, cell, probe):
        angles = np.array([0.3, -0.2, 1.0])
        locations = np.array([[30.0, 0.0, 40.0], [30.0, 0.0, 60.0]])
        first, second = extracellular.cell_templates(cell, 1, angles, locations, probe)
        np.testing.assert_allclose(first[:-1], second[1:], rtol=1e-4)

    def test_detectable(self):
        template = np.zeros((2, 5), dtype=np.float32)
        template[1, 2] = -30.0
        assert extracellular.is_detectable(template, 30.0)
        assert not extracellular.is_detectable(template, 30.1)
        template[0, 3] = 31.0
        assert not extracellular.is_detectable(template, 30.0)

    def test_alignment_follows_the_largest_step_only(self):
        templates = np.zeros((3, 2, 40), dtype=np.float32)
        for step, (trough, depth) in enumerate([(18, -1.0), (22, -5.0), (19, -2.0)]):
            templates[step, 1, trough] = depth
        aligned, shift = extracellular.align(templates, 20, (8, 10))
        assert aligned.shape == (3, 2, 18)
        assert shift == -2
        assert aligned.argmin(axis=2)[:, 1].tolist() == [4, 8, 5]

    def test_alignment_beyond_the_simulation(self):
        templates = np.zeros((1, 1, 40), dtype=np.float32)
        templates[0, 0, 5] = -1.0
        assert extracellular.align(templates, 20, (8, 10)) is None


class TestLibraryFile:
    facts = {
        "cell_model": np.array(["a", "b"]),
        "channel_positions": np.zeros((3, 3), dtype=np.float32),
        "sampling_frequency": np.array(32000.0),
        "nbefore": np.array(20),
        "probe": np.array("line"),
    }

    def test_static_round_trip(self, tmp_path):
        templates = np.random.default_rng(0).normal(0, 100, (2, 3, 50)).astype(np.float32)
        templates[1] *= 50  # beyond what steps of 0.05 uV reach in 16 bits
        path = library_file.write_library(tmp_path / "new" / "still.npz", templates, self.facts)
        library = load_library(path)
        assert np.abs(library["templates"][0] - templates[0]).max() <= 0.026
        assert np.abs(library["templates"][1] - templates[1]).max() <= np.abs(templates[1]).max() / 32767
        assert library["cell_model"].tolist() == ["a", "b"]
        assert library["nbefore"] == 20

    def test_drifting_round_trip(self, tmp_path):
        generator = np.random.default_rng(1)
        time = np.exp(-0.5 * ((np.arange(60) - generator.uniform(20, 40, (2, 5, 1))) / 6) ** 2)
        templates = (generator.normal(0, 30, (2, 7, 3, 5)) @ time[:, None]).astype(np.float32)
        path = library_file.write_library(tmp_path / "moving.npz", templates, self.facts)
        with np.load(path, allow_pickle=False) as stored:
            rank, reported = stored["rank"], stored["pack_error"]
            by_hand = (stored["u"] * stored["u_scale"][:, None, None, None]) @ (stored["v"][:, None] / 32767.0)
        assert rank.max() <= 5
        error = np.abs(load_library(path)["templates"] - templates).max(axis=(1, 2, 3))
        np.testing.assert_allclose(error, reported, atol=1e-3)
        np.testing.assert_allclose(np.abs(by_hand - templates).max(axis=(1, 2, 3)), reported, atol=1e-3)
        assert reported.max() < 0.2

    def test_refusals(self, tmp_path):
        templates = np.zeros((2, 3, 50), dtype=np.float32)
        with pytest.raises(ValueError, match="plain arrays only, but extra holds objects"):
            library_file.write_library(tmp_path / "a.npz", templates, {"extra": np.array([{}], dtype=object)})
        with pytest.raises(ValueError, match=r"dimensions.*\(3, 50\)"):
            library_file.write_library(tmp_path / "a.npz", templates[0], self.facts)
        with pytest.raises(ValueError, match="finite"):
            library_file.write_library(tmp_path / "a.npz", templates + np.nan, self.facts)
        with pytest.raises(ValueError, match="not a.txt"):
            library_file.write_library(tmp_path / "a.txt", templates, self.facts)
        assert not list(tmp_path.iterdir())


class TestBuild:
    @pytest.fixture(autouse=True)
    def without_lfpykit(self, monkeypatch):
        monkeypatch.setattr(build, "cell_templates", point_source_templates)

    @pytest.mark.parametrize(("drift", "steps"), [("none", 1), ("shank", 31), ("free", 31)])
    def test_units_keep_to_the_rules(self, cell, probe, drift, steps):
        rules = placement.PlacementRules()
        units = build.simulate_units(cell, probe, 20, drift, rules, np.random.default_rng(0))
        assert len(units) == 20
        assert {unit.spike_index for unit in units} == {0, 1}
        for unit in units:
            assert unit.templates.shape == (steps, 8, 224)
            assert unit.locations.shape == (steps, 3)
            amplitudes = -unit.templates.min(axis=(1, 2))
            at_rest = {"none": [0], "shank": [15], "free": [0, 30]}[drift]
            assert amplitudes[at_rest].min() >= rules.minimum_amplitude
            assert unit.templates[amplitudes.argmax()].min(axis=0).argmin() == 64
        if drift == "shank":
            np.testing.assert_allclose(np.diff(units[0].locations, axis=0), [[0, 0, 100 / 30]] * 30, atol=1e-4)

    def test_seed_decides_and_numpy_is_left_alone(self, cell, probe):
        rules = placement.PlacementRules()
        np.random.seed(5)  # noqa: NPY002 the global generator is the thing tested
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        first, again, other = (
            build.simulate_units(cell, probe, 5, "none", rules, np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
        locations = [np.concatenate([unit.locations for unit in units]) for units in (first, again, other)]
        np.testing.assert_array_equal(locations[0], locations[1])
        assert np.abs(locations[0] - locations[2]).max() > 1

    def test_too_small_spikes_give_up(self, cell, probe, monkeypatch):
        monkeypatch.setattr(build, "MAX_CANDIDATES_PER_UNIT", 10)
        rules = placement.PlacementRules(minimum_amplitude=1e6)
        with pytest.raises(ValueError, match=r"Only 0 of 2 units of L5_NBC_bAC217_1 reach 1000000.0 uV on line"):
            build.simulate_units(cell, probe, 2, "none", rules, np.random.default_rng(0))

    @pytest.mark.parametrize("drift", ["none", "shank", "free"])
    def test_library_holds_every_fact(self, cell, probe, tmp_path, monkeypatch, drift):
        monkeypatch.setattr(build, "load_cell", lambda name, cache: cell)
        monkeypatch.setattr(build, "load_probe", lambda name, generator: probe)
        path = build.build_library(tmp_path / "a.npz", "line", drift=drift, cell_models=["x", "y"], units_per_model=3)
        library = load_library(path)
        moving = () if drift == "none" else (31,)
        assert library["templates"].shape == (6, *moving, 8, 224)
        assert library["location"].shape == (6, *moving, 3)
        assert (library["nbefore"], library["sampling_frequency"], library["seed"]) == (64, 32000.0, 1)
        troughs = -library["templates"].reshape(6, -1, 8, 224).min(axis=3)
        np.testing.assert_allclose(troughs.max(axis=(1, 2)), library["amplitude"], atol=0.2)
        assert troughs.max(axis=1).argmax(axis=1).tolist() == library["peak_channel"].tolist()
        assert ("displacement" in library) == (drift == "shank")

    def test_wrong_arguments(self, tmp_path):
        with pytest.raises(ValueError, match="drift must be one of none, shank, free, not 'up'"):
            build.build_library(tmp_path / "a.npz", "tetrode", drift="up")
        with pytest.raises(ValueError, match="at least one"):
            build.build_library(tmp_path / "a.npz", "tetrode", units_per_model=0)


class TestCommand:
    @pytest.fixture
    def parser(self):
        parser = argparse.ArgumentParser()
        command.add_parser(parser.add_subparsers())
        return parser

    def test_groups_of_cell_models(self, parser, monkeypatch, capsys, tmp_path):
        asked = {}

        def record(path, probe, **options):
            asked.update(options, probe=probe)
            return path

        monkeypatch.setattr("spikeinterface_huidurep.simulation.build_library", record)
        options = "--source bbp --probe tetrode --cell-models evaluation L5_BP_bAC217_1 --units 7 --drift shank"
        arguments = parser.parse_args(["templates", str(tmp_path / "a.npz"), *options.split()])
        assert arguments.run(arguments) == 0
        assert asked["cell_models"] == list(cells.EVALUATION_CELL_MODELS)
        assert (asked["units_per_model"], asked["drift"], asked["probe"]) == (7, "shank", "tetrode")
        assert capsys.readouterr().out.strip() == str(tmp_path / "a.npz")

    def test_unknown_drift_is_refused_by_the_parser(self, parser, capsys):
        with pytest.raises(SystemExit):
            parser.parse_args(["templates", "a.npz", "--probe", "tetrode", "--drift", "sideways"])
        assert "sideways" in capsys.readouterr().err


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of simulated cells for all tests of this file."""
    return tmp_path_factory.mktemp("cells")


@needs_extra
@pytest.mark.slow
class TestSimulation:
    def test_the_groups_are_what_mearec_ships(self):
        folder = Path(importlib.util.find_spec("MEArec").origin).parent / "cell_models" / "bbp"
        every = set(cells.BLUE_BRAIN_CELL_MODELS)
        assert {entry.name for entry in folder.iterdir() if entry.name.startswith("L5_")} == every

    def test_a_library_of_a_simulated_cell(self, cache, tmp_path):
        path = build.build_library(
            tmp_path / "a.npz", "tetrode", cell_models=["L5_BP_bAC217_1"], units_per_model=4, cache_folder=cache
        )
        library = load_library(path)
        assert library["templates"].shape == (4, 4, 224)
        assert library["amplitude"].min() >= 30 and library["amplitude"].max() < 2000
        assert library["templates"].min(axis=1).argmin(axis=1).tolist() == [64] * 4

    @pytest.mark.skipif(not data_folder.is_dir(), reason="HUIDUREP_DATA is not set")
    @pytest.mark.parametrize("name", ["tetrode", "neuropixels2-64_zdrift"])
    def test_known_units_are_reproduced(self, cache, name):
        # Another program wrote these templates, with MEArec's own extracellular code: same cell, same place, same
        # spike.
        library = load_library(data_folder / f"{name}.npz", units=range(3))
        cell = cells.load_cell("L5_BTC_bAC217_1", cache)
        assert set(library["cell_model"]) == {cell.cell_model}
        probe = probes.SimulationProbe(
            name, library["channel_positions"], library["contact_points"], 0, 1, 1.0 if name == "tetrode" else 2.0
        )
        for unit in range(3):
            angles, locations = library["rotation"][unit], np.atleast_2d(library["location"][unit])
            spike = extracellular.cell_templates(cell, library["spike_index"][unit], angles, locations, probe)
            aligned, shift = extracellular.align(spike, cell.nbefore, (64, 160))
            assert shift == library["time_shift"][unit]
            expected = library["templates"][unit].reshape(aligned.shape)
            inner = slice(30, 190)  # the other program repeated the edge samples where it shifted a window
            assert np.abs(aligned - expected)[..., inner].max() < 0.15
