"""The log in the folder of a sort: what it says, how it ends, and that nothing of it stays behind."""

import logging
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import spikeinterface.core as sc
from spikeinterface.sorters import run_sorter
from spikeinterface.sorters.utils import SpikeSortingError

from spikeinterface_huidurep import __version__, resume
from spikeinterface_huidurep.log_file import LOG_NAME, open_log
from spikeinterface_huidurep.stages.result.cleaning import CleaningCriteria, clean_spikes

PACKAGE = logging.getLogger("spikeinterface_huidurep")


def read(folder: Path) -> str:
    return (folder / LOG_NAME).read_text(encoding="ascii")


def state() -> tuple:
    """All of logging and warnings that an open log changes."""
    return PACKAGE.level, PACKAGE.propagate, list(PACKAGE.handlers), warnings.showwarning


@pytest.fixture(autouse=True)
def nothing_stays():
    before = state()
    yield
    assert state() == before


@pytest.fixture
def short_recording():
    """Four seconds with a silent channel."""
    recording, _ = sc.generate_ground_truth_recording(durations=[4.0], num_channels=5, num_units=3, seed=0)
    traces = recording.get_traces().copy()
    traces[:, 2] = 0
    made = sc.NumpyRecording([traces], recording.sampling_frequency, channel_ids=["a", "b", "µ", "d", "e"])
    made.set_probe(recording.get_probe())
    return made


def save(recording, folder):
    """Saved, so that the recording can be read again."""
    return recording.save(folder=folder, n_jobs=1)


def test_what_a_sort_writes(short_recording, tmp_path, capsys):
    recording = save(short_recording, tmp_path / "recording")
    folder = tmp_path / "sort"
    sorting = run_sorter("huidurep", recording, folder=folder, n_jobs=1, device="cpu", detect_threshold=5.5)
    text = read(folder / "sorter_output")
    for part in (
        f"spikeinterface-huidurep {__version__}", "spikeinterface 0.", "numpy ", "torch ", "Python 3.",
        "recording: 5 channels, 25000 Hz, 4.0 s in 1 segment(s), float32",
        "parameters that are not the default: detect_threshold=5.5, device='cpu', n_jobs=1",
        "WARNING 1 silent channel(s) left out: \\xb5",
        "detect peaks: ", "motion: not corrected", "cleaning: of ",
        f"result: {len(sorting.unit_ids)} units, {sorting.count_total_num_spikes()} spikes", "the sort ends after",
    ):  # fmt: skip
        assert part in text
    assert all(text.count(f" {stage}: ") >= 1 for stage in ("preprocess", "embed spikes", "cluster", "assign spikes"))
    assert text.count("the sort begins") == 1 and "Traceback" not in text
    # SpikeInterface's own log has the lines, too
    assert f"{__version__}, spikeinterface" in (folder / "spikeinterface_log.json").read_text(encoding="utf8")
    assert "detect peaks: " not in capsys.readouterr().err


