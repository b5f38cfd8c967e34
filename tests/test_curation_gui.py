"""The GUI with the view of the embeddings: on the desktop, offscreen, and on the web, in a browser without a screen."""

import json
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from gui_helpers import COMMAND_LINE, DESKTOP, stand_in_palette

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.curation import load_analyzer
from spikeinterface_huidurep.curation.curation_file import (
    curated_sorting,
    read_curation,
    read_suggestions,
    save_curation,
)
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME
from spikeinterface_huidurep.curation.gui import curation_summary, layout, open_gui
from spikeinterface_huidurep.curation.projection import limits, project

ENVIRONMENT = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONWARNINGS": "ignore"}


def test_projections_are_the_same_each_time():
    rng = np.random.default_rng(0)
    units = np.repeat([3, 5, 8], 60)
    vectors = rng.normal(size=(180, 32)).astype("float32")
    vectors[:, 0] *= 9
    vectors[units == 5, 1] += 6
    points, axes = project(vectors, units)
    assert points.shape == (180, 2) and axes[0].startswith("PC 1 (")
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-6)
    assert abs(np.corrcoef(points[:, 0], vectors[:, 0])[0, 1]) > 0.98
    np.testing.assert_array_equal(points, project(vectors, units)[0])
    order = rng.permutation(180)
    np.testing.assert_allclose(points[order], project(vectors[order], units[order])[0], atol=1e-6)

    for kept in (units != 8, units > 0):  # two units, and three
        parted, axes = project(vectors[kept], units[kept], "LDA")
        assert axes[0] == "LD 1"
        gap = np.abs(parted[units[kept] == 5, 0].mean() - parted[units[kept] == 3, 0].mean())
        assert gap > 4 * parted[units[kept] == 3, 0].std()
    one = units == 3
    np.testing.assert_array_equal(project(vectors[one], units[one], "LDA")[0], project(vectors[one], units[one])[0])
    assert project(vectors[:0], units[:0])[0].shape == (0, 2)
    with pytest.raises(ValueError, match="PCA, LDA"):
        project(vectors, units, "UMAP")
    (left, right), (bottom, top) = limits(points)
    assert ((points > [left, bottom]) & (points < [right, top])).all(axis=1).mean() > 0.98


@pytest.fixture(scope="module")
def qt():
    """Qt with the libraries of the system that it needs to draw without a screen."""
    for package in ("spikeinterface_gui", "pyqtgraph", "PySide6"):
        pytest.importorskip(package)
    # in a process of its own: where a library is missing, Qt ends the process that opens an application
    opens = "import os; from pyqtgraph.Qt import QtWidgets; QtWidgets.QApplication([]); os._exit(0)"
    process = subprocess.run([sys.executable, "-c", opens], env=ENVIRONMENT, capture_output=True, text=True)
    if process.returncode != 0:
        pytest.skip(f"Qt does not open here: {' '.join(process.stderr.split())[-200:]}")


def test_the_desktop_gui(qt, analyzer_folder, curation_recording, tmp_path):
    halves = [str(unit) for unit in curation_recording[2]]
    screenshot = tmp_path / "gui.png"
    command = [sys.executable, "-c", DESKTOP, str(analyzer_folder), *halves, str(screenshot)]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout.splitlines()[-1])
    analyzer = load_analyzer(analyzer_folder)
    units = analyzer.get_extension(EXTENSION_NAME).get_data(outputs="unit_index")
    expected = int(np.isin(units, curation_recording[2]).sum())
    assert {"huidurep_embedding", "unitlist", "curation", "trace"} <= set(seen["visible"])
    assert seen["units"] == sorted(curation_recording[2])
    assert seen["drawn"] == seen["selected"] == seen["kept"] == seen["ringed"] == expected
    assert seen["axes"][0].startswith("PC 1") and seen["colors"] > 5
    assert [set(merge["unit_ids"]) for merge in read_curation(analyzer)["merges"]] == [set(curation_recording[2])]
    _assert_drawn(screenshot)


