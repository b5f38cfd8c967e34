"""SpikeInterface's GUI on an analyzer, with a view of the embeddings and suggested merges, splits and labels."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spikeinterface.core import SortingAnalyzer

from ..good_probability import PROPERTY as GOOD_PROBABILITY
from .analyzer import load_analyzer
from .curation_file import read_curation, read_suggestions, save_curation
from .web import Visits, serve, shortcuts_without_network

logger = logging.getLogger("spikeinterface_huidurep")

# as in embedding_view, which is imported only where there is a GUI
_VIEW_NAME = "huidurep_embedding"
_NEEDED = {"desktop": ("spikeinterface_gui", "pyqtgraph"), "web": ("spikeinterface_gui", "panel", "bokeh")}
# shown in the list of units in addition to SpikeInterface's columns; "quality" is shown as the label to edit
_OWN_PROPERTIES = ("confidence", GOOD_PROBABILITY)


def open_gui(
    analyzer: SortingAnalyzer | str | Path,
    *,
    mode: str = "desktop",
    curation: bool = True,
    address: str = "localhost",
    port: int = 0,
    show: bool = True,
    start: bool = True,
) -> Any:
    """
    Open SpikeInterface's GUI with the view of the embeddings.

    "Save curation" writes to the analyzer (see `curation_file`), and the GUI starts from it the next time.

    Parameters
    ----------
    analyzer : SortingAnalyzer, str or Path
        From `make_analyzer`, or its folder.
    mode : {"desktop", "web"}
        A window, or a page for a browser on this or another machine.
    curation : bool
        Let units be labelled, merged, split and removed.
    address, port : str, int
        Of the web server: "localhost", or "auto-ip" for this machine's address in the network; port 0 is a free one.
    show : bool
        Open the page in this machine's browser.
    start : bool
        Run the application until it is closed; False returns it for a program to run.

    Returns
    -------
    spikeinterface_gui.QtMainWindow or PanelMainWindow
        Of pages that of the last visit: each has its own, and goes on with the decisions of the one before.

    Raises
    ------
    ModuleNotFoundError, OSError
        If the GUI is not installed; if no window can be opened here, see `check_desktop`.
    ValueError
        If there is no such mode, or the analyzer lacks an extension that the GUI needs.
    """
    _check_installed(mode)
    if not isinstance(analyzer, SortingAnalyzer):
        analyzer = load_analyzer(analyzer)
    _check_extensions(analyzer)
    if mode == "desktop":
        return _make_window(analyzer, mode, curation, start=start)
    visits = Visits(lambda decided: _make_window(analyzer, mode, curation, decided))
    if start:
        serve(visits, address, port, show)
    return visits.window


def _make_window(
    analyzer: SortingAnalyzer, mode: str, curation: bool, decided: dict[str, Any] | None = None, start: bool = False
) -> Any:
    """The GUI's main window; that of the desktop is run until it is closed where it is to start."""
    from spikeinterface_gui import run_mainwindow

    options = _curation_options(analyzer, decided) if curation else {"curation": False}
    with shortcuts_without_network() if mode == "web" else nullcontext():
        return run_mainwindow(
            analyzer,
            mode=mode,
            **options,
            displayed_unit_properties=_displayed_properties(analyzer),
            layout=layout(),
            skip_extensions=[],
            start_app=start,
            panel_window_servable=False,
        )


def _check_installed(mode: str) -> None:
    if mode not in _NEEDED:
        raise ValueError(f"The GUI's mode is one of {', '.join(_NEEDED)}, not {mode!r}.")
    missing = [name for name in _NEEDED[mode] if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"The {mode} GUI needs {missing[0]}: pip install 'spikeinterface-huidurep[gui]' installs it."
        )
    if mode == "desktop":
        check_desktop()


