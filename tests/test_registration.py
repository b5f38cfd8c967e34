"""SpikeInterface knows the sorter: after an import of the package, and in processes that never import it."""

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import spikeinterface.full as si
from spikeinterface.sorters import sorterlist

import spikeinterface_huidurep
from spikeinterface_huidurep import HuiduRepSorter, register


def _names_in_a_process() -> list[str]:
    """Runs in a worker: what SpikeInterface lists there."""
    from spikeinterface.sorters import available_sorters

    return available_sorters()


def test_spikeinterface_lists_the_sorter_once():
    assert "huidurep" in si.available_sorters()
    assert "huidurep" in si.installed_sorters()
    assert sorterlist.sorter_full_list.count(HuiduRepSorter) == 1
    assert sorterlist.sorter_dict["huidurep"] is HuiduRepSorter
    assert si.sorter_dict is sorterlist.sorter_dict


def test_parameters_and_descriptions_by_name_and_by_class():
    by_name = si.get_default_sorter_params("huidurep")
    assert by_name == si.get_default_sorter_params(HuiduRepSorter) == HuiduRepSorter.default_params()
    descriptions = si.get_sorter_params_description("huidurep")
    assert set(descriptions) == set(by_name)
    assert all(isinstance(text, str) and text.strip() for text in descriptions.values())
    assert si.get_sorter_description("huidurep").strip()


def test_register_twice_changes_nothing():
    before = list(sorterlist.sorter_full_list)
    assert register() is HuiduRepSorter
    assert register() is HuiduRepSorter
    assert sorterlist.sorter_full_list == before


def test_register_replaces_an_older_class_of_the_name(monkeypatch):
    class Older(HuiduRepSorter):
        pass

    monkeypatch.setattr(sorterlist, "sorter_full_list", [Older])
    monkeypatch.setattr(sorterlist, "sorter_dict", {"huidurep": Older})
    register()
    assert sorterlist.sorter_full_list == [HuiduRepSorter]
    assert sorterlist.sorter_dict == {"huidurep": HuiduRepSorter}


def test_public_names():
    assert set(spikeinterface_huidurep.__all__) <= set(dir(spikeinterface_huidurep))
    for name in spikeinterface_huidurep.__all__:
        assert getattr(spikeinterface_huidurep, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = spikeinterface_huidurep.no_such_name


def test_import_is_cheap():
    """Beyond SpikeInterface's own import: below a second, and without the heavy packages."""
    script = """
import sys, time
import spikeinterface.core, spikeinterface.sorters
before = set(sys.modules)
start = time.perf_counter()
import spikeinterface_huidurep
print(time.perf_counter() - start)
print(*({"torch", "numba", "hdbscan", "sklearn"} & (set(sys.modules) - before)))
"""
    # -S: without the import hook, so that all of the work falls into the measured import.
    lines = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert float(lines[0]) < 1.0
    assert lines[1] == ""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_worker_processes_know_the_name(method):
    if method == "fork" and sys.platform != "linux":
        pytest.skip("fork is not safe here")
    if method == "forkserver" and sys.platform == "win32":
        pytest.skip("Windows has spawn only")
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context(method)) as pool:
        assert "huidurep" in pool.submit(_names_in_a_process).result(timeout=120)


def test_bare_script(tetrode_recording, tmp_path):
    """The promise of the README: no import of ours."""
    recording, _ = tetrode_recording
    recording.dump(tmp_path / "recording.json")
    script = f"""
import spikeinterface.full as si
recording = si.load({str(tmp_path / "recording.json")!r})
sorting = si.run_sorter("huidurep", recording, folder={str(tmp_path / "sorted")!r})
print(len(sorting.unit_ids))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(process.stdout.splitlines()[-1]) >= 1
    again = si.read_sorter_folder(tmp_path / "sorted")
    assert len(again.unit_ids) == int(process.stdout.splitlines()[-1])


def _jobs(recording, folder):
    halves = [recording.frame_slice(0, 150_000), recording.frame_slice(150_000, 300_000)]
    return [
        dict(sorter_name="huidurep", recording=half, folder=folder / f"half{index}")
        for index, half in enumerate(halves)
    ]


@pytest.mark.parametrize(
    ("engine", "engine_kwargs"),
    [
        ("loop", {}),
        ("joblib", {"n_jobs": 2, "backend": "loky"}),
        ("processpoolexecutor", {"max_workers": 2, "mp_context": get_context("spawn")}),
    ],
)
def test_run_sorter_jobs(engine, engine_kwargs, tetrode_recording, tmp_path):
    jobs = _jobs(tetrode_recording[0], tmp_path)
    sortings = si.run_sorter_jobs(jobs, engine=engine, engine_kwargs=engine_kwargs, return_output=True)
    assert len(sortings) == 2
    assert all(len(sorting.unit_ids) >= 1 for sorting in sortings)
    assert all((tmp_path / f"half{index}" / "spikeinterface_log.json").exists() for index in range(2))


def test_run_sorter_jobs_with_dask(tetrode_recording, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        si.run_sorter_jobs(_jobs(tetrode_recording[0], tmp_path), engine="dask", engine_kwargs={"client": client})
    for index in range(2):
        assert len(si.read_sorter_folder(tmp_path / f"half{index}").unit_ids) >= 1


@pytest.mark.parametrize("engine", ["loop", "joblib"])
def test_run_sorter_by_property(engine, tetrode_recording, tmp_path):
    recording = si.aggregate_channels([tetrode_recording[0]] * 2, renamed_channel_ids=list("abcdefgh"))
    locations = recording.get_channel_locations()
    locations[4:, 0] += 1000.0
    recording.set_dummy_probe_from_locations(locations)
    recording.set_property("group", [0, 0, 0, 0, 1, 1, 1, 1])
    sorting = si.run_sorter_by_property(
        "huidurep", recording, "group", folder=tmp_path / "by_group", engine=engine, **({})
    )
    assert set(sorting.get_property("group")) == {0, 1}
