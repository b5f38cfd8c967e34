"""Fixtures that several test files use."""

import os
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
