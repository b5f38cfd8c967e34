"""Neurons drawn at random, of this project's own: training data that anyone may use.

A neuron is a tree of segments (:mod:`.morphology`) along which a spike travels (:mod:`.membrane`). The currents through
the membrane follow from its potentials by Kirchhoff's law, so that they sum to zero, and the potentials at contacts
from the currents as those of line sources in a homogeneous medium (:mod:`.medium`). No recording, reconstruction or
published cell model is part of it.
"""

from .membrane import UNCHANGED, Change, SpikeShape
from .neuron import KINDS, RandomNeuron, draw_neuron

LICENCE = "MIT"

__all__ = ["KINDS", "LICENCE", "UNCHANGED", "Change", "RandomNeuron", "SpikeShape", "draw_neuron"]
