"""The command line: what it prints, what it leaves behind, and its exit status."""

import io
import re
import subprocess
import sys

import pandas as pd
import pytest
import spikeinterface.core as sc

from spikeinterface_huidurep import __version__
from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.commands.sort import sorter_params
from spikeinterface_huidurep.demo import CONTENTS
from spikeinterface_huidurep.jobs import bars_shown
from spikeinterface_huidurep.output_folder import make_room


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.split() == ["huidurep", __version__]


def test_every_command_has_help(capsys, project_root):
    modules = {path.stem for path in (project_root / "spikeinterface_huidurep/commands").glob("[a-z]*.py")}
    assert {"sort", "demo"} <= modules
    for module in modules:
        with pytest.raises(SystemExit) as exit_:
            main([module, "--help"])
        assert exit_.value.code == 0
        assert f"usage: huidurep {module}" in capsys.readouterr().out


def test_the_parser_is_cheap():
    script = "import sys, spikeinterface_huidurep.cli as cli; cli.build_parser(); print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["False"]


def test_without_a_command(capsys):
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_list_readers_and_params(capsys):
    assert main(["sort", "--list-readers"]) == 0
    assert {"spikeglx", "neuralynx"} <= set(capsys.readouterr().out.split())
    assert main(["sort", "--list-params"]) == 0
    assert "detect_threshold=5.0" in capsys.readouterr().out


@pytest.fixture
def output(tmp_path):
    return tmp_path / "output"


@pytest.fixture(scope="module")
def recording_folder(tetrode_recording, tmp_path_factory):
    """A recording for all tests of this file: sorts leave it as it is."""
    recording, _ = tetrode_recording
    folder = tmp_path_factory.mktemp("cli") / "recording"
    recording.save(folder=folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Which recording"),
        (["no/such/file"], "no file or folder"),
        (["RECORDING", "--reader", "spikeglxx"], "Did you mean 'spikeglx'"),
        (["RECORDING", "--param", "detect_treshold=5"], "Did you mean 'detect_threshold'"),
        (["RECORDING", "--param", "detect_threshold=high"], "takes a number"),
        (["RECORDING", "--param", "detect_threshold=-1"], "detect_threshold"),
        (["RECORDING", "--param", "detect_threshold"], "key=value"),
        (["RECORDING", "--param", "apply_preprocessing=3"], "true or false"),
        (["RECORDING", "--param", "model=no/such/model.safetensors"], "model"),
        (["RECORDING", "--probe", "circle"], "is not a probe"),
        (["RECORDING", "--probe", "no_such.json"], "no probe file"),
        (["RECORDING", "--n-jobs", "0"], "--n-jobs"),
    ],
)
def test_refused_input_is_one_line_and_leaves_nothing(arguments, words, recording_folder, output, capsys):
    arguments = [str(recording_folder) if argument == "RECORDING" else argument for argument in arguments]
    assert main(["sort", *arguments, "--output", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("huidurep sort: error: ")
    assert words in line
    assert not output.exists()


def test_recording_without_a_probe(tmp_path, output, capsys):
    sc.generate_recording(num_channels=4, durations=[1.0], set_probe=False, seed=0).save(folder=tmp_path / "no_probe")
    assert main(["sort", str(tmp_path / "no_probe"), "--output", str(output)]) == 2
    assert "--probe" in capsys.readouterr().err
    assert not output.exists()


def test_traceback_on_request(output):
    with pytest.raises(FileNotFoundError):
        main(["--traceback", "sort", "no/such/file", "--output", str(output)])


def test_sort_saves_a_sorting(recording_folder, output, capsys):
    arguments = ["sort", str(recording_folder), "--output", str(output), "--param", "detect_threshold=6"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    sorting = sc.load(output / "sorting")
    assert printed.startswith(f"{len(sorting.unit_ids)} units, {len(sorting.to_spike_vector())} spikes")
    assert str(output / "sorting") in printed
    assert len(sorting.unit_ids) >= 1

    # The same again: not over the result of the first, unless that is asked for.
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--verbose"]) == 0
    assert "%|" not in capsys.readouterr().err  # bars are for terminals


def test_bars_are_for_terminals(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shown in ((Terminal(), True), (io.StringIO(), False), (None, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert bars_shown(True) == shown and not bars_shown(False)


def test_overwrite_spares_other_folders(recording_folder, output, capsys):
    output.mkdir()
    (output / "thesis.txt").write_text("kept")
    assert main(["sort", str(recording_folder), "--output", str(output), "--overwrite"]) == 2
    assert "left as it is" in capsys.readouterr().err
    assert (output / "thesis.txt").read_text() == "kept"


def test_parameters_take_the_types_of_their_defaults():
    params = sorter_params(
        {"detect_threshold": "6", "apply_preprocessing": "False", "motion_correction": "true", "model": "m"}
    )
    assert params == {"detect_threshold": 6, "apply_preprocessing": False, "motion_correction": True, "model": "m"}


def test_real_recording(huidurep_data, output, capsys):
    path = huidurep_data / "recordings/locust_tetrode/locust_trial_01.raw"
    options = ["sampling_frequency=15000", "dtype=int16", "num_channels=4"]
    arguments = ["sort", str(path), "--reader", "binary", "--probe", "tetrode", "--output", str(output)]
    for option in options:
        arguments += ["--reader-option", option]
    assert main(arguments) == 0
    assert len(sc.load(output / "sorting").unit_ids) >= 3
    assert "units" in capsys.readouterr().out


def test_demo(tmp_path, capsys):
    folder = tmp_path / "demo"
    arguments = ["demo", "--output", str(folder), "--channels", "8", "--units", "4", "--duration", "20", "--quiet"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    table = pd.read_csv(folder / "accuracy.csv", index_col="unit")
    assert len(table) == 4
    assert re.search(r"Mean accuracy (\S+)\.\n", printed)[1] == f"{table['accuracy'].mean():.3f}"
    # The generator's units of 20 s on 8 channels are easy, but for those that are too small to be detected.
    assert (table.loc[table["snr"] > 8, "accuracy"] > 0.8).all()
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert str(folder / "demo.png") in printed
    assert main(arguments) == 2
    # a report that was made of it does not stand in the way of the next demonstration
    (folder / "report").mkdir()
    (folder / "analyzer").mkdir()
    make_room(folder, True, CONTENTS)
    assert not folder.exists()
