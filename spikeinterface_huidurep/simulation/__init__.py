"""Builds template libraries from biophysical cell models (the optional extra ``simulate``).

:func:`build_library` simulates neurons with NEURON and LFPy, places them around a probe as MEArec does, and writes the
spikes that the probe sees in the format that the encoder is trained from. Importing this package needs none of the
three.
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
