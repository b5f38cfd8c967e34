"""Units for Phy and NWB, read back with the packages that read them."""

import datetime

import numpy as np
import pandas as pd
import pytest
import spikeinterface.core as sc

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.curation import load_analyzer
from spikeinterface_huidurep.curation.curation_file import curated_sorting
from spikeinterface_huidurep.curation.export import curated_analyzer, drop_labels, export_nwb, export_phy
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME

START = datetime.datetime(2026, 5, 4, 10, 30, tzinfo=datetime.timezone.utc)


def test_a_curated_analyzer(analyzer_folder, curation_recording):
    analyzer = load_analyzer(analyzer_folder)
    curated = curated_analyzer(analyzer, accept_suggestions=True)
    sorting = curated_sorting(analyzer, accept_suggestions=True)
    assert list(curated.unit_ids) == list(sorting.unit_ids)
    assert curated.sorting.count_num_spikes_per_unit() == sorting.count_num_spikes_per_unit()
    assert {EXTENSION_NAME, "templates", "waveforms"} <= set(curated.extensions)
    assert len(analyzer.unit_ids) == 6
    kept = drop_labels(curated, ["Noise", "MUA"])
    assert set(curated.unit_ids) - set(kept.unit_ids) == {2, 3}
    with pytest.raises(ValueError, match="nothing left"):
        drop_labels(analyzer, ["good", "mua", "noise"])


def test_phy_opens_the_units(analyzer_folder, tmp_path, capsys):
    phylib = pytest.importorskip("phylib.io.model")
    assert main(["export", str(analyzer_folder), str(tmp_path / "phy"), "--to", "phy"]) == 0
    assert "6 units" in capsys.readouterr().out
    analyzer = load_analyzer(analyzer_folder)
    model = phylib.load_model(tmp_path / "phy/params.py")
    try:
        assert model.n_templates == 6 and model.n_spikes == len(analyzer.sorting.to_spike_vector())
        assert model.traces.shape == (analyzer.get_num_samples(0), 8) and model.sample_rate == 30000.0
        np.testing.assert_array_equal(model.channel_positions, analyzer.get_channel_locations())
        np.testing.assert_array_equal(model.spike_samples, analyzer.sorting.to_spike_vector()["sample_index"])
        assert model.metadata["confidence"][5] == 1.0
        template = analyzer.get_extension("templates").get_unit_template(0)
        mine = model.get_template(0)
        channel = mine.channel_ids[0]
        assert np.corrcoef(mine.template[:, 0], template[:, channel])[0, 1] > 0.99
    finally:
        model.close()
    groups = pd.read_csv(tmp_path / "phy/cluster_group.tsv", sep="\t")["group"]
    assert list(groups) == ["good", "good", "mua", "noise", "good", "good"]
    with pytest.raises(FileExistsError):
        export_phy(analyzer, tmp_path / "phy")


def test_nwb_holds_the_units(analyzer_folder, tmp_path, capsys):
    pynwb = pytest.importorskip("pynwb")
    path = tmp_path / "units.nwb"
    # the folder that holds the analyzer will do as well, as the output of a sort does
    arguments = [
        "export",
        str(analyzer_folder.parent),
        str(path),
        "--to",
        "nwb",
        "--accept-suggestions",
        "--drop",
        "noise",
    ]
    assert main(arguments) == 2
    assert "--session-start" in capsys.readouterr().err
    assert main([*arguments, "--session-start", START.isoformat()]) == 0
    assert pynwb.validate(path=path) == []
    analyzer = load_analyzer(analyzer_folder)
    sorting = curated_sorting(analyzer, accept_suggestions=True, drop=("noise",))
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        assert file.session_start_time == START
        units = file.units.to_dataframe()
        assert list(units["unit_name"]) == [str(unit) for unit in sorting.unit_ids]
        for unit, times in zip(sorting.unit_ids, units["spike_times"], strict=True):
            np.testing.assert_allclose(times, sorting.get_unit_spike_train(unit, return_times=True))
        assert list(units["quality"]) == list(sorting.get_property("quality"))
        # in volts
        trough = analyzer.get_extension("templates").get_unit_template(1).min()
        assert units["waveform_mean"].iloc[0].min() == pytest.approx(1e-6 * trough)
        electrodes = file.electrodes.to_dataframe()
        np.testing.assert_array_equal(electrodes[["rel_x", "rel_y"]], analyzer.get_channel_locations())
    with pytest.raises(FileExistsError):
        export_nwb(analyzer, path, session_start_time=START)


def test_nwb_of_units_on_few_and_many_channels(curation_recording, tmp_path, monkeypatch):
    pynwb = pytest.importorskip("pynwb")
    recording, sorting, _ = curation_recording
    recording = recording.clone()
    recording.delete_property("group")
    analyzer = sc.create_sorting_analyzer(sorting, recording, method="radius", radius_um=30.0)
    analyzer.compute({"random_spikes": {"seed": 0}, "templates": {}})
    near = [np.flatnonzero(mask) for mask in analyzer.sparsity.mask]
    widest = max(map(len, near))
    assert min(map(len, near)) < widest
    path = export_nwb(analyzer, tmp_path / "units.nwb", session_start_time=START)
    templates = analyzer.get_extension("templates").get_data()
    with pynwb.NWBHDF5IO(path, "r") as io:
        units = io.read().units
        for index, channels in enumerate(near):
            np.testing.assert_array_equal(units["electrodes"][index].index, channels)
            written = units["waveform_mean"][index]
            assert written.shape == (templates.shape[1], widest)
            np.testing.assert_allclose(written[:, : len(channels)], 1e-6 * templates[index][:, channels])
            assert np.isnan(written[:, len(channels) :]).all()

    # a file that could not be written whole is not left behind
    monkeypatch.setattr(pynwb.NWBHDF5IO, "write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export_nwb(analyzer, tmp_path / "half.nwb", session_start_time=START)
    assert not (tmp_path / "half.nwb").exists()


def test_what_cannot_be_written(analyzer_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("spikeinterface_huidurep.curation.export.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"\[nwb\]"):
        export_nwb(load_analyzer(analyzer_folder), tmp_path / "units.nwb", session_start_time=START)
    (tmp_path / "empty").mkdir()
    assert main(["export", str(tmp_path / "empty"), str(tmp_path / "phy"), "--to", "phy"]) == 2
    assert "not a SortingAnalyzer" in capsys.readouterr().err
