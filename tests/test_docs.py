"""The documentation: complete, without dead links, and with examples that use public names; slow: it builds."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from format_helpers import write_nwb_file, write_openephys_folder

from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.reading import read_as_typed

LINK = re.compile(r"\]\(([^)\s]+)\)")
ROLE = re.compile(r"\{(doc|func|class)\}`([^`]+)`")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def docs(project_root):
    return project_root / "docs"


@pytest.fixture
def extension(docs, monkeypatch):
    """The folder of this site's own directives can be imported from."""
    monkeypatch.syspath_prepend(str(docs / "_ext"))


def pages(docs):
    return sorted(docs.glob("*.md"))


def gallery(docs):
    return sorted((docs / "examples").glob("plot_*.py"))


def test_every_parameter_says_when_to_touch_it(docs):
    advice = json.loads((docs / "parameter_advice.json").read_text(encoding="utf8"))
    assert set(advice) == set(DEFAULT_PARAMS)
    assert list(advice) == list(DEFAULT_PARAMS), "the advice is in the order of the parameters"
    for name, text in advice.items():
        assert len(text.split()) >= 4 and text.endswith("."), name


def test_the_map_shows_the_packages_that_exist(project_root, extension):
    from code_map import BOXES, TOP, draw_map, read_map

    package = project_root / "spikeinterface_huidurep"
    imports = read_map(package)
    there = {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(BOXES) == there | {TOP} == set(imports)
    drawing = draw_map(imports)
    assert drawing.count("<rect") == len(BOXES)
    assert drawing.count("<line") == sum(len(targets) for targets in imports.values())
    # what the page says of the encoder
    assert not imports["encoder"] and "encoder" in imports[TOP]


def test_the_map_reads_imports_of_all_kinds(tmp_path, extension):
    from code_map import TOP, read_map

    for part in ("a", "b", "c"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "__init__.py").write_text("")
    (tmp_path / "top.py").write_text("from .a import name\nfrom . import c\n")
    (tmp_path / "a" / "one.py").write_text("def f():\n    from ..b.two import g\n    from .own import h\n")
    (tmp_path / "b" / "two.py").write_text("from spikeinterface_huidurep.c import x\nfrom ..top import y\n")
    (tmp_path / "c" / "three.py").write_text("import numpy\nfrom pathlib import Path\n")
    assert read_map(tmp_path) == {TOP: {"a", "c"}, "a": {"b"}, "b": {"c", TOP}, "c": set()}


def test_links_lead_somewhere(docs):
    missing = []
    pages_outside = [
        docs.parent / "README.md",
        docs.parent / "CONTRIBUTING.md",
        *(docs.parent / "studies").glob("*.md"),
    ]
    for page in [*pages(docs), *pages_outside]:
        text = page.read_text(encoding="utf8")
        for target in LINK.findall(text):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = page if not path else page.parent / path
            if not file.is_file():
                missing.append((page.name, target))
            elif anchor and anchor not in headings(file.read_text(encoding="utf8")):
                missing.append((page.name, target))
        for role, target in ROLE.findall(text):
            if role == "doc" and not has_page(docs, target):
                missing.append((page.name, target))
            elif role != "doc" and not exists(target):
                missing.append((page.name, target))
    assert missing == []


def headings(text):
    """Anchors of a page's headings, as GitHub and MyST make them."""
    lines = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


def has_page(docs, target):
    if target.startswith("auto_examples/"):
        return (docs / "examples" / f"{target.removeprefix('auto_examples/')}.py").is_file()
    return (docs / f"{target}.md").is_file()


def exists(name):
    """Whether a dotted name can be imported."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[length:]:
                found = getattr(found, part)
        except AttributeError:
            return False
        return True
    return False


def test_every_page_is_in_the_table_of_contents(docs, extension):
    from plain_pages import tables_of_contents

    index = (docs / "index.md").read_text(encoding="utf8")
    listed = set(re.findall(r"\]\((\w+)\.md\)", index))
    assert {page.stem for page in pages(docs)} - {"index"} <= listed
    tables = "".join(tables_of_contents(index))
    assert tables.count("{toctree}") == 3 and all(f"\n{page}\n" in tables for page in listed)


def test_pages_are_plain_markdown(docs):
    """They are read on a forge, too, which knows nothing of Sphinx."""
    for page in pages(docs):
        text = page.read_text(encoding="utf8")
        assert not re.findall(r"^```\{|^:::|\{(?:doc|ref|func|class)\}`", text, re.MULTILINE), page.name


def test_the_table_of_parameters_is_that_of_the_sorter(docs, monkeypatch):
    """`python docs/parameter_table.py` writes it."""
    monkeypatch.syspath_prepend(str(docs))
    from parameter_table import with_table

    page = (docs / "parameters.md").read_text(encoding="utf8")
    assert with_table(page) == page, "run: python docs/parameter_table.py"
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rows == list(DEFAULT_PARAMS)
    assert {line.replace("\\\\|", "").count("|") for line in page.splitlines() if line.startswith("|")} == {5}


def test_the_messages_that_the_page_explains_exist(docs, project_root):
    """What stands in code in the first column of its tables, but for file names, commands and Qt's words."""
    sources = " ".join(
        path.read_text(encoding="utf8") for path in (project_root / "spikeinterface_huidurep").rglob("*.py")
    )
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)
    rows = re.findall(r"^\| (.*?) \|", (docs / "troubleshooting.md").read_text(encoding="utf8"), re.MULTILINE)
    messages = [message for row in rows if not row.startswith("Qt") for message in re.findall(r"`([^`]+)`", row)]
    messages = [message for message in messages if " " in message and not message.startswith("huidurep --")]
    assert len(messages) > 12
    for message in messages:
        for piece in re.split(r"\.\.\.|: ", message):
            assert piece.strip(" ,.") in sources, message