def _assert_drawn(screenshot):
    import matplotlib.image

    pixels = matplotlib.image.imread(screenshot)[..., :3]
    assert pixels.shape[0] >= 900 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_the_web_views_without_a_browser(analyzer_folder, curation_recording, monkeypatch):
    pytest.importorskip("spikeinterface_gui")
    pytest.importorskip("panel")
    stand_in_palette(monkeypatch)
    analyzer = load_analyzer(analyzer_folder)
    analyzer.delete_extension(EXTENSION_NAME)
    window = open_gui(analyzer, mode="web", start=False)
    view, controller = window.views["huidurep_embedding"], window.controller
    assert "compute" in view.message.object and view.points() is None
    view.compute()
    assert not view.message.object
    assert len(view.source.data["x"]) == len(view.points().spike_index) > 0

    controller.set_visible_unit_ids(list(curation_recording[2]))
    window.views["unitlist"].notify_unit_visibility_changed()
    x, y = np.asarray(view.source.data["x"]), np.asarray(view.source.data["y"])
    right, middle = x.max() + 1, np.median(x) + 1e-6
    geometry = {"type": "poly", "x": [middle, right, right, middle], "y": [y.min() - 1] * 2 + [y.max() + 1] * 2}
    view._panel_lasso_finished(SimpleNamespace(final=True, geometry=geometry))
    spikes = np.asarray(view.source.data["spike_index"])
    np.testing.assert_array_equal(np.sort(controller.get_indices_spike_selected()), np.sort(spikes[x > middle]))
    np.testing.assert_array_equal(view.source.selected.indices, np.flatnonzero(x > middle))
    # and a selection made elsewhere is shown here
    controller.set_indices_spike_selected(spikes[:3])
    window.views["spikelist"].notify_spike_selection_changed()
    assert sorted(view.source.selected.indices) == [0, 1, 2]