# Opens a window's application and leaves at once. Where a library of the system is missing, Qt ends its process without
# an error that Python could catch: so it is tried in one of its own.
_OPEN_QT = "import os; from pyqtgraph.Qt import QtWidgets; QtWidgets.QApplication([]); os._exit(0)"
# what a desktop without Qt programs may lack, as Debian and Ubuntu name it
QT_PACKAGES = "libegl1 libgl1 libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0"


def check_desktop() -> None:
    """
    Check that Qt can open a window here, before anything is loaded.

    Raises
    ------
    OSError
        If there is no display, or a library of the system is missing; it says what to do.
    """
    other = "or open the page for a browser: huidurep gui --web"
    # a program that chose another platform, such as offscreen, knows what it does
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in displays):
        raise OSError(f"There is no display for a window (DISPLAY is not set): log in with one, {other}.")
    try:
        tried = subprocess.run([sys.executable, "-c", _OPEN_QT], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"Qt did not open within two minutes: check the display, {other}.") from error
    if tried.returncode != 0:
        said = next((line for line in tried.stderr.splitlines() if "lib" in line or "plugin" in line), tried.stderr)
        raise OSError(
            f"Qt does not open here: {' '.join(said.split())[:200]}. On Debian and Ubuntu it needs apt install "
            f"{QT_PACKAGES}; install them, {other}."
        )


def _check_extensions(analyzer: SortingAnalyzer) -> None:
    for name in ("random_spikes", "templates", "unit_locations"):
        if not analyzer.has_extension(name):
            raise ValueError(f"The analyzer has no {name}: complete it (complete_analyzer, huidurep gui --complete).")


def layout() -> dict[str, list[str]]:
    """The GUI's own layout, with the view of the embeddings in front of that of the principal components."""
    from spikeinterface_gui.layout_presets import get_layout_description

    zones = {zone: list(views) for zone, views in get_layout_description(None).items()}
    zone = next((zone for zone, views in zones.items() if "ndscatter" in views), "zone6")
    zones.setdefault(zone, []).insert(0, _VIEW_NAME)
    return zones


def _curation_options(analyzer: SortingAnalyzer, decided: dict[str, Any] | None) -> dict[str, Any]:
    first = decided or _first_curation(analyzer)
    return {"curation": True, "curation_dict": first, "curation_callback": _saver(analyzer)}


def _first_curation(analyzer: SortingAnalyzer) -> dict[str, Any] | None:
    """The saved curation; without one, the suggestions, made now if the analyzer has the extensions that they need."""
    from .extension import EXTENSION_NAME
    from .suggestions import suggest_curation

    saved = None if analyzer.format == "memory" else read_curation(analyzer) or read_suggestions(analyzer)
    needed = (EXTENSION_NAME, "template_similarity", "correlograms", "noise_levels")
    if saved is None and all(analyzer.has_extension(name) for name in needed):
        return suggest_curation(analyzer)
    return saved


def _saver(analyzer: SortingAnalyzer) -> Any:
    if analyzer.format == "memory":
        logger.warning("The analyzer is in memory: its curation can be exported, but not saved with it.")
        return None

    def save(curation: dict[str, Any]) -> None:
        logger.info("curation saved: %s", save_curation(analyzer, curation))

    return save


def _displayed_properties(analyzer: SortingAnalyzer) -> list[str]:
    from spikeinterface.widgets.sorting_summary import _default_displayed_unit_properties

    own = [name for name in _OWN_PROPERTIES if analyzer.sorting.get_property(name) is not None]
    return [*_default_displayed_unit_properties, *own]


def curation_summary(analyzer: SortingAnalyzer) -> str:
    """What the saved curation of an analyzer holds, in one sentence."""
    curation = read_curation(analyzer)
    if curation is None:
        return "No curation is saved yet: nothing that was suggested applies."
    parts = [f"{len(curation.get(kind) or [])} {kind}" for kind in ("merges", "splits", "removed")]
    return f"Saved curation: {', '.join(parts)}, {len(curation.get('manual_labels') or [])} units with labels."
