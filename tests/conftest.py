"""Fixtures that several test files use, and what each test costs."""

import gc
import os
import shutil
from pathlib import Path

import pytest

# Tests run beside each other (`make test`), each on one core: more threads would only wait for one another, and use up
# the cores while they wait. Numerical libraries read this when they are imported, so that it stands before them;
# processes that a test starts inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import spikeinterface.core as sc

# CPU time that no test should need, s: a limit on elapsed time says little on a machine that does other work, too
MOST_CPU_S = 60.0


def _cpu_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.stash[_CPU_BEFORE] = _cpu_seconds()
    return (yield)


_CPU_BEFORE = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    if call.when == "teardown":
        item.user_properties.append(("cpu_s", round(_cpu_seconds() - item.stash[_CPU_BEFORE], 1)))
    return (yield)


def pytest_terminal_summary(terminalreporter):
    """Name the tests that need too much, and say what all need."""
    reports = [report for those in terminalreporter.stats.values() for report in those]
    spent = {
        report.nodeid: dict(report.user_properties)["cpu_s"]
        for report in reports
        if getattr(report, "when", None) == "teardown" and "cpu_s" in dict(report.user_properties)
    }
    terminalreporter.write_line(f"CPU time of the tests: {sum(spent.values()):.0f} s")
    for test, seconds in spent.items():
        if seconds > MOST_CPU_S:
            terminalreporter.write_line(f"more than {MOST_CPU_S:.0f} s of CPU time: {test} ({seconds:.0f} s)")


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection():
    """Do not look through all that was imported again and again.

    SpikeInterface collects garbage after each chunk that it writes, which takes half a second where PyTorch is
    imported: most of the time of many tests.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


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


@pytest.fixture
def browser():
    """Headless Chromium: the one that playwright has, or the system's."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((path for path in map(shutil.which, names) if path), None)
    with playwright.sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("there is no Chromium")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A folder with a library of still neurons and one of moving ones, to train the encoder on."""
    from test_encoder_training import write_library

    folder = tmp_path_factory.mktemp("libraries")
    write_library(folder / "still.npz")
    write_library(folder / "moving.npz", steps=9)
    return folder
