"""The clock of a recording: start times and pauses change no spike, no rate and no label."""

from __future__ import annotations

import numpy as np
import pytest
import spikeinterface.full as si
from spikeinterface.core.motion import Motion

SORT = dict(n_jobs=1, min_spikes=5, device="cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """6 s of 6 channels on disk."""
    recording, _ = si.generate_ground_truth_recording(
        durations=[6.0], sampling_frequency=30000.0, num_channels=6, num_units=3, seed=3,
        generate_sorting_kwargs=dict(firing_rates=(8.0, 20.0), refractory_period_ms=4.0),
    )  # fmt: skip
    return recording.save(folder=tmp_path_factory.mktemp("times") / "plain", verbose=False, progress_bar=False)


def on_a_clock(recording, start_s=1000.0, pause_s=12 * 3600.0):
    """The same traces, begun at `start_s` and paused half-way."""
    times = start_s + np.arange(recording.get_num_samples()) / recording.sampling_frequency
    times[len(times) // 2 :] += pause_s
    recording = recording.clone()
    recording.set_times(times)
    return recording


@pytest.mark.parametrize(
    "params",
    [{}, dict(max_cache_gb=0.0), dict(apply_preprocessing=False)],
    ids=["cached", "not cached", "already preprocessed"],
)
def test_start_and_pause_change_nothing(plain, params, tmp_path):
    params = {**SORT, **params, "min_firing_rate": 1.0}
    recordings = dict(plain=plain, clock=on_a_clock(plain))
    if "apply_preprocessing" in params:
        recordings = {name: si.bandpass_filter(one, 300, 6000) for name, one in recordings.items()}
    sorted_by = {
        name: si.run_sorter("huidurep", one, folder=tmp_path / name, **params) for name, one in recordings.items()
    }
    assert len(sorted_by["plain"].unit_ids) >= 2
    vectors = [one.to_spike_vector() for one in sorted_by.values()]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    quality = [one.get_property("quality").tolist() for one in sorted_by.values()]
    assert quality[0] == quality[1]
    assert "6.0 s in 1 segment" in (tmp_path / "clock" / "sorter_output" / "huidurep.log").read_text()


def test_a_given_motion_is_read_in_the_times_of_the_recording(plain, tmp_path):
    """The probe has moved in the pause: with the plain recording's clock the same motion moves at the same samples."""
    clock = on_a_clock(plain)
    moved = np.array([[0.0], [0.0], [15.0], [15.0]])
    Motion([moved], [np.array([0.0, 2.9, 3.1, 6.0])], np.zeros(1)).save(tmp_path / "plain_motion")
    bins = np.array([1000.0, 1002.9, 1003.1 + 12 * 3600, 1006.0 + 12 * 3600])
    Motion([moved], [bins], np.zeros(1)).save(tmp_path / "clock_motion")
    vectors = [
        si.run_sorter(
            "huidurep", one, folder=tmp_path / name, motion_folder=tmp_path / f"{name}_motion", **SORT
        ).to_spike_vector()
        for name, one in dict(plain=plain, clock=clock).items()
    ]
    np.testing.assert_array_equal(*vectors)


def test_the_motion_that_a_sort_keeps_is_in_the_times_of_the_recording(plain, tmp_path):
    """A sort of the kept motion is the same sort: what was written is what was used."""
    clock = on_a_clock(plain)
    bins = np.array([1000.0, 1002.9, 1003.1 + 12 * 3600, 1005.9 + 12 * 3600])
    Motion([np.array([[0.0], [0.0], [15.0], [15.0]])], [bins], np.zeros(1)).save(tmp_path / "given")
    params = dict(SORT, save_intermediate=True)
    first = si.run_sorter("huidurep", clock, folder=tmp_path / "first", motion_folder=tmp_path / "given", **params)
    kept = tmp_path / "first" / "sorter_output" / "intermediate" / "motion"
    np.testing.assert_allclose(Motion.load(kept).temporal_bins_s[0], bins, atol=1e-4)
    again = si.run_sorter("huidurep", clock, folder=tmp_path / "again", motion_folder=kept, **params)
    np.testing.assert_array_equal(first.to_spike_vector(), again.to_spike_vector())
