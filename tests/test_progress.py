"""How long a sort still takes."""

import logging
import re

import pytest
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep.progress import USUAL, TimeLeft, in_words


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
