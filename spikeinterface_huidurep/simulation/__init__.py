"""Builds template libraries, of generated neurons and of biophysical cell models.

:func:`build_generated_library` needs nothing else: it places random neurons of this project, or SpikeInterface's,
around a probe. :func:`build_library` simulates cell models with NEURON (the optional extras ``simulate-free`` and
``simulate``) and places them as MEArec does. Both write the format of the encoder's training data. Importing this
package needs neither NEURON, LFPy, bmtk nor MEArec.
"""

from .build import build_library
from .cells import (
    BLUE_BRAIN_CELL_MODELS,
    CELL_MODELS,
    EVALUATION_CELL_MODELS,
    TRAINING_CELL_MODELS,
    load_cell,
)
from .generated_library import build_generated_library
from .mouse_cells import MOUSE_CELL_MODELS
from .placement import PlacementRules

__all__ = [
    "BLUE_BRAIN_CELL_MODELS",
    "CELL_MODELS",
    "EVALUATION_CELL_MODELS",
    "MOUSE_CELL_MODELS",
    "TRAINING_CELL_MODELS",
    "PlacementRules",
    "build_generated_library",
    "build_library",
    "load_cell",
]
