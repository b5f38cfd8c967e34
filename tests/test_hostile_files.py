"""Files of garbage, and files that were made to harm, end in one of our own errors; none is ever run as code."""

import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from spikeinterface_huidurep import resume
from spikeinterface_huidurep.commands.train import _read_settings
from spikeinterface_huidurep.curation.curation_file import (
    curated_sorting,
    read_curation,
    read_suggestions,
    save_curation,
)
from spikeinterface_huidurep.encoder import save_encoder
from spikeinterface_huidurep.encoder.library import load_library
from spikeinterface_huidurep.encoder.network import EncoderConfig, SpikeEncoder
from spikeinterface_huidurep.encoder.training import TrainingConfig, read_checkpoint
from spikeinterface_huidurep.encoder.weights import FORMAT, read_network
from spikeinterface_huidurep.simulation.library_file import write_library
from spikeinterface_huidurep.stage_files import read_result, write_result

many = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip
SMALL = EncoderConfig(width=16, layers=1, heads=2, feed_forward=16)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


class Harm:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One good file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    save_encoder(folder / "weights.safetensors", SpikeEncoder(SMALL), {})
    write_library(
        folder / "library.npz",
        np.random.default_rng(0).normal(0, 50, (3, 4, 60)).astype("float32"),
        {
            "cell_model": np.array(["a", "b", "c"]),
            "channel_positions": np.zeros((4, 3)),
            "sampling_frequency": np.array(32000.0),
            "nbefore": np.array(20),
        },
    )
    write_result(folder / "stage.npz", {"a": np.arange(5), "b": (None, 1.5)})
    torch.save({"version": 0}, folder / "checkpoint.pt")
    return folder


READERS = {
    "weights.safetensors": read_network,
    "library.npz": load_library,
    "stage.npz": read_result,
    "checkpoint.pt": read_checkpoint,
}


@pytest.mark.parametrize("name", ["weights.safetensors", "library.npz", "stage.npz"])
def test_whole_files_are_read(whole, name):
    assert READERS[name](whole / name) is not None


@pytest.mark.parametrize("name", READERS)
@many
@given(garbage=st.binary(max_size=200))
@example(garbage=b"")
@example(garbage=b"\x93NUMPY\x01\x00v\x00{")
@example(garbage=b"PK\x03\x04")
@example(garbage=b"\xff" * 100)
@example(garbage=b"\x80\x04\x95")
def test_garbage(whole, name, garbage):
    path = whole / f"garbage_{name}"
    path.write_bytes(garbage)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