def test_results_are_short(docs):
    assert len((docs / "results.md").read_text(encoding="utf8").splitlines()) <= 200


def test_the_reference_names_what_exists(docs):
    names = re.findall(
        r"^- `(spikeinterface_huidurep\S+)`$", (docs / "api.md").read_text(encoding="utf8"), re.MULTILINE
    )
    assert len(names) > 20
    assert [name for name in names if not exists(name)] == []


def test_the_reference_has_all_public_names(docs):
    import spikeinterface_huidurep

    text = (docs / "api.md").read_text(encoding="utf8")
    told_elsewhere = {"HuiduRepSorter", "__version__"}
    assert {n for n in spikeinterface_huidurep.__all__ if f"huidurep.{n}`\n" not in text} == told_elsewhere


def test_python_on_the_pages_is_valid_and_public(docs):
    for page in pages(docs):
        for language, code in FENCE.findall(page.read_text(encoding="utf8")):
            if language == "python":
                assert private_or_missing(ast.parse(code)) == [], page.name


def test_examples_use_public_names_only(docs):
    assert len(gallery(docs)) >= 4
    for script in gallery(docs):
        tree = ast.parse(script.read_text(encoding="utf8"))
        assert ast.get_docstring(tree), script.name
        assert private_or_missing(tree) == [], script.name


def private_or_missing(tree):
    """Names from this package that a script imports though they are private, undocumented as public or not there."""
    bad = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            bad.append(node.attr)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "spikeinterface_huidurep":
            public = getattr(importlib.import_module(node.module), "__all__", ())
            bad += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in public]
    return bad


def test_commands_on_the_pages_are_understood(docs):
    from spikeinterface_huidurep.cli import build_parser

    checked = 0
    for page in [*pages(docs), docs.parent / "README.md"]:
        for language, code in FENCE.findall(page.read_text(encoding="utf8")):
            if language != "bash":
                continue
            for line in code.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if "huidurep" not in words[:4] or "-c" in words[:3]:
                    continue
                words = words[words.index("huidurep") + 1 :]
                # variables of the shell stand for numbers as well as for names
                words = ["4" if word.startswith("$SLURM") else word for word in words]
                try:
                    build_parser().parse_args(words)
                except (SystemExit, argparse.ArgumentError):
                    pytest.fail(f"{page.name}: huidurep {shlex.join(words)}")
                checked += 1
    assert checked >= 12


