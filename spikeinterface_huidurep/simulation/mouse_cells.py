"""The mouse V1 neurons that the package ``bmtk`` brings: free cell models (BSD-3-Clause, Allen Institute).

Five reconstructed morphologies and as many fits of their conductances (Gouwens et al. 2018, Nat Commun 9:710, of the
Allen Cell Types Database) lie in ``bmtk``'s wheel as part of its example scripts. Fits are also run on the other
morphologies of their class, which gives eleven neurons instead of five.

NEURON and LFPykit compute the potentials; ``bmtk`` itself is not imported.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

MORPHOLOGIES = {
    "Scnn1a": "Scnn1a_473845048_m.swc",
    "Rorb": "Rorb_325404214_m.swc",
    "Nr5a1": "Nr5a1_471087815_m.swc",
    "Pvalb1": "Pvalb_470522102_m.swc",
    "Pvalb2": "Pvalb_469628681_m.swc",
}
FITS = {
    "Scnn1a": "472363762_fit.json",
    "Rorb": "473863510_fit.json",
    "Nr5a1": "473863035_fit.json",
    "Pvalb1": "472912177_fit.json",
    "Pvalb2": "473862421_fit.json",
}
EXCITATORY = ("Scnn1a", "Rorb", "Nr5a1")
_INHIBITORY = ("Pvalb1", "Pvalb2")
_FOLDER = Path("utils") / "scripts" / "bionet"

_SILENT = ("V1_Scnn1a_Rorb", "V1_Scnn1a_Nr5a1")  # no constant current makes these two fire

MOUSE_CELL_MODELS = tuple(
    name
    for group in (EXCITATORY, _INHIBITORY)
    for morphology in group
    for fit in group
    if (name := f"V1_{morphology}_{fit}") not in _SILENT
)
"""Names: ``V1``, whose morphology, whose fit."""


def files_of(cell_model: str, models_folder: Path) -> tuple[Path, Path]:
    """Morphology and fit of a cell model in a folder that :func:`copy_models` filled."""
    _, morphology, fit = cell_model.split("_")
    return models_folder / MORPHOLOGIES[morphology], models_folder / FITS[fit]


def copy_models(folder: Path) -> Path:
    """Copy morphologies, fits and the mechanisms' sources out of the installed ``bmtk``.

    Returns
    -------
    pathlib.Path
        The folder of the mechanisms, still to be compiled.
    """
    specification = importlib.util.find_spec("bmtk")
    assert specification is not None and specification.origin is not None  # the packages were asked for first
    shipped = Path(specification.origin).parent / _FOLDER
    for name in MORPHOLOGIES.values():
        shutil.copy(shipped / "morphologies" / name, folder)
    for name in FITS.values():
        shutil.copy(shipped / "biophysical_neuron_models" / name, folder)
    mechanisms = folder / "mods"
    mechanisms.mkdir()
    for mechanism in sorted((shipped / "mechanisms" / "modfiles").glob("*.mod")):
        if mechanism.stem != "vecevent":  # spike sources of a network's input
            shutil.copy(mechanism, mechanisms)
    return mechanisms
