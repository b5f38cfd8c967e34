"""The commands ``huidurep benchmark`` and ``huidurep compare``."""

from __future__ import annotations

import pytest

from spikeinterface_huidurep.benchmark import RECORDINGS, GeneratorSettings
from spikeinterface_huidurep.cli import main


def test_the_names_are_listed(capsys):
    assert main(["benchmark", "--list"]) == 0
    text = capsys.readouterr().out
    assert "suite quick: si_static_16, si_drift_16" in text
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
