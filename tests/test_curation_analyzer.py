"""make_analyzer and the extension "huidurep_embeddings": what they hold, and what merges, selections and files do."""

import subprocess
import sys

import numpy as np
import pytest
import spikeinterface.core as sc
from spikeinterface.preprocessing import bandpass_filter

import spikeinterface_huidurep
from spikeinterface_huidurep import curation, make_analyzer
from spikeinterface_huidurep.curation import complete_analyzer, load_analyzer
from spikeinterface_huidurep.curation.analyzer import extension_parameters
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME, HuiduRepEmbeddings, register_extension
from spikeinterface_huidurep.curation.neighbours import spike_confidence, unit_mixing
from spikeinterface_huidurep.curation.traces import curation_traces, in_microvolts


@pytest.fixture(scope="module")
def embedded(curation_recording):
    """An analyzer as SpikeInterface makes it of another sorter's units, with the embeddings alone."""
    recording, sorting, _ = curation_recording
    renamed = sorting.rename_units([f"ks{unit}" for unit in sorting.unit_ids])
    analyzer = sc.create_sorting_analyzer(renamed, bandpass_filter(recording))
    analyzer.compute(["random_spikes", EXTENSION_NAME], extension_params={"random_spikes": {"seed": 0}})
    return analyzer


def test_an_analyzer_has_all_that_curation_wants(analyzer_folder, curation_recording):
    recording, sorting, _ = curation_recording
    analyzer = load_analyzer(analyzer_folder)
    assert set(extension_parameters()) <= set(analyzer.extensions)
    assert analyzer.format == "binary_folder" and analyzer.return_in_uV
    for name in ("quality", "confidence"):
        np.testing.assert_array_equal(analyzer.sorting.get_property(name), sorting.get_property(name))
    assert analyzer.sorting.to_spike_vector().size == sorting.to_spike_vector().size
    # traces come back in uV, as a band-pass of the recording has them
    own = analyzer.recording.get_traces(return_in_uV=True, end_frame=3000)
    plain = bandpass_filter(recording, 300.0, 6000.0, filter_order=3, dtype="float32").get_traces(
        return_in_uV=True, end_frame=3000
    )
    np.testing.assert_allclose(own[500:-500], plain[500:-500], atol=0.5)
    assert np.std(analyzer.recording.get_traces(end_frame=30000)) < 3  # and in units of noise inside


def test_embeddings_tell_units_apart(analyzer_folder, curation_recording):
    analyzer = load_analyzer(analyzer_folder)
    extension = analyzer.get_extension(EXTENSION_NAME)
    units = extension.get_data(outputs="unit_index")
    embedding, location = extension.get_data(), extension.get_data(outputs="location")
    assert embedding.shape == (len(units), 32) and embedding.dtype == np.float32
    assert location.shape == (len(units), 2) and np.isfinite(location).all()
    assert extension.get_data(outputs="amplitude").shape == units.shape
    confidence = extension.get_data(outputs="confidence")
    half = np.isin(units, curation_recording[2])
    # the halves of the unit that was cut have half of their neighbours in the other half, the others hardly any
    assert confidence[half].mean() == pytest.approx(0.5, abs=0.15)
    assert np.median(confidence[~half]) > 0.8
    with pytest.raises(ValueError, match="outputs must be one of"):
        extension.get_data(outputs="nonsense")


def test_embeddings_of_another_sorters_units(embedded, analyzer_folder):
    """Filtered or raw traces, in uV or in units of noise: the encoder sees the same spikes."""
    analyzer = load_analyzer(analyzer_folder)
    theirs, own = embedded.get_extension(EXTENSION_NAME), analyzer.get_extension(EXTENSION_NAME)
    np.testing.assert_array_equal(theirs.get_data(outputs="unit_index"), own.get_data(outputs="unit_index"))
    distance = np.linalg.norm(theirs.get_data() - own.get_data(), axis=1)
    spread = np.linalg.norm(own.get_data() - own.get_data().mean(axis=0), axis=1)
    assert np.median(distance) < 0.2 * np.median(spread)


def test_select_merge_and_split(embedded):
    before = embedded.get_extension(EXTENSION_NAME)
    units = before.get_data(outputs="unit_index")

    selection = embedded.select_units(["ks1", "ks3"])
    selected = selection.get_extension(EXTENSION_NAME)
    np.testing.assert_array_equal(selected.get_data(), before.get_data()[np.isin(units, [1, 3])])

    merged = embedded.merge_units([["ks0", "ks5"]], new_unit_ids=["ks0"], censor_ms=0.5)
    after = merged.get_extension(EXTENSION_NAME)
    assert len(after.get_data()) == len(merged.get_extension("random_spikes").get_data())
    joined = after.get_data(outputs="unit_index") == merged.sorting.id_to_index("ks0")
    confidence = after.get_data(outputs="confidence")[joined].mean()
    assert confidence > before.get_data(outputs="confidence")[np.isin(units, [0, 5])].mean() + 0.2

    halved = embedded.split_units(
        {"ks1": [np.arange(10), np.arange(10, embedded.sorting.count_num_spikes_per_unit()["ks1"])]}
    )
    split = halved.get_extension(EXTENSION_NAME)
    np.testing.assert_array_equal(split.get_data(), before.get_data())
    assert len(np.unique(split.get_data(outputs="unit_index"))) == len(np.unique(units)) + 1


