"""The import hook, tried on a package made for the purpose in place of SpikeInterface."""

import importlib
import importlib.util
import inspect
import runpy
import sys
import threading
import warnings

import pytest


@pytest.fixture
def hook(project_root, monkeypatch):
    """The hook's module, fresh, waiting for ``imaginary.sorters`` and counting in ``registered``."""
    spec = importlib.util.spec_from_file_location(
        "hook_under_test", project_root / "hook/spikeinterface_huidurep_hook.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.registered = []
    monkeypatch.setattr(module, "TRIGGER", "imaginary.sorters")
    monkeypatch.setattr(module, "_register", lambda: module.registered.append("imaginary.sorters" in sys.modules))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return module


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of an importable package ``imaginary.sorters``, forgotten again after the test."""
    folder = tmp_path / "imaginary"
    (folder / "sorters").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "sorters/__init__.py").write_text("value = 1\n\n\ndef answer():\n    return 42\n")
    (folder / "sorters/__main__.py").write_text("from . import value\n\nresult = value\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "imaginary"]:
        del sys.modules[name]


def _finders(hook):
    return [finder for finder in sys.meta_path if isinstance(finder, hook._RegisteringFinder)]


def test_registers_after_the_import_and_withdraws(hook, package):
    hook.install()
    import imaginary

    assert hook.registered == []
    assert len(_finders(hook)) == 1
    import imaginary.sorters

    assert imaginary.sorters.answer() == 42
    assert hook.registered == [True]
    assert _finders(hook) == []


def test_install_is_done_once_and_not_after_the_import(hook, package):
    hook.install()
    hook.install()
    assert len(_finders(hook)) == 1
    importlib.import_module("imaginary.sorters")
    hook.install()
    assert _finders(hook) == []


def test_the_module_shows_its_own_loader(hook, package):
    hook.install()
    module = importlib.import_module("imaginary.sorters")
    assert isinstance(module.__loader__, importlib.machinery.SourceFileLoader)
    assert module.__spec__.loader is module.__loader__
    assert "return 42" in inspect.getsource(module.answer)
    assert inspect.getsource(module).startswith("value = 1")


def test_reload_reads_the_new_source(hook, package):
    hook.install()
    module = importlib.import_module("imaginary.sorters")
    (package / "sorters/__init__.py").write_text("value = 'changed'\n")
    importlib.invalidate_caches()
    assert importlib.reload(module).value == "changed"
    assert hook.registered == [True]


def test_a_spec_that_is_not_imported_registers_nothing(hook, package):
    hook.install()
    spec = importlib.util.find_spec("imaginary.sorters")
    assert hook.registered == []
    assert spec.submodule_search_locations == [str(package / "sorters")]
    assert spec.loader.get_source("imaginary.sorters").startswith("value = 1")
    assert spec.loader.get_code("imaginary.sorters") is not None
    assert spec.loader.is_package("imaginary.sorters")


def test_run_as_a_program(hook, package):
    hook.install()
    assert runpy.run_module("imaginary.sorters")["result"] == 1
    assert hook.registered == [True]


def test_an_import_that_fails_can_be_repeated(hook, package):
    source = package / "sorters/__init__.py"
    good = source.read_text()
    source.write_text("raise ImportError('first try')\n")
    hook.install()
    with pytest.raises(ImportError, match="first try"):
        importlib.import_module("imaginary.sorters")
    assert hook.registered == []
    source.write_text(good + "# other length than before\n")
    importlib.invalidate_caches()
    assert importlib.import_module("imaginary.sorters").answer() == 42
    assert hook.registered == [True]


def test_a_missing_trigger_is_reported_as_without_the_hook(hook, package):
    (package / "sorters/__main__.py").unlink()
    (package / "sorters/__init__.py").unlink()
    (package / "sorters").rmdir()
    hook.install()
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'imaginary\.sorters'"):
        importlib.import_module("imaginary.sorters")


def test_threads_register_once(hook, package):
    (package / "sorters/__init__.py").write_text("import time\n\ntime.sleep(0.2)\nvalue = 1\n")
    hook.install()
    values, barrier = [], threading.Barrier(8)

    def import_it():
        barrier.wait()
        values.append(importlib.import_module("imaginary.sorters").value)

    threads = [threading.Thread(target=import_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert values == [1] * 8
    assert hook.registered == [True]


def test_other_imports_are_left_alone(hook):
    hook.install()
    (finder,) = _finders(hook)
    assert finder.find_spec("json") is None
    assert finder.find_spec("imaginary") is None


def test_a_registration_that_fails_is_a_warning(project_root, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "hook_under_test", project_root / "hook/spikeinterface_huidurep_hook.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def broken():
        raise ImportError("no such thing")

    monkeypatch.setattr("spikeinterface_huidurep.registration.register", broken)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module._register()
    assert ["no such thing" in str(warning.message) for warning in caught] == [True]
