"""Fixtures that several test files use."""

import os
import shutil
from pathlib import Path

import pytest
import spikeinterface.core as sc


@pytest.fixture(autouse=True)
def _one_job():
    """SpikeInterface's global job settings are the same for each test, whatever the one before has set."""
    sc.set_global_job_kwargs(n_jobs=1, progress_bar=False)
    yield
    sc.reset_global_job_kwargs()


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout that the tests belong to."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def huidurep_data() -> Path:
    """The folder of real recordings that are not part of the project; the test is skipped where there is none."""
    folder = os.environ.get("HUIDUREP_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HUIDUREP_DATA does not name the folder of real recordings")
    return Path(folder)


@pytest.fixture(scope="session")
def tetrode_recording(tmp_path_factory):
    """Ten seconds of a tetrode with four true units, and the truth: small enough to sort in many tests."""
    recording, truth = sc.generate_ground_truth_recording(
        durations=[10.0], sampling_frequency=30000.0, num_channels=4, num_units=4, seed=0
    )
    folder = tmp_path_factory.mktemp("tetrode")
    return recording.save(folder=folder / "recording"), truth


@pytest.fixture(scope="session")
def curation_recording(tmp_path_factory):
    """Fifteen seconds of eight channels, one true unit cut in two at random: (recording, sorting, the halves)."""
    import numpy as np

    recording, truth = sc.generate_ground_truth_recording(
        durations=[15.0], sampling_frequency=30000.0, num_channels=8, num_units=5, seed=3,
        noise_kwargs={"noise_levels": 8.0, "strategy": "on_the_fly"},
    )  # fmt: skip
    recording = recording.save(folder=tmp_path_factory.mktemp("curation") / "recording")
    trains = {unit: truth.get_unit_spike_train(unit_id) for unit, unit_id in enumerate(truth.unit_ids)}
    first = np.random.default_rng(0).random(len(trains[0])) < 0.5
    trains[5], trains[0] = trains[0][~first], trains[0][first]
    sorting = sc.NumpySorting.from_unit_dict([trains], truth.sampling_frequency)
    sorting.set_property("quality", ["good", "good", "mua", "noise", "good", "good"])
    sorting.set_property("confidence", np.linspace(0.5, 1.0, 6))
    return recording, sorting, (0, 5)


@pytest.fixture(scope="session")
def _quick_similarity():
    """SpikeInterface's template similarity in numpy: its numba version compiles for twenty seconds in each process."""
    from spikeinterface.postprocessing import template_similarity

    with pytest.MonkeyPatch.context() as patch:
        quick = template_similarity._compute_similarity_matrix_numpy
        patch.setattr(template_similarity, "_compute_similarity_matrix", quick)
        yield


@pytest.fixture(scope="session")
def _made_analyzer(curation_recording, tmp_path_factory, _quick_similarity):
    from spikeinterface_huidurep import make_analyzer

    recording, sorting, _ = curation_recording
    folder = tmp_path_factory.mktemp("analyzer") / "analyzer"
    make_analyzer(sorting, recording, folder, n_jobs=1, progress_bar=False)
    return folder


@pytest.fixture
def analyzer_folder(_made_analyzer, tmp_path):
    """A copy of the analyzer that `make_analyzer` makes of `curation_recording`; the test may change it."""
    return Path(shutil.copytree(_made_analyzer, tmp_path / "analyzer"))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A folder with a library of still neurons and one of moving ones, to train the encoder on."""
    from test_encoder_training import write_library

    folder = tmp_path_factory.mktemp("libraries")
    write_library(folder / "still.npz")
    write_library(folder / "moving.npz", steps=9)
    return folder
