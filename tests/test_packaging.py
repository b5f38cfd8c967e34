"""What the wheel holds, and what an installation of it does to an interpreter's start.

Each environment is a bare virtual one that borrows the packages of the environment that runs the tests; only the
``.pth`` files of its own site-packages are read, so what is tested is the installation itself.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

HOOK = "spikeinterface_huidurep_hook"
LISTED = "import spikeinterface.sorters as s; print('huidurep' in s.available_sorters())"


def run(python: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run an interpreter away from the checkout, without the variables that change what it imports."""
    return subprocess.run(
        [str(python), *arguments],
        cwd=python.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        capture_output=True,
        text=True,
        check=check,
        timeout=300,
    )


def borrow_packages(site_packages: Path, links: Path) -> None:
    """Link to all packages but the one that is tested, which may be installed there from a wheel."""
    for entry in site_packages.iterdir():
        if not entry.name.startswith(("spikeinterface_huidurep", "_spikeinterface_huidurep")):
            try:
                (links / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
            except OSError as error:
                pytest.skip(f"this user may not make links: {error}")


class Environment:
    """A virtual environment in a folder; ``borrow`` lets it import the packages of the running one."""

    def __init__(self, folder: Path, borrow: bool = True):
        venv.create(folder, with_pip=False, symlinks=sys.platform != "win32")
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        # Python 3.10 has no scheme "venv"
        scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "nt" if os.name == "nt" else "posix_prefix"
        bases = {"base": str(folder), "platbase": str(folder)}
        self.site_packages = Path(sysconfig.get_path("purelib", scheme=scheme, vars=bases))
        if borrow:
            links = folder / "borrowed"
            links.mkdir()
            for packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
                borrow_packages(Path(packages), links)
            (self.site_packages / "borrowed.pth").write_text(str(links))

    def install(self, *arguments: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--quiet", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(project_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=project_root, check=True, capture_output=True, text=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def from_wheel(wheel, tmp_path_factory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("from_wheel"))
    environment.install(str(wheel))
    return environment


@pytest.fixture(scope="module")
def editable(project_root, tmp_path_factory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("editable"))
    environment.install("--no-build-isolation", "--editable", str(project_root))
    return environment


@pytest.fixture
def installed(request) -> Environment:
    return request.getfixturevalue(request.param)


both = pytest.mark.parametrize("installed", ["from_wheel", "editable"], indirect=True)


@pytest.fixture
def own_copy(from_wheel, tmp_path) -> Environment:
    """An environment with the wheel's files, to break."""
    environment = Environment(tmp_path / "own")
    for entry in from_wheel.site_packages.glob("spikeinterface_huidurep*"):
        copy = shutil.copytree if entry.is_dir() else shutil.copy
        copy(entry, environment.site_packages / entry.name)
    return environment


def test_wheel_holds_the_package_the_hook_and_the_weights(wheel, project_root):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{HOOK}.py", f"{HOOK}.pth"} <= names
    modules = (project_root / "spikeinterface_huidurep").rglob("*.py")
    package = {path.relative_to(project_root).as_posix() for path in modules}
    assert package <= names
    assert {name.split("/")[0] for name in names} == {
        "spikeinterface_huidurep",
        next(name for name in names if name.endswith("/METADATA")).split("/")[0],
        f"{HOOK}.py",
        f"{HOOK}.pth",
    }
    pretrained = {
        f"spikeinterface_huidurep/pretrained/{path.name}" for path in (project_root / "pretrained").glob("*.*")
    }
    assert pretrained <= names
    assert any(name.endswith(".safetensors") for name in pretrained)


@pytest.mark.skipif(shutil.which("git") is None, reason="git says what belongs to the checkout")
def test_sdist_holds_the_checkout_and_nothing_else(project_root, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=project_root, check=True, capture_output=True, text=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=project_root, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("the tests do not run in a clone")
    tracked = {name for name in listed.stdout.splitlines() if (project_root / name).is_file()}
    assert tracked - names == set()
    assert {name.split("/")[0] for name in names - tracked} - {name.split("/")[0] for name in tracked} == {"PKG-INFO"}


@pytest.mark.skipif("HUIDUREP_FROM_WHEEL" not in os.environ, reason="the tests run on a checkout")
def test_what_is_tested_is_the_wheel(project_root):
    import spikeinterface_huidurep

    assert project_root not in [*Path(spikeinterface_huidurep.__file__).resolve().parents][:2]


def test_oldest_releases_are_the_lower_bounds(project_root):
    """`make test-oldest` tests what pyproject.toml promises."""
    text = (project_root / "pyproject.toml").read_text(encoding="utf8")
    required = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL).group(1)
    bounds = dict(re.findall(r'^\s+"([\w-]+)>=([\d.]+)', required, re.MULTILINE))
    assert len(bounds) == len(re.findall(r'^\s+"', required, re.MULTILINE)) > 10
    oldest = (project_root / "constraints-oldest.txt").read_text(encoding="utf8")
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+\d)", oldest, re.MULTILINE))
    for name, bound in bounds.items():
        numbers = bound.split(".")
        # 2.0 is 2.0.0: the first release of it
        assert pins[name].split(".")[: len(numbers)] == numbers, name
        assert not any(int(number) for number in pins[name].split(".")[len(numbers) :]), name


def test_commits_are_checked_by_the_pinned_ruff(project_root):
    pinned = re.search(r"^ruff==([\d.]+)", (project_root / "constraints.txt").read_text(encoding="utf8"), re.MULTILINE)
    hooks = (project_root / ".pre-commit-config.yaml").read_text(encoding="utf8")
    assert re.findall(r"ruff-pre-commit\n +rev: v([\d.]+)", hooks) == [pinned.group(1)]


@pytest.fixture
def release_notes(project_root):
    """The function that the workflow of a release calls."""
    spec = importlib.util.spec_from_file_location("release_notes", project_root / ".github" / "release_notes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.release_notes


def test_notes_of_a_release_are_its_section(release_notes):
    changelog = "# Changelog\n\n## 0.3.0 - 2026-12-31\n\n### Added\n- This.\n\n## 0.2.0 - 2026-12-01\n\n- That.\n"
    assert release_notes("v0.3.0", "0.3.0", changelog) == "### Added\n- This.\n"
    assert release_notes("v0.2.0", "0.2.0", changelog) == "- That.\n"


@pytest.mark.parametrize(
    ("tag", "heading", "says"),
    [
        ("v0.3.1", "## 0.3.0 - 2026-12-31", "its tag is v0.3.0"),
        ("v0.3.0", "## 0.3.0 (unreleased)", "has its date"),
        ("v0.3.0", "## 0.3.0", "has its date"),
        ("v0.3.0", "## 0.3.0rc1 - 2026-12-31", "no section of version 0.3.0"),
        ("v0.3.0", "## 0.3.0 - 2026-12-31\n## 0.2.0 - 2026-12-01", "is empty"),
    ],
)
def test_a_release_without_its_section_is_refused(release_notes, tag, heading, says):
    with pytest.raises(ValueError, match=says):
        release_notes(tag, "0.3.0", f"# Changelog\n\n{heading}\n\n### Added\n- This.\n")


def changelog_faults(changelog, version):
    """What is wrong with a changelog, of a package that has this version."""
    kinds = ("Added", "Changed", "Fixed", "Removed")
    sections = re.split(r"^## (.*)\n", changelog, flags=re.MULTILINE)[1:]
    sections = list(zip(sections[::2], sections[1::2], strict=True))
    faults = []
    for place, (heading, text) in enumerate(sections):
        date = r" - \d{4}-\d\d-\d\d" if place else r"(?: - \d{4}-\d\d-\d\d| \(unreleased\))"
        if not re.fullmatch(r"\d+\.\d+\.\d+" + date, heading):
            faults.append(f"heading: {heading}")
        parts = re.split(r"^#+ (.*)\n", text, flags=re.MULTILINE)[1:]
        names = parts[::2]
        if not names or [kind for kind in kinds if kind in names] != names:
            faults.append(f"{heading}: {names}, not some of {kinds} in this order")
        for name, lines in zip(names, parts[1::2], strict=True):
            if not lines.strip().startswith("- "):
                faults.append(f"{heading}: nothing {name}")
    versions = [heading.split()[0] for heading, _ in sections]
    if version not in versions[:1]:
        faults.append(f"the first section is not of {version}")
    if len(set(versions)) < len(versions):
        faults.append("a version has two sections")
    return faults


def test_the_changelog_has_a_section_of_this_version(project_root):
    from spikeinterface_huidurep import __version__

    assert changelog_faults((project_root / "CHANGELOG.md").read_text(encoding="utf8"), __version__) == []


OLDER = "\n## 0.1.0 - 2026-01-01\n\n### Added\n- That.\n"


@pytest.mark.parametrize(
    ("newest", "says"),
    [
        ("## 0.2.0 (unreleased)\n\n### Added\n- This.\n\n### Removed\n- It.\n", None),
        ("## 0.2.0 - 2026-12-31\n\nSome words.\n\n### Fixed\n- This.\n", None),
        ("## Unreleased (0.2.0)\n\n### Added\n- This.\n", "heading: Unreleased"),
        ("## 0.2.0\n\n### Added\n- This.\n", "heading: 0.2.0"),
        ("## 0.3.0 (unreleased)\n\n### Added\n- This.\n", "not of 0.2.0"),
        ("", "not of 0.2.0"),
        ("## 0.2.0 (unreleased)\n\n### Internal\n- This.\n", "'Internal'"),
        ("## 0.2.0 (unreleased)\n\n### Added\n- This.\n#### Sorter\n- It.\n", "'Sorter'"),
        ("## 0.2.0 (unreleased)\n\n### Changed\n- This.\n\n### Added\n- It.\n", "in this order"),
        ("## 0.2.0 (unreleased)\n\n### Added\n- This.\n\n### Added\n- It.\n", "in this order"),
        ("## 0.2.0 (unreleased)\n\n- This.\n", "[], not some"),
        ("## 0.2.0 (unreleased)\n\n### Added\n\n### Fixed\n- This.\n", "nothing Added"),
        ("## 0.2.0 (unreleased)\n\n### Fixed\n- This.\n\n## 0.1.1 (unreleased)\n\n### Fixed\n- It.\n", "g: 0.1.1"),
        ("## 0.2.0 (unreleased)\n\n### Fixed\n- This.\n" + OLDER.replace("01-01", "01-02"), "two sections"),
    ],
)
def test_faults_of_a_changelog_are_found(newest, says):
    faults = changelog_faults("# Changelog\n\nThe format.\n\n" + newest + OLDER, "0.2.0")
    assert faults == [] if says is None else any(says in fault for fault in faults)


def test_other_files_name_this_version(project_root):
    from spikeinterface_huidurep import __version__

    citation = (project_root / "CITATION.cff").read_text(encoding="utf8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [__version__]
    readme = (project_root / "README.md").read_text(encoding="utf8")
    assert re.findall(r"^Version ([\d.]+\d)", readme.partition("\n## Status\n")[2], re.MULTILINE) == [__version__]


@both
def test_bare_import_lists_the_sorter(installed):
    process = run(installed.python, "-c", LISTED)
    assert process.stdout.split() == ["True"]
    assert process.stderr == ""


@both
def test_command_line_is_installed(installed):
    from spikeinterface_huidurep import __version__

    process = run(installed.python.with_name("huidurep"), "--version")
    assert process.stdout.split() == ["huidurep", __version__]


@pytest.mark.parametrize("flags", [[], ["-I"], ["-E"], ["-s"], ["-B"], ["-O"], ["-W", "error"]])
def test_flags_of_the_interpreter(from_wheel, flags):
    process = run(from_wheel.python, *flags, "-c", "print('started')")
    assert (process.stdout.strip(), process.stderr) == ("started", "")
    if "error" not in flags:  # SpikeInterface itself warns on import
        assert run(from_wheel.python, *flags, "-c", LISTED).stdout.split() == ["True"]


def test_without_site_the_import_of_the_package_registers(from_wheel):
    borrowed = (from_wheel.site_packages / "borrowed.pth").read_text()
    script = f"import sys; sys.path += {[str(from_wheel.site_packages), borrowed]!r}\n"
    assert run(from_wheel.python, "-S", "-c", script + LISTED).stdout.split() == ["False"]
    assert run(from_wheel.python, "-S", "-c", script + "import spikeinterface_huidurep\n" + LISTED).stdout.split() == [
        "True"
    ]


def test_start_costs_one_small_module(own_copy):
    loaded = "import sys; print(*sorted(sys.modules))"
    with_hook = set(run(own_copy.python, "-c", loaded).stdout.split())
    report = run(own_copy.python, "-X", "importtime", "-c", "pass").stderr
    (own_copy.site_packages / f"{HOOK}.pth").unlink()
    without_hook = set(run(own_copy.python, "-c", loaded).stdout.split())
    assert with_hook - without_hook == {HOOK}
    (microseconds,) = re.findall(rf"\|\s+(\d+) \|\s+{HOOK}$", report, flags=re.MULTILINE)
    assert int(microseconds) < 20_000


def test_environment_without_spikeinterface(wheel, tmp_path):
    environment = Environment(tmp_path, borrow=False)
    environment.install(str(wheel))
    process = run(environment.python, "-c", "import json, sys; print(json.dumps(sys.path != []))")
    assert (json.loads(process.stdout), process.stderr) == (True, "")
    process = run(environment.python, "-c", "import spikeinterface.sorters", check=False)
    assert process.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'spikeinterface'"


@pytest.mark.parametrize(
    ("lost", "warns"),
    [
        ("spikeinterface_huidurep", True),
        ("spikeinterface_huidurep/registration.py", True),
        (f"{HOOK}.py", False),
        (f"{HOOK}.pth", False),
    ],
)
def test_half_removed_installation(own_copy, lost, warns):
    path = own_copy.site_packages / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert run(own_copy.python, "-c", "print('started')").stderr == ""
    process = run(own_copy.python, "-c", LISTED)
    assert process.stderr.count("RuntimeWarning") == int(warns)
    if warns:
        assert process.stdout.split() == ["False"]


@pytest.mark.parametrize("fault", ["raise RuntimeError('broken on purpose')", "this is no Python"])
def test_broken_sorter_is_a_warning(own_copy, fault):
    (own_copy.site_packages / "spikeinterface_huidurep/sorter.py").write_text(fault)
    process = run(own_copy.python, "-c", LISTED)
    assert process.stdout.split() == ["False"]
    assert process.stderr.count("could not be registered") == 1


def test_broken_hook_does_not_stop_the_start(own_copy):
    (own_copy.site_packages / f"{HOOK}.py").write_text("this is no Python")
    process = run(own_copy.python, "-c", "print('started')")
    assert (process.stdout.strip(), process.stderr) == ("started", "")


def test_two_threads_import_package_and_spikeinterface_at_once(from_wheel):
    script = """
import threading
names = ["spikeinterface_huidurep", "spikeinterface.sorters"]
threads = [threading.Thread(target=__import__, args=(name,)) for name in names]
[thread.start() for thread in threads]
[thread.join(60) for thread in threads]
assert not any(thread.is_alive() for thread in threads)
"""
    assert run(from_wheel.python, "-c", script + LISTED).stdout.split() == ["True"]


@pytest.mark.parametrize("pool", ["spawn", "loky"])
def test_workers_of_a_program_that_never_imports_the_package(from_wheel, tmp_path, pool):
    script = {
        "spawn": """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        print("huidurep" in pool.submit(sorterlist.available_sorters).result())
""",
        "loky": """
from joblib import Parallel, delayed
print(*("huidurep" in names for names in Parallel(n_jobs=2)([delayed(sorterlist.available_sorters)()])))
""",
    }[pool]
    program = tmp_path / "program.py"
    program.write_text("from spikeinterface.sorters import sorterlist\n" + script)
    assert run(from_wheel.python, str(program)).stdout.split() == ["True"]


@both
def test_bare_script_sorts(installed, tetrode_recording, tmp_path):
    """The weights of the default parameters are found, too."""
    tetrode_recording[0].dump(tmp_path / "recording.json")
    script = f"""
import spikeinterface.full as si
sorting = si.run_sorter("huidurep", si.load({str(tmp_path / "recording.json")!r}), folder={str(tmp_path / "sorted")!r})
print("units:", len(sorting.unit_ids))
"""
    output = run(installed.python, "-c", script).stdout
    assert int(output.rpartition("units:")[2]) >= 1
