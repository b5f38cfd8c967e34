"""The scripts of studies/: each runs on tiny inputs, uses public names only and has its line in the table."""

from __future__ import annotations

import ast
import importlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_helpers import write_library as write_days_library
from test_encoder_training import SMALL, settings, write_library

from spikeinterface_huidurep.benchmark import DaysSettings, GeneratorSettings, get_recording
from spikeinterface_huidurep.benchmark.days_measures import figures
from spikeinterface_huidurep.encoder.episodes import TABLE, EpisodeConfig
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.training import Trainer
from spikeinterface_huidurep.encoder.weights import load_encoder, read_network

STUDIES = Path(__file__).resolve().parent.parent / "studies"
NAMES = sorted(path.stem for path in STUDIES.glob("*.py"))
IMPORTED = ("constants", "published_network", "sensitivity_table", "template_days")
SCRIPTS = [name for name in NAMES if name not in IMPORTED]
STILL, MOVING, TETRODE = "two-column, SNR 4-10", "two-column, drift +-30 um", "tetrode, 4 units"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))


@pytest.fixture
def study(request):
    return importlib.import_module(request.param)


@pytest.fixture(scope="module")
def heldout(tmp_path_factory):
    """Libraries under the names of those of the evaluation."""
    folder = tmp_path_factory.mktemp("heldout")
    write_library(folder / "neuropixels2-64.npz")
    write_library(folder / "neuropixels2-64_zdrift.npz", steps=13)
    write_library(folder / "tetrode.npz", channels=4)
    return folder


@pytest.fixture
def few_spikes(monkeypatch):
    """Episodes of a fifth of their spikes."""
    for name, config in TABLE.items():
        monkeypatch.setitem(TABLE, name, replace(config, spikes=30))


def numbers(line):
    """The numbers in the cells of a table's line."""
    found = []
    for cell in line.replace("/", "|").split("|"):
        try:
            found.append(float(cell))
        except ValueError:
            continue
    return found


def lines_of(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]


def private_names(tree):
    """Private names of others that a script uses, and what replaces functions of others."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                found.append(node.attr)
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [name for name in names if name in ("mock", "patch") or name[0] == "_" and name[:2] != "__"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_public_names_only(name):
    tree = ast.parse((STUDIES / f"{name}.py").read_text(encoding="utf8"))
    assert ast.get_docstring(tree)
    assert private_names(tree) == []


@pytest.mark.parametrize("study", SCRIPTS, indirect=True)
def test_help(study, capsys):
    with pytest.raises(SystemExit) as end:
        study.main(["--help"])
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_every_study_is_in_the_table():
    text = (STUDIES / "README.md").read_text(encoding="utf8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [f"{name}.py" for name in NAMES]
    assert all(len(row.split("|")) == 6 and all(cell.strip() for cell in row.split("|")[1:-1]) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("study", ["days_model"], indirect=True)
def test_probabilities_are_right_after_the_competition(study):
    """Log odds that are half of what they should be, and 3 too low."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(15):
        same = np.zeros((8, 8), dtype=bool)
        same[np.arange(6), np.arange(6)] = True
        # two normal distributions of variance 9 around 4 and -4: log odds of 8 x / 9
        odds = 8 / 9 * rng.normal(np.where(same, 4.0, -4.0), 3.0)
        pairs.append((odds / 2 - 3, same))
    scale, shift = study.fit_competition(pairs)
    assert scale == pytest.approx(2.0, abs=0.7) and shift == pytest.approx(6.0, abs=2.5)
    before, after = (figures(study.in_competition_of(pairs, *these)) for these in ((1.0, 0.0), (scale, shift)))
    assert after["calibration"] < 0.7 * before["calibration"]


@pytest.mark.parametrize("study", ["days_model"], indirect=True)
def test_mean_waveforms_of_days(study, tmp_path):
    write_days_library(tmp_path / "moving.npz", n_units=60, displacements=13)
    settings = DaysSettings("tiny", "moving.npz", 6, (-10.0, 10.0), snr_range=(6.0, 25.0), duration_s=20.0)
    first, second = study.mean_waveforms(settings, tmp_path, load_encoder("default", "cpu"))
    assert len(set(first.neuron) & set(second.neuron)) >= 3
    assert first.units.vectors.shape[:2] == first.early.vectors.shape[:2] == (len(first.neuron), 2)
    moved = study.displacement_between(
        first.units,
        second.units,
        study.fit_to_halves(
            [(one.early, one.late) for one in (first, second)], load_encoder("default", "cpu"), np.random.default_rng(0)
        ),
    )
    assert moved.mean_um == pytest.approx(20.0, abs=8.0)


