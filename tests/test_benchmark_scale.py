"""The suite `scale`: recordings that are made while they are read, and what their sorts cost as they get longer."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from spikeinterface.core import load

from spikeinterface_huidurep.benchmark import (
    RECORDINGS,
    SUITES,
    BenchmarkResults,
    LazyRecording,
    LazySettings,
    get_recording,
    scale_table,
    write_scale,
)
from spikeinterface_huidurep.benchmark.scale import Resumed, kill_and_resume, stage_times
from spikeinterface_huidurep.cli import main

SMALL = LazySettings("small", 6.5, n_segments=2, n_units=6, n_channels=16, rate_hz=(4.0, 12.0))


@pytest.fixture(scope="module")
def small():
    return LazyRecording.of(SMALL)


def test_any_part_is_the_same_however_it_is_read(small):
    whole = small.get_traces(segment_index=1)
    assert whole.shape == (97500, 16) and whole.dtype == "int16"
    for start, end in ((0, 1), (29990, 30010), (12345, 67890), (90001, 97500)):
        assert np.array_equal(small.get_traces(segment_index=1, start_frame=start, end_frame=end), whole[start:end])
    assert np.array_equal(small.get_traces(segment_index=1, channel_ids=["3"])[:, 0], whole[:, 3])
    assert not np.array_equal(whole[:30000], small.get_traces(segment_index=0)[:30000])
    # two seconds have noise of their own, and so have two channels
    pieces = np.column_stack([whole[:30000, [0, 8]], whole[30000:60000, [0, 8]]])
    assert np.abs(np.corrcoef(pieces.T) - np.eye(4)).max() < 0.1


def test_its_description_is_all_that_there_is(small, tmp_path):
    small.dump_to_json(tmp_path / "recording.json")
    again = load(tmp_path / "recording.json")
    assert np.array_equal(again.get_traces(segment_index=0), small.get_traces(segment_index=0))
    assert again.get_channel_gains()[0] == pytest.approx(0.195)
    hour = LazyRecording.of(LazySettings("hour", 3600.0, n_units=3, n_channels=4))
    assert hour.get_total_samples() == 108_000_000
    assert hour.get_traces(start_frame=107_999_990, end_frame=108_000_000).shape == (10, 4)


def test_its_spikes_are_where_the_truth_has_them(small):
    truth = small.true_sorting()
    traces = [small.get_traces(segment_index=segment) * 0.195 for segment in range(2)]
    noise = np.median(np.abs(traces[0])) / 0.6745
    for unit, snr in zip(truth.unit_ids, truth.get_property("gt_snr"), strict=True):
        trains = [truth.get_unit_spike_train(unit, segment_index=segment) for segment in range(2)]
        assert all(np.diff(train).min() >= 75 for train in trains)
        around = [
            np.concatenate([traces[segment][train + lag] for segment, train in enumerate(trains)]).mean(axis=0)
            for lag in range(-8, 9)
        ]
        # spikes of others overlap with some
        assert -np.min(around) == pytest.approx(snr * noise, rel=0.25, abs=noise)


def test_the_suite_grows_to_an_hour_of_384_channels_and_takes_no_disk(tmp_path):
    parts = [RECORDINGS[name] for name in SUITES["scale"]]
    assert [part.duration_s for part in parts] == sorted(part.duration_s for part in parts)
    assert parts[-1].duration_s == 3600 and all(part.n_channels == 384 for part in parts)
    assert not set(SUITES["scale"]) & set(SUITES["full"])
    truth = get_recording(LazySettings("ten minutes", 600.0, n_units=4, n_channels=64), tmp_path)
    assert truth.recording.get_total_duration() == 600 and truth.sorting.get_num_units() == 4
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2e6


def results_of(tmp_path, seconds, memory):
    """Results of two parts, whose logs have the stages' times."""
    rows = []
    for index, (run_time, gb) in enumerate(zip(seconds, memory, strict=True)):
        folder = tmp_path / f"run{index}"
        folder.mkdir()
        log = f"x INFO cache traces: {run_time / 2:.1f} s\nx INFO about 3 min left\nx INFO detect peaks: 2.0 s\n"
        (folder / "huidurep.log").write_text(log)
        rows.append(dict(
            recording=f"part{index}", sorter="huidurep", status="done", run_time_s=run_time, folder=str(folder),
            run_time_ratio=run_time / (60 * (index + 1)), peak_memory_gb=gb, accuracy=0.9, well_detected=3,
            true_units=4, false_positive=0, cpu_time_s=2 * run_time,
        ))  # fmt: skip
    # in another order than their lengths
    described = {f"part{index}": {"duration_s": 60.0 * (index + 1)} for index in range(len(rows))}
    return BenchmarkResults(pd.DataFrame(rows[::-1]), pd.DataFrame(), pd.DataFrame(), described)


def test_the_table_says_what_grows(tmp_path):
    results = results_of(tmp_path, (100.0, 130.0), (1.5, 4.5))
    table = scale_table(results)
    assert table["recording"].tolist() == ["part0", "part1"]
    assert np.isnan(table["further_s"].iloc[0]) and table["further_s"].iloc[1] == pytest.approx(0.5)
    assert table["further_cpu_s"].iloc[1] == pytest.approx(1.0)
    assert table["stages"].iloc[1] == {"cache traces": 65.0, "detect peaks": 2.0}
    text = write_scale(results, tmp_path, "the command", Resumed("part0", 60.0, "cluster", 40.0, True)).read_text()
    assert "| 1.50 |" in text and "| 4.50 (more than 4) |" in text
    assert "| cache traces | 50.0 | 65.0 | 0.250 |" in text and "the spikes are the same" in text


@pytest.mark.timeout(600)
def test_the_suite_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Two short parts are sorted; the shorter one once more, killed and resumed."""
    parts = {f"part{s}": LazySettings(f"part{s}", float(s), n_units=4, n_channels=8, rate_hz=(4, 12)) for s in (5, 10)}
    for name, settings in parts.items():
        monkeypatch.setitem(RECORDINGS, name, settings)
    monkeypatch.setitem(SUITES, "scale", tuple(parts))
    where = ["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--n-jobs", "1"]
    assert main(["benchmark", "--suite", "scale", *where]) == 0
    text = capsys.readouterr().out
    assert len(re.findall(r"\| huidurep \| 0\.\d+ \| \d+ \|", text)) == 2 and "| assign spikes |" in text
    assert "when it had finished 'make units'" in text and "the spikes are the same" in text
    (run,) = (tmp_path / "out" / "runs" / "part5").iterdir()
    assert list(stage_times(run / "huidurep.log"))[:2] == ["preprocess", "cache traces"]
    assert json.loads((run / "resumed.json").read_text())["same"] is True and not (run / "killed").exists()
    assert kill_and_resume(run, "part5").same