def test_a_failure_and_what_follows_it(short_recording, tmp_path, monkeypatch):
    """The traceback is there; the resumed sort goes on in the same file."""
    from spikeinterface_huidurep import sort

    recording, folder = save(short_recording, tmp_path / "recording"), tmp_path / "sort"
    with monkeypatch.context() as patch:
        patch.setattr(sort, "estimate_motion", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(SpikeSortingError):
            run_sorter("huidurep", recording, folder=folder, n_jobs=1, device="cpu")
    failed = read(folder / "sorter_output")
    assert "ERROR the sort failed after" in failed and failed.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "Traceback (most recent call last)" in failed and "the sort ends" not in failed
    resume(folder)
    text = read(folder / "sorter_output")
    assert text.startswith(failed)
    rest = text[len(failed) :]
    assert "the sort is resumed" in rest and "detect peaks: done before" in rest and "the sort ends after" in rest
    assert text.count("the sort begins") == 1 and "Traceback" not in rest


def test_a_refused_recording_leaves_no_log(short_recording, tmp_path, monkeypatch):
    """The file is closed before the folder goes, without which it would stay on Windows."""
    from spikeinterface_huidurep import checks

    traces = short_recording.get_traces().copy()
    traces[50_000, 1] = np.nan
    recording = sc.NumpyRecording([traces], 25000.0)
    recording.set_probe(short_recording.get_probe())
    recording = save(recording, tmp_path / "recording")
    monkeypatch.setattr(checks, "_check_traces", lambda recording: None)
    closed = []
    close = logging.FileHandler.close
    monkeypatch.setattr(logging.FileHandler, "close", lambda self: (closed.append(self.baseFilename), close(self)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        run_sorter("huidurep", recording, folder=tmp_path / "sort", n_jobs=1, device="cpu")
    assert not (tmp_path / "sort").exists() and any(name.endswith(LOG_NAME) for name in closed)


class Lines(logging.Handler):
    """A program's own handler."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.mark.parametrize("owner", ["", "spikeinterface_huidurep"])
@pytest.mark.parametrize("level", [logging.NOTSET, logging.INFO, logging.DEBUG, logging.ERROR])
def test_the_programs_handlers_get_what_they_got_before(tmp_path, monkeypatch, owner, level):
    handler, before = Lines(), PACKAGE.level
    logging.getLogger(owner).addHandler(handler)
    PACKAGE.setLevel(level)

    def say():
        handler.lines.clear()
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger("spikeinterface_huidurep.encoder.adaptation").log(number, "level %d", number)
        return list(handler.lines)

    try:
        expected = say()
        with open_log(tmp_path):
            assert say() == expected
        assert say() == expected
    finally:
        PACKAGE.setLevel(before)
        logging.getLogger(owner).removeHandler(handler)
    text = read(tmp_path)
    assert "level 10" not in text and [text.count(f"level {number}") for number in (20, 30, 40)] == [1, 1, 1]


def test_warnings_are_shown_and_kept(tmp_path):
    with pytest.warns(UserWarning, match="look at this"), open_log(tmp_path):
        warnings.warn("look at this", stacklevel=1)
    assert "WARNING UserWarning: look at this (test_log.py:" in read(tmp_path)


def test_sorts_at_once_in_threads(tmp_path):
    """Each log has the lines of its own thread; those of a thread that sorts nothing are in all."""
    names = ["one", "two", "three"]
    ready, done = threading.Barrier(len(names) + 1), threading.Event()

    def sort(name):
        (tmp_path / name).mkdir()
        with open_log(tmp_path / name):
            ready.wait(10)
            for _ in range(50):
                PACKAGE.info("from %s", name)
            done.wait(10)
            # the others may be closed already
            time.sleep(0.05 * names.index(name))
            PACKAGE.info("last of %s", name)

    threads = [threading.Thread(target=sort, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    ready.wait(10)
    PACKAGE.info("from a worker")
    done.set()
    for thread in threads:
        thread.join()
    for name in names:
        text = read(tmp_path / name)
        assert text.count(f"from {name}") == 50 and text.count(f"last of {name}") == 1
        assert text.count("from a worker") == 1
        assert not any(f"from {other}" in text for other in names if other != name)


def test_cleaning_says_which_rule_dropped_what(caplog):
    dtype = [
        ("sample_index", "i8"),
        ("unit_index", "i8"),
        ("segment_index", "i8"),
        ("gain", "f4"),
        ("confidence", "f4"),
    ]
    spikes = np.zeros(63, dtype=dtype)
    spikes["sample_index"] = np.arange(63) * 1000
    spikes["unit_index"][:30], spikes["unit_index"][30:60], spikes["unit_index"][60:] = 0, 1, 2
    spikes["gain"], spikes["confidence"] = 100.0, 1.0
    spikes["confidence"][:4] = 0.1
    with caplog.at_level("INFO", logger="spikeinterface_huidurep"):
        kept = clean_spikes(spikes, np.full(3, 100.0), CleaningCriteria.in_samples(30000.0))
    assert set(kept["unit_index"]) == {0, 1}
    assert "cleaning: of 63 spikes 4 doubtful and 0 repeated ones dropped" in caplog.text
    assert "cleaning: 1 of 3 units dropped that have too few spikes" in caplog.text
    assert "echo a larger unit" not in caplog.text