@pytest.mark.parametrize("study", ["cost"], indirect=True)
def test_cost(study, capsys):
    assert study.main(["--hours", "10", "--core-factor", "2", "--cores", "4", "--price", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == ["core_hours: 20.0", "wall_hours: 5.0", "price: 10.0"]


@pytest.mark.parametrize("study", ["encoder_figure"], indirect=True)
def test_the_figure_is_of_the_page(study, tmp_path, project_root):
    page = project_root / "docs" / "encoder.md"
    assert len(page.read_text(encoding="utf8").splitlines()) <= 150
    table = study.read_table(page)
    assert len(table) == len(TABLE) and set(table.index) == set(TABLE)
    assert table.drop(columns="bar").notna().all(axis=None) and table["bar"].notna().sum() == 16
    assert study.main([str(page), str(tmp_path / "scores.png")]) == 0
    assert (tmp_path / "scores.png").is_file()


@pytest.mark.parametrize("study", ["benchmark_details"], indirect=True)
def test_benchmark_details(study, tmp_path, capsys):
    """A sorter that is right has a recall of one everywhere."""
    truth = get_recording(GeneratorSettings("tiny", 5.0, n_units=3, n_channels=8), tmp_path / "cache")
    run = tmp_path / "output" / "runs" / "one" / "run"
    truth.sorting.save(folder=run / "sorting")
    job = {"recording": "tiny", "sorter": "truth"}
    (run / "job.json").write_text(json.dumps(job | {"recording_key": truth.folder.name}))
    (run / "result.json").write_text(json.dumps(job | {"status": "done"}))
    pd.DataFrame([job | {"accuracy": 1.0}] * 20).to_csv(tmp_path / "output" / "over_time.csv", index=False)
    assert study.main([str(tmp_path / "output"), "--cache", str(tmp_path / "cache")]) == 0
    assert set(numbers(lines_of(capsys)[-1])) == {1.0}


@pytest.mark.parametrize("study", ["encoder_bounds"], indirect=True)
def test_bounds(study, heldout, few_spikes, capsys):
    assert study.main([str(heldout), "--episodes", "1", "--only", STILL, "--each"]) == 0
    distance, matched, *others = numbers(lines_of(capsys)[-1])
    assert distance > 0 and 0.8 < matched <= 1 and all(0 <= value <= 1 for value in others)


@pytest.mark.parametrize("study", ["encoder_channels"], indirect=True)
def test_channels(study, heldout, few_spikes, monkeypatch, capsys):
    monkeypatch.setattr(study, "ROWS", (STILL,))
    assert study.main([str(heldout), "--episodes", "1", "--channels", "4", "8"]) == 0
    *_, row, speed = lines_of(capsys)
    assert len(numbers(row)) == 6 and len(numbers(speed)) == 2


@pytest.mark.parametrize("study", ["encoder_first_look"], indirect=True)
def test_first_look(study, heldout, few_spikes, monkeypatch, capsys):
    monkeypatch.setattr(study, "ROWS", (STILL,))
    assert study.main([str(heldout), "--episodes", "1"]) == 0
    rows = {line.split("|")[2].strip(): numbers(line) for line in lines_of(capsys)[2:]}
    assert list(rows) == ["deepest sample", "first look", "first pass", "second pass"]
    assert rows["second pass"][0] < rows["first look"][0]


@pytest.mark.parametrize("study", ["encoder_place"], indirect=True)
def test_place(study, heldout, few_spikes, monkeypatch, capsys):
    monkeypatch.setattr(study, "ROWS", (STILL,))
    assert study.main([str(heldout), "--episodes", "1"]) == 0
    assert len(numbers(lines_of(capsys)[-1])) == 2 * len(study.UNITS_UM)


@pytest.mark.parametrize("study", ["encoder_where"], indirect=True)
def test_where(study, heldout, few_spikes, monkeypatch, capsys):
    few = {"few": EpisodeConfig(spikes=30)}
    changes = {"DRIFT": (MOVING,), "PAIRS": (TETRODE,), "DEFAULT": few, "GENERATED": few, "NEURONS": 20, "BANKS": 1}
    for name, value in changes.items():
        monkeypatch.setattr(study, name, value)
    assert study.main([str(heldout), "--episodes", "1"]) == 0
    rows = lines_of(capsys)
    assert sum("few" in row for row in rows) == 2 and len(numbers(rows[-1])) == 4


@pytest.mark.parametrize("spikes", [20, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("study", ["encoder_adaptation"], indirect=True)
def test_adaptation(study, spikes, heldout, monkeypatch, capsys):
    """Too few spikes of a unit leave the encoder as it is."""
    monkeypatch.setattr(study, "SPIKES", spikes)
    monkeypatch.setattr(study, "EPISODES", 1)
    monkeypatch.setattr(study, "EPISODE", EpisodeConfig(spikes=30, snr=(4.0, 8.0)))
    assert study.main([str(heldout), "--seeds", "1", "--steps", "3"]) == 0
    for line in lines_of(capsys)[2:]:
        _, before, always, kept = numbers(line)
        assert spikes > 20 or before == always == kept


@pytest.mark.parametrize("study", ["real_snippets"], indirect=True)
def test_real_snippets(study, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    shape = -np.exp(-0.5 * ((np.arange(50) - 12) / 3.0) ** 2)
    sizes = np.repeat([[200, 100, 50, 20], [20, 50, 100, 200]], 60, axis=0)
    snippets = shape[:, None] * sizes[:, None] + 5 * rng.standard_normal((120, 50, 4))
    monkeypatch.setattr(study, "read_snippets", lambda folder: iter([("tetrode 1", snippets, 48_000.0)]))
    monkeypatch.setattr(study, "COMPONENTS", range(2, 4))
    figure = tmp_path / "snippets.png"
    assert study.main([str(tmp_path), "--figure", str(figure)]) == 0
    assert figure.is_file()
    assert [line.split("|")[3].strip() for line in lines_of(capsys)[2:]] == ["PCA", "encoder"]


@pytest.mark.parametrize("study", ["encoder_ablation"], indirect=True)
def test_encoder_ablation(study, heldout, few_spikes, tmp_path, monkeypatch, capsys):
    runs = {
        "denoising alone": {"contrastive_weight": 0.0, "encoder": SMALL | {"width": 32}},
        "without footprints": {"encoder": SMALL},
        "without location-relative windows": {"encoder": SMALL, "views": {"recentre": 1.0}},
        "published network, like time": {**study.RUNS["published network, like time"], "steps": 2, "encoder": SMALL},
    }
    assert set(runs) <= set(study.RUNS)
    monkeypatch.setattr(study, "RUNS", runs)
    monkeypatch.setattr(study, "ROWS", (STILL,))
    command = [str(heldout), str(heldout), str(tmp_path), "--steps", "2", "--batch-size", "8", "--episodes", "1"]
    assert study.main([*command, "--only", *runs]) == 0
    rows = lines_of(capsys)[2:]
    assert [row.split("|")[1].strip() for row in rows] == list(runs)
    assert all(math.isfinite(value) for row in rows for value in numbers(row))
    network, *_ = read_network(tmp_path / "without_footprints" / "encoder.safetensors")
    assert not network.gather.out.weight.any() and not network.enter.out.weight.any()
    # what is there is not done again
    assert study.main([*command, "--only", "without footprints"]) == 0
    assert lines_of(capsys)[-1] == rows[1]


def test_every_run_of_the_ablation_has_settings_that_exist():
    study = importlib.import_module("encoder_ablation")
    for name in study.RUNS:
        assert study.TrainingConfig.from_dict(study.settings(name)).encoder.channels == 12
    assert set(study.BUILD) <= set(study.RUNS)


def test_the_published_network_trains_with_the_same_views(libraries, tmp_path):
    published = importlib.import_module("published_network").PublishedEncoder
    config = settings(encoder=SMALL | {"layers": 2})
    run = Trainer(config, build_sampler(config, libraries), tmp_path, build=published)
    assert all(math.isfinite(run.train_step()["gradient_norm"]) for _ in range(3))
    path = run.export(tmp_path / "published.safetensors")
    network, *_ = read_network(path, published)
    for key, value in run.network.momentum_encoder.state_dict().items():
        if "represent" not in key:  # which is turned
            assert (network.state_dict()[key] == value).all(), key
    with pytest.raises(ValueError, match="do not fit"):
        load_encoder(path, "cpu")


@pytest.mark.parametrize("study", ["sorter_ablation"], indirect=True)
def test_sorter_ablation(study, tmp_path, capsys):
    command = [str(tmp_path), str(tmp_path / "out"), "--recordings", "si_static_16", "--cache", str(tmp_path)]
    assert study.main([*command, "--duration", "5", "--parts", "clusters"]) == 0
    table = (tmp_path / "out" / "ablation.md").read_text()
    assert [name for name in study.ALWAYS if f"| {name} |" in table] == [n for n in study.ALWAYS if "clusters" in n]


@pytest.mark.slow
@pytest.mark.parametrize("study", ["sorter_ablation"], indirect=True)
def test_sorter_ablation_with_every_part(study, tmp_path):
    command = [str(tmp_path), str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--duration", "20"]
    command += ["--recordings", "si_static_16", "si_drift_24", "--models", "same=default"]
    assert study.main(command) == 0
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    for recording, parts in (("si_static_16", study.ON_STILL_PROBES), ("si_drift_24", study.ON_MOVING_PROBES)):
        rows = results[results.recording == recording].set_index("part").accuracy
        assert set(rows.index) == {*study.ALWAYS, *parts, "encoder same"}
        assert rows["encoder same"] == rows["everything"] > 0.5
    assert (tmp_path / "out" / "calibration.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("study", ["same_spikes"], indirect=True)
def test_same_spikes(study, tmp_path, capsys):
    path = tmp_path / "before.json"
    assert study.main(["--only", "two shanks", "--write", str(path)]) == 0
    assert study.main(["--only", "two shanks", "--compare", str(path)]) == 0
    assert "the same" in capsys.readouterr().out


@pytest.mark.parametrize("study", ["one_neuron"], indirect=True)
def test_one_neuron(study, tmp_path):
    assert study.main([str(tmp_path), "--recordings", "si_static_16", "--duration", "12"]) == 0
    text = (tmp_path / "one_neuron.md").read_text(encoding="utf8")
    by_evidence = next(line for line in text.splitlines() if line.startswith("| si_static_16"))
    assert len(numbers(by_evidence)) >= 5 and "STEEPNESS" in text
    assert (tmp_path / "one_neuron.png").is_file()


@pytest.mark.parametrize("study", ["drop_rules"], indirect=True)
def test_drop_rules(study, tmp_path):
    """A rule that takes three units: one neuron's only unit, a piece of another, and none."""
    truth = get_recording(GeneratorSettings("tiny", 5.0, n_units=3, n_channels=8), tmp_path / "cache")
    true = truth.sorting.to_spike_vector()
    spikes, labels = np.concatenate([true, true[:20]]), np.concatenate([true["unit_index"], np.full(20, 4)])
    second = np.flatnonzero(labels == 1)
    labels[second[::2]] = 3
    spikes["sample_index"][-20:] += 50
    # on the clock of a sort, which keeps every other sample
    spikes["sample_index"] //= 2
    dropped = study.Dropped(truth)
    neurons = dropped.neurons(spikes, labels, 5)
    assert neurons.tolist() == [0, 1, 2, 1, -1]
    taken = np.array([True, False, False, True, True])
    dropped.note("finish", {"rule": taken}, np.ones(5, dtype=bool), neurons)
    assert [row["kind"] for row in dropped.rows] == ["neuron", "piece", "none"]
    assert study.main([str(tmp_path), "--recordings", "si_static_16", "--duration", "8"]) == 0
    assert "What the rules" in (tmp_path / "drop_rules.md").read_text(encoding="utf8")


@pytest.mark.parametrize("study", ["curation_suggestions"], indirect=True)
def test_curation_suggestions(study, capsys, monkeypatch, _quick_similarity):
    """A small recording: of its neurons one is cut, two are put together, and both are told."""
    for name, value in {"N_CHANNELS": 8, "N_UNITS": 4, "DURATION_S": 15.0, "N_CUT": 1, "N_TOGETHER": 1}.items():
        monkeypatch.setattr(study, name, value)
    assert study.main(["--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 of one neuron" in said and "1 units of two neurons: 1 splits" in said
    assert "| 0.9 to 1 | 1 | 1 |" in said