def test_the_page_reads_the_formats_that_it_names(docs, tmp_path, monkeypatch):
    """Each row of the table in "Sort your first recording", on the command line and in Python, on small recordings."""
    pytest.importorskip("pynwb")
    monkeypatch.syspath_prepend(str(docs / "examples"))
    from spikeglx_folder import write_spikeglx_folder

    page = (docs / "first_sort.md").read_text(encoding="utf8").partition("## Other formats")[2]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    rows = {cells[0]: cells[1:] for cells in rows[2:]}
    places = {"SpikeGLX": "run1_g0", "Open Ephys": "folder", "NWB": "file.nwb", "binary": "data.raw"}
    assert {*places, "saved by SpikeInterface"} == set(rows)
    monkeypatch.chdir(tmp_path)
    write_spikeglx_folder(tmp_path, n_channels=4, n_units=1, duration_s=1.0)
    traces = np.random.default_rng(0).integers(-100, 100, (3000, 4)).astype("int16")
    write_openephys_folder(tmp_path / "folder", {"Probe-102.ProbeA": traces})
    write_nwb_file(tmp_path / "file.nwb", traces, np.array([[0.0, 0], [0, 10], [10, 0], [10, 10]]))
    traces.tofile(tmp_path / "data.raw")
    names = {
        "si": importlib.import_module("spikeinterface.core"),
        "se": importlib.import_module("spikeinterface.extractors"),
    }
    for format, place in places.items():
        typed, code = rows.pop(format)
        options = argparse.ArgumentParser()
        options.add_argument("--reader")
        options.add_argument("--reader-option", action="append", default=[])
        options.add_argument("--probe", default="tetrode" if format == "Open Ephys" else None)
        given = options.parse_args(shlex.split(typed))
        recording = read_as_typed(place, given.reader, given.reader_option, given.probe)
        in_python = eval(code, names)
        assert recording.has_probe() and recording.get_num_channels() == in_python.get_num_channels() == 4
        np.testing.assert_array_equal(recording.get_traces(), in_python.get_traces())
        if format != "SpikeGLX":
            np.testing.assert_array_equal(in_python.get_traces(), traces)
    ((typed, code),) = rows.values()
    shutil.rmtree("folder")
    in_python.save(folder="folder")
    assert typed == "(nothing)" and eval(code, names).get_num_channels() == 4

    # and the lines that give a probe to a recording without one
    (streams,) = re.findall(r"`(se\.get_neo_streams[^`]*)`", page)
    shutil.rmtree("folder")
    write_openephys_folder(tmp_path / "folder", {"Probe-102.ProbeA": traces})
    assert eval(streams, names)[1] == ["0"]
    names["recording"] = eval(code.replace('load("folder")', 'read_binary("data.raw", 30000.0, "int16", 4)'), names)
    (lines,) = [code for language, code in FENCE.findall(page) if language == "python"]
    exec(lines, names)
    assert names["recording"].has_probe()


def test_the_cost_is_as_the_page_says(docs):
    page = (docs / "clusters.md").read_text(encoding="utf8")
    commands = re.findall(r"`python studies/cost\.py ([^`]*)`", page)
    assert commands
    for command in commands:
        script = [sys.executable, docs.parent / "studies" / "cost.py", *command.split()]
        done = subprocess.run(script, capture_output=True, text=True, check=True)
        values = dict(line.split(": ") for line in done.stdout.splitlines())
        for name in ("core_hours", "wall_hours", "price", "cache_gb_per_hour"):
            shown = values[name].removesuffix(".0")
            assert re.search(rf"(?<![\d.,]){re.escape(shown)}(?![\d])", page) or f"{float(shown):.0f}" in page, name


