"""Preprocessing: the band-pass, the common median and the noise, on traces with known answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import spikeinterface.core as sc
from spikeinterface.core.job_tools import fix_job_kwargs
from spikeinterface.preprocessing import bandpass_filter
from spikeinterface.sorters import run_sorter
from stage_helpers import JOB, two_units_apart

from spikeinterface_huidurep.checks import check_recording
from spikeinterface_huidurep.jobs import resolve_job_kwargs
from spikeinterface_huidurep.stages.peaks.detection import detect_peaks
from spikeinterface_huidurep.stages.traces.bandpass import BandpassRecording
from spikeinterface_huidurep.stages.traces.blanks import blank_stretches, choose_blanking
from spikeinterface_huidurep.stages.traces.caching import cached_traces
from spikeinterface_huidurep.stages.traces.preprocessing import preprocess
from spikeinterface_huidurep.stages.traces.scaling import common_part, median_of_rows
from spikeinterface_huidurep.stages.traces.segments import random_stretches, stretches_all_over

RATE = 30000.0


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("n_channels", [1, 7])
def test_band_pass_is_that_of_spikeinterface(dtype, n_channels):
    rng = np.random.default_rng(0)
    # an offset a thousand times the noise, and a slow wave
    slow = 3000.0 + 500.0 * np.sin(2 * np.pi * 10.0 * np.arange(20000) / RATE)[:, None]
    traces = (slow + rng.normal(0.0, 20.0, (20000, n_channels))).astype(dtype)
    recording = sc.NumpyRecording([traces, traces[:50]], RATE)
    ours = BandpassRecording(recording, 300.0, 6000.0)
    theirs = bandpass_filter(recording, 300.0, 6000.0, filter_order=3, dtype="float32")
    # at both ends, between chunks, and in a segment shorter than the margin
    for segment, start, end in ((0, 0, 20000), (0, 0, 7001), (0, 7001, 20000), (1, 0, 50), (1, 10, 11)):
        a, b = (r.get_traces(segment_index=segment, start_frame=start, end_frame=end) for r in (ours, theirs))
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=0.02)
    assert ours.is_filtered()


def test_band_pass_takes_out_what_is_outside_and_keeps_what_is_inside():
    time_s = np.arange(30000) / RATE
    tones = np.column_stack([np.sin(2 * np.pi * frequency * time_s) for frequency in (30.0, 1000.0, 12000.0)])
    filtered = BandpassRecording(sc.NumpyRecording(tones.astype("float32"), RATE), 300.0, 6000.0).get_traces()
    filtered, tones = filtered[3000:-3000], tones[3000:-3000]
    np.testing.assert_allclose(filtered[:, 1], tones[:, 1], atol=0.02)
    assert np.abs(filtered[:, [0, 2]]).max() < 0.02


@pytest.mark.parametrize("n", [1, 2, 383, 384, 2999, 3000])
def test_medians_of_short_and_long_rows(n):
    rows = np.random.default_rng(n).normal(size=(3, n)).astype("float32")
    np.testing.assert_allclose(median_of_rows(rows), np.median(rows, axis=1), rtol=1e-6)


def test_the_common_part_is_the_median_near_artefacts_alone():
    traces = np.random.default_rng(0).normal(0.0, 1.0, (1000, 20)).astype("float32")
    traces[500, :19] -= 40.0
    traces[200, :15] -= 40.0
    near = np.abs(np.arange(1000) - 500) <= 30
    np.testing.assert_allclose(common_part(traces, 10.0, 30), np.where(near, np.median(traces, axis=1), 0.0), rtol=1e-5)
    np.testing.assert_allclose(common_part(traces, 0.0, 0), np.median(traces, axis=1), rtol=1e-5)


def test_preprocessing_subtracts_the_median_and_counts_in_noise():
    rng = np.random.default_rng(6)
    common = 300 * rng.normal(size=(60000, 1))
    own = rng.normal(size=(60000, 17)) * np.linspace(5, 40, 17)
    recording = sc.NumpyRecording([(own + common).astype("float32")], RATE)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(17), 20.0 * np.arange(17)]))
    traces = preprocess(recording, apply_filter=False).get_traces()
    assert traces.dtype == np.float32
    assert np.allclose(1.4826 * np.median(np.abs(traces), axis=0), 1, atol=0.05)
    # what all channels share is gone but for the median's own error
    assert np.abs(np.corrcoef(traces.T, common[:, 0])[-1, :-1]).max() < 0.05
    some = preprocess(recording, apply_filter=False).get_traces(channel_ids=recording.channel_ids[3:5])
    assert np.array_equal(some, traces[:, 3:5])


def test_no_median_is_subtracted_where_channels_share_no_noise():
    """It would put an echo of large spikes on the channels that do not see them."""
    rng = np.random.default_rng(7)
    traces = rng.normal(size=(120000, 20)).astype("float32")
    shape = -np.exp(-((np.arange(-24, 48)[:, None] / 4.0) ** 2) / 2)
    for start in range(1000, 119000, 1500):
        traces[start : start + len(shape)] += shape * np.repeat([30.0, 1.0, 0.0], [8, 6, 6])
    recording = sc.NumpyRecording([traces], RATE)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(20), 20.0 * np.arange(20)]))
    far = preprocess(recording, apply_filter=False).get_traces()[:, 14:]
    assert np.abs(np.corrcoef(np.column_stack([far, traces[:, 0]]).T)[-1, :-1]).max() < 0.03


def test_artefacts_go_and_spikes_stay_on_a_probe_that_is_longer_than_a_neuron_reaches():
    rng = np.random.default_rng(8)
    quiet = rng.normal(size=(120000, 20)).astype("float32")
    disturbed = quiet.copy()
    decay = 100 * np.exp(-np.arange(80) / 15)
    disturbed[50000:50080] += decay[:, None] * np.linspace(0.9, 1.1, 20)
    disturbed[70000:70060] += 200.0 * (np.arange(20) < 10)

    def preprocessed(traces, pitch):
        recording = sc.NumpyRecording([traces], RATE)
        recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(20), pitch * np.arange(20)]))
        return preprocess(recording, apply_filter=False)

    traces = preprocessed(disturbed, 20.0)
    # the ends of an artefact may lie in another chunk
    whole = traces.get_traces(start_frame=49000, end_frame=51000)
    pieces = [traces.get_traces(start_frame=a, end_frame=b) for a, b in ((49000, 50010), (50010, 51000))]
    assert np.array_equal(whole, np.concatenate(pieces))
    left = whole[1000:1080]
    assert np.abs(left).max() < 15 and np.abs(left[40:]).max() < 5
    # half of the channels are no artefact, nor is what all channels of a short probe see, unless it is huge
    assert traces.get_traces(start_frame=70000, end_frame=70060)[:, :10].min() > 150
    assert np.abs(preprocessed(disturbed, 5.0).get_traces(start_frame=50000, end_frame=50001)).max() < 15
    small = quiet.copy()
    small[50000:50080] += 0.2 * decay[:, None]
    assert preprocessed(small, 5.0).get_traces(start_frame=50000, end_frame=50001).mean() > 15
    assert np.abs(preprocessed(small, 20.0).get_traces(start_frame=50000, end_frame=50001).mean()) < 1


def test_fewer_channels_are_read_in_longer_chunks():
    params = dict(job_kwargs={}, n_jobs=1)
    seconds = [float(resolve_job_kwargs(params, False, n)["chunk_duration"][:-1]) for n in (1, 4, 64, 384)]
    assert seconds == [5.0, 5.0, 3.0, 0.5]
    given = dict(job_kwargs=dict(chunk_size=1000), n_jobs=1)
    assert "chunk_duration" not in resolve_job_kwargs(given, False, 64)


@pytest.mark.parametrize("everywhere", [dict(n_jobs=2), dict(n_jobs=0.9, chunk_duration="1s", pool_engine="process")])
def test_global_job_settings_say_how_many_jobs_only(everywhere):
    """They always have an engine and a length of chunks, which nobody may have chosen."""
    sc.set_global_job_kwargs(**everywhere)
    jobs = resolve_job_kwargs(dict(job_kwargs={}, n_jobs=None), False, 4)
    assert jobs["n_jobs"] == fix_job_kwargs(dict(n_jobs=everywhere["n_jobs"]))["n_jobs"]
    assert (jobs["pool_engine"], jobs["chunk_duration"]) == ("thread", "5.00s")
    given = dict(pool_engine="process", chunk_duration="1s")
    jobs = resolve_job_kwargs(dict(job_kwargs=given, n_jobs=None), False, 4)
    assert {name: jobs[name] for name in given} == given
    assert resolve_job_kwargs(dict(job_kwargs=dict(mp_context="spawn"), n_jobs=2), False)["pool_engine"] == "process"


def test_a_sort_with_global_job_settings_runs_in_threads(tetrode_recording, tmp_path):
    recording, _ = tetrode_recording
    sc.set_global_job_kwargs(n_jobs=2)
    run_sorter("huidurep", recording.frame_slice(0, 90000), folder=tmp_path / "sort")
    log = (tmp_path / "sort" / "sorter_output" / "huidurep.log").read_text()
    assert "pool_engine='thread'" in log and "chunk_duration='5.00s'" in log and "n_jobs=2" in log


@pytest.mark.parametrize(("n_segments", "duration_s"), [(1, 120.0), (60, 2.0), (400, 0.3)])
def test_many_segments_are_read_no_more_than_one(n_segments, duration_s, monkeypatch):
    """What is read for medians and for the noise is a matter of memory."""
    recording = sc.generate_recording(num_channels=4, durations=[duration_s] * n_segments, seed=0)
    read, get_traces = [], sc.BaseRecording.get_traces

    def counted(self, segment_index=None, start_frame=None, end_frame=None, **others):
        read.append(end_frame - start_frame)
        return get_traces(self, segment_index=segment_index, start_frame=start_frame, end_frame=end_frame, **others)

    monkeypatch.setattr(sc.BaseRecording, "get_traces", counted)
    check_recording(recording)
    checked, rate = sum(read) / recording.sampling_frequency, recording.sampling_frequency
    traces = preprocess(recording)
    sampled = sum(read) / rate - checked
    stretches = list(random_stretches(traces, duration_s=20.0, seed=0))
    assert checked <= 100 and 2 * 4.5 <= sampled <= 2 * 6
    assert 18 <= sum(len(stretch) for _, _, stretch in stretches) / rate <= 22
    for segment, start, stretch in stretches[:: max(1, len(stretches) // 5)]:
        same = traces.get_traces(segment_index=segment, start_frame=start, end_frame=start + len(stretch))
        np.testing.assert_array_equal(stretch, same)


@pytest.mark.parametrize("lengths", [[600.0], [0.6] * 1000, [0.1] * 500 + [275.0, 275.0], [1.5, 598.5]])
def test_units_are_refined_on_as_much_of_many_segments_as_of_one(lengths):
    """A thousand trials have no stretch each, which would be all of them."""
    recording = sc.generate_recording(num_channels=2, durations=lengths, sampling_frequency=1000.0)
    stretches = stretches_all_over(recording, 100.0)
    assert stretches is not None
    starts = np.concatenate([[0], np.cumsum(np.array(lengths) * 1000)]).round().astype(int)
    n_read = 0
    for segment, first, last in stretches:
        assert 0 <= first < last <= recording.get_num_samples(segment)
        n_read += last - first
    assert n_read == pytest.approx(100_000, rel=0.02)
    at = np.array([starts[segment] + first for segment, first, _ in stretches])
    assert (np.diff(at) > 0).all() and np.diff(at).max() <= 12_000 and at[-1] >= 586_000


def test_the_traces_of_many_segments_are_in_one_open_file(tmp_path):
    """A system allows a process a thousand open files or fewer."""
    process = psutil.Process()
    recording = sc.generate_recording(num_channels=3, durations=[0.2] * 300 + [0.7], sampling_frequency=10000.0)
    before = len(process.open_files())
    with cached_traces(recording, tmp_path, exact=True, job_kwargs=dict(n_jobs=1, chunk_duration="0.1s")) as traces:
        assert len(process.open_files()) <= before + 1
        assert [traces.get_num_samples(i) for i in (0, 299, 300)] == [2000, 2000, 7000]
        for segment in (0, 1, 150, 300):
            given = recording.get_traces(segment_index=segment).astype("float32")
            np.testing.assert_array_equal(traces.get_traces(segment_index=segment), given)
            part = traces.get_traces(segment_index=segment, start_frame=500, end_frame=700, channel_ids=["1"])
            np.testing.assert_array_equal(part, given[500:700, 1:2])


def test_threads_are_limited_once_not_in_every_chunk(monkeypatch):
    def limit(**_limits):
        raise AssertionError("the libraries are looked through again")

    recording, *_ = two_units_apart()
    monkeypatch.setattr("spikeinterface.core.job_tools.threadpool_limits", limit)
    one, two = (
        detect_peaks(recording, job_kwargs={**JOB, "n_jobs": n_jobs, "pool_engine": "thread"}) for n_jobs in (1, 2)
    )
    assert len(one) > 100
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("free_gb", "kept"), [(0.5, True), (0.3, False)])
def test_traces_are_cached_where_the_disk_holds_them_with_room_to_spare(free_gb, kept, tmp_path, monkeypatch):
    recording = sc.NumpyRecording([np.zeros((1000, 4), dtype="float32")], 30000.0)
    monkeypatch.setattr(recording, "get_total_samples", lambda: 40_000_000)  # 0.32 GB
    usage = SimpleNamespace(free=free_gb * 1e9)
    monkeypatch.setattr("spikeinterface_huidurep.stages.traces.caching.shutil.disk_usage", lambda _: usage)
    with cached_traces(recording, tmp_path, job_kwargs=dict(n_jobs=1, chunk_duration="1s")) as traces:
        assert (traces is not recording) == kept


@pytest.mark.parametrize("step", [0.2, 2.0, 8.0, 25.0])
def test_noise_is_no_blank_however_coarse_the_converter(step):
    """Of 10 uV of noise a converter with steps of 25 uV gives one value for long, and none of it is a blank."""
    noise = np.rint(np.random.default_rng(0).normal(0, 10, (300_000, 6)) / step).astype("int16")
    blanking = choose_blanking(noise[:150_000], [0] * 6, RATE)
    assert blank_stretches(noise, blanking) == {}
    noise[1000:1400, 4] = 30
    assert list(blank_stretches(noise, blanking)) == [4]


def test_a_blank_is_filled_alike_whatever_the_chunks():
    rng = np.random.default_rng(1)
    traces = np.rint(300 * np.sin(np.arange(60_000) / 500)[:, None] + rng.normal(500, 50, (60_000, 4))).astype("int16")
    for channel, start, length in ((0, 10_000, 40), (1, 19_990, 30), (2, 15_000, 9_000), (3, 40_000, 1)):
        traces[start : start + length, channel] = 0
    recording = sc.NumpyRecording([traces], RATE)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(4), 25.0 * np.arange(4)]))
    filtered = preprocess(recording)
    whole = filtered.get_traces()
    pieces = [filtered.get_traces(start_frame=at, end_frame=at + 4_000) for at in range(0, 60_000, 4_000)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=0.01)
    # there is no step at their ends, which would be tens of times the noise
    assert np.abs(whole).max() < 6
