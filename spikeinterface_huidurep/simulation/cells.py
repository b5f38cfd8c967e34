"""Membrane currents of biophysical cell models around their spikes.

A cell model is simulated once, with NEURON. One ``.npz`` file keeps what templates are computed from: the
line segments of its morphology and the transmembrane current of every segment around each somatic spike. All later
steps (:mod:`.extracellular`) are linear algebra and need neither NEURON nor a compiler.

There are two groups. The mouse models of :mod:`.mouse_cells` are free (BSD-3-Clause). The Blue Brain Project's layer-5
models are those of the NMC portal (Markram et al. 2015, Ramaswamy et al. 2015) as redistributed inside MEArec
(Buccino and Einevoll 2021). Morphologies, HOC code and synapse mechanisms are under CC BY-NC-SA 4.0, ion-channel
mechanisms under the terms of their ModelDB entries (see the ``LICENSE`` file of every model): cite them, and do not
use what is derived from them commercially without asking. They are kept for evaluation.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .mouse_cells import EXCITATORY, MOUSE_CELL_MODELS, copy_models

logger = logging.getLogger(__name__)

TRAINING_CELL_MODELS = (
    "L5_BTC_bAC217_1",
    "L5_ChC_cACint209_1",
    "L5_DBC_bAC217_1",
    "L5_LBC_bAC217_1",
    "L5_NGC_bNAC219_1",
    "L5_SBC_bNAC219_1",
    "L5_STPC_cADpyr232_1",
    "L5_TTPC1_cADpyr232_1",
    "L5_UTPC_cADpyr232_1",
)
"""Cell models whose spikes the earlier weights were trained on; for evaluation, as the others are."""

EVALUATION_CELL_MODELS = ("L5_BP_bAC217_1", "L5_MC_bAC217_1", "L5_NBC_bAC217_1", "L5_TTPC2_cADpyr232_1")
"""MEArec's other four models: never train on them, so that they measure how well an encoder generalizes."""

BLUE_BRAIN_CELL_MODELS = TRAINING_CELL_MODELS + EVALUATION_CELL_MODELS
CELL_MODELS = BLUE_BRAIN_CELL_MODELS + MOUSE_CELL_MODELS

SAMPLING_FREQUENCY = 32000.0  # Hz; a time step of 2**-5 ms, MEArec's
WINDOW_MS = (2.0, 5.0)  # of a template before and after the trough, MEArec's
MARGIN_MS = 1.0  # kept on either side of the window, so that a template can be aligned without repeating its edges
CACHE_FORMAT = 1  # in the names of cached files: a change of what is stored needs another number

_EXTRA_PACKAGES = ("MEArec", "LFPy", "neuron")  # of the extra ``simulate``
_MOUSE_PACKAGES = ("bmtk", "neuron", "lfpykit")  # of the extra ``simulate-free``
_BLUE_BRAIN_LICENCE, _MOUSE_LICENCE = "CC BY-NC-SA 4.0", "BSD-3-Clause"


@dataclass(frozen=True)
class CellSpikes:
    """Spikes of one simulated cell model.

    Attributes
    ----------
    cell_model : str
        One of :data:`CELL_MODELS`, e.g. ``"L5_TTPC2_cADpyr232_1"``.
    segment_ends : numpy.ndarray, shape (3, segments, 2), float64
        x, y, z of the first and last point of every segment, um, with the soma at the origin and the model's own
        orientation.
    segment_diameters : numpy.ndarray, shape (segments,), float64
        Diameters, um.
    currents : numpy.ndarray, shape (spikes, segments, samples), float32
        Transmembrane currents, nA. The peak of the somatic potential is at sample :attr:`nbefore`.
    sampling_frequency : float
        Hz.
    nbefore : int
        Samples before the somatic peak, the margin included.
    """

    cell_model: str
    segment_ends: np.ndarray
    segment_diameters: np.ndarray
    currents: np.ndarray
    sampling_frequency: float
    nbefore: int

    @property
    def cell_type(self) -> str:
        """Morphological type, e.g. ``"TTPC2"``."""
        return self.cell_model.split("_")[1]

    @property
    def cell_class(self) -> str:
        """``"E"`` for pyramidal cells, ``"I"`` for interneurons."""
        return "E" if "PC" in self.cell_type or self.cell_type in EXCITATORY else "I"

    @property
    def licence(self) -> str:
        """Terms of the cell model, as an SPDX identifier or a short name."""
        return _MOUSE_LICENCE if self.cell_model in MOUSE_CELL_MODELS else _BLUE_BRAIN_LICENCE

    @property
    def source(self) -> str:
        """Where the cell model comes from."""
        if self.cell_model in MOUSE_CELL_MODELS:
            return "bmtk 1.2.0, mouse V1 models (Allen Institute; Gouwens et al. 2018)"
        return "MEArec, Blue Brain Project layer-5 models (Markram et al. 2015; Ramaswamy et al. 2015)"


def missing_packages(packages: Sequence[str] | None = None) -> list[str]:
    """Which of the packages, by default those of the extra ``simulate``, are not installed."""
    return [name for name in packages or _EXTRA_PACKAGES if importlib.util.find_spec(name) is None]