def test_each_example_has_its_notebook(docs, monkeypatch):
    """What a notebook runs is what its script runs, and its text has no markup of the site left."""
    monkeypatch.syspath_prepend(str(docs))
    from notebooks import notebook

    assert sorted(docs.glob("examples/*.ipynb")) == [script.with_suffix(".ipynb") for script in gallery(docs)]
    for script in gallery(docs):
        kept = script.with_suffix(".ipynb").read_text(encoding="utf8")
        assert kept == notebook(script), f"python docs/notebooks.py {script.stem}"
        cells = json.loads(kept)["cells"]
        text, code = ("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind) for kind in
                      ("markdown", "code"))  # fmt: skip
        assert ast.dump(ast.parse(code)) == ast.dump(ast.Module(ast.parse(script.read_text()).body[1:], []))
        assert text.startswith("# ") and "``" not in text and not re.search(r":\w+:`|^(===|---)", text, re.M)
        for target in LINK.findall(text):
            assert target.startswith("http") or (script.parent / target).is_file(), target


@pytest.mark.slow
def test_a_notebook_runs(docs, tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.syspath_prepend(str(docs))
    from notebooks import run

    run(shutil.copytree(docs / "examples", tmp_path / "examples") / "plot_2_curate.ipynb")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_site_builds_without_warnings(project_root, tmp_path):
    pytest.importorskip("sphinx_gallery")
    pytest.importorskip("myst_parser")
    pytest.importorskip("pydata_sphinx_theme")
    ignore = shutil.ignore_patterns("_build", "auto_examples", "generated", "__pycache__")
    shutil.copytree(project_root / "docs", tmp_path / "docs", ignore=ignore)
    shutil.copytree(project_root / "pretrained", tmp_path / "pretrained")
    shutil.copy(project_root / "CONTRIBUTING.md", tmp_path)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run([*command, "docs", "html"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    for page in ("index", "first_sort", "parameters", "auto_examples/plot_1_first_sort", "api", "contributing"):
        assert (tmp_path / "html" / f"{page}.html").is_file()
    parameters = (tmp_path / "html" / "parameters.html").read_text(encoding="utf8")
    assert all(f"parameter-{name.replace('_', '-')}" in parameters for name in DEFAULT_PARAMS)


@pytest.mark.slow
def test_from_a_spikeglx_folder_to_curated_units(docs, tmp_path, monkeypatch, capsys):
    """The commands of the page "Sort your first recording", but for the window, which another test opens."""
    monkeypatch.syspath_prepend(str(docs / "examples"))
    from spikeglx_folder import write_spikeglx_folder

    from spikeinterface_huidurep.cli import main
    from spikeinterface_huidurep.curation import curated_sorting, load_analyzer, read_suggestions, save_curation

    page = (docs / "first_sort.md").read_text(encoding="utf8").replace("\\\n", " ")
    sort, export = (next(line for line in page.splitlines() if line.startswith(f"huidurep {name}")) for name in
                    ("sort run1_g0", "export sorted phy"))  # fmt: skip
    write_spikeglx_folder(tmp_path, n_channels=16, n_units=4, duration_s=10.0)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(sort.replace("--n-jobs 8", "--n-jobs 1"))[1:]) == 0
    assert (tmp_path / "sorted" / "report" / "report.html").is_file()
    analyzer = load_analyzer("sorted/analyzer")
    save_curation(analyzer, read_suggestions(analyzer))  # as the button of the GUI does
    sorting = curated_sorting(analyzer, drop=["noise"])
    assert 1 <= len(sorting.unit_ids) <= len(analyzer.unit_ids)
    assert len(sorting.get_unit_spike_train(sorting.unit_ids[0], segment_index=0, return_times=True)) > 0
    assert main(shlex.split(export)[1:]) == 0
    assert (tmp_path / "phy_folder" / "params.py").is_file()
