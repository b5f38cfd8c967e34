"""Recordings and probes as the command line names them."""

import numpy as np
import probeinterface
import pytest
import spikeinterface.core as sc
from format_helpers import write_openephys_folder

from spikeinterface_huidurep.reading import (
    attach_probe,
    available_readers,
    make_geometry,
    parse_assignments,
    parse_reader_options,
    parse_value,
    read_as_typed,
    read_recording,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("2.5", 2.5),
        ("true", True),
        ("False", False),
        ("none", None),
        ("imec0.ap", "imec0.ap"),
        ("[0, 1]", [0, 1]),
        ("{'n_jobs': 2}", {"n_jobs": 2}),
        ("C:\\data", "C:\\data"),
        ("", ""),
    ],
)
def test_parse_value(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_parse_assignments():
    assert parse_assignments(["a=1", "b=x=y"], "--param") == {"a": "1", "b": "x=y"}


@pytest.mark.parametrize("assignments", [["a"], ["=1"], ["a=1", "a=2"]])
def test_bad_assignments(assignments):
    with pytest.raises(ValueError, match="^--param"):
        parse_assignments(assignments, "--param")


def test_names_of_streams_are_text():
    typed = ["stream_id=0", "block_index=1", "use_names_as_ids=true", "sampling_frequency=3e4"]
    expected = {"stream_id": "0", "block_index": 1, "use_names_as_ids": True, "sampling_frequency": 3e4}
    assert parse_reader_options(typed) == expected
    # quoted, as Python would have it
    assert parse_reader_options(["stream_id='0'", "stream_name=12"]) == {"stream_id": "0", "stream_name": "12"}
    assert parse_reader_options(["stream_id=none"]) == {"stream_id": None}
    assert parse_reader_options(["stream_id=0_RH_DATA"]) == {"stream_id": "0_RH_DATA"}


def test_open_ephys_streams_by_number(openephys_folder):
    """Open Ephys numbers its streams; neo wants the number as text."""
    folder, traces = openephys_folder
    with pytest.raises(ValueError, match="several streams"):
        read_recording(folder, "openephys")
    for number, expected in traces.items():
        recording = read_as_typed(folder, "openephys", [f"stream_id={number}"], "linear:20")
        np.testing.assert_array_equal(recording.get_traces(), expected)
    with pytest.raises(ValueError, match="--probe"):
        read_as_typed(folder, "openephys", ["stream_id=0"])


@pytest.fixture
def openephys_folder(tmp_path):
    """A folder of Open Ephys' binary format with two streams; returns it and the traces by the stream's number."""
    rng = np.random.default_rng(0)
    traces = {number: rng.integers(-100, 100, (1000, 3)).astype("int16") for number in range(2)}
    names = ["Acquisition_Board-100.acquisition_board", "Probe-102.ProbeA"]
    write_openephys_folder(tmp_path, dict(zip(names, traces.values(), strict=True)))
    return tmp_path, traces


def test_readers_take_a_path():
    readers = available_readers()
    assert {"spikeglx", "openephys", "neuralynx", "intan", "blackrock", "nwb", "binary", "mearec"} <= set(readers)
    assert "numpy" not in readers


@pytest.fixture
def binary_file(tmp_path):
    """Two seconds of 8 channels, int16, 20 kHz, without a probe."""
    traces = np.random.default_rng(0).integers(-100, 100, (40_000, 8)).astype("int16")
    path = tmp_path / "traces.raw"
    traces.tofile(path)
    return path, traces, {"sampling_frequency": 20000.0, "dtype": "int16", "num_channels": 8}


def test_binary_reader(binary_file):
    path, traces, options = binary_file
    recording = read_recording(path, "Binary", options)
    np.testing.assert_array_equal(recording.get_traces(), traces)
    assert not recording.has_probe()


@pytest.mark.parametrize("format", ["binary", "zarr"])
def test_saved_recordings(binary_file, tmp_path, format):
    path, traces, options = binary_file
    saved = read_recording(path, "binary", options).save(folder=tmp_path / f"saved.{format}", format=format)
    again = read_recording(tmp_path / f"saved.{format}")
    np.testing.assert_array_equal(again.get_traces(), saved.get_traces())


def test_refused_input(binary_file, tmp_path):
    path, _, options = binary_file
    with pytest.raises(FileNotFoundError, match="missing"):
        read_recording(tmp_path / "missing", "binary", options)
    with pytest.raises(ValueError, match="Did you mean 'binary'"):
        read_recording(path, "binari", options)
    with pytest.raises(ValueError, match="cannot read"):
        read_recording(path, "binary", {"no_such_option": 1})
    with pytest.raises(ValueError, match="--reader"):
        read_recording(path)
    sc.generate_sorting(durations=[1.0]).save(folder=tmp_path / "sorting")
    with pytest.raises(ValueError, match="not a recording"):
        read_recording(tmp_path / "sorting")


@pytest.mark.parametrize(
    ("geometry", "num_channels", "largest_x", "largest_y", "num_probes"),
    [
        ("tetrode", 4, 10.0, 10.0, 1),
        ("tetrode:25", 4, 25.0, 25.0, 1),
        ("tetrodes:2", 8, 1010.0, 10.0, 2),
        ("tetrodes:2:25", 8, 1025.0, 25.0, 2),
        ("linear", 5, 0.0, 80.0, 1),
        ("linear:50", 3, 0.0, 100.0, 1),
        ("grid:10:100", 100, 900.0, 900.0, 1),
        ("grid:2", 7, 20.0, 60.0, 1),
        ("linear", 1, 0.0, 0.0, 1),
    ],
)
def test_geometries(geometry, num_channels, largest_x, largest_y, num_probes):
    probegroup = make_geometry(geometry, num_channels)
    assert len(probegroup.probes) == num_probes
    positions = np.concatenate([probe.contact_positions for probe in probegroup.probes])
    assert positions.shape == (num_channels, 2)
    assert len(np.unique(positions.round(3), axis=0)) == num_channels
    np.testing.assert_allclose(positions.max(axis=0), [largest_x, largest_y], atol=1e-9)


@pytest.mark.parametrize(
    "geometry",
    [
        "circle",
        "tetrode:a",
        "tetrode:-3",
        "tetrode:0",
        "linear:20:20",
        "grid",
        "grid:0",
        "grid:0.5",
        "linear:nan",
        "tetrodes",
        "tetrodes:2.5",
        "tetrodes:2:10:10",
    ],
)
def test_geometries_that_are_none(geometry):
    with pytest.raises(ValueError, match="is not a probe"):
        make_geometry(geometry, 8)


@pytest.mark.parametrize(
    ("geometry", "num_channels", "words"),
    [
        ("tetrode", 32, "32 channels are not 1 tetrode: tetrodes:8 are 8 of four channels each"),
        ("tetrode", 5, "5 channels are not 1 tetrode."),
        ("tetrodes:3", 16, "16 channels are not 3 tetrodes: tetrodes:4 are 4"),
        ("grid:10", 4, "4 channels do not fill a row of 10 columns"),
    ],
)
def test_geometries_that_do_not_fit(geometry, num_channels, words):
    with pytest.raises(ValueError, match=words):
        make_geometry(geometry, num_channels)


def test_tetrodes_have_four_channels_each(binary_file):
    path, _, options = binary_file
    recording = read_recording(path, "binary", options)
    assert list(attach_probe(recording, "tetrodes:2").get_property("group")) == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("reader", "changes", "words"),
    [
        ("binary", {"dtype": None, "num_channels": None}, "needs the option.s. dtype=..., num_channels="),
        ("binary", {"sampling_freq": 3e4}, "no option 'sampling_freq'. Did you mean 'sampling_frequency'"),
        ("binary", {"dtype": "int61"}, "another format, or the reader needs other options"),
        ("neuralynx", None, "The reader 'neuralynx' cannot read"),
        ("spikeglx", None, "The reader 'spikeglx' cannot read"),
    ],
)  # fmt: skip
def test_readers_say_what_is_wrong(reader, changes, words, binary_file):
    path, _, options = binary_file
    options = {} if changes is None else {**options, **changes}
    with pytest.raises((ValueError, OSError), match=words) as caught:
        read_recording(path, reader, {name: value for name, value in options.items() if value is not None})
    assert "positional argument" not in str(caught.value)


