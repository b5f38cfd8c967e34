"""The commands ``huidurep benchmark`` and ``huidurep compare``."""

from __future__ import annotations

import pytest
from spikeinterface.core import generate_recording

from spikeinterface_huidurep.benchmark import RECORDINGS, GeneratorSettings, load_ground_truth
from spikeinterface_huidurep.cli import main


def test_the_names_are_listed(capsys):
    assert main(["benchmark", "--list"]) == 0
    text = capsys.readouterr().out
    assert "suite quick: si_static_16, si_drift_24" in text
    assert "recording two_column_zigzag: 45 units" in text and "sorter huidurep:" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["benchmark", "--suite", "huge"], "no suite named 'huge'"),
        (["benchmark", "--sorters", "nobody"], "no sorter named 'nobody'"),
        (["compare", "there/is/nothing"], "there/is/nothing"),
    ],
)
def test_what_does_not_exist_is_named(arguments, reason, capsys, tmp_path):
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err


def test_a_report_is_written_without_running_anything(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(RECORDINGS, "tiny", GeneratorSettings("tiny", 2.0, n_units=2, n_channels=4))
    arguments = ["--recordings", "tiny", "--sorters", "simple", "--output", str(tmp_path / "out"), "--report-only"]
    assert main(["benchmark", *arguments, "--cache", str(tmp_path / "cache")]) == 0
    assert "not run yet" in capsys.readouterr().out
    assert "not run yet" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_hybrid_of_a_saved_recording_is_made_once(tmp_path, capsys):
    recording = generate_recording(num_channels=4, durations=[5.0], seed=0)
    recording.save(folder=tmp_path / "mine")
    arguments = [
        "benchmark",
        "--hybrid",
        str(tmp_path / "mine"),
        "--units",
        "2",
        "--sorters",
        "simple",
        "--report-only",
    ]
    arguments += ["--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "| hybrid_mine | simple |" in capsys.readouterr().out
    (folder,) = (tmp_path / "out").glob("hybrid-*")
    made = load_ground_truth(folder)
    assert made.sorting.get_num_units() == 2 and made.recording.get_total_duration() == 5.0
    written = (folder / "info.json").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (folder / "info.json").stat().st_mtime_ns == written
