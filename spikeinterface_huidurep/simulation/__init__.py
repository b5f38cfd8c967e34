"""Builds template libraries from biophysical cell models (the optional extra ``simulate``).

:func:`build_library` simulates neurons with NEURON and LFPy, places them around a probe as MEArec does, and writes the
recorded spikes in the format of the encoder's training data. Importing this package needs neither NEURON, LFPy nor
MEArec.
"""

from .build import build_library
from .cells import CELL_MODELS, EVALUATION_CELL_MODELS, TRAINING_CELL_MODELS, load_cell
from .placement import PlacementRules

__all__ = [
    "CELL_MODELS",
    "EVALUATION_CELL_MODELS",
    "TRAINING_CELL_MODELS",
    "PlacementRules",
    "build_library",
    "load_cell",
]