def test_a_reader_whose_package_is_missing(binary_file, monkeypatch):
    """An ImportError of any kind is one that the command line shows in one line."""

    def read(file_path):
        raise ImportError("install me")

    monkeypatch.setattr("spikeinterface_huidurep.reading.available_readers", lambda: {"mine": read})
    with pytest.raises(ModuleNotFoundError, match="'mine' cannot read .*: it needs a package .*install me"):
        read_recording(binary_file[0], "mine")


def test_probe_files(binary_file, tmp_path):
    path, traces, options = binary_file
    recording = read_recording(path, "binary", options)
    probe = probeinterface.generate_linear_probe(num_elec=4, ypitch=30)
    probe.set_device_channel_indices([6, 4, 2, 0])
    probeinterface.write_probeinterface(tmp_path / "probe.json", probe)
    group = probeinterface.ProbeGroup()
    group.add_probe(probe)
    probeinterface.write_prb(tmp_path / "probe.prb", group)
    for name in ("probe.json", "probe.prb"):
        wired = attach_probe(recording, str(tmp_path / name))
        order = np.argsort(wired.get_channel_locations()[:, 1])
        np.testing.assert_array_equal(wired.get_traces()[:, order], traces[:, [6, 4, 2, 0]])


def test_probe_files_that_do_not_fit(binary_file, tmp_path):
    path, _, options = binary_file
    recording = read_recording(path, "binary", options)
    with pytest.raises(FileNotFoundError, match="missing"):
        attach_probe(recording, str(tmp_path / "missing.json"))
    (tmp_path / "text.json").write_text("no probe")
    with pytest.raises(ValueError, match="is not a probe file"):
        attach_probe(recording, str(tmp_path / "text.json"))
    probe = probeinterface.generate_linear_probe(num_elec=8)
    probeinterface.write_probeinterface(tmp_path / "unwired.json", probe)
    assert attach_probe(recording, str(tmp_path / "unwired.json")).has_probe()
    with pytest.raises(ValueError, match="8 contacts"):
        attach_probe(recording.select_channels(recording.channel_ids[:4]), str(tmp_path / "unwired.json"))
    probe.set_device_channel_indices(np.arange(8) + 1)
    probeinterface.write_probeinterface(tmp_path / "too_far.json", probe)
    with pytest.raises(ValueError, match="channel 8"):
        attach_probe(recording, str(tmp_path / "too_far.json"))


def test_real_formats(huidurep_data):
    folder = huidurep_data / "recordings"
    neuralynx = read_recording(folder / "neuralynx_csc5", "neuralynx")
    assert (neuralynx.get_num_channels(), neuralynx.get_num_segments()) == (5, 4)
    spikeglx = read_recording(folder / "np_ultra_stub/p5_g0", "spikeglx", {"stream_id": "imec0.ap"})
    assert spikeglx.has_probe()
    assert spikeglx.get_num_channels() == 384
    with pytest.raises(ValueError, match="imec0.ap"):
        read_recording(folder / "np_ultra_stub/p5_g0", "spikeglx")