@many
@given(place=st.floats(0, 1), change=st.integers(1, 255), cut=st.booleans())
def test_damaged(whole, name, place, change, cut):
    """A byte is another, or the end is missing: the file is read, where it holds by chance, or it is our error."""
    content = bytearray((whole / name).read_bytes())
    at = min(int(place * len(content)), len(content) - 1)
    content[at] ^= change
    path = whole / f"damaged_{name}"
    path.write_bytes(content[:at] if cut else content)
    try:
        READERS[name](path)
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("name", READERS)
def test_pickles_are_never_loaded(whole, name, tmp_path):
    harmed = tmp_path / "harmed"
    path = tmp_path / name
    plain = pickle.dumps(Harm(harmed))
    array = io.BytesIO()
    np.save(array, np.array([Harm(harmed)], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cell_model.npy", array.getvalue())
        file.writestr("structure.npy", array.getvalue())
        file.writestr("archive/data.pkl", plain)
        file.writestr("archive/version", b"3")
    for content in (plain, array.getvalue(), archive.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            READERS[name](path)
    assert not harmed.exists()


@many
@given(config=json_values | st.dictionaries(st.sampled_from(sorted(vars(SMALL))), json_values, max_size=4))
@example(config={"width": 10**9})
@example(config={"layers": 10**9})
@example(config={"heads": 0})
@example(config={"samples": -1})
@example(config={"architecture": "x"})
@example(config={"aligned": None})
@example(config={"sampling_frequency": float("nan")})
def test_weights_with_a_configuration_of_garbage(whole, config):
    path = whole / "config.safetensors"
    metadata = {"format": FORMAT, "format_version": "1", "config": json.dumps(config), "training": "{}"}
    save_file(dict(SpikeEncoder(SMALL).state_dict()), path, metadata=metadata)
    with pytest.raises(ValueError, match="do not fit their configuration"):
        read_network(path)


@pytest.mark.parametrize(
    "change",
    [
        {"sampling_frequency": np.array(0.0)},
        {"sampling_frequency": np.array(np.nan)},
        {"sampling_frequency": np.array("fast")},
        {"nbefore": np.array(-1)},
        {"nbefore": np.array([1, 2])},
        {"cell_model": np.array("a")},
        {"cell_model": np.array(["a"])},
        {"channel_positions": np.zeros(4)},
        {"channel_positions": np.full((4, 3), np.inf)},
        {"channel_positions": np.zeros((9, 3))},
        {"templates": np.zeros((3, 4))},
        {"templates": np.zeros((2, 4, 60))},
        {"scale": np.array(["a", "b", "c"])},
        {"scale": None},
        {"location": np.zeros((1, 3))},
    ],
    ids=str,
)
def test_libraries_whose_arrays_do_not_fit(whole, change, tmp_path):
    with np.load(whole / "library.npz") as archive:
        content = {**archive, **change}
    path = tmp_path / "library.npz"
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    with pytest.raises(ValueError, match="do not fit together"):
        load_library(path)


def test_stage_files_make_nothing_but_results(tmp_path):
    path = tmp_path / "stage.npz"
    kinds = [
        {"is": "class", "module": "subprocess", "name": "Popen", "items": {"args": ["touch", str(tmp_path / "x")]}},
        {"is": "class", "module": "spikeinterface_huidurep.stages.traces.caching", "name": "Path", "items": {}},
        {"is": "class", "module": "spikeinterface_huidurep.stages.traces.caching", "name": "np", "items": {}},
        {"is": "class", "module": "spikeinterface_huidurep.stages.nothing", "name": "A", "items": {}},
        {"is": "array", "name": "../../etc/passwd"},
        {"is": "motion", "items": []},
        {"is": "flower"},
        {},
        None,
        [1],
    ]
    for kind in kinds:
        np.savez(path, structure=np.array(json.dumps(kind)))
        with pytest.raises(ValueError, match="not the file of a finished stage"):
            read_result(path)
    assert [file.name for file in tmp_path.iterdir()] == ["stage.npz"]


@many
@given(content=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
@example(content=b"[" * 100000)
@example(content=b"!!python/object/apply:os.system ['true']")
@example(content=b"a: &a [*a, *a]")
@example(content=b'{"steps": "many"}')
@example(content=b'{"steps": true}')
@example(content=b'{"libraries": {"../../secret": 1}}')
@example(content=b'{"libraries": {"a": "much"}}')
@example(content=b'{"libraries": 3}')
@example(content=b'{"encoder": 3}')
@example(content=b'{"encoder": {"colour": 3}}')
@example(content=b'{"1": 2}')
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_training_settings_of_garbage(whole, content, suffix):
    path = whole / f"settings{suffix}"
    path.write_bytes(content)
    try:
        values = _read_settings(path)
        TrainingConfig.from_dict(values)
    except ValueError:
        return
    assert values == {}  # anything else would have been an error


@many
@given(content=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
@example(content=b"[" * 100000)
@example(content=b'{"sorter_name": "huidurep", "sorter_params": {}}')
@example(content=b'{"sorter_name": "../huidurep", "sorter_params": {}}')
def test_folders_of_garbage_are_not_resumed(whole, content):
    (whole / "spikeinterface_params.json").write_bytes(content)
    with pytest.raises(ValueError):
        resume(whole)


def test_curations_of_garbage(analyzer_folder):
    import spikeinterface.core as sc

    analyzer = sc.load_sorting_analyzer(analyzer_folder, load_extensions=False)
    save_curation(analyzer, read_suggestions(analyzer))
    assert read_curation(analyzer) is not None
    (path,) = analyzer_folder.rglob("*curation*.json")
    values = [b"", b"\xff\xfe", b"[" * 100000, b"3", b"[]", b'"text"']
    for content in values:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="holds no curation"):
            read_curation(analyzer)
    units = [int(unit) for unit in analyzer.unit_ids]
    start = {"format_version": "2", "unit_ids": units}
    for curation in (
        {"a": 1},
        {"format_version": "99", "unit_ids": units},
        {**start, "unit_ids": "abc"},
        {**start, "merges": [{"unit_ids": [units[0], 999]}]},
        {**start, "merges": 3},
        {**start, "removed": [999]},
        {**start, "splits": [{"unit_id": units[0], "mode": "indices", "indices": [[10**9]]}]},
        {**start, "splits": [{"unit_id": units[0], "mode": "magic"}]},
        {**start, "manual_labels": [{"unit_id": units[0], "labels": {"nothing": ["x"]}}]},
        {**start, "unit_ids": [999]},
    ):
        with pytest.raises(ValueError):
            curated_sorting(analyzer, curation)


def test_no_module_loads_a_pickle(project_root):
    """numpy, torch and yaml are told to, wherever they read; nothing else unpickles."""
    for path in (project_root / "spikeinterface_huidurep").rglob("*.py"):
        text = path.read_text(encoding="utf8")
        assert not re.search(r"import pickle|allow_pickle=True|yaml\.load\(|weights_only=False|joblib\.load", text), (
            path
        )
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, path
