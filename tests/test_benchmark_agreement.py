"""The comparison without ground truth, and hybrid recordings."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_helpers import perturbed
from spikeinterface.core import NumpyRecording, generate_ground_truth_recording, generate_recording
from spikeinterface.core.motion import Motion

from spikeinterface_huidurep.benchmark import agreement, compare_sorters, make_hybrid, write_agreement_report
from spikeinterface_huidurep.benchmark.execution import SorterRun
from spikeinterface_huidurep.benchmark.library_units import sorter_band


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Three sorters whose results are known: two much alike, one that fails."""
    recording, truth = generate_ground_truth_recording(durations=[20.0], num_channels=4, num_units=5, seed=3)
    outcomes = {"simple": perturbed(truth, 0.05, 0.0), "spykingcircus2": truth}

    def run_job(job, root, time_limit_s):
        run = SorterRun(job.sorter, job.recording, "failed", "ValueError: no", run_time_s=2.0, peak_memory_gb=0.5)
        if job.sorter in outcomes:
            outcomes[job.sorter].save(folder=job.folder(root) / "sorting", format="numpy_folder")
            run.status, run.message = "done", ""
        return run

    sorters = ["simple", "spykingcircus2", "tridesclous2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "run_job", run_job)
        folder = tmp_path_factory.mktemp("compared")
        return compare_sorters(recording, sorters, folder, n_jobs=1, progress=False), truth


def test_units_that_two_sorters_have_are_counted(compared):
    results, truth = compared
    assert results.matrix.loc["simple", "spykingcircus2"] == 1.0
    assert results.matrix.loc["spykingcircus2", "simple"] == pytest.approx(0.8)
    units = results.units
    assert (units.loc[units["sorter"] == "simple", "sorters_with_it"] == 2).all()
    alone = units[(units["sorter"] == "spykingcircus2") & (units["sorters_with_it"] == 1)]
    assert alone["unit_id"].tolist() == [str(truth.unit_ids[-1])]
    summary = results.summary.set_index("sorter")
    assert summary.loc["spykingcircus2", "units"] == 5 and summary.loc["spykingcircus2", "in_all"] == 4
    assert summary.loc["tridesclous2", "status"] == "failed"


def test_quality_is_that_of_the_units(compared):
    results, truth = compared
    units = results.units[results.units["sorter"] == "spykingcircus2"].set_index("unit_id")
    counts = truth.count_num_spikes_per_unit()
    assert units["n_spikes"].to_dict() == {str(unit): count for unit, count in counts.items()}
    assert (units["isi_violations_count"] == 0).all(), "the generator keeps a refractory period of 4 ms"
    assert (units["snr"] > 0.5).all() and units["snr"].max() > 20


def test_the_page_of_the_comparison_names_what_failed(compared, tmp_path):
    files = write_agreement_report(compared[0], tmp_path, "huidurep compare x")
    text = files.html.read_text(encoding="utf-8")
    assert "ValueError: no" in text and "huidurep compare x" in text and text.count("<figure>") == 3
    assert len(files.markdown.read_text().splitlines()) == 5


@pytest.fixture(scope="module")
def quiet_recording():
    """Noise of an int16 recording with a gain and an offset, as acquisition systems write it."""
    source = generate_recording(num_channels=8, durations=[20.0], sampling_frequency=30000.0, seed=1)
    traces = np.rint(np.random.default_rng(0).normal(100, 20, size=(600000, 8))).astype("int16")
    recording = NumpyRecording([traces], 30000.0)
    recording.set_probe(source.get_probe())
    recording.set_channel_gains(0.2)
    recording.set_channel_offsets(-20.0)
    return recording


@pytest.mark.parametrize("moving", [False, True])
def test_a_hybrid_holds_the_units_that_it_says(quiet_recording, tmp_path, moving):
    motion = None
    if moving:
        motion = Motion([np.linspace(-15, 15, 41)[:, np.newaxis]], [np.linspace(0, 20.0, 41)], np.array([0.0]))
    truth = make_hybrid(quiet_recording, tmp_path / "hybrid", 3, snr_range=(8.0, 15.0), motion=motion)
    assert truth.info["exhaustive"] is False and (truth.motion is not None) == moving
    assert truth.recording.get_dtype() == np.int16
    np.testing.assert_array_equal(truth.recording.get_channel_gains(), quiet_recording.get_channel_gains())
    difference = truth.recording.get_traces().astype(float) - quiet_recording.get_traces()
    band = sorter_band(truth.recording.get_traces().astype(float), 30000.0, axis=0)
    noise = np.median(np.abs(band), axis=0) / 0.6745
    frames = np.concatenate([truth.sorting.get_unit_spike_train(unit) for unit in truth.sorting.unit_ids])
    near = np.zeros(600000, dtype=bool)
    for frame in frames:
        near[max(0, frame - 60) : frame + 110] = True
    assert not difference[~near].any(), "nothing is added away from the spikes"
    depth = quiet_recording.get_channel_locations()[:, 1]
    for unit, snr in zip(truth.sorting.unit_ids, truth.sorting.get_property("gt_snr"), strict=True):
        train = truth.sorting.get_unit_spike_train(unit)
        train = train[(train > 50) & (train < 599900)]
        energy = np.array([np.abs(difference[frame - 5 : frame + 5]).max(axis=0) ** 2 for frame in train])
        drift_um = 20.0 * np.polyfit(train / 30000.0, energy @ depth / energy.sum(axis=1), 1)[0]
        if moving:
            assert drift_um > 4, "the unit goes up by up to 30 um with the tissue"
        else:
            assert abs(drift_um) < 4
            mean = np.mean([band[frame - 20 : frame + 20] for frame in train], axis=0)
            assert (-mean / noise).max() == pytest.approx(snr, rel=0.2)


def test_a_hybrid_needs_a_probe_and_a_free_folder(quiet_recording, tmp_path):
    bare = NumpyRecording([np.zeros((1000, 2), dtype="int16")], 30000.0)
    with pytest.raises(ValueError, match="channel locations"):
        make_hybrid(bare, tmp_path / "new")
    with pytest.raises(FileExistsError, match="exists already"):
        make_hybrid(quiet_recording, tmp_path)
    with pytest.raises(ValueError, match="'estimate'"):
        make_hybrid(quiet_recording, tmp_path / "new", motion="guess")