@pytest.fixture
def address(analyzer_folder):
    """`huidurep gui --web` on the analyzer, in a process of its own."""
    pytest.importorskip("spikeinterface_gui")
    pytest.importorskip("panel")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", COMMAND_LINE, "gui", str(analyzer_folder), "--web", "--no-browser"]
    server = subprocess.Popen([*command, "--port", str(port)], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("localhost", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, "the server stopped"
                time.sleep(0.2)
        yield f"http://localhost:{port}/"
    finally:
        server.terminate()
        server.wait(20)


# spikes that are selected in the view of the embeddings, of how many
SELECTED = """() => {
    const sources = Bokeh.documents.flatMap(d => [...d._all_models.values()])
    const source = sources.find(m => m.type == "ColumnDataSource" && "spike_index" in m.data && "alpha" in m.data)
    return [source.selected.indices.length, source.data.x.length]
}"""


def refuse_network(page):
    """Let a page reach this machine only; returns the list in which the addresses of others are put."""
    away = []

    def answer(route):
        if route.request.url.startswith(("http://localhost", "data:", "blob:")):
            return route.continue_()
        away.append(route.request.url)
        return route.abort()

    page.route("**/*", answer)
    return away


def test_merging_on_the_web(browser, address, analyzer_folder, curation_recording, tmp_path):
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(60000)
    away = refuse_network(page)
    page.goto(address)
    page.wait_for_selector(".tabulator-row")

    # the merge that was suggested is there, and is refused, with the keyboard
    a, b = curation_recording[2]
    page.get_by_text(f"{a} - {b}", exact=True).click()
    page.keyboard.press("Control+u")
    page.get_by_text(f"{a} - {b}", exact=True).wait_for(state="detached")

    # labels are those of the curation, in the spelling of the GUI's keys
    labels = page.locator(".tabulator-cell[tabulator-field=quality]").all_inner_texts()
    assert labels == ["good", "good", "MUA", "noise", "good", "good"]

    # two other units are selected and merged
    unit = page.locator(".tabulator-cell[tabulator-field=unit_id]")
    unit.filter(has_text="1").first.click()
    unit.filter(has_text="4").first.click(modifiers=["Control"])
    page.get_by_role("button", name="Merge", exact=True).click()
    page.get_by_text("1 - 4", exact=True).wait_for()

    # a reload draws everything again, and keeps what was decided
    page.reload()
    page.get_by_text("1 - 4", exact=True).wait_for()
    page.get_by_text("Your curation is not saved").wait_for()
    page.get_by_role("button", name="select", exact=True).wait_for()
    assert page.evaluate(SELECTED)[1] > 0

    # a lasso in the view of the embeddings
    page.get_by_role("button", name="select", exact=True).click()
    figure = page.locator(".bk-Figure:visible").filter(has=page.locator(".bk-tool-icon-lasso-select")).first
    box = figure.bounding_box()
    corners = [(0.2, 0.05), (0.85, 0.05), (0.85, 0.85), (0.2, 0.85), (0.2, 0.05)]
    spots = [(box["x"] + across * box["width"], box["y"] + down * box["height"]) for across, down in corners]
    for _ in range(20):  # the lasso works once the server has made it the active tool
        page.mouse.move(*spots[0])
        page.mouse.down()
        for spot in spots[1:]:
            page.mouse.move(*spot, steps=5)
        page.mouse.up()
        page.wait_for_timeout(500)
        if page.evaluate(SELECTED)[0]:
            break
    selected, drawn = page.evaluate(SELECTED)
    assert 0.5 * drawn < selected <= drawn

    page.get_by_role("button", name="Save curation").click()
    page.get_by_text("Your curation is not saved").wait_for(state="detached")
    page.screenshot(path=tmp_path / "web.png")
    _assert_drawn(tmp_path / "web.png")
    analyzer = load_analyzer(analyzer_folder)
    assert [set(merge["unit_ids"]) for merge in read_curation(analyzer)["merges"]] == [{1, 4}]
    assert len(curated_sorting(analyzer).unit_ids) == len(analyzer.unit_ids) - 1
    assert not away


def test_what_cannot_be_opened(analyzer_folder, tmp_path, capsys, monkeypatch):
    assert main(["gui", str(tmp_path / "nowhere")]) == 2
    assert "There is no" in capsys.readouterr().err
    # a sort that nobody has made an analyzer of
    (tmp_path / "sorted" / "sorting").mkdir(parents=True)
    assert main(["gui", str(tmp_path / "sorted")]) == 2
    assert f"huidurep report {tmp_path / 'sorted'}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="desktop, web"):
        open_gui(analyzer_folder, mode="phone")
    monkeypatch.setattr("spikeinterface_huidurep.curation.gui.find_spec", lambda name: None)
    assert main(["gui", str(analyzer_folder)]) == 2
    assert "spikeinterface-huidurep[gui]" in capsys.readouterr().err


def test_whether_qt_opens_is_checked_before(analyzer_folder, monkeypatch, capsys):
    """Qt ends its process where a library is missing: the command says which, and what else there is."""
    pytest.importorskip("spikeinterface_gui")
    pytest.importorskip("pyqtgraph")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert main(["gui", str(analyzer_folder)]) == 2
    assert "no display" in capsys.readouterr().err
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    dies = "import sys; print('ImportError: libEGL.so.1: cannot open', file=sys.stderr); sys.exit(134)"
    monkeypatch.setattr("spikeinterface_huidurep.curation.gui._OPEN_QT", dies)
    assert main(["gui", str(analyzer_folder)]) == 2
    said = capsys.readouterr().err
    assert "libEGL.so.1" in said and "apt install" in said and "libxcb-cursor0" in said and "--web" in said


def test_layout_and_summary(analyzer_folder):
    pytest.importorskip("spikeinterface_gui")
    zones = layout()
    assert sum(views.count("huidurep_embedding") for views in zones.values()) == 1
    assert {"curation", "unitlist", "ndscatter"} <= {view for views in zones.values() for view in views}
    analyzer = load_analyzer(analyzer_folder)
    assert "nothing that was suggested applies" in curation_summary(analyzer)
    save_curation(analyzer, read_suggestions(analyzer))
    assert curation_summary(analyzer) == "Saved curation: 1 merges, 0 splits, 0 removed, 6 units with labels."
    assert "No curation" in curation_summary(analyzer.save_as(format="binary_folder", folder=analyzer_folder / "copy"))