def require_extra(extra: str = "simulate", packages: Sequence[str] | None = None) -> None:
    """Raise unless the packages of an extra are installed.

    Raises
    ------
    ModuleNotFoundError
        Names what is missing and how to install it.
    """
    missing = missing_packages(packages)
    if missing:
        raise ModuleNotFoundError(
            f"Building template libraries needs {', '.join(missing)}: "
            f'install the extra with pip install "spikeinterface-huidurep[{extra}]".'
        )


def default_cache_folder() -> Path:
    """Folder for compiled mechanisms and membrane currents, following the XDG convention."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "spikeinterface-huidurep" / "cells"


def load_cell(cell_model: str, cache_folder: Path | str | None = None) -> CellSpikes:
    """Return the spikes of a cell model, simulating it if the cache does not have it.

    Parameters
    ----------
    cell_model : str
        One of :data:`CELL_MODELS`.
    cache_folder : path, optional
        Where compiled mechanisms and membrane currents are kept; :func:`default_cache_folder` if not given.

    Raises
    ------
    ValueError
        If there is no such model.
    ModuleNotFoundError
        If the model has to be simulated and the extra ``simulate`` (of mouse models ``simulate-free``) is missing.
    OSError
        If the mechanisms do not compile.
    RuntimeError
        If the simulation fails.
    """
    if cell_model not in CELL_MODELS:
        raise ValueError(f"There is no cell model {cell_model!r}; the models are {', '.join(CELL_MODELS)}.")
    cache_folder = default_cache_folder() if cache_folder is None else Path(cache_folder)
    path = cache_folder / f"{cell_model}_v{CACHE_FORMAT}.npz"
    if not path.is_file():
        mouse = cell_model in MOUSE_CELL_MODELS
        if mouse:
            require_extra("simulate-free", _MOUSE_PACKAGES)
        else:
            require_extra()
        models_folder = _prepare_models(cache_folder / ("mouse_models" if mouse else "models"), mouse)
        logger.info("simulating %s", cell_model)
        if mouse:
            _simulate_cell(cell_model, "mouse_worker", [cell_model, str(models_folder)], path)
        else:
            _simulate_cell(cell_model, "neuron_worker", [str(models_folder / cell_model)], path)
    return _read_cell(path)


def _read_cell(path: Path) -> CellSpikes:
    with np.load(path, allow_pickle=False) as stored:
        return CellSpikes(
            cell_model=str(stored["cell_model"]),
            segment_ends=stored["segment_ends"],
            segment_diameters=stored["segment_diameters"],
            currents=stored["currents"],
            sampling_frequency=float(stored["sampling_frequency"]),
            nbefore=int(stored["nbefore"]),
        )


def _prepare_models(folder: Path, mouse: bool) -> Path:
    """Copy cell models to `folder` and compile their mechanisms once; the installed packages are not changed."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        models = Path(temporary) / "models"
        models.mkdir()
        _compile(copy_models(models) if mouse else _copy_blue_brain_models(models))
        try:
            models.rename(folder)  # complete or absent, even if two processes do this at the same time
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _copy_blue_brain_models(models: Path) -> Path:
    """Copy MEArec's cell models; returns the folder of all their mechanisms."""
    specification = importlib.util.find_spec("MEArec")
    assert specification is not None and specification.origin is not None  # require_extra came first
    shipped = Path(specification.origin).parent / "cell_models" / "bbp"
    mechanisms = models / "mods"
    mechanisms.mkdir()
    for cell_model in BLUE_BRAIN_CELL_MODELS:
        shutil.copytree(shipped / cell_model, models / cell_model)
        for mechanism in sorted((shipped / cell_model / "mechanisms").glob("*.mod")):
            shutil.copy(mechanism, mechanisms)  # same name, same content in all models
    return mechanisms


def _compile(mechanisms: Path) -> None:
    """Run NEURON's compiler on the ``.mod`` files of a folder."""
    # nrnivmodl is in the interpreter's folder, which is not on the PATH of an environment that is not activated.
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    compiler = shutil.which("nrnivmodl", path=search)
    if compiler is None:
        raise FileNotFoundError("NEURON's compiler nrnivmodl is neither in Python's own folder nor on the PATH.")
    result = subprocess.run(
        [compiler], cwd=mechanisms, env={**os.environ, "PATH": search}, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise OSError(
            "nrnivmodl could not compile the cell models' mechanisms; NEURON 8.2 and a C compiler are needed (NEURON 9 "
            f"does not compile them). It said: {_last_line(result.stderr or result.stdout)}"
        )


def _simulate_cell(cell_model: str, worker: str, arguments: list[str], path: Path) -> None:
    """Simulate one cell model in a process of its own (see :mod:`.neuron_worker`) and put the result at `path`."""
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        part = Path(temporary) / path.name
        command = [sys.executable, "-m", f"{__package__}.{worker}", *arguments, str(part)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0 or not part.is_file():
            raise RuntimeError(f"{cell_model} could not be simulated: {_last_line(result.stderr)}")
        part.replace(path)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
