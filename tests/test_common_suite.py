"""SpikeInterface's own test suite for sorters, unchanged, with this sorter.

The suite, `spikeinterface.sorters.tests.common_tests`, is in SpikeInterface's repository but neither in its wheel nor
in its source distribution. It is taken from an installation of SpikeInterface that has it (an editable one of a
checkout), or from the file that the environment variable HUIDUREP_SI_COMMON_TESTS names. Where neither is there the
suite is skipped; what it asks for is in SpikeInterface's contract for sorters, which `test_contract` checks always.
"""

import importlib.util
import os
import unittest
from pathlib import Path

import pytest
import spikeinterface.full as si

from spikeinterface_huidurep import HuiduRepSorter


def _find_suite() -> type | None:
    path = os.environ.get("HUIDUREP_SI_COMMON_TESTS")
    if path:
        spec = importlib.util.spec_from_file_location("common_tests", Path(path))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.SorterCommonTestSuite
    try:
        from spikeinterface.sorters.tests.common_tests import SorterCommonTestSuite
    except ModuleNotFoundError:
        return None
    return SorterCommonTestSuite


SUITE = _find_suite()

if SUITE is None:

    @pytest.mark.skip(reason="SpikeInterface is installed without its tests, and HUIDUREP_SI_COMMON_TESTS is not set")
    def test_common_suite():
        """Stands for the suite in the list of tests."""

else:

    class TestHuiduRepWithCommonSuite(SUITE, unittest.TestCase):
        """The suite as SpikeInterface's own sorters take it: `setUp` is unittest's."""

        SorterClass = HuiduRepSorter


@pytest.fixture(scope="module")
def saved_recording(tmp_path_factory):
    """What the suite sorts: SpikeInterface's default generated recording of four channels, saved."""
    recording, _ = si.generate_ground_truth_recording(num_channels=4, durations=[20.0], seed=0)
    return recording.save(folder=tmp_path_factory.mktemp("contract") / "recording", progress_bar=False)


def test_contract(saved_recording, tmp_path):
    """All parameters given by hand, the sorter's files deleted: result and records of the run stay."""
    folder = tmp_path / "sorted"
    sorting = si.run_sorter(
        "huidurep",
        saved_recording,
        folder=folder,
        remove_existing_folder=True,
        delete_output_folder=True,
        **HuiduRepSorter.default_params(),
    )
    assert {"recording", "params", "log"} <= set(sorting.sorting_info)
    assert sorting.sorting_info["params"]["sorter_name"] == "huidurep"
    assert sorting.sorting_info["log"]["sorter_version"] == HuiduRepSorter.get_sorter_version()
    assert len(sorting.to_spike_vector()) > 0
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("spikeinterface_")) == [
        "spikeinterface_log.json",
        "spikeinterface_params.json",
        "spikeinterface_recording.json",
    ]
    assert not (folder / "sorter_output").exists()


def test_an_existing_folder_is_left_alone(saved_recording, tmp_path):
    (tmp_path / "precious.txt").write_text("kept")
    with pytest.raises(ValueError, match="exists"):
        si.run_sorter("huidurep", saved_recording, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_unknown_parameter(saved_recording, tmp_path):
    with pytest.raises(ValueError, match="no_such_parameter"):
        si.run_sorter("huidurep", saved_recording, folder=tmp_path / "sorted", no_such_parameter=1)
    assert not (tmp_path / "sorted").exists()