@pytest.mark.parametrize("name", ["saved", "saved.zarr"])
def test_a_fresh_process_reads_the_embeddings(embedded, tmp_path, name):
    folder = tmp_path / name
    embedded.save_as(format="zarr" if name.endswith("zarr") else "binary_folder", folder=folder)
    script = (
        "import sys, spikeinterface as si, spikeinterface_huidurep\n"
        f"data = si.load({str(folder)!r}).get_extension({EXTENSION_NAME!r}).get_data()\n"
        "print(*data.shape, float(data.sum()), 'torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    data = embedded.get_extension(EXTENSION_NAME).get_data()
    assert [int(output[0]), int(output[1])] == list(data.shape)
    assert float(output[2]) == pytest.approx(float(data.sum()), rel=1e-5)
    assert output[3] == "False"


def test_what_is_there_is_kept(analyzer_folder, curation_recording, tmp_path):
    recording, sorting, _ = curation_recording
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make_analyzer(sorting, recording, analyzer_folder)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not an analyzer"):
        make_analyzer(sorting, recording, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis/chapter.txt").read_text() == "years of work"
    with pytest.raises(ValueError, match="not a SortingAnalyzer"):
        load_analyzer(tmp_path / "thesis")
    with pytest.raises(FileNotFoundError):
        load_analyzer(tmp_path / "nowhere")


def test_an_interrupted_computation_goes_on(analyzer_folder):
    analyzer = load_analyzer(analyzer_folder)
    kept = analyzer.get_extension("waveforms")
    analyzer.delete_extension(EXTENSION_NAME)
    analyzer.delete_extension("unit_locations")
    complete_analyzer(analyzer, n_jobs=1)
    assert set(extension_parameters()) <= set(load_analyzer(analyzer_folder).get_saved_extension_names())
    assert analyzer.get_extension("waveforms") is kept


def test_what_does_not_fit_is_refused(curation_recording):
    recording, sorting, _ = curation_recording
    with pytest.raises(ValueError, match="no units"):
        make_analyzer(sorting.select_units([]), recording)
    with pytest.raises(ValueError, match="segments"):
        make_analyzer(sc.append_sortings([sorting, sorting]), recording)
    other = sc.NumpySorting(sorting.to_spike_vector(), 20000.0, sorting.unit_ids)
    with pytest.raises(ValueError, match="Hz"):
        make_analyzer(other, recording)


def test_shanks_are_referenced_by_themselves(curation_recording):
    recording = curation_recording[0].clone()
    recording.set_channel_groups([0, 1, 0, 1, 0, 1, 0, 1])
    traces = curation_traces(recording)
    assert sorted(traces.channel_ids) == sorted(recording.channel_ids)
    assert traces.is_filtered() and traces.has_scaleable_traces()
    # below sixteen channels nothing is referenced: each channel is as it is without shanks
    ungrouped = curation_traces(curation_recording[0])
    same = traces.ids_to_indices(ungrouped.channel_ids)
    np.testing.assert_allclose(
        traces.get_traces(end_frame=600)[:, same], ungrouped.get_traces(end_frame=600), rtol=0.05, atol=0.1
    )
    np.testing.assert_array_equal(traces.get_channel_locations()[same], ungrouped.get_channel_locations())


def test_a_recording_without_gains(curation_recording):
    """Nobody knows what its unit is; the template metrics of SpikeInterface want gains all the same."""
    recording, sorting, _ = curation_recording
    bare = sc.NumpyRecording([recording.get_traces(return_in_uV=False)], recording.sampling_frequency)
    bare.set_probegroup(recording.get_probegroup(), in_place=True)
    assert not bare.has_scaleable_traces()
    traces = curation_traces(bare)
    known = curation_traces(recording)
    np.testing.assert_allclose(
        traces.get_traces(return_in_uV=True, end_frame=600),
        known.get_traces(return_in_uV=True, end_frame=600),
        rtol=1e-3,
    )
    for one, expected in ((traces, False), (known, True)):
        analyzer = sc.create_sorting_analyzer(sorting, one)
        analyzer.compute(["random_spikes", "templates", "template_metrics"])
        assert in_microvolts(analyzer) is expected


def test_neighbours_of_two_clouds():
    rng = np.random.default_rng(0)
    clouds = np.concatenate([rng.normal(size=(200, 32)), rng.normal(size=(100, 32)), 9 + rng.normal(size=(200, 32))])
    location = np.zeros((500, 2))
    units = np.repeat([0, 1, 3], [200, 100, 200])
    mixing = unit_mixing(clouds, location, units, 4)
    assert mixing[0, 1] > 0.8 and mixing[0, 3] < 0.05
    assert np.isnan(mixing[2]).all() and np.isnan(np.diag(mixing)).all()
    np.testing.assert_array_equal(mixing, mixing.T)
    np.testing.assert_array_equal(mixing, unit_mixing(clouds, location, units, 4))
    confidence = spike_confidence(clouds, location, units)
    assert confidence[units == 3].mean() > 0.95 and confidence[units == 1].mean() < 0.6
    far = np.repeat([[0.0, 0.0], [500.0, 0.0]], [200, 300], axis=0)
    assert np.isnan(unit_mixing(clouds, far, units, 4)[0, 1])
    assert np.isnan(spike_confidence(clouds[:1], location[:1], units[:1])).all()


def test_public_names():
    for name in curation.__all__:
        assert callable(getattr(curation, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = curation.nonsense
    script = (
        "import sys, spikeinterface_huidurep.curation; print({'torch', 'sklearn.manifold', 'panel'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"


def test_registration_is_repeatable():
    from spikeinterface.core.sortinganalyzer import _possible_extensions, get_extension_class

    assert register_extension() is register_extension() is get_extension_class(EXTENSION_NAME)
    assert _possible_extensions.count(HuiduRepEmbeddings) == 1
    assert spikeinterface_huidurep.make_analyzer is make_analyzer
