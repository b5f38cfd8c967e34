"""How far a sort is, and how long it still takes."""

import logging
import re
import threading
import time

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording, job_tools, set_global_job_kwargs
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep import work
from spikeinterface_huidurep.curation import make_analyzer, report
from spikeinterface_huidurep.curation.decisions import read_decisions
from spikeinterface_huidurep.progress import USUAL, TimeLeft, in_words
from spikeinterface_huidurep.work import Work

STAGES = ["preprocess", *USUAL, "compare alike units", "group templates"]


def test_what_is_left_goes_by_what_was_slow_so_far():
    """A machine that is three times as slow takes three times as long for the rest, too."""
    usual = {stage: each * 64 * min(600.0, longest) for stage, (each, longest) in USUAL.items()}
    time_left = TimeLeft([64], 600.0)
    left = [time_left.finished(stage, 64, 3 * seconds) for stage, seconds in usual.items()]
    total, done = sum(usual.values()), 0.0
    for seconds, expected in zip(list(usual.values())[:-1], left[:-1], strict=True):
        done += seconds
        assert expected == pytest.approx(3 * (total - done))
    assert left[-1] is None


def test_shanks_are_counted_together_and_stages_of_a_killed_sort_as_done():
    one, two = TimeLeft([32], 100.0), TimeLeft([32, 32], 100.0)
    assert two.finished("cache traces", 32, 1.0) > 2 * one.finished("cache traces", 32, 1.0)
    resumed = TimeLeft([32], 100.0)
    assert resumed.finished("cache traces", 32, None) is None
    assert resumed.finished("detect peaks", 32, 10.0) < 100


def test_traces_that_are_not_cached_say_nothing_of_the_machine():
    time_left = TimeLeft([384], 3600.0)
    assert time_left.finished("cache traces", 384, 0.02) is None
    assert time_left.finished("detect peaks", 384, 600.0) > 600


@pytest.mark.parametrize(("seconds", "words"), [(3, "10 s"), (62, "70 s"), (700, "12 min"), (5400, "1.5 h")])
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


def test_a_sort_says_how_long_it_still_takes(tetrode_recording, tmp_path, caplog):
    recording, _ = tetrode_recording
    with caplog.at_level(logging.INFO, logger="spikeinterface_huidurep"):
        run_sorter("huidurep", recording, folder=tmp_path / "sort", n_jobs=1, device="cpu")
    assert len(re.findall(r"about \d+ s left", caplog.text)) >= 5
    stages = [record.getMessage() for record in caplog.records]
    assert not any(
        "left" in line for line in stages[stages.index(next(s for s in stages if "assign spikes:" in s)) + 1 :]
    )


@pytest.fixture
def bars(monkeypatch):
    """Names of the bars that are drawn, by us or by SpikeInterface, while a bar is wanted."""
    drawn = []

    class Bar(work.tqdm):
        def __init__(self, *arguments, **options):
            drawn.append(options.get("desc"))
            super().__init__(*arguments, **{**options, "disable": True})

    monkeypatch.setattr(work, "tqdm", Bar)
    monkeypatch.setattr(job_tools, "tqdm", Bar)
    set_global_job_kwargs(progress_bar=True)
    yield drawn
    set_global_job_kwargs(progress_bar=False)


def test_a_sort_draws_one_bar_a_stage(tetrode_recording, tmp_path, bars):
    recording, _ = tetrode_recording
    options = {"n_jobs": 1, "device": "cpu"}
    run_sorter("huidurep", recording, folder=tmp_path / "sort", verbose=True, **options)
    # each of these stages goes through the recording, some several times
    assert sorted(bars) == sorted(STAGES)
    bars.clear()
    run_sorter("huidurep", recording, folder=tmp_path / "silent", verbose=False, **options)
    assert not bars


def test_a_long_sort_says_that_it_is_at_work(tetrode_recording, tmp_path, caplog, monkeypatch):
    """With verbose=False, too; the report does not repeat it."""
    monkeypatch.setattr(work, "LINE_EVERY_S", 0.02)
    recording, _ = tetrode_recording
    run_sorter("huidurep", recording, folder=tmp_path / "sort", verbose=False, n_jobs=1, device="cpu")
    told = [line for line in caplog.messages if "at work for" in line]
    assert any("% done, about" in line and "to the end" in line for line in told)
    log = tmp_path / "sort" / "sorter_output" / "huidurep.log"
    assert log.read_text().count("at work for") == len(told)
    assert not any("at work" in decision.sentence for decision in read_decisions(log))


def test_analyzer_and_report_draw_a_bar_or_say_that_they_are_at_work(
    tetrode_recording, tmp_path, bars, caplog, monkeypatch
):
    recording, truth = tetrode_recording
    analyzer = make_analyzer(truth, recording, n_jobs=1, progress_bar=True)
    report(analyzer, tmp_path / "report", progress_bar=True)
    assert bars == ["make the analyzer", "suggest a curation", "make the report"] and "at work" not in caplog.text
    monkeypatch.setattr(work, "LINE_EVERY_S", 0.02)
    report(analyzer, tmp_path / "report")
    assert len(bars) == 3 and "make the report: at work for" in caplog.text


def test_what_is_done_is_counted_in_the_thread_that_does_it():
    """Chunks of this thread's executors count for its work; another thread has its bars."""
    recording, seen = NumpyRecording([np.zeros((5000, 1), dtype="int16")], 1000.0), []

    def chunk(segment, start, end, context):
        seen.append(this.known_share())

    def go():
        return job_tools.TimeSeriesChunkExecutor(
            recording, chunk, dict, (), n_jobs=1, chunk_size=1000, progress_bar=True
        ).run()

    before = job_tools.tqdm
    with Work("count", passes=2) as this:
        go()
        half = this.known_share()
        go()
        assert half == pytest.approx(0.5) and this.known_share() == pytest.approx(1.0)
        other = threading.Thread(target=go)
        other.start()
        other.join()
        assert this.known_share() == pytest.approx(1.0)
    assert seen[:5] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4]) and job_tools.tqdm is before


def test_what_is_guessed_is_not_promised():
    """Beyond the time that was expected no end is told."""
    with Work("guess", expected_s=0.05, rest_s=lambda seconds: 100 * seconds) as this:
        time.sleep(0.02)
        assert "to the end" in this.says()
        time.sleep(0.05)
        assert this.says() == "longer than expected"
    with Work("parts") as this:
        time.sleep(0.05)
        this.part(0.5, 1.0)
        time.sleep(0.02)
        # as fast as the part before: its half takes the same time
        assert 0.55 < this.known_share() < 0.975
    with Work("unknown") as this:
        assert this.known_share() is None and this.says() == ""
